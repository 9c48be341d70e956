"""Threshold crossings: the first sample at or beyond the threshold whose predecessor was not, then a dead time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.types import Microvolts


class Detected(NamedTuple):
    """Filtered samples with what was found in them, each `(n, n_channels)`.

    Attributes:
        filtered: Microvolts.
        crossings: Where a channel crosses.
        limited: Where a channel is at or beyond the amplitude limit.
    """

    filtered: Microvolts
    crossings: NDArray[np.bool_]
    limited: NDArray[np.bool_]


class Threshold:
    """Finds crossings of negative-going spikes (turn the signal over for positive ones).

    Args:
        thresholds_uv: Negative thresholds, `(n_channels,)`; minus infinity is never reached.
        refractory: Samples after a crossing in which there is no other.
        limit_uv: Negative amplitude limit.
    """

    def __init__(self, thresholds_uv: NDArray[np.float64], refractory: int, limit_uv: float = -np.inf) -> None:
        self.thresholds: NDArray[np.float32] = thresholds_uv.astype(np.float32)
        self._refractory = refractory
        self._limit = np.float32(limit_uv)
        self.reset()

    def reset(self) -> None:
        """Forget earlier samples."""
        self._beyond: NDArray[np.bool_] = np.zeros(len(self.thresholds), np.bool_)
        self._dead: NDArray[np.int64] = np.zeros(len(self.thresholds), np.int64)

    def process(self, chunk: Microvolts) -> Detected:
        """Look at `(n, n_channels)` filtered samples."""
        crossings = np.zeros(chunk.shape, np.bool_)
        for y, crossing in zip(chunk, crossings, strict=True):
            beyond = y <= self.thresholds
            crossing[:] = beyond & ~self._beyond & (self._dead == 0)
            self._beyond = beyond
            self._dead = np.where(crossing, self._refractory, self._dead)
            self._dead -= self._dead > 0
        return Detected(chunk, crossings, chunk <= self._limit)

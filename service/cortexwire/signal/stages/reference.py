"""Takes the common reference away, scales, and applies the filter's first zeros while values are still exact."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.referencing import MIN_LIVE
from cortexwire.signal.scalar import scale_and_add
from cortexwire.signal.settings import ReferenceSettings
from cortexwire.types import Microvolts, Raw


class Reference:
    """Referenced, scaled differences of raw samples.

    With `r` the mean or median of a sample's live channels, a channel gives `scale * (d[x] - d[r])`, where `d` is
    `x[n] - x[n - 2]`, or `x[n] - 2 x[n - 1] + x[n - 2]` before a high-pass. What came before the first sample is
    taken to have been like it. A group with fewer than 8 live channels in a sample has no reference in it.

    Args:
        settings: Mean, median or none.
        groups: Channels of each group; channels in none keep their values.
        n_channels: Channels per sample.
        scale: Microvolts per raw unit, times the filter's gain and the polarity's sign.
        rails: Lowest and highest raw value; a channel at one leaves the reference for that sample.
        high_pass: Which zeros the filter has.

    Attributes:
        live: Channels that take part in references, `(n_channels,)`.
    """

    def __init__(
        self,
        settings: ReferenceSettings,
        groups: dict[str, NDArray[np.int64]],
        n_channels: int,
        scale: float,
        rails: tuple[float, float],
        high_pass: bool,
    ) -> None:
        self.live: NDArray[np.bool_] = np.ones(n_channels, np.bool_)
        self._mode = settings.mode
        self._groups = groups
        self._scale = np.float32(scale)
        self._rails = rails
        self._high_pass = high_pass
        self._raw: NDArray[np.float64] | None = None
        self._references: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forget all samples."""
        self._raw = self._references = None

    def process(self, chunk: Raw) -> Microvolts:
        """Take raw samples, `(n, n_channels)`; returns as many rows of float32."""
        if not len(chunk):
            return np.zeros(chunk.shape, np.float32)
        raw = chunk.astype(np.float64)
        references = np.array([self._reference(row) for row in raw])
        if self._raw is None or self._references is None:
            self._raw, self._references = raw[[0, 0]], references[[0, 0]]
        raw, references = np.concatenate([self._raw, raw]), np.concatenate([self._references, references])
        self._raw, self._references = raw[-2:], references[-2:]
        offsets = -np.float64(self._scale) * self._difference(references)
        difference = self._difference(raw).astype(np.float32)
        return np.asarray(scale_and_add(difference, self._scale, offsets.astype(np.float32)))

    def _difference(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._high_pass:
            return (x[2:] - x[1:-1]) - (x[1:-1] - x[:-2])
        return x[2:] - x[:-2]

    def _reference(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """The reference of each channel in one sample."""
        references = np.zeros(len(row))
        for channels in self._groups.values() if self._mode != "none" else ():
            values = row[channels]
            values = values[self.live[channels] & (values > self._rails[0]) & (values < self._rails[1])]
            if len(values) >= MIN_LIVE:
                references[channels] = np.mean(values) if self._mode == "mean" else np.median(values)
        return references

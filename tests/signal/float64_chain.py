"""The front end in float64 by scipy and plain loops, written from the rules alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.signal.settings import FilterSettings
from cortexwire.types import Rate


@dataclass(frozen=True)
class Float64Chain:
    """A whole recording, filtered.

    Attributes:
        filtered: Microvolts, `(n_samples, n_channels)`.
        rms: Root mean square of each channel behind the settling time.
        settling: Samples that are left out at the start.
    """

    filtered: NDArray[np.float64]
    rms: NDArray[np.float64]
    settling: int

    @classmethod
    def of(
        cls, raw: NDArray[Any], uv_per_bit: float, mode: str, filtering: FilterSettings, rate: Rate, settling: int
    ) -> "Float64Chain":
        """Reference and filter a recording, from the steady state of its first sample."""
        x = raw.astype(np.float64) * uv_per_bit
        if mode != "none":
            x -= getattr(np, mode)(x, axis=1, keepdims=True)
        edges = [filtering.low_hz, filtering.high_hz]
        sos = signal.butter(filtering.order, edges, "bandpass", fs=rate.hz, output="sos")
        filtered, _ = signal.sosfilt(sos, x, axis=0, zi=signal.sosfilt_zi(sos)[:, :, None] * x[0])
        return cls(filtered, np.sqrt(np.mean(filtered[settling:] ** 2, axis=0)), settling)

    def crossings(self, thresholds: NDArray[np.float64], refractory: int) -> NDArray[np.bool_]:
        """Samples at or beyond a negative threshold whose predecessor is not, `refractory` apart at least."""
        beyond = np.asarray(self.filtered <= thresholds)
        fresh = beyond & ~np.vstack([np.zeros((1, beyond.shape[1]), bool), beyond[:-1]])
        kept: NDArray[np.bool_] = np.zeros(fresh.shape, np.bool_)
        for c in range(fresh.shape[1]):
            free = 0
            for i in np.flatnonzero(fresh[:, c]).tolist():
                if i >= free:
                    kept[i, c] = True
                    free = i + refractory
        return kept

    def counts(self, kept: NDArray[np.bool_], start: int, stop: int) -> NDArray[np.int64]:
        """Crossings of one bin."""
        return np.asarray(kept[max(start, self.settling) : stop].sum(axis=0))

    def power(self, start: int, stop: int) -> NDArray[np.float64]:
        """Mean square of one bin."""
        return np.asarray(np.mean(self.filtered[max(start, self.settling) : stop] ** 2, axis=0))

    def is_close(self, thresholds: NDArray[np.float64], start: int, stop: int, refractory: int) -> NDArray[np.bool_]:
        """Channels in which a sample that matters to a bin lies within 1e-3 RMS of the threshold."""
        near = np.abs(self.filtered[max(start - 3 * refractory, 0) : stop] - thresholds) <= 1e-3 * self.rms
        return np.asarray(near.any(axis=0))

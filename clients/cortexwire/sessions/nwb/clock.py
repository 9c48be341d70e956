"""From seconds of a file to samples of a session, for a signal with a rate and for one with a timestamp per sample.

Timestamps are looked at in a thousand places, not all of them: a recording of hours opens at once, and a clock that
runs a little off its nominal rate is followed. Where samples are missing between two such places the time of what lies
there is off by what is missing, which `irregular_s` says.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.nwb.scale import exact_rate
from cortexwire.types import Rate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STANDARD_HZ: Final = (
    *(50_000.0, 48_828.125, 44_100.0, 40_000.0, 32_000.0, 31_250.0, 30_000.0, 25_000.0, 24_414.0625, 20_000.0),
    *(15_000.0, 12_207.03125, 12_500.0, 10_000.0, 8_000.0, 6_103.515625, 5_000.0, 4_000.0, 3_051.7578125, 2_500.0),
    *(2_000.0, 1_250.0, 1_000.0, 500.0, 250.0),
)
"""Rates that acquisition systems have; a measured rate that is near one of them is that."""
_NEAR: Final = 1e-4
_PROBES: Final = 1024
_LEAST_PROBES: Final = 32
_MOST_READ_BYTES: Final = 2**26
_FIRST: Final = 4096


@dataclass(frozen=True)
class SampleClock:
    """The sample clock of a recording.

    Attributes:
        rate: Sample rate.
        start_s: Time of sample 0 in the file's seconds.
        times_s: Times at which samples were looked up, ascending, `(n,)`; none where the rate says it all.
        samples: Their numbers, `(n,)`.
        irregular_s: Most that a timestamp lies off a straight line through the first and the last.
    """

    rate: Rate
    start_s: float = 0.0
    times_s: Floats | None = None
    samples: Floats | None = None
    irregular_s: float = 0.0

    def samples_of(self, times_s: Floats) -> Ints:
        """The sample nearest to each time, `(n,)`; also before the first and behind the last."""
        times_s = np.asarray(times_s, np.float64)
        if self.times_s is None or self.samples is None:
            exact: Floats = (times_s - self.start_s) * self.rate.hz
            return np.rint(exact).astype(np.int64)
        inside = np.interp(times_s, self.times_s, self.samples)
        before, behind = np.minimum(times_s - self.times_s[0], 0), np.maximum(times_s - self.times_s[-1], 0)
        exact = inside + (before + behind) * self.rate.hz
        return np.rint(exact).astype(np.int64)


def clock_of_timestamps(timestamps: Any) -> SampleClock:
    """The clock of a signal with a timestamp for each sample.

    Args:
        timestamps: Seconds, `(n,)`, an array or a dataset that is read in parts.

    Raises:
        ValueError: They are fewer than two, or do not ascend.
    """
    n = len(timestamps)
    first = np.asarray(timestamps[: min(n, _FIRST)], np.float64).reshape(-1)
    if n < 2 or not (np.diff(first) > 0).all():
        raise ValueError("expected two timestamps or more, ascending")
    # Each look reads a chunk: the fewer, the larger they are.
    chunk_bytes = 8 * (getattr(timestamps, "chunks", None) or (1,))[0]
    probes = int(np.clip(_MOST_READ_BYTES // chunk_bytes, _LEAST_PROBES, _PROBES))
    samples = np.unique(np.linspace(0, n - 1, probes).astype(np.int64))
    times_s = np.array([np.asarray(timestamps[int(sample)]).item() for sample in samples], np.float64)
    if not (np.diff(times_s) > 0).all():
        raise ValueError("expected ascending timestamps")
    mean_hz = (n - 1) / (times_s[-1] - times_s[0])
    local_hz = (len(first) - 1) / (first[-1] - first[0])
    rate = _standard(local_hz) or _standard(mean_hz) or exact_rate(float(f"{local_hz:.9g}"))
    line = times_s[0] + samples / mean_hz
    irregular_s = float(np.abs(times_s - line).max())
    if irregular_s < 0.5 / rate.hz and abs(mean_hz / rate.hz - 1) * n < 0.5:
        return SampleClock(rate, float(times_s[0]))
    return SampleClock(rate, float(times_s[0]), times_s, samples.astype(np.float64), irregular_s)


def _standard(hz: float) -> Rate | None:
    near = min(STANDARD_HZ, key=lambda standard: abs(standard - hz))
    return exact_rate(near) if abs(near - hz) <= _NEAR * near else None

"""What is known of each channel: rate, noise, threshold, status; and the rates by which an array is recognised."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import DEAD, RAILING, Bin

SMOOTHING_S = 1.0
"""Time constant of the displayed rates."""
MAX_NAMED = 16
"""Channels that one note names."""


class ChannelReport(NamedTuple):
    """One array `(n_channels,)` each; NaN where nothing is known.

    Attributes:
        rates_hz: Crossings per second, smoothed over about a second.
        rms_uv: Noise.
        thresholds_uv: Thresholds in force.
        status: Status bits of `signal.binning`.
    """

    rates_hz: NDArray[np.float32]
    rms_uv: NDArray[np.float32]
    thresholds_uv: NDArray[np.float32]
    status: NDArray[np.uint8]


class ChannelWatch:
    """Follows the channels of one stream bin by bin.

    Args:
        n_channels: Number of channels.
        bin_s: Width of a bin.
        window_s: Observed signal over which rates are measured for the comparison with training.

    Attributes:
        measuring: Whether the window is not full.
        measured_hz: The rates of the full window, NaN for channels without data; None before it is full.
    """

    measured_hz: NDArray[np.float64] | None

    def __init__(self, n_channels: int, bin_s: float, window_s: float) -> None:
        self._bin_s = bin_s
        self._window_s = window_s
        self._keep = np.float32(np.exp(-bin_s / SMOOTHING_S))
        self._rates = np.zeros(n_channels, np.float32)
        self._status: NDArray[np.uint8] = np.zeros(n_channels, np.uint8)
        self._flagged = 0
        self._unknown = np.full(n_channels, np.nan, np.float32)
        self.restart_measuring()

    def restart_measuring(self) -> None:
        """Measure the rates of a new stream from its beginning."""
        self._counts: NDArray[np.int64] = np.zeros(len(self._rates), np.int64)
        self._seen_s = 0.0
        self.measuring, self.measured_hz = True, None

    def changes(self, closed: Bin) -> list[str]:
        """Take the status of a bin; returns a sentence for each kind of fault that channels came to have or lost."""
        status = closed.status
        if closed.flagged == self._flagged and (not closed.flagged or np.array_equal(status, self._status)):
            return []
        notes = []
        for bit, words in ((DEAD, "dead"), (RAILING, "at the rails")):
            before, now = self._status & bit != 0, status & bit != 0
            for which, verb in ((now & ~before, "are"), (before & ~now, "are no longer")):
                channels = np.flatnonzero(which)
                if len(channels):
                    more = "" if len(channels) <= MAX_NAMED else f" and {len(channels) - MAX_NAMED} more"
                    notes.append(f"channels {channels[:MAX_NAMED].tolist()}{more} {verb} {words}")
        self._status, self._flagged = status, closed.flagged
        return notes

    def smooth(self, closed: Bin) -> None:
        """Let the displayed rates follow a bin."""
        if closed.observed:
            seen_s = self._bin_s * closed.observed_fraction
            self._rates *= self._keep
            self._rates += closed.counts * np.float32((1 - self._keep) / seen_s)

    def measure(self, closed: Bin) -> NDArray[np.float64] | None:
        """Take a bin; returns rates in hertz, NaN for channels without data, when the window is full."""
        if not closed.observed:
            return None
        self._counts += closed.counts
        self._seen_s += self._bin_s * closed.observed_fraction
        if self._seen_s < self._window_s - 1e-9:
            return None
        self.measuring = False
        self.measured_hz = np.where(closed.status == 0, self._counts / self._seen_s, np.nan)
        return self.measured_hz

    def report(self, thresholds_uv: NDArray[np.float64] | None, rms_uv: NDArray[np.float32] | None) -> ChannelReport:
        """Put everything together."""
        thresholds = self._unknown if thresholds_uv is None else thresholds_uv.astype(np.float32)
        return ChannelReport(self._rates, self._unknown if rms_uv is None else rms_uv, thresholds, self._status)

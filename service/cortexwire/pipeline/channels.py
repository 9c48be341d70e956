"""What is known of each channel: rate, noise, threshold, status; and the rates by which an array is recognised."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import DEAD, RAILING, Bin

SMOOTHING_S = 1.0
"""Time constant of the displayed rates."""
MAX_NAMED = 16
"""Channels that one note names."""
QUIET_S: Final = 60.0
"""A channel is not spoken of again within this time of signal for the same kind of fault, however often it changes."""
_FAULTS: Final = ((DEAD, "dead"), (RAILING, "at the rails"))
_NEVER: Final = 1 << 62


def in_words(channels: Sequence[int]) -> str:
    """Name channels: `channel 3`, `channels 3 and 91`; of many only the first."""
    names = [str(channel) for channel in channels[:MAX_NAMED]]
    if len(channels) > MAX_NAMED:
        names.append(f"{len(channels) - MAX_NAMED} more")
    if len(names) < 2:
        return f"channel {names[0]}" if names else "no channel"
    return f"channels {', '.join(names[:-1])} and {names[-1]}"


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
        self._bins = 0
        self._quiet_bins = round(QUIET_S / bin_s)
        self._told: NDArray[np.uint8] = np.zeros(n_channels, np.uint8)
        # The bin from which on a channel may be spoken of again, for each kind of fault; and the next one that is due.
        self._free_at = np.zeros((len(_FAULTS), n_channels), np.int64)
        self._due = _NEVER
        self._unknown = np.full(n_channels, np.nan, np.float32)
        self.restart_measuring()

    def restart_measuring(self) -> None:
        """Measure the rates of a new stream from its beginning."""
        self._counts: NDArray[np.int64] = np.zeros(len(self._rates), np.int64)
        self._seen_s = 0.0
        self.measuring, self.measured_hz = True, None

    def changes(self, closed: Bin) -> list[str]:
        """Take the status of a bin; returns a sentence for each kind of fault that channels came to have or lost.

        What has changed back and forth within `QUIET_S` of a sentence is told at its end, as it is then.
        """
        status = closed.status
        self._bins += 1
        same = closed.flagged == self._flagged and (not closed.flagged or np.array_equal(status, self._status))
        if same and self._bins < self._due:
            return []
        self._status, self._flagged = status, closed.flagged
        self._due = _NEVER
        notes = []
        for free_at, (bit, words) in zip(self._free_at, _FAULTS, strict=True):
            news = (status ^ self._told) & bit != 0
            late = free_at[news & (free_at > self._bins)]
            if len(late):
                self._due = min(self._due, int(late.min()))
            news &= free_at <= self._bins
            if not news.any():
                continue
            for which, no_longer in ((news & (status & bit != 0), ""), (news & (status & bit == 0), " no longer")):
                channels = np.flatnonzero(which).tolist()
                if channels:
                    verb = "is" if len(channels) == 1 else "are"
                    notes.append(f"{in_words(channels)} {verb}{no_longer} {words}")
            self._told[news] ^= bit
            free_at[news] = self._bins + self._quiet_bins
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

"""When a bin's time is up: the stream's sample clock related to the host's clock, and deadlines on it.

Two rules live here.

*The relation of the clocks.* A packet can come late but not early, so the least of `received_ns -
end_of_packet` over the recent past is the delay of an undisturbed packet, and `least delay + end of bin` is
when that bin could have been complete. The minimum is taken over two buckets of `clock_window_s` (the current
one and the one before), so that drift between the clocks is followed within that time at a constant cost. The
bucket before a silence counts however long the silence was: what bursts in behind it is late, and a rig that
only paused is on time again when the next bucket begins. A bin that ends inside a packet comes up to one packet
later than its due time would allow for, so `deadline_ms` has to exceed the length of a packet.

*Lateness is decided by ticks only.* `bins_due` is asked once per clock tick; every bin that it hands over
gets a safe output, and a bin is late if and only if it was handed over before it was decoded. The arrival of
a packet decides nothing by itself. Ticks are logged in the order in which they were taken, so a replay
repeats each decision, and where there are no ticks there are no safe outputs and nothing is late.

A rig that has stopped must not make safe outputs for ever: they end with the last bin that ends within
`reset_after_ms` after the newest sample. By then the output has long been neutral.
"""

from typing import Protocol

from cortexwire.pipeline.settings import DeadlineSettings
from cortexwire.types import Rate


class BinClock(Protocol):
    """Where bins lie on the sample axis: bin k is the samples `[start(k), start(k + 1))`."""

    def start(self, bin_index: int, /) -> int:
        """Sample index of the first sample of a bin."""
        ...

    def bin_of(self, sample_index: int, /) -> int:
        """The bin that a sample lies in."""
        ...


class Deadlines:
    """Deadlines of the bins of one source.

    Args:
        settings: The deadline, and the window of the clocks' relation.
        bins: Where the bins lie.
        rate: The sample rate.
        reset_after_ms: Silence, in stream time, after which no further bins are due.
    """

    def __init__(self, settings: DeadlineSettings, bins: BinClock, rate: Rate, reset_after_ms: float) -> None:
        self._bins = bins
        self._ns_num = 1_000_000_000 * rate.den
        self._ns_den = rate.num
        self._enabled = settings.deadline_ms is not None
        self._deadline_ns = round((settings.deadline_ms or 0.0) * 1e6)
        self._window_ns = round(settings.clock_window_s * 1e9)
        self._reset_after = round(reset_after_ms / 1e3 * rate.fraction)
        self.reset()

    def reset(self, passed: int = 0) -> None:
        """A new stream begins: its sample index bears no relation to the one before.

        Args:
            passed: First bin of it that has not been handed over.
        """
        self._bucket_start_ns: int | None = None
        self._least_ns = 0
        self._least_before_ns: int | None = None
        self._newest = 0
        self._passed = passed
        self._due: int | None = None
        self._due_of: tuple[int, int | None] | None = None

    def observe(self, end_sample: int, received_ns: int | None) -> None:
        """Take the arrival of an accepted signal packet.

        Args:
            end_sample: Sample index one past its last sample.
            received_ns: Host's monotonic time of its arrival; None where there is none (a recording).
        """
        if received_ns is None:
            return
        if end_sample > self._newest:
            self._newest = end_sample
        delay_ns = received_ns - self._stream_ns(end_sample)
        begun = self._bucket_start_ns
        if begun is not None and received_ns - begun < self._window_ns:
            if delay_ns < self._least_ns:
                self._least_ns = delay_ns
            return
        self._least_before_ns = self._least_ns if begun is not None else None
        self._bucket_start_ns = received_ns
        self._least_ns = delay_ns

    def due_ns(self, bin_index: int) -> int | None:
        """Host time at which the safe output of a bin is due; None without deadlines or before any packet."""
        delay_ns = self._delay_ns()
        if delay_ns is None:
            return None
        return delay_ns + self._stream_ns(self._bins.start(bin_index + 1)) + self._deadline_ns

    def next_due_ns(self, next_bin: int) -> int | None:
        """Host time of the next tick that will find a bin due, if no packet comes before it.

        Args:
            next_bin: First bin that is not decoded.

        Returns:
            The time, or None when no bin will become due.
        """
        first = max(next_bin, self._passed)
        of = first, self._delay_ns()
        if of != self._due_of:
            # A bin that may have a safe output may have one however much comes after.
            self._due = self.due_ns(first) if first < self._stop() else None
            self._due_of = of if self._due is not None else None
        return self._due

    def is_due(self, now_ns: int, next_bin: int) -> bool:
        """Whether a tick would find a bin due."""
        due_ns = self.next_due_ns(next_bin)
        return due_ns is not None and now_ns >= due_ns

    def bins_due(self, now_ns: int, next_bin: int) -> range:
        """Take a tick: hand over, once each, the bins whose time is up.

        Args:
            now_ns: Host's monotonic time of the tick.
            next_bin: First bin that is not decoded.

        Returns:
            The bins that get a safe output now, ascending; empty when none. At most `reset_after_ms` of bins
            lie beyond the newest sample.
        """
        delay_ns = self._delay_ns()
        first = max(next_bin, self._passed)
        if delay_ns is None:
            return range(first, first)
        reached = (now_ns - self._deadline_ns - delay_ns) * self._ns_den // self._ns_num
        stop = max(first, min(self._stop(), self._bins.bin_of(reached) if reached > 0 else 0))
        self._passed = stop
        return range(first, stop)

    def is_late(self, bin_index: int) -> bool:
        """Whether a bin that is decoded now had been handed over."""
        return bin_index < self._passed

    def hand_over(self, next_bin: int) -> int:
        """Hand over the first bin that has not been, for a safe output that has another reason than a tick.

        Args:
            next_bin: First bin that is not decoded.
        """
        index = max(next_bin, self._passed)
        self._passed = index + 1
        return index

    def _delay_ns(self) -> int | None:
        if not self._enabled or self._bucket_start_ns is None:
            return None
        before = self._least_before_ns
        return self._least_ns if before is None else min(before, self._least_ns)

    def _stop(self) -> int:
        """One past the last bin for which a safe output may be made."""
        return self._bins.bin_of(self._newest + self._reset_after)

    def _stream_ns(self, sample_index: int) -> int:
        # Rounded up, the inverse of the rounding down in `bins_due`: a tick at `due_ns` finds the bin due.
        return -(-sample_index * self._ns_num // self._ns_den)

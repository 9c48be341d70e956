from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.pipeline.deadlines import Deadlines
from cortexwire.pipeline.settings import DeadlineSettings
from cortexwire.types import Rate

MS = 1_000_000
S = 1_000 * MS


@dataclass(frozen=True)
class Bins:
    """Bins of a fixed, possibly fractional, number of samples."""

    num: int
    den: int = 1

    def start(self, bin_index: int, /) -> int:
        """First sample of a bin."""
        return -(-bin_index * self.num // self.den)

    def bin_of(self, sample_index: int, /) -> int:
        """Bin of a sample."""
        return sample_index * self.den // self.num


def make(deadline_ms: float | None = 20.0, *, clock_window_s: float = 2.0, reset_after_ms: float = 500.0) -> Deadlines:
    """1 kHz and bins of 20 samples: a sample is a millisecond, a bin 20 ms."""
    settings = DeadlineSettings(deadline_ms=deadline_ms, clock_window_s=clock_window_s)
    return Deadlines(settings, Bins(20), Rate(1000), reset_after_ms)


def test_a_bin_is_due_one_deadline_after_its_end_on_the_hosts_clock() -> None:
    deadlines = make()
    deadlines.observe(10, 1 * S)
    assert deadlines.due_ns(0) == 1 * S + 10 * MS + 20 * MS
    assert deadlines.due_ns(4) == 1 * S + 90 * MS + 20 * MS


def test_the_least_disturbed_packet_sets_the_clock() -> None:
    deadlines = make()
    deadlines.observe(10, 1 * S + 7 * MS)
    deadlines.observe(20, 1 * S + 10 * MS)
    deadlines.observe(30, 1 * S + 29 * MS)
    assert deadlines.due_ns(0) == 1 * S + 10 * MS + 20 * MS


def test_the_relation_of_the_clocks_follows_a_drift_within_two_windows() -> None:
    deadlines = make(clock_window_s=1.0)
    for sample in range(0, 2000, 10):
        deadlines.observe(sample, sample * MS)
    assert deadlines.due_ns(0) == 40 * MS
    for sample in range(2000, 4010, 10):
        deadlines.observe(sample, sample * MS + 3 * MS)
    assert deadlines.due_ns(0) == 43 * MS


def test_what_bursts_in_after_a_silence_is_late_however_long_it_was() -> None:
    deadlines = make(clock_window_s=1.0)
    deadlines.observe(100, 100 * MS)
    deadlines.observe(101, 10 * S)
    assert deadlines.due_ns(4) == 120 * MS
    assert list(deadlines.bins_due(10 * S, 5)) == list(range(5, 30))


def test_a_rig_that_paused_is_on_time_again_after_a_window() -> None:
    deadlines = make(clock_window_s=1.0)
    deadlines.observe(100, 100 * MS)
    for sample in range(110, 1130, 10):
        deadlines.observe(sample, 10 * S + sample * MS)
    assert deadlines.due_ns(56) == 10 * S + 1140 * MS + 20 * MS


def test_every_bin_is_handed_over_once_and_is_late_from_then_on() -> None:
    deadlines = make()
    deadlines.observe(100, 100 * MS)
    assert list(deadlines.bins_due(139 * MS, 5)) == []
    assert not deadlines.is_late(5)
    assert list(deadlines.bins_due(140 * MS, 5)) == [5]
    assert deadlines.is_late(5)
    assert not deadlines.is_late(6)
    assert list(deadlines.bins_due(141 * MS, 5)) == []
    assert list(deadlines.bins_due(180 * MS, 5)) == [6, 7]


def test_a_bin_decoded_in_time_is_never_due() -> None:
    deadlines = make()
    deadlines.observe(140, 140 * MS)
    assert list(deadlines.bins_due(160 * MS, 7)) == []
    assert list(deadlines.bins_due(185 * MS, 7)) == [7]


def test_the_arrival_of_a_packet_makes_no_bin_late() -> None:
    deadlines = make()
    deadlines.observe(100, 100 * MS)
    deadlines.observe(120, 400 * MS)
    assert not deadlines.is_late(5)


def test_safe_bins_end_when_the_rig_has_been_silent_for_long() -> None:
    deadlines = make(reset_after_ms=100.0)
    deadlines.observe(100, 100 * MS)
    assert list(deadlines.bins_due(3600 * S, 5)) == [5, 6, 7, 8, 9]
    assert list(deadlines.bins_due(7200 * S, 5)) == []
    assert deadlines.next_due_ns(5) is None


def test_a_tick_before_the_stream_began_finds_nothing() -> None:
    deadlines = make()
    deadlines.observe(100, 10 * S)
    assert list(deadlines.bins_due(1 * S, 5)) == []


def test_without_deadlines_or_arrival_times_nothing_is_due() -> None:
    for deadlines, received in ((make(None), 100 * MS), (make(), None)):
        deadlines.observe(100, received)
        assert deadlines.due_ns(0) is None
        assert deadlines.next_due_ns(0) is None
        assert list(deadlines.bins_due(1000 * S, 3)) == []
        assert not deadlines.is_late(3)


def test_the_next_due_time_is_that_of_the_first_bin_not_yet_settled() -> None:
    deadlines = make()
    deadlines.observe(100, 100 * MS)
    assert deadlines.next_due_ns(5) == 140 * MS
    deadlines.bins_due(140 * MS, 5)
    assert deadlines.next_due_ns(5) == 160 * MS
    assert deadlines.next_due_ns(9) == 220 * MS


def test_a_new_stream_begins_without_a_clock() -> None:
    deadlines = make()
    deadlines.observe(1000, 1000 * MS)
    deadlines.bins_due(2 * S, 50)
    deadlines.reset()
    assert deadlines.due_ns(0) is None
    assert not deadlines.is_late(0)
    deadlines.observe(20, 5 * S)
    assert list(deadlines.bins_due(5 * S + 20 * MS, 0)) == [0]


@pytest.mark.parametrize(("rate", "bins"), [(Rate(390_625, 16), Bins(78_125, 160)), (Rate(30_000), Bins(600))])
@given(end=st.integers(1, 2**40), received=st.integers(0, 2**60), ahead=st.integers(0, 20))
def test_a_tick_at_the_due_time_finds_the_bin_and_one_before_does_not(
    rate: Rate, bins: Bins, end: int, received: int, ahead: int
) -> None:
    deadlines = Deadlines(DeadlineSettings(), bins, rate, 1000.0)
    deadlines.observe(end, received)
    wanted = bins.bin_of(end) + ahead
    due = deadlines.due_ns(wanted)
    assert due is not None
    assert list(deadlines.bins_due(due - 1, wanted)) == []
    assert list(deadlines.bins_due(due, wanted)) == [wanted]


@given(st.lists(st.integers(0, 400), max_size=30), st.integers(1, 10))
def test_however_ticks_fall_the_same_bins_get_one_safe_output_each(steps: list[int], n_last: int) -> None:
    deadlines, now, seen = make(), 100 * MS, list[int]()
    deadlines.observe(100, now)
    for step in steps:
        now += step * MS
        seen.extend(deadlines.bins_due(now, 5))
    seen.extend(deadlines.bins_due(100 * S * n_last, 5))
    assert seen == list(range(5, 30))

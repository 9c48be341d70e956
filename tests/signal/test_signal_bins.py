"""Bin edges are exact integers for any rational rate, and events and counts enter at binning."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.errors import ConfigError
from cortexwire.signal.binning import MASKED, Bin, EventBins
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.types import Rate

rates = st.builds(Rate, st.integers(10_000, 2**32 - 1), st.integers(1, 10))
widths = st.decimals(1, 100, places=2).map(float)


@given(rates, widths, st.integers(0, 10**9))
def test_bins_partition_the_sample_axis(rate: Rate, width_ms: float, k: int) -> None:
    clock = BinClock(rate, width_ms)
    start, stop = clock.start(k), clock.start(k + 1)
    assert start == k * rate.fraction * Fraction(str(width_ms)) // 1000
    assert clock.bin_of(start) == clock.bin_of(stop - 1) == k
    assert clock.bin_of(stop) == k + 1
    assert clock.length(k) == stop - start
    assert clock.length(k) in (clock.longest, clock.longest - 1)


@given(rates, st.integers(1, 40), st.integers(0, 10**6))
def test_parts_fill_a_bin_exactly(rate: Rate, parts: int, k: int) -> None:
    clock = BinClock(rate, 40.0)
    part = clock.divided(parts)
    assert part.start(k * parts) == clock.start(k)
    assert part.bin_of(clock.start(k)) == k * parts


def test_durations_are_rounded_up_and_too_short_bins_refused() -> None:
    assert samples_in(Rate(19_531), 1.0) == 20
    assert samples_in(Rate(30_000), 1.0) == 30
    assert samples_in(Rate(30_000), 0.0) == 0
    with pytest.raises(ConfigError, match=r"expected bins of at least one sample, got 0\.5 ms at 1000 Hz"):
        BinClock(Rate(1000), 0.5)
    with pytest.raises(ConfigError, match="expected parts of at least one sample, got 50 in 20"):
        BinClock(Rate(1000), 20.0).divided(50)


def events(source: EventBins, samples: list[int], channels: list[int], n: int) -> list[Bin]:
    return source.push_events(n, np.array(samples, np.int64), np.array(channels, np.int64))


def test_events_are_counted_in_the_bin_of_their_sample() -> None:
    source = EventBins(BinClock(Rate(1000), 20.0), 3)
    source.begin(0)
    bins = events(source, [0, 19, 20, 45, 45], [0, 0, 1, 2, 2], 65)
    assert [b.counts.tolist() for b in bins] == [[2, 0, 0], [0, 1, 0], [0, 0, 2]]
    assert all(b.observed == 20 and b.power is None and not b.status.any() for b in bins)
    assert source.until_edge == 15
    assert events(source, [], [], 0) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 97))
def test_event_bins_do_not_depend_on_packet_size(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    samples = np.sort(rng.integers(0, n, 60))
    channels = rng.integers(0, 4, 60)

    def run(size: int) -> list[object]:
        source = EventBins(BinClock(Rate(1000), 20.0), 4, masked=(2,))
        source.begin(5)
        source.blank(100, 130)
        source.blank(140, 145)
        bins = []
        for start in range(0, n, size):
            inside = (samples >= start) & (samples < start + size)
            bins += source.push_events(min(size, n - start), samples[inside] - start, channels[inside])
        return [(b.index, b.counts.tolist(), b.observed, b.missing, b.artefact, b.status.tolist()) for b in bins]

    assert run(size) == run(n)


def test_blanked_events_do_not_count_and_masks_are_reported() -> None:
    source = EventBins(BinClock(Rate(1000), 20.0), 2)
    source.mask((1,))
    source.begin(0)
    source.blank(5, 10)
    (made,) = events(source, [4, 5, 9, 10], [0, 0, 0, 0], 20)
    assert made.counts.tolist() == [2, 0]
    assert (made.observed, made.artefact, made.missing) == (15, 5, 0)
    assert made.status.tolist() == [0, MASKED]


def test_counts_must_lie_in_one_bin_and_a_gap_closes_what_it_passes() -> None:
    source = EventBins(BinClock(Rate(1000), 20.0), 2)
    source.begin(10)
    with pytest.raises(ValueError, match="expected counts within one bin, got samples 10 to 30 across the edge at 20"):
        source.push_counts(20, np.zeros(2, np.uint16))
    (first,) = source.push_counts(10, np.array([1, 70], np.uint16))
    assert (first.observed, first.missing) == (10, 10)
    assert source.push_counts(5, np.ones(2, np.uint16)) == []
    source.blank(25, 30)
    assert source.push_counts(10, np.ones(2, np.uint16)) == []
    bins = source.gap(65)
    assert [b.counts.tolist() for b in bins] == [[1, 1], [0, 0]]
    assert [(b.observed, b.missing, b.artefact) for b in bins] == [(5, 5, 10), (0, 20, 0)]
    assert source.index == 3


def test_a_count_beyond_uint16_stops_at_its_end() -> None:
    source = EventBins(BinClock(Rate(1000), 20.0), 1)
    source.begin(0)
    for _ in range(2):
        bins = source.push_counts(10, np.array([40_000], np.uint16))
    assert bins[0].counts.tolist() == [65_535]

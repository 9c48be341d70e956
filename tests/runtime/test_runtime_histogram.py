import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.runtime.histogram import N_CLASSES, TABLE_WORDS, Histogram, class_of, class_upper_ns


@given(st.integers(0, 2**40 - 1))
def test_a_class_holds_the_duration_and_is_narrow(duration: int) -> None:
    index = class_of(duration)
    assert 0 <= index < N_CLASSES
    assert duration <= class_upper_ns(index) <= duration * (1 + 1 / 32)
    assert index == 0 or class_upper_ns(index - 1) < duration


def test_classes_tile_all_durations() -> None:
    uppers = [class_upper_ns(index) for index in range(N_CLASSES)]
    assert [class_of(upper) for upper in uppers] == list(range(N_CLASSES))
    assert [class_of(upper + 1) for upper in uppers[:-1]] == list(range(1, N_CLASSES))
    assert uppers[-1] == 2**40 - 1


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_durations_within_a_class(durations: list[int]) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    exact = np.percentile(durations, [50, 99, 99.9], method="inverted_cdf")
    for got, want in zip(histogram.percentiles((50, 99, 99.9)), exact, strict=True):
        assert want <= got <= want * (1 + 1 / 32)
    assert histogram.summary().max_ns == max(durations)
    assert histogram.summary().total == len(durations)


def test_what_lies_outside_the_table_counts_at_its_ends() -> None:
    histogram = Histogram()
    histogram.record(-5)
    histogram.record(2**60)
    assert histogram.count == 2
    assert histogram.percentiles((50, 100)) == [0, 2**40 - 1]


def test_an_empty_histogram_says_zero_and_reset_empties() -> None:
    histogram = Histogram()
    assert histogram.summary() == (0, 0, 0, 0, 0)
    histogram.record(7)
    histogram.reset()
    assert histogram.summary() == (0, 0, 0, 0, 0)


def test_a_table_is_counted_in_place() -> None:
    table = np.zeros(TABLE_WORDS, np.uint64)
    Histogram(table).record(40)
    assert table[40] == 1
    assert table[N_CLASSES] == 40


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=f"uint64 table of {TABLE_WORDS} words"):
        Histogram(np.zeros(3, np.uint64))

from hypothesis import given
from hypothesis import strategies as st

from cortexwire.pipeline.sequence import MissingRanges


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=20), st.lists(st.integers(-2, 200)))
def test_ranges_behave_like_a_set_of_numbers(steps: list[tuple[int, int]], taken: list[int]) -> None:
    ranges, numbers, at = MissingRanges(), set[int](), 0
    for skip, length in steps:
        ranges.add(at + skip, at + skip + length)
        numbers.update(range(at + skip, at + skip + length))
        at += skip + length
    for number in taken:
        assert ranges.discard(number) == (number in numbers)
        numbers.discard(number)
    assert all(ranges.discard(number) for number in sorted(numbers))
    assert len(ranges) == 0


@given(st.lists(st.integers(0, 300), max_size=60))
def test_memory_is_bounded_and_the_oldest_is_forgotten_first(taken: list[int]) -> None:
    ranges = MissingRanges(limit=5)
    for start in range(0, 300, 10):
        ranges.add(start, start + 5)
        assert len(ranges) <= 5
    for number in taken:
        ranges.discard(number)
        assert len(ranges) <= 5
    assert not ranges.discard(240)


def test_an_absurd_range_costs_one_entry() -> None:
    ranges = MissingRanges()
    ranges.add(0, 2**64)
    assert ranges.discard(2**63)
    assert not ranges.discard(2**63)
    assert len(ranges) == 2


def test_cleared_ranges_are_empty() -> None:
    ranges = MissingRanges()
    ranges.add(0, 10)
    ranges.clear()
    assert not ranges.discard(5)

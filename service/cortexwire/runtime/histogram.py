"""Latency histogram: the one rule by which durations are put into classes.

Durations up to 63 ns have a class each; above that every power of two is cut into 32 equal classes, so a
class is never wider than 1/32 (3.1 %) of the durations in it. The table is fixed at `N_CLASSES` unsigned
64-bit counts, covers 0 ns to 2**40 ns (18 minutes), and can lie in shared memory. The last word of a table is
no class: it holds the longest duration recorded, so that a maximum is exact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SUB_BITS = 5
_SUB = 1 << _SUB_BITS
_LIMIT_BITS = 40
_LONGEST_NS = (1 << _LIMIT_BITS) - 1

N_CLASSES = (_LIMIT_BITS - _SUB_BITS + 1) * _SUB
"""Classes of durations in a table."""
TABLE_WORDS = N_CLASSES + 1
"""Words of a table: its classes and the longest duration."""


class LatencySummary(NamedTuple):
    """What is told of a histogram: how many durations, and their percentiles and longest in nanoseconds."""

    total: int
    p50_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int


def class_of(duration_ns: int) -> int:
    """Return the class of a duration in [0, 2**40) nanoseconds."""
    shift = duration_ns.bit_length() - (_SUB_BITS + 1)
    return duration_ns if shift <= 0 else shift * _SUB + (duration_ns >> shift)


def class_upper_ns(index: int) -> int:
    """Return the longest duration, in nanoseconds, that falls into a class."""
    if index < 2 * _SUB:
        return index
    shift = index // _SUB - 1
    return ((index - shift * _SUB + 1) << shift) - 1


class Histogram:
    """Counts of durations, cheap enough for every bin of the hot loop and of fixed size.

    Args:
        table: Where the counts lie, uint64 `(TABLE_WORDS,)`, or none for a table of its own. It is written in
        place.
    """

    __slots__ = ("_words", "table")

    def __init__(self, table: NDArray[np.uint64] | None = None) -> None:
        self.table: NDArray[np.uint64] = np.zeros(TABLE_WORDS, np.uint64) if table is None else table
        if self.table.shape != (TABLE_WORDS,) or self.table.dtype != np.uint64:
            raise ValueError(
                f"expected a uint64 table of {TABLE_WORDS} words, got {self.table.dtype}{self.table.shape}"
            )
        self._words = memoryview(self.table.data)

    def record(self, duration_ns: int) -> None:
        """Count one duration; below zero counts as zero, beyond the table as its longest."""
        words = self._words
        if duration_ns < 0:
            duration_ns = 0
        elif duration_ns > _LONGEST_NS:
            duration_ns = _LONGEST_NS
        words[class_of(duration_ns)] += 1
        if duration_ns > words[N_CLASSES]:
            words[N_CLASSES] = duration_ns

    @property
    def count(self) -> int:
        """Durations recorded."""
        return int(self.table[:N_CLASSES].sum())

    @property
    def max_ns(self) -> int:
        """The longest duration, exact; 0 when there is none."""
        return int(self.table[N_CLASSES])

    def percentiles(self, percents: Sequence[float]) -> list[int]:
        """Return the durations, in nanoseconds, that the given percentages of all do not exceed.

        The upper edge of the class is returned (never less than the truth, at most 3.1 % more), and never
        more than the longest duration. An empty histogram gives zeros.
        """
        running = np.cumsum(self.table[:N_CLASSES])
        total = int(running[-1])
        if total == 0:
            return [0 for _ in percents]
        ranks = [max(1, int(np.ceil(total * percent / 100.0))) for percent in percents]
        return [min(class_upper_ns(int(np.searchsorted(running, rank))), self.max_ns) for rank in ranks]

    def summary(self) -> LatencySummary:
        """Return count, p50, p99, p99.9 and maximum."""
        p50, p99, p999 = self.percentiles((50.0, 99.0, 99.9))
        return LatencySummary(self.count, p50, p99, p999, self.max_ns)

    def reset(self) -> None:
        """Forget everything recorded."""
        self.table[:] = 0

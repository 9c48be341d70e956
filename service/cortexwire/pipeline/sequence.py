"""Which sequence numbers are missing, as a bounded set of ranges.

A lossless stream never touches it; a loss costs one append, and a packet found after all one bisection.
"""

from bisect import bisect_right

MAX_RANGES = 4096
"""Ranges remembered. The oldest is forgotten first; a packet of it that still comes counts as a duplicate."""


class MissingRanges:
    """Half-open ranges of sequence numbers that have not come, ascending and disjoint."""

    __slots__ = ("_limit", "_starts", "_stops")

    def __init__(self, limit: int = MAX_RANGES) -> None:
        self._limit = limit
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Declare `[start, stop)` missing; `start` lies at or above every number declared before."""
        if stop <= start:
            return
        self._starts.append(start)
        self._stops.append(stop)
        self._forget()

    def discard(self, number: int) -> bool:
        """Take one number out, and say whether it was missing."""
        at = bisect_right(self._starts, number) - 1
        if at < 0 or number >= self._stops[at]:
            return False
        start, stop = self._starts[at], self._stops[at]
        rest = [(a, b) for a, b in ((start, number), (number + 1, stop)) if a < b]
        self._starts[at : at + 1] = [a for a, _ in rest]
        self._stops[at : at + 1] = [b for _, b in rest]
        self._forget()
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._stops.clear()

    def _forget(self) -> None:
        excess = len(self._starts) - self._limit
        if excess > 0:
            del self._starts[:excess]
            del self._stops[:excess]

"""Blanking markers: which stretches of samples count as unobserved, however many of them one packet announces.

A source blanks one interval at a time, so intervals wait here until the one before has no more effect. How many
markers come before the samples that they speak of then makes no difference, and neither does the size of packets.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from cortexwire.signal.binning import BinSource

FAR: Final = 2**62
"""A sample index that no stream reaches."""


class Blanking:
    """The blanking intervals of one stream, in the order in which they were announced.

    Args:
        over: Gives for the end of an interval the first sample at which it has no more effect.
    """

    def __init__(self, over: Callable[[int], int]) -> None:
        self._over = over
        self.clear()

    def clear(self) -> None:
        """A new stream begins."""
        self._waiting: deque[tuple[int, int]] = deque()
        self._any = False

    def start(self, sample_index: int) -> None:
        """Blank from here on; nothing new where samples are blanked already."""
        if not self._open:
            self._waiting.append((sample_index, FAR))
        self._any = True

    def stop(self, sample_index: int) -> None:
        """Blank until here; at the beginning of a stream the start may have come before we joined."""
        if self._open:
            start, _ = self._waiting.pop()
            self._waiting.append((start, sample_index))
        elif not self._any:
            self._waiting.append((0, sample_index))
        self._any = True

    @property
    def _open(self) -> bool:
        return bool(self._waiting) and self._waiting[-1][1] == FAR

    def apply(self, source: BinSource) -> int:
        """Tell a source what is blanked at its position; returns for how many samples that holds."""
        waiting = self._waiting
        if not waiting:
            return FAR
        while waiting and self._over(waiting[0][1]) <= source.position:
            waiting.popleft()
        if not waiting:
            source.blank(0, 0)
            return FAR
        source.blank(*waiting[0])
        return self._over(waiting[0][1]) - source.position

"""Blanking markers: which stretches of samples count as unobserved, however many of them one packet announces.

A source blanks one interval at a time, so intervals wait here, earliest first, until the one before has no more
effect. How many markers come before the samples that they speak of then makes no difference, nor in which order the
intervals are announced, and neither does the size of packets.
"""

from bisect import insort
from collections.abc import Callable
from typing import Final

from cortexwire.signal.binning import BinSource

FAR: Final = 2**62
"""A sample index that no stream reaches."""


class Blanking:
    """The blanking intervals of one stream.

    Args:
        over: Gives for the end of an interval the first sample at which it has no more effect.
    """

    def __init__(self, over: Callable[[int], int]) -> None:
        self._over = over
        self.clear()

    def clear(self) -> None:
        """A new stream begins."""
        self._waiting: list[tuple[int, int]] = []
        self._open: tuple[int, int] | None = None
        self._any = False

    @property
    def waiting(self) -> bool:
        """Whether any interval has an effect, or will have."""
        return bool(self._waiting)

    def learn(self, other: "Blanking") -> None:
        """Know what another one of the same stream knows."""
        self._waiting, self._open, self._any = list(other._waiting), other._open, other._any

    def start(self, sample_index: int) -> None:
        """Blank from here on; nothing new where samples are blanked already."""
        if self._open is None:
            self._open = (sample_index, FAR)
            insort(self._waiting, self._open)
        self._any = True

    def stop(self, sample_index: int) -> None:
        """Blank until here; at the beginning of a stream the start may have come before we joined."""
        if self._open is not None:
            self._waiting.remove(self._open)
            insort(self._waiting, (self._open[0], sample_index))
            self._open = None
        elif not self._any:
            insort(self._waiting, (0, sample_index))
        self._any = True

    def apply(self, source: BinSource) -> int:
        """Tell a source what is blanked at its position; returns for how many samples that holds."""
        waiting = self._waiting
        if not waiting:
            return FAR
        while waiting and self._over(waiting[0][1]) <= source.position:
            del waiting[0]
        if not waiting:
            source.blank(0, 0)
            return FAR
        source.blank(*waiting[0])
        return self._over(waiting[0][1]) - source.position

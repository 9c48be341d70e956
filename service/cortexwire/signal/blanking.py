"""Stretches of samples that an external marker says to leave out."""

MOST = 64
"""Stretches remembered at once; where more are announced ahead, the first two are joined, which blanks more."""
SLACK = 64
"""Samples for which an ended stretch is remembered: the block that it ends in may still be open."""


class Blanking:
    """Half-open stretches of samples, disjoint and ascending."""

    def __init__(self) -> None:
        self.stretches: list[tuple[int, int]] = []

    def add(self, start: int, stop: int, position: int) -> None:
        """Leave out `[start, stop)`, in place of everything announced for `start` and later.

        Args:
            start: First sample.
            stop: End sample; may be far ahead, to be replaced when the end is known.
            position: Next sample of the stream; what ended long before it is forgotten.
        """
        kept = [(a, min(b, start)) for a, b in self.stretches if a < start and b > position - SLACK]
        if stop > start:
            kept.append((start, stop))
        if len(kept) > MOST:
            kept[:2] = [(kept[0][0], kept[1][1])]
        self.stretches = kept

    def within(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What is left out of `[start, stop)`."""
        return [(max(a, start), min(b, stop)) for a, b in self.stretches if a < stop and b > start]

"""When a part that died is started again: at once, then after growing pauses, and at last no more.

The first death in a row is answered at once, since that is the one that a running session waits for. A part that
then dies before it has run for `settled_s` would fail again for the same reason, and gets a pause twice as long as
the last one; after `most_restarts` of those it is given up, with what it said.
"""

from typing import Final

FIRST_PAUSE_S: Final = 0.25
"""Pause before the second restart in a row."""
LONGEST_PAUSE_S: Final = 10.0


class Restarts:
    """The deaths of one part.

    Args:
        most: Restarts in a row before it is given up.
        settled_s: A part that was ready for so long is sound.

    Attributes:
        in_a_row: Deaths without a sound run between them.
        total: All deaths.
    """

    def __init__(self, most: int, settled_s: float) -> None:
        self.in_a_row = 0
        self.total = 0
        self._most = most
        self._settled_s = settled_s

    def died(self, ready_for_s: float) -> float | None:
        """Take a death.

        Args:
            ready_for_s: How long it had been ready; 0 for one that never was.

        Returns:
            Seconds to wait before it is started again, or None if it is given up.
        """
        if ready_for_s >= self._settled_s:
            self.in_a_row = 0
        self.in_a_row += 1
        self.total += 1
        if self.in_a_row > self._most:
            return None
        if self.in_a_row == 1:
            return 0.0
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.in_a_row - 2)))

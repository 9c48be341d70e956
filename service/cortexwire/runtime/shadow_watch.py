"""Whether those who decode in shadow leave the hot thread enough time; they are dropped before they make a bin late.

It reads a clock, so it may decide nothing by itself: what it finds becomes a command, which is logged as any other is.
"""

from typing import Final

from cortexwire.pipeline.commands import UnstageBundle

WINDOW_NS: Final = 2_000_000_000
"""Over how long it is looked at: a start is slow, and a page that was not in memory comes once."""
MOST: Final = 0.5
"""Share of the time that shadows may take on the hot thread."""


class ShadowWatch:
    """Looks now and then how much time shadows have taken."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._spent_ns = 0

    def look(self, now_ns: int, spent_ns: int, *, candidate: bool) -> UnstageBundle | None:
        """Look at the time spent on shadows since the engine began; returns what has to be done about it.

        Args:
            now_ns: The time.
            spent_ns: Nanoseconds that shadows have taken up to now, all together.
            candidate: Whether there is a candidate: it goes before the bundle that could be rolled back to.
        """
        passed = now_ns - self._began_ns
        if passed < WINDOW_NS:
            return None
        share = (spent_ns - self._spent_ns) / passed
        self._began_ns, self._spent_ns = now_ns, spent_ns
        if share <= MOST:
            return None
        why = f"too slow: shadows took {share:.0%} of the hot thread's time, expected {MOST:.0%} at most"
        return UnstageBundle("candidate" if candidate else "previous", why)

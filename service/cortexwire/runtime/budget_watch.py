"""The live watch over budgets: is a percentile of the newest bins above its limit, asked once a bin at no cost.

A percentile p of the last W durations is above the limit exactly when more than (100 - p) % of them are. So a line
keeps the last W durations and how many of them exceed its limit: per bin that is one comparison, one store and one
subtraction, nothing is sorted and nothing grows. Durations that have not come yet count as within. A breach is raised
as soon as the count says so, and cleared once no more than half as many exceed the limit as may, so that a line at
its limit does not flicker. A percentile is computed only to say, at a change, how far off it was.
"""

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np

from cortexwire.runtime.budgets import Budgets, LatencyBudget
from cortexwire.runtime.telemetry import STAGES
from cortexwire.wire import Times

WINDOW_BINS: Final = 500
"""Newest bins that a line looks at, 10 s of 20 ms bins; more where a percentile needs it."""
LEAST_BEYOND: Final = 5
"""Durations that a window lets lie beyond the percentile, so that a single late bin is no p99.9."""

_FROM_SENDER: Final = STAGES.index("sent_to_published")


class BudgetWatch:
    """Watches one engine's bins.

    Args:
        budgets: The lines, or none to watch nothing.
        n_channels: Channels of the engine; lines for other numbers are not watched.
        same_host: Senders stamp with this host's clock; without that no line from `sent` on can be watched.
        window_bins: Bins that a line looks at, at least.

    Attributes:
        lines: What is watched, in the order of the bits of `over`.
        not_watched: What is not, each with the reason.
        over: Lines now in breach, a bit each.
        breaches: How often a line went into breach.
        over_bins: Bins that were decoded while a line was in breach.
    """

    def __init__(
        self, budgets: Budgets | None, n_channels: int, *, same_host: bool, window_bins: int = WINDOW_BINS
    ) -> None:
        self.not_watched: tuple[str, ...] = ()
        self.over = self.breaches = self.over_bins = 0
        self._notes: list[str] = []
        self._all: list[_Line] = []
        for budget in () if budgets is None else budgets.latency:
            reason = _unfit(budget, n_channels, same_host)
            if reason is None:
                self._all.append(_Line(budget, 1 << len(self._all), window_bins))
            else:
                self.not_watched += (f"{budget}: {reason}",)
        for resource in () if budgets is None else budgets.resource:
            self.not_watched += (f"{resource}: only a benchmark measures it",)
        self._without_sender = [line for line in self._all if line.stage != _FROM_SENDER]
        self.lines = tuple(str(line.budget) for line in self._all)

    def take(self, times: Times, *, sent: bool) -> None:
        """Count one decoded bin, all of whose stages have this host's time.

        Args:
            times: When it passed them.
            sent: Whether the time of sending is of this host too.
        """
        if not self._all:
            return
        durations = (
            times.binned_ns - times.received_ns,
            times.decoded_ns - times.binned_ns,
            times.published_ns - times.decoded_ns,
            times.published_ns - times.sent_ns,
        )
        for line in self._all if sent else self._without_sender:
            if line.take(durations[line.stage]):
                self._changed(line)
        if self.over:
            self.over_bins += 1

    def _changed(self, line: "_Line") -> None:
        self.over ^= line.bit
        if self.over & line.bit:
            self.breaches += 1
        self._notes.append(line.describe())

    def drain_notes(self) -> Sequence[str]:
        """Hand over which lines broke or recovered since the last call: one note, so that none hides another."""
        if not self._notes:
            return ()
        notes, self._notes = self._notes, []
        return (f"budget: {'; '.join(notes)}",)


class _Line:
    """One line: its last durations in a ring, and how many of them are too long."""

    __slots__ = ("_allowed", "_at", "_full", "_limit_ns", "_over", "_ring", "bit", "breached", "budget", "stage")

    def __init__(self, budget: LatencyBudget, bit: int, window_bins: int) -> None:
        assert budget.max_us is not None
        self.budget = budget
        self.bit = bit
        self.stage = STAGES.index(budget.stage)
        self.breached = False
        beyond = 1 - budget.percentile / 100
        window = max(window_bins, round(LEAST_BEYOND / beyond) if beyond else 0)
        self._allowed = _beyond(window, budget.percentile)
        self._limit_ns = int(budget.max_us * 1000)
        self._ring = array("q", bytes(8 * window))
        self._at = self._over = 0
        self._full = False

    def take(self, duration_ns: int) -> bool:
        """Count one duration; tell whether the line went into breach, or out of it."""
        ring, at, limit = self._ring, self._at, self._limit_ns
        oldest = ring[at]
        ring[at] = duration_ns
        if at + 1 < len(ring):
            self._at = at + 1
        else:
            self._at, self._full = 0, True
        # Nearly every bin ends here: no count changes, so nothing that depends on it does.
        if duration_ns <= limit >= oldest:
            return False
        self._over += (duration_ns > limit) - (oldest > limit)
        breached = self._over > (self._allowed // 2 if self.breached else self._allowed)
        changed = breached != self.breached
        self.breached = breached
        return changed

    def describe(self) -> str:
        """Say how the percentile of the durations seen stands to its limit."""
        what, limit = self.budget.what, self._limit_ns / 1000
        seen = np.frombuffer(self._ring, np.int64)[: len(self._ring) if self._full else self._at]
        rank = len(seen) - _beyond(len(seen), self.budget.percentile) - 1
        seen_us = float(np.partition(seen, rank)[rank]) / 1000
        bins = f"over the last {len(seen)} bins"
        if not self.breached:
            return f"{what} back within its limit of {limit:g} us: {seen_us:.0f} us {bins}"
        over = seen_us - limit
        return f"{what} {seen_us:.0f} us {bins}, limit {limit:g} us: over by {over:.0f} us"


def _beyond(n: int, percentile: float) -> int:
    """How many of `n` durations may exceed their percentile."""
    return int(n * (100 - percentile) / 100 + 1e-6)


def _unfit(budget: LatencyBudget, n_channels: int, same_host: bool) -> str | None:
    """Say why a line cannot be watched, if so."""
    if budget.channels and n_channels not in budget.channels:
        return f"for {' or '.join(map(str, budget.channels))} channels, here are {n_channels}"
    if budget.max_us is None:
        return "relative, only a benchmark has what it compares with"
    if budget.stage not in STAGES:
        return "only a benchmark measures it"
    if budget.stage == STAGES[_FROM_SENDER] and not same_host:
        return "packets come from another host, whose clock is another"
    return None

"""Latency percentiles: since the engine's start, and over the last seconds as the difference of two tables."""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.runtime.histogram import N_CLASSES, Histogram, class_upper_ns
from cortexwire.runtime.telemetry import TelemetrySnapshot

WINDOW_S: Final = 10
"""Seconds over which the recent percentiles are taken."""
_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9)
_NAMES: Final = ("p50_ns", "p90_ns", "p99_ns", "p999_ns")
_S: Final = 10**9

Percentiles = dict[str, dict[str, int]]
"""For each stage its `p50_ns`, `p90_ns`, `p99_ns`, `p999_ns`, `max_ns` and `total`."""


class Latencies:
    """Takes snapshots of one engine after another, and keeps one a second.

    Attributes:
        total: Percentiles since the engine's start.
        window: Percentiles over the last seconds; the maximum is the upper edge of its class.
    """

    def __init__(self) -> None:
        self.total: Percentiles = {}
        self.window: Percentiles = {}
        self._of = (0, 0)
        self._kept: deque[tuple[int, dict[str, NDArray[np.uint64]]]] = deque()

    def take(self, snapshot: TelemetrySnapshot, now_ns: int) -> None:
        """Take what an engine counted so far."""
        of = snapshot.pid, snapshot.started_monotonic_ns
        if of != self._of:
            self._of = of
            self._kept.clear()
        tables = {name: histogram.table for name, histogram in snapshot.latency.items()}
        if not self._kept or now_ns - self._kept[-1][0] >= _S:
            self._kept.append((now_ns, tables))
        while len(self._kept) > 1 and now_ns - self._kept[1][0] >= WINDOW_S * _S:
            self._kept.popleft()
        oldest = self._kept[0][1]
        self.total = {name: percentiles(histogram) for name, histogram in snapshot.latency.items()}
        self.window = {name: percentiles(between(oldest[name], table)) for name, table in tables.items()}


def percentiles(histogram: Histogram) -> dict[str, int]:
    """A histogram in a few numbers."""
    values = histogram.percentiles(_PERCENTS)
    return dict(zip(_NAMES, values, strict=True)) | {"max_ns": histogram.max_ns, "total": histogram.count}


def between(before: NDArray[np.uint64], after: NDArray[np.uint64]) -> Histogram:
    """What was counted from one reading of a table to a later one."""
    table = after - before
    filled = np.flatnonzero(table[:N_CLASSES])
    table[N_CLASSES] = min(class_upper_ns(int(filled[-1])), int(after[N_CLASSES])) if filled.size else 0
    return Histogram(table)

"""What processes take: processor time by thread and resident memory, read from outside, by the kernel's account."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cortexwire.bench.live import Child

Times = dict[int, tuple[str, int]]


@dataclass(frozen=True)
class Usage:
    """What one process took.

    Attributes:
        threads_s: Processor time of its threads, in seconds, by name.
        resident_mib: Resident memory, once a second.
    """

    threads_s: dict[str, float] = field(default_factory=dict)
    resident_mib: list[float] = field(default_factory=list)

    def core_share(self, window_s: float) -> float:
        """Share of one core, all threads together."""
        return sum(self.threads_s.values()) / window_s

    def describe(self, window_s: float) -> dict[str, Any]:
        """Put it into plain values."""
        return {
            "core_share": round(self.core_share(window_s), 4),
            "resident_mib": round(self.resident_mib[-1], 1) if self.resident_mib else 0.0,
            "most_resident_mib": round(max(self.resident_mib, default=0.0), 1),
        }


@dataclass(frozen=True)
class Watched:
    """A stretch of time in which processes were watched.

    Attributes:
        began_ns: When it began, CLOCK_MONOTONIC.
        ended_ns: When it ended.
        usage: What each process took, by name.
        interrupted: Whether somebody ended it early with Ctrl-C.
    """

    began_ns: int
    ended_ns: int
    usage: dict[str, Usage]
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.ended_ns - self.began_ns) / 1e9


def watch(
    processes: Mapping[str, Child],
    seconds: float,
    told: Callable[[float], object] = lambda _seconds: None,
    *,
    partial: bool = False,
) -> Watched:
    """Look at processes once a second.

    Args:
        processes: What to look at, by name; the first thread of the one called `engine` is its hot loop.
        seconds: For how long.
        told: Called each second with the seconds that have gone by.
        partial: Whether Ctrl-C ends the watching in good order rather than raising.

    Raises:
        RunError: One of them failed.
    """
    began_ns, before = time.monotonic_ns(), {name: _thread_times(name, child.pid) for name, child in processes.items()}
    resident = {name: [resident_mib(child.pid)] for name, child in processes.items()}
    interrupted = False
    try:
        for second in range(1, int(seconds) + 1):
            time.sleep(max(0.0, began_ns / 1e9 + second - time.monotonic()))
            for name, child in processes.items():
                child.check()
                resident[name].append(resident_mib(child.pid))
            told(second)
        time.sleep(max(0.0, began_ns / 1e9 + seconds - time.monotonic()))
    except KeyboardInterrupt:
        if not partial:
            raise
        interrupted = True
    ended_ns, after = time.monotonic_ns(), {name: _thread_times(name, child.pid) for name, child in processes.items()}
    usage = {name: Usage(_spent(before[name], after[name]), resident[name]) for name in processes}
    return Watched(began_ns, ended_ns, usage, interrupted)


def resident_mib(pid: int) -> float:
    """Resident memory of a process now, in MiB; 0 for one that has ended."""
    with suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def _spent(before: Times, after: Times) -> dict[str, float]:
    threads: dict[str, float] = {}
    for thread, (name, spent_ns) in after.items():
        threads[name] = threads.get(name, 0.0) + (spent_ns - before.get(thread, (name, 0))[1]) / 1e9
    return threads


def _thread_times(name: str, pid: int) -> Times:
    """Name and processor time in nanoseconds of each thread of a process that there is now."""
    found = {}
    first = "hot loop" if name == "engine" else "main"
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread may end while it is looked at
                label = first if int(task.name) == pid else (task / "comm").read_text().strip()
                found[int(task.name)] = label, int((task / "schedstat").read_text().split()[0])
    return found

"""Real-time scheduling of the hot thread: ask, and report what was really obtained.

Nothing here fails a start-up: a machine that grants less still decodes, and the report says what it granted.
"""

import contextlib
import ctypes
import os
import resource
import threading
from dataclasses import dataclass

from cortexwire.config import RealtimeSettings

_MCL_CURRENT_AND_FUTURE = 3


@dataclass(frozen=True)
class SchedulingReport:
    """What the calling thread has, and why it has not what was asked for.

    Attributes:
        fifo_priority: Its SCHED_FIFO priority, or None under another policy.
        memory_locked: Whether the process's memory was locked.
        cpus: The CPUs it may run on.
        refusals: One sentence for each wish that was not granted.
    """

    fifo_priority: int | None
    memory_locked: bool
    cpus: tuple[int, ...]
    refusals: tuple[str, ...]


def _lock_memory() -> None:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    # Under a finite limit mlockall may succeed now and let a later allocation of the running engine fail.
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        raise PermissionError(1, f"RLIMIT_MEMLOCK is {limit} bytes and has to be unlimited")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fifo_permitted(priority: int) -> bool:
    """Return whether a thread of this process may run under SCHED_FIFO, tried in one that ends at once."""
    granted = False

    def attempt() -> None:
        nonlocal granted
        with contextlib.suppress(OSError, ValueError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            granted = True

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return granted


def apply_scheduling(settings: RealtimeSettings) -> SchedulingReport:
    """Apply what is asked for to the calling thread (memory: to the process).

    Returns:
        What was obtained, read back from the kernel; with nothing asked for, what there is.
    """
    refusals: list[str] = []
    if settings.cpu is not None:
        try:
            os.sched_setaffinity(0, {settings.cpu})
        except (OSError, ValueError) as error:
            refusals.append(f"realtime.cpu={settings.cpu}: {error}")
    if settings.fifo_priority is not None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(settings.fifo_priority))
        except (OSError, ValueError) as error:
            refusals.append(f"realtime.fifo_priority={settings.fifo_priority}: {error}")
    locked = False
    if settings.lock_memory:
        try:
            _lock_memory()
            locked = True
        except OSError as error:
            refusals.append(f"realtime.lock_memory: {error}")
    fifo = os.sched_getscheduler(0) == os.SCHED_FIFO
    return SchedulingReport(
        fifo_priority=os.sched_getparam(0).sched_priority if fifo else None,
        memory_locked=locked,
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        refusals=tuple(refusals),
    )

"""Real-time scheduling of the hot thread: ask, and report what was really obtained.

Nothing here fails a start-up: a machine that grants less still decodes, and the report says what it granted.
"""

import contextlib
import ctypes
import os
import platform
import resource
import threading
from dataclasses import dataclass
from typing import Any

from cortexwire.config import RealtimeSettings

_MCL_CURRENT_AND_FUTURE = 3
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call by machine; `sched_getattr` is the next."""


@dataclass(frozen=True)
class SchedulingReport:
    """What the calling thread has, and why it has not what was asked for.

    Attributes:
        fifo_priority: Its SCHED_FIFO priority, or None under another policy.
        slice_us: Its time slice under the normal scheduler where one was asked for, in microseconds, or None.
        memory_locked: Whether the process's memory was locked.
        cpus: The CPUs it may run on.
        refusals: One sentence for each wish that was not granted.
    """

    fifo_priority: int | None
    slice_us: float | None
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


class _Attributes(ctypes.Structure):
    """`struct sched_attr` of the kernel, first version."""

    _fields_ = (
        ("size", ctypes.c_uint32), ("policy", ctypes.c_uint32), ("flags", ctypes.c_uint64), ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32), ("runtime", ctypes.c_uint64), ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )  # fmt: skip


def ask_for_slice(slice_us: int) -> float:
    """Ask for a time slice of the calling thread, and of those that it will start; all else stays as it is.

    Returns:
        The slice obtained, in microseconds.

    Raises:
        OSError: There is no such call, it was refused, or the thread is not under the normal scheduler.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        raise OSError(f"expected x86-64 or aarch64, got {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    attributes, size = _Attributes(), ctypes.sizeof(_Attributes)

    def call(what: int, *arguments: Any) -> None:
        if libc.syscall(what, 0, ctypes.byref(attributes), *arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    call(number + 1, size, 0)
    if attributes.policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
        raise OSError(f"expected a thread under the normal scheduler, got policy {attributes.policy}")
    attributes.size, attributes.runtime = size, 1000 * slice_us
    call(number, 0)
    call(number + 1, size, 0)
    if not attributes.runtime:
        raise OSError("expected Linux 6.12 or later")
    return float(attributes.runtime / 1000)


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
    slice_us = None
    if settings.slice_us is not None:
        try:
            slice_us = ask_for_slice(settings.slice_us)
        except OSError as error:
            refusals.append(f"realtime.slice_us={settings.slice_us}: {error}")
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
        slice_us=slice_us,
        memory_locked=locked,
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        refusals=tuple(refusals),
    )

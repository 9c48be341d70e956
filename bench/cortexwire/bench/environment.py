"""What a figure was measured on: a record of machine, system and libraries that goes with every result."""

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import zmq

from cortexwire.runtime.scheduling import fifo_permitted

LIBRARIES: Final = (
    "cortexwire", "numpy", "scipy", "numba", "llvmlite", "onnx", "onnxruntime", "pyzmq", "msgspec", "hdrhistogram",
)  # fmt: skip
OPTIONAL_LIBRARIES: Final = ("torch", "redis", "ezmsg", "ezmsg-sigproc")
_CPU: Final = Path("/sys/devices/system/cpu")
_POLICIES: Final = {
    os.SCHED_OTHER: "SCHED_OTHER",
    os.SCHED_FIFO: "SCHED_FIFO",
    os.SCHED_RR: "SCHED_RR",
    os.SCHED_BATCH: "SCHED_BATCH",
    os.SCHED_IDLE: "SCHED_IDLE",
}
_PR_GET_TIMERSLACK: Final = 30


def environment_record() -> dict[str, Any]:
    """Describe this machine as it is now; entries that cannot be read are None.

    Scheduling is that of the process which asks; what an engine obtained stands in its own result.
    """
    optional = {name: found for name in OPTIONAL_LIBRARIES if (found := _version(name))}
    return {
        "processor": _processor(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "cpus_isolated": _read(_CPU / "isolated"),
        "smt_active": _flag(_read(_CPU / "smt/active")),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "caches": _caches(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "hypervisor": "hypervisor" in _cpu_flags(),
        "transparent_hugepages": _chosen(_read(Path("/sys/kernel/mm/transparent_hugepage/enabled"))),
        "clock_source": _read(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        "timer_slack_ns": _timer_slack_ns(),
        "system": platform.platform(),
        "kernel": platform.release(),
        "kernel_preemption": _preemption(),
        "python": platform.python_version(),
        "interpreter": sys.implementation.name,
        "libraries": {name: _version(name) for name in LIBRARIES} | optional,
        "zmq": zmq.zmq_version(),
        "scheduling_class": _POLICIES.get(os.sched_getscheduler(0), str(os.sched_getscheduler(0))),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "sched_fifo_permitted": fifo_permitted(1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str | None:
    text = _read(Path("/proc/cpuinfo")) or ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _cpu_flags() -> set[str]:
    text = _read(Path("/proc/cpuinfo")) or ""
    return next((set(line.partition(":")[2].split()) for line in text.splitlines() if line.startswith("flags")), set())


def _caches() -> dict[str, str]:
    found = {}
    for folder in sorted((_CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level} {kind.lower()}"] = size
    return found


def _timer_slack_ns() -> int | None:
    """By how much the kernel may delay a sleep of this thread in order to serve several at once."""
    if sys.platform != "linux":
        return None
    found = int(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))
    return found if found >= 0 else None


def _preemption() -> str | None:
    """How willingly the kernel interrupts itself, as its version line says."""
    words = platform.version().split()
    return next((word for word in words if word in ("PREEMPT", "PREEMPT_RT", "PREEMPT_DYNAMIC")), None)


def _chosen(text: str | None) -> str | None:
    """The word in brackets of `always [madvise] never`."""
    if text is None or "[" not in text:
        return text
    return text.partition("[")[2].partition("]")[0]


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "1"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

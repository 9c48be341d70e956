"""What a figure was measured on: a record of machine, system and libraries that goes with every result."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import zmq

from cortexwire.runtime.scheduling import fifo_permitted

LIBRARIES: Final = ("cortexwire", "numpy", "scipy", "numba", "llvmlite", "onnx", "onnxruntime", "pyzmq", "msgspec")


def environment_record() -> dict[str, Any]:
    """Describe this machine as it is now; entries that cannot be read are None."""
    return {
        "processor": _processor(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "caches": _caches(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "system": platform.platform(),
        "python": platform.python_version(),
        "interpreter": sys.implementation.name,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "zmq": zmq.zmq_version(),
        "sched_fifo_permitted": fifo_permitted(1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str | None:
    text = _read(Path("/proc/cpuinfo")) or ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _caches() -> dict[str, str]:
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level} {kind.lower()}"] = size
    return found


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

"""Every benchmark there is, one after the other, in one result; how long that takes is told before it begins."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from cortexwire.bench.environment import environment_record
from cortexwire.bench.live import RunError
from cortexwire.errors import CortexwireError

Told = Callable[[float, str], object]


@dataclass(frozen=True)
class Part:
    """One benchmark of the suite.

    Attributes:
        module: Where it is.
        function: What runs it.
        seconds: About how long it takes.
        quick_seconds: About how long it takes when little time is given.
        settings: What it is told.
        quick_settings: What else it is told when little time is given.
        tells: Whether it takes `told`.
    """

    module: str
    function: str
    seconds: float
    quick_seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick_settings: Mapping[str, Any] = field(default_factory=dict)
    tells: bool = True


_GRU: Final = {"decoder": "gru", "transport": "ipc"}
PARTS: Final[dict[str, Part]] = {
    "kernels": Part(
        "kernels", "run_kernels", 60, 20, {}, {"channels": (96, 1024), "modes": ("none", "median"), "seconds": 1.0},
        tells=False,
    ),
    "decoders": Part("decoders", "run_decoders", 200, 60, {}, {"seconds": 1.0}),
    "transport": Part("transport", "run_transport", 120, 30, {}, {"seconds": 2.0}, tells=False),
    "peers": Part("peering", "run_peers", 800, 150, {}, {"seconds": 3.0, "turns": 1}, tells=False),
    "latency": Part("latency", "run_latency", 180, 40, {**_GRU, "repeats": 2}, {"seconds": 4.0, "repeats": 1}),
    "scale": Part(
        "scale", "run_scale", 260, 60, {},
        {"channels": (96, 1024), "packet_ms": (1.0, 20.0), "sessions": (1, 16), "seconds": 2.0},
    ),
}  # fmt: skip
"""By the name of the command; those whose module is not there are left out, and said to be."""


def estimate_s(*, quick: bool) -> float:
    """About how long everything takes, in seconds."""
    return sum(part.quick_seconds if quick else part.seconds for part in _there().values())


def run_all(*, quick: bool = False, told: Told = lambda _share, _what: None) -> dict[str, Any]:
    """Run every benchmark.

    Args:
        quick: Whether to give each little time; figures are rougher then.
        told: Told how far it is.

    Returns:
        JSON-able: the environment, `parts` with each benchmark's own result, what `failed` and what is `absent`.
        Ctrl-C ends it with the parts that are done, and `interrupted`.
    """
    there = _there()
    total, done = estimate_s(quick=quick), 0.0
    parts: dict[str, Any] = {}
    failed: dict[str, str] = {}
    interrupted = False
    took: dict[str, float] = {}
    for name, part in there.items():
        length = part.quick_seconds if quick else part.seconds
        share, began = done / total, time.monotonic()
        told(share, name)
        try:
            parts[name] = _run(name, part, quick, told, share, length / total)
        except (CortexwireError, RunError, RuntimeError) as error:
            failed[name] = str(error)
        except KeyboardInterrupt:
            interrupted = True
            break
        took[name] = round(time.monotonic() - began, 1)
        done += length
    return {
        "benchmark": "all",
        "environment": environment_record(),
        "quick": quick,
        "interrupted": interrupted,
        "took_s": took,
        "failed": failed,
        "absent": [name for name in PARTS if name not in there],
        "parts": parts,
    }


def _run(name: str, part: Part, quick: bool, told: Told, share: float, length: float) -> dict[str, Any]:
    run = getattr(import_module(f"cortexwire.bench.{part.module}"), part.function)
    settings = {**part.settings, **(part.quick_settings if quick else {})}
    if part.tells:
        settings["told"] = lambda inner, what: told(share + inner * length, f"{name}: {what}")
    found: dict[str, Any] = run(**settings)
    return found


def _there() -> dict[str, Part]:
    return {name: part for name, part in PARTS.items() if _found(f"cortexwire.bench.{part.module}")}


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False

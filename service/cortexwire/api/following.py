"""How the end of what was begun is seen: in what the engine leaves in its run directory, and in its answers."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from cortexwire.api.engine import EngineLink
from cortexwire.api.jobs import JobError, Step
from cortexwire.api.monitor import Monitor
from cortexwire.decoders.bundle import short_hash
from cortexwire.runtime.telemetry import TelemetrySnapshot

_LOOK_S: Final = 0.2
_SHARES: Final = {"loading": 0.1, "warming": 0.4, "shadow": 0.7}

Steps = AsyncGenerator[Step, None]


def _engine(monitor: Monitor, pid: int) -> TelemetrySnapshot:
    monitor.refresh()
    engine = monitor.engine
    if engine is None or engine.pid != pid or engine.writer not in ("live", "stale"):
        raise JobError(f"the engine (process {pid}) is gone")
    return engine


def _pid(monitor: Monitor) -> int:
    return -1 if monitor.engine is None else monitor.engine.pid


async def _ask(monitor: Monitor, link: EngineLink, pid: int) -> dict[str, Any]:
    """What the engine says of itself; a question may wait until another one has taken its place."""
    _engine(monitor, pid)
    state = await link.state()
    if state.get("pid") != pid:
        raise JobError(f"the engine (process {pid}) is gone")
    monitor.learn_swap(state)
    return state


async def recalibration(monitor: Monitor, from_bin: int, seconds: float, bin_ms: float) -> Steps:
    """Thresholds being measured anew, from a bin on over some seconds of observed signal."""
    pid = _pid(monitor)
    bins = max(1.0, seconds * 1000 / bin_ms) if bin_ms else 0.0
    while True:
        status = _engine(monitor, pid).status
        if status.bin >= from_bin and status.state != "calibrating":
            break
        share = (status.bin - from_bin) / bins if bins else 0.0
        yield Step(min(0.99, max(0.0, share)), f"calibrating, engine {status.state}")
        await asyncio.sleep(_LOOK_S)
    yield Step(1.0, "done", {"from_bin": from_bin, "calibrated_by_bin": status.bin})


async def staging(monitor: Monitor, link: EngineLink) -> Steps:
    """A bundle being loaded, warmed, and settling in shadow."""
    pid = _pid(monitor)
    while True:
        candidate = (await _ask(monitor, link, pid)).get("candidate")
        if candidate is None:
            raise JobError("the engine has no candidate: it was dropped, or this engine cannot swap bundles")
        phase = str(candidate.get("phase"))
        if phase == "refused":
            raise JobError(str(candidate.get("why")))
        if phase == "ready":
            break
        yield Step(_SHARES.get(phase, 0.0), phase)
        await asyncio.sleep(_LOOK_S)
    yield Step(1.0, "ready", candidate)


async def takeover(monitor: Monitor, link: EngineLink, at_bin: int, wanted: str) -> Steps:
    """A bundle about to decode from a bin on; whatever interrupts the stream before takes that back."""
    pid = _pid(monitor)
    began = _engine(monitor, pid).status.bin
    while True:
        state = await _ask(monitor, link, pid)
        if state.get("takeover_bin") is None:
            break
        share = (state["bin"] - began) / max(1, at_bin - began)
        yield Step(min(0.99, max(0.0, share)), f"bin {state['bin']} of {at_bin}")
        await asyncio.sleep(_LOOK_S)
    came = f"{short_hash(str(state['bundle_sha256'])):016x}"
    if came != wanted:
        raise JobError(f"bundle {wanted} did not take over at bin {at_bin}: {state['last_note']}")
    yield Step(1.0, "done", {"at_bin": at_bin, "bundle_hash": came, "previous": state.get("previous")})

"""How the end of what was begun is seen: in what the engine leaves in its run directory, and in its answers."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from cortexwire.api.jobs import JobError, Step
from cortexwire.api.monitor import Monitor
from cortexwire.runtime.telemetry import TelemetrySnapshot

_LOOK_S: Final = 0.2
_TOLD_S: Final = 0.5
"""Until then the telemetry says what the engine was asked for."""
_TAKEN_UP_S: Final = 2.0
"""How long an engine that agreed to stage a bundle may say nothing of it: it describes itself ten times a second."""
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


async def staging(monitor: Monitor, path: str, bundle_hash: str) -> Steps:
    """A bundle, known by its folder until the engine knows its hash, being loaded, warmed, and settling in shadow."""
    pid = _pid(monitor)
    yield Step(0.0, "asked for")
    await asyncio.sleep(_TOLD_S)
    give_up: float | None = time.monotonic() + _TAKEN_UP_S
    while True:
        candidate = _engine(monitor, pid).facts.get("candidate")
        if candidate is None or not {path, bundle_hash} & {candidate.get("path"), candidate.get("bundle_hash")}:
            if give_up is None or time.monotonic() > give_up:
                raise JobError("the engine has no such candidate: it was dropped, or this engine cannot swap bundles")
            await asyncio.sleep(_LOOK_S)
            continue
        give_up = None
        phase = str(candidate.get("phase"))
        if phase == "refused":
            raise JobError(str(candidate.get("why")))
        if phase == "ready":
            break
        yield Step(_SHARES.get(phase, 0.0), phase)
        await asyncio.sleep(_LOOK_S)
    yield Step(1.0, "ready", candidate)


async def takeover(monitor: Monitor, at_bin: int, wanted: str) -> Steps:
    """A bundle about to decode from a bin on; whatever interrupts the stream before takes that back."""
    pid = _pid(monitor)
    began = _engine(monitor, pid).status.bin
    yield Step(0.0, f"at bin {at_bin}")
    await asyncio.sleep(_TOLD_S)
    while (engine := _engine(monitor, pid)).facts.get("takeover_bin") is not None:
        share = (engine.status.bin - began) / max(1, at_bin - began)
        yield Step(min(0.99, max(0.0, share)), f"bin {engine.status.bin} of {at_bin}")
        await asyncio.sleep(_LOOK_S)
    came = f"{engine.status.bundle_hash:016x}"
    if came != wanted:
        raise JobError(f"bundle {wanted} did not take over at bin {at_bin}: {engine.status.last_note}")
    yield Step(1.0, "done", {"at_bin": at_bin, "bundle_hash": came, "previous": engine.facts.get("previous")})

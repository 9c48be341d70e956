"""The picture: how things stand, as plain JSON values; what the state, the live stream and the event stream share."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cortexwire.api.catalogue import Catalogue
from cortexwire.api.history import latency_us
from cortexwire.api.monitor import Monitor
from cortexwire.runtime.telemetry import TelemetrySnapshot
from cortexwire.wire import OutFlag, Output

_POLICIES: Final = {os.SCHED_OTHER: "other", os.SCHED_FIFO: "fifo", os.SCHED_RR: "rr", os.SCHED_BATCH: "batch"}

Json = dict[str, Any]


class Picture:
    """Describes what a monitor knows.

    Args:
        monitor: What is known.
        catalogue: Electrodes of bundles.
        insecure: Whether the service runs without the protection that it needs; said in every picture.
    """

    def __init__(self, monitor: Monitor, catalogue: Catalogue, *, insecure: bool = False) -> None:
        self._monitor = monitor
        self._catalogue = catalogue
        self._insecure = insecure

    def head(self) -> Json:
        """All but arrays: what every frame of the live stream begins with."""
        monitor = self._monitor
        engine = monitor.engine
        return {
            "t_ns": time.monotonic_ns(),
            "realtime_ns": time.time_ns(),
            "stale": monitor.stale,
            "insecure": self._insecure,
            "engine": self._engine(engine),
            "budgets": {} if engine is None else _budgets(engine),
            "counters": {} if engine is None else engine.counters,
            "latency": monitor.latencies.total,
            "latency_window": monitor.latencies.window,
            "recorder": monitor.recorder,
            "candidate": monitor.facts.get("candidate"),
            "previous": monitor.facts.get("previous"),
        }

    def state(self) -> Json:
        """The head, the newest output, thresholds' and channels' summary, notes, and the scheduling obtained."""
        monitor, engine = self._monitor, self._monitor.engine
        return {
            **self.head(),
            "last_output": None if monitor.tail.outputs.last is None else describe_output(monitor.tail.outputs.last),
            "channels": None if engine is None else _channels_in_short(engine),
            "notes": [note._asdict() for note in monitor.tail.notes],
            "scheduling": None if engine is None or engine.writer != "live" else self._scheduling(engine),
            "output": {name: monitor.facts.get(name) for name in ("gain", "identity", "blocked")},
            "stream": self._stream(),
            "tap": {"lost": monitor.tail.lost, "damaged": monitor.tail.damaged},
        }

    def _engine(self, engine: TelemetrySnapshot | None) -> Json:
        if engine is None:
            return {"writer": "absent", "state": "absent", "armed": False, "neutral": None}
        status = engine.status
        bundle_hash = self._monitor.bundle_hash
        bundle = self._monitor.bundle
        return {
            "writer": engine.writer,
            "state": status.state,
            "armed": status.armed,
            "neutral": engine.facts.get("neutral"),
            "blocked": engine.facts.get("blocked"),
            "blocked_why": engine.facts.get("blocked_why"),
            "epoch": f"{status.epoch:016x}",
            "restart": status.restart,
            "bin": status.bin,
            "sample_index": status.sample_index,
            "rate_hz": status.rate.hz,
            "n_channels": len(status.status),
            "bundle_hash": f"{bundle_hash:016x}",
            "bundle_name": bundle.name,
            "bin_ms": bundle.bin_ms,
            "unit": bundle.unit,
            "overlay_hash": f"{status.overlay_hash:016x}",
            "velocity": [status.velocity[0], status.velocity[1]],
            "notes": status.notes,
            "last_note": status.last_note,
            "pid": engine.pid,
            "started_realtime_ns": engine.started_realtime_ns,
            "heartbeat_age_ms": engine.age_ns / 1e6,
        }

    def _scheduling(self, engine: TelemetrySnapshot) -> Json:
        """What the engine was granted, in its words and in the kernel's."""
        return {"granted": self._monitor.facts.get("scheduling"), "kernel": scheduling_of(engine.pid)}

    def _stream(self) -> Json:
        descriptor, monitor = self._monitor.tail.descriptor, self._monitor
        ingest = monitor.configuration().get("ingest", {})
        return {
            "endpoint": ingest.get("endpoint"),
            "source": None if descriptor is None else descriptor.source,
            "reference": None if descriptor is None else descriptor.reference,
            "uv_per_bit": None if descriptor is None else descriptor.uv_per_bit,
            "columns": list(monitor.tail.columns.names),
        }

    def electrodes(self) -> list[dict[str, str]]:
        """Electrodes in channel order, as the rig or else the bundle names them; empty where neither does."""
        descriptor, engine = self._monitor.tail.descriptor, self._monitor.engine
        n_channels = 0 if engine is None else len(engine.status.status)
        if descriptor is not None and len(descriptor.electrodes) == n_channels:
            return [{"id": electrode.id, "bank": electrode.bank} for electrode in descriptor.electrodes]
        monitor = self._monitor
        return self._catalogue.electrodes(monitor.bundle_hash, monitor.start, monitor.facts.get("bundle_path", ""))

    def channels(self) -> Json:
        """Everything that is known of each channel, one array per quantity, in channel order."""
        engine = self._monitor.engine
        if engine is None:
            return {"electrodes": [], "rate_hz": [], "rms_uv": [], "threshold_uv": [], "status": []}
        status = engine.status
        return {
            "electrodes": self.electrodes(),
            "rate_hz": status.rate_hz.tolist(),
            "rms_uv": status.rms_uv.tolist(),
            "threshold_uv": status.threshold_uv.tolist(),
            "status": status.status.tolist(),
        }


def _budgets(engine: TelemetrySnapshot) -> dict[str, str]:
    return {line: "over" if over else "within" for line, over in engine.budgets.items()}


def _channels_in_short(engine: TelemetrySnapshot) -> Json:
    status = engine.status.status
    flags = {name: int((status & bit != 0).sum()) for name, bit in FLAGS.items()}
    return {"total": len(status), "good": int((status == 0).sum()), **flags}


FLAGS: Final = {"masked": 1, "dead": 2, "railing": 4, "disabled": 8}
"""Flags of a channel's status."""


def describe_output(output: Output) -> Json:
    """One output without its arrays of channels."""
    velocity = output.tensors.get("velocity")
    return {
        "kind": output.kind.name.lower(),
        "epoch": f"{output.epoch:016x}",
        "restart": output.restart,
        "bin": output.bin,
        "end_sample": output.end_sample,
        "validity": output.validity.name.lower(),
        "observed_fraction": output.observed_fraction,
        "missing_samples": output.missing_samples,
        "flags": list(_flags(output.flags)),
        "valid_for_ms": output.valid_for_ms,
        "executor": output.executor.name.lower(),
        "bundle_hash": f"{output.bundle_hash:016x}",
        "overlay_hash": f"{output.overlay_hash:016x}",
        "times": output.times._asdict(),
        "clocks": {stage: clock.name.lower() for stage, clock in output.clocks._asdict().items()},
        "velocity": None if velocity is None else velocity.tolist(),
        "latency_us": latency_us(output),
    }


def _flags(flags: OutFlag) -> Iterator[str]:
    return (str(flag.name).lower() for flag in flags)


def scheduling_of(pid: int) -> Json | None:
    """What the kernel says of the scheduling of a process's main thread, the hot one; None where it does not."""
    try:
        policy = os.sched_getscheduler(pid)
        found: Json = {
            "policy": _POLICIES.get(policy, str(policy)),
            "priority": os.sched_getparam(pid).sched_priority,
            "cpus": sorted(os.sched_getaffinity(pid)),
            "locked_kib": None,
        }
    except OSError:
        return None
    with suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        # One that was killed and not yet buried has no memory.
        found["locked_kib"] = next((int(line.split()[1]) for line in lines if line.startswith("VmLck:")), None)
    return found

"""Latency of the whole service: from the sending of the packet that closes a bin to its velocity at a subscriber.

Rig, engine and subscriber are processes of their own on one machine, and so share a monotonic clock. The rig works an
open loop: each packet is due when its last sample would have been acquired, whether or not the service keeps up, and
the time of sending is stamped before the packet is handed to ZeroMQ. So a stall of the service is charged to every
packet that it delays. Beside it, `due_to_received` counts from the schedule instead, and so charges the rig's own
lateness (what the machine's timer adds) too.

A bare sleeper runs all the while: it asks for 1 ms again and again, and what it gets too late is the machine's own.
Tails are judged against it, and are not judged at all where it is late itself; it is subtracted nowhere.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from cortexwire.bench.distribution import percentiles
from cortexwire.bench.environment import environment_record
from cortexwire.bench.live import Child, short_folder
from cortexwire.bench.loads import SECONDS, DecoderName, Load
from cortexwire.bench.measured import LOSSES, Measured, describe
from cortexwire.bench.slowing import Slowing
from cortexwire.bench.stages import Rows
from cortexwire.bench.usage import watch
from cortexwire.runtime.rundir import RunDir

__all__ = ["LOSSES", "Load", "Measured", "describe", "measure", "percentiles", "run_latency", "run_loads"]

CHANNELS: Final = (96, 256, 1024)
CALIBRATION_S: Final = 2.0
SETTLE_S: Final = 2.0
"""Signal between the calibration and the first bin that is measured."""
OVERHEAD_S: Final = 8.0
"""What a run takes besides what it measures: starting, calibrating, ending."""
_TAIL_S: Final = 0.5
_WHAT: Final = "closing packet sent to velocity received by a subscriber, open loop, microseconds"

Told = Callable[[float, str], object]
"""Told the share that is done, and what is being done."""


def run_latency(
    channels: Sequence[int] = CHANNELS,
    seconds: float = SECONDS,
    *,
    packet_ms: float = 1.0,
    transport: Literal["tcp", "ipc"] = "tcp",
    tap: bool = True,
    fifo_priority: int | None = None,
    decoder: DecoderName = "wiener",
    units: int | None = None,
    executors: Sequence[str] = ("onnx",),
    deadline_ms: float | None = None,
    lock_memory: bool = False,
    cpu: int | None = None,
    rehearse: bool = True,
    repeats: int = 1,
    slow: Slowing | None = None,
    told: Told = lambda _share, _what: None,
) -> dict[str, Any]:
    """Measure the latency of the service under real-time load.

    Args:
        channels: Numbers of channels to measure.
        seconds: How long to measure each, after calibration.
        packet_ms: Signal in a packet.
        transport: How packets travel.
        tap: Whether the engine writes its tap.
        fifo_priority: SCHED_FIFO priority of the engine's hot thread.
        decoder: What decodes.
        units: Units of a GRU; as goes with the channels if None.
        executors: What runs the decoder; several are compared with each other.
        deadline_ms: When an output is due after its bin's end; the pipeline's own if None.
        lock_memory: Whether the engine locks its memory.
        cpu: The one CPU of the engine's hot thread.
        rehearse: Whether the engine rehearses the end of a bin.
        repeats: How often each is measured, all of them in turn: A B A B.
        slow: A stage of the engine to slow on purpose, to see what that does.
        told: Told how far it is.

    Returns:
        JSON-able: the environment, and for each load percentiles in microseconds, stages, histograms, the sleeper's
        percentiles and whether that lets tails be judged, losses, and what each process took.

    Raises:
        RunError: A process failed.
        ConfigError: The engine has no such setting.
    """
    base = Load(
        seconds=seconds, packet_ms=packet_ms, transport=transport, tap=tap, fifo_priority=fifo_priority,
        decoder=decoder, units=units, deadline_ms=deadline_ms, lock_memory=lock_memory, cpu=cpu,
        slow=slow,
        rehearse=rehearse,
    )  # fmt: skip
    loads = [replace(base, channels=n, executor=executor) for n in channels for executor in executors]
    return {
        "benchmark": "latency",
        "environment": environment_record(),
        "what": _WHAT,
        "packet_ms": packet_ms,
        "transport": transport,
        "seconds": seconds,
        "repeats": repeats,
        "results": run_loads(loads, repeats, told),
    }


def run_loads(loads: Sequence[Load], repeats: int = 1, told: Told = lambda _share, _what: None) -> list[dict[str, Any]]:
    """Measure loads in turn, as often as asked, and describe each with all its runs together."""
    runs: list[list[Measured]] = [[] for _ in loads]
    total, done = repeats * sum(load.seconds + OVERHEAD_S for load in loads), 0.0
    for _ in range(repeats):
        for load, found in zip(loads, runs, strict=True):
            told(done / total, f"{load.channels} channels, {load.decoder}, {load.packet_ms:g} ms packets")
            found.append(measure(load))
            done += load.seconds + OVERHEAD_S
    return [describe(load, *found) for load, found in zip(loads, runs, strict=True)]


def measure(
    load: Load,
    told: Callable[[float], object] = lambda _seconds: None,
    *,
    telemetry_every_ms: float | None = None,
    partial: bool = False,
) -> Measured:
    """Run rig, engine, subscriber and sleeper together, and watch them.

    Args:
        load: What to send through what.
        told: Called each second of the measurement with the seconds that have gone by.
        telemetry_every_ms: How often another process reads the engine's telemetry; none does if None.
        partial: Whether Ctrl-C ends the measurement with what there is so far.

    Raises:
        RunError: A process failed.
        ConfigError: The engine has no such setting.
    """
    settings, lead_s = load.rig, CALIBRATION_S + SETTLE_S
    with short_folder() as folder, ExitStack() as children:
        bundle = load.bundle(folder / "bundle", CALIBRATION_S)
        config = load.engine(bundle.path, folder)
        started = time.monotonic()
        slow = {} if load.slow is None else {"slow": load.slow.model_dump(mode="json")}
        engine = children.enter_context(Child("engine", config.model_dump(mode="json") | slow))
        start_s, ready = time.monotonic() - started, engine.ready
        subscriber = children.enter_context(Child("subscribe", {"endpoint": ready["output"]}))
        sleeper = children.enter_context(Child("sleep", {}))
        processes = {"engine": engine, "subscriber": subscriber}
        recorder = None
        if load.record_to is not None:
            settings_of = {"run_dir": str(config.run_dir), "recorder": {"folder": str(load.record_to)}}
            recorder = processes["recorder"] = children.enter_context(Child("recorder", settings_of))
        reader = None
        if telemetry_every_ms is not None:
            path = str(RunDir(config.run_dir).telemetry)
            reader = children.enter_context(Child("telemetry", {"path": path, "every_ms": telemetry_every_ms}))
            processes["telemetry reader"] = reader
        rig = children.enter_context(
            Child(
                "rig",
                {
                    "endpoint": ready["ingest"],
                    "simulator": settings.model_dump(mode="json"),
                    "packet_samples": load.packet_samples,
                    "socket": "pub",
                    "bind": False,
                    "seconds": lead_s + load.seconds + _TAIL_S,
                },
            )
        )
        time.sleep(lead_s)
        watched = watch({"rig": rig, **processes}, load.seconds, told, partial=partial)
        slept = sleeper.stop()["over_ns"]
        read = reader.stop() if reader else {}
        sent = rig.stop() if watched.interrupted else rig.result()
        time.sleep(_TAIL_S)
        heard = subscriber.stop()
        summary = engine.stop()
        recorded = recorder.stop() if recorder else {}
    rows = Rows(heard["rows"]).heard_between(watched.began_ns, watched.ended_ns)
    usage = watched.usage
    return Measured(
        sent_to_received_us=rows.span_us("sent_ns", "heard_ns"),
        due_to_received_us=rows.span_us("acquired_ns", "heard_ns"),
        bins=rows.column("bin"),
        sleeper_us=np.array(slept) / 1e3,
        engine=summary,
        rig=sent,
        damaged=heard["damaged"],
        ended=heard["ended"],
        threads_s=usage["engine"].threads_s,
        window_s=watched.seconds,
        resident_mib=usage["engine"].resident_mib,
        stages_us=rows.stages_us(),
        heard_ns=rows.column("heard_ns"),
        packet_wait_ms=rows.packet_wait_ms(load.packet_samples, settings.rate_hz),
        usage=usage,
        start_s=start_s,
        telemetry=read,
        interrupted=watched.interrupted,
        recorder=recorded,
    )

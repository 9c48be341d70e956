"""Latency of the whole service: from the sending of the packet that closes a bin to its velocity at a subscriber.

Rig, engine and subscriber are processes of their own on one machine, and so share a monotonic clock. The rig works an
open loop: each packet is due when its last sample would have been acquired, whether or not the service keeps up, and
the time of sending is stamped before the packet is handed to ZeroMQ. So a stall of the service is charged to every
packet that it delays. Beside it, `due_to_received` counts from the schedule instead, and so charges the rig's own
lateness (what the machine's timer adds) too.

A bare sleeper runs all the while: it asks for 1 ms again and again, and what it gets too late is the machine's own.
Tails are judged against it.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from cortexwire.bench.environment import environment_record
from cortexwire.bench.live import Child, short_folder
from cortexwire.bench.slowing import Slowing
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, RealtimeSettings, TapSettings
from cortexwire.decoders import Bundle
from cortexwire.signal.settings import FrontEndSettings, ThresholdSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded import seeded_bundle

CHANNELS: Final = (96, 256, 1024)
SECONDS: Final = 20.0
CALIBRATION_S: Final = 2.0
SETTLE_S: Final = 2.0
"""Signal between the calibration and the first bin that is measured."""
SEED: Final = 6
HISTORY: Final = 20
PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
LOSSES: Final = ("lost_packets", "missing_samples", "gaps", "mismatched", "duplicates", "reordered", "tap_refused")
"""Counters of an undisturbed run that have to be zero."""
_STAGE_PERCENTS: Final = {"p50": "p50", "p99": "p99", "p99_9": "p999", "max": "max"}
_TAIL_S: Final = 0.5
_OUTPUT_BINS: Final = 250
"""Room for outputs: one that a short queue drops would be missing from the latencies that its stall should show in."""


@dataclass(frozen=True)
class Load:
    """What is sent through the service, and how it is set up.

    Attributes:
        channels: Channels of the rig.
        seconds: How long to measure, after calibration.
        packet_ms: Signal in a packet.
        transport: How packets travel.
        tap: Whether the engine writes its tap.
        fifo_priority: SCHED_FIFO priority of the engine's hot thread.
        simulator: Other settings of the simulated rig.
        slow: A stage of the engine to slow on purpose.
    """

    channels: int = 96
    seconds: float = SECONDS
    packet_ms: float = 1.0
    transport: Literal["tcp", "ipc"] = "tcp"
    tap: bool = True
    fifo_priority: int | None = None
    simulator: Mapping[str, Any] | None = None
    slow: Slowing | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What one load did.

    Attributes:
        sent_to_received_us: Closing packet sent to velocity received, `(n_bins,)`, microseconds.
        due_to_received_us: The same from the schedule.
        bins: Numbers of the bins measured, in the order in which they came.
        sleeper_us: By how much each sleep of 1 ms was too long.
        engine: The engine's own summary: counters, stage histograms, scheduling.
        rig: The rig's summary.
        damaged: Outputs that broke the protocol.
        ended: Whether the subscriber heard the end of the stream.
        threads_s: Processor time of the engine's threads while measuring, in seconds, by name.
        window_s: How long was measured.
        resident_mib: Resident memory of the engine, once a second.
    """

    sent_to_received_us: np.ndarray
    due_to_received_us: np.ndarray
    bins: np.ndarray
    sleeper_us: np.ndarray
    engine: dict[str, Any]
    rig: dict[str, Any]
    damaged: int
    ended: bool
    threads_s: dict[str, float]
    window_s: float
    resident_mib: list[float]

    @property
    def core_share(self) -> float:
        """Share of one core that the engine took."""
        return sum(self.threads_s.values()) / self.window_s

    @property
    def losses(self) -> dict[str, int]:
        """What was lost anywhere on the way, by name; all zero in a sound run."""
        counters = self.engine["counters"]
        lost = {name: int(counters[name]) for name in LOSSES}
        lost["malformed"] = sum(count for name, count in counters.items() if name.startswith("malformed_"))
        lost["outputs_not_received"] = int(self.bins[-1] - self.bins[0] + 1 - len(self.bins)) if len(self.bins) else -1
        lost["outputs_damaged"] = self.damaged
        lost["end_of_stream_not_heard"] = int(not self.ended)
        return lost


def run_latency(
    channels: Sequence[int] = CHANNELS,
    seconds: float = SECONDS,
    *,
    packet_ms: float = 1.0,
    transport: Literal["tcp", "ipc"] = "tcp",
    tap: bool = True,
    fifo_priority: int | None = None,
    slow: Slowing | None = None,
) -> dict[str, Any]:
    """Measure the latency of the service under real-time load.

    Args:
        channels: Numbers of channels to measure, one after the other.
        seconds: How long to measure each, after calibration.
        packet_ms: Signal in a packet.
        transport: How packets travel.
        tap: Whether the engine writes its tap.
        fifo_priority: SCHED_FIFO priority of the engine's hot thread.
        slow: A stage of the engine to slow on purpose, to see what that does.

    Returns:
        JSON-able: the environment, and for each number of channels percentiles in microseconds, stages, the
        sleeper's percentiles, losses and the engine's share of a core.

    Raises:
        RunError: A process failed.
    """
    base = Load(0, seconds, packet_ms, transport, tap, fifo_priority, slow=slow)
    results = [describe(base_of, measure(base_of)) for base_of in (replace(base, channels=n) for n in channels)]
    return {
        "environment": environment_record(),
        "what": "closing packet sent to velocity received by a subscriber, open loop, microseconds",
        "packet_ms": packet_ms,
        "transport": transport,
        "seconds": seconds,
        **({} if slow is None else {"slowed": f"{slow.stage} by {slow.extra_us:g} us"}),
        "results": results,
    }


def describe(load: Load, run: Measured) -> dict[str, Any]:
    """Put a measurement into plain values."""
    return {
        "channels": load.channels,
        "bins": len(run.bins),
        "sent_to_received_us": percentiles(run.sent_to_received_us),
        "due_to_received_us": percentiles(run.due_to_received_us),
        "sleeper_us": percentiles(run.sleeper_us),
        "stages_us": {
            name: {key: found[f"{ns}_ns"] / 1e3 for key, ns in _STAGE_PERCENTS.items()}
            for name, found in run.engine["latency"].items()
        },
        "late_bins": run.engine["counters"]["late_bins"],
        "losses": run.losses,
        "rig_max_lag_ms": round(run.rig["max_lag_ms"], 3),
        "rig_core_share": round(run.rig["cpu_share"], 4),
        "engine_core_share": round(run.core_share, 4),
        "engine_resident_mib": round(max(run.resident_mib), 2),
        "engine_threads_core_share": {name: round(s / run.window_s, 4) for name, s in run.threads_s.items()},
        "scheduling": run.engine["scheduling"],
    }


def percentiles(values: ArrayLike) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the largest; zeros where there is nothing."""
    known = np.asarray(values, np.float64)
    if not known.size:
        return dict.fromkeys(PERCENTS, 0.0)
    return {name: round(float(np.percentile(known, percent)), 1) for name, percent in PERCENTS.items()}


def measure(load: Load) -> Measured:
    """Run rig, engine, subscriber and sleeper together, and watch the engine.

    Raises:
        RunError: A process failed.
    """
    settings = SimulatorSettings(channels=load.channels, seed=SEED, **(load.simulator or {}))
    lead_s = CALIBRATION_S + SETTLE_S
    with short_folder() as folder, ExitStack() as children:
        bundle = _bundle(folder, settings)
        config = _config(load, bundle, folder).model_dump(mode="json")
        slow = {} if load.slow is None else {"slow": load.slow.model_dump(mode="json")}
        engine = children.enter_context(Child("engine", config | slow))
        ready = engine.ready
        subscriber = children.enter_context(Child("subscribe", {"endpoint": ready["output"]}))
        sleeper = children.enter_context(Child("sleep", {}))
        rig = children.enter_context(
            Child(
                "rig",
                {
                    "endpoint": ready["ingest"],
                    "simulator": settings.model_dump(mode="json"),
                    "packet_samples": round(load.packet_ms * settings.rate_hz / 1000),
                    "socket": "pub",
                    "bind": False,
                    "seconds": lead_s + load.seconds + _TAIL_S,
                },
            )
        )
        time.sleep(lead_s)
        watched = _watch(engine, load.seconds)
        slept = sleeper.stop()["over_ns"]
        sent = rig.result()
        time.sleep(_TAIL_S)
        heard = subscriber.stop()
        summary = engine.stop()
    rows = np.array(heard["rows"], np.int64).reshape(-1, 5)
    rows = rows[(rows[:, 4] >= watched.began_ns) & (rows[:, 4] <= watched.ended_ns)]
    return Measured(
        sent_to_received_us=(rows[:, 4] - rows[:, 3]) / 1e3,
        due_to_received_us=(rows[:, 4] - rows[:, 2]) / 1e3,
        bins=rows[:, 0],
        sleeper_us=np.array(slept) / 1e3,
        engine=summary,
        rig=sent,
        damaged=heard["damaged"],
        ended=heard["ended"],
        threads_s=watched.threads_s,
        window_s=(watched.ended_ns - watched.began_ns) / 1e9,
        resident_mib=watched.resident_mib,
    )


def _bundle(folder: Path, settings: SimulatorSettings) -> Bundle:
    session = SimulatedSession(settings, 1.0)
    chain = designed(FrontEndSettings(threshold=ThresholdSettings(calibration_s=CALIBRATION_S)), session)
    stream = stream_of(session, chain.bin_ms)
    return seeded_bundle(
        folder / "bundle", seed=SEED, stream=stream, history=HISTORY, front_end=chain.model_dump(mode="json")
    )


def _config(load: Load, bundle: Bundle, folder: Path) -> EngineConfig:
    tcp = load.transport == "tcp"
    ingest, output = ("tcp://127.0.0.1:*",) * 2 if tcp else (f"ipc://{folder}/in", f"ipc://{folder}/out")
    return EngineConfig(
        ingest=IngestSettings(endpoint=ingest, bind=True, packet_ms=load.packet_ms),
        output=OutputSocketSettings(endpoint=output, high_water_bins=_OUTPUT_BINS),
        bundle=bundle.path,
        armed=True,
        run_dir=folder / "run",
        tap=TapSettings(enabled=load.tap),
        realtime=RealtimeSettings(fifo_priority=load.fifo_priority),
    )


@dataclass(frozen=True)
class _Watched:
    began_ns: int
    ended_ns: int
    threads_s: dict[str, float]
    resident_mib: list[float]


def _watch(engine: Child, seconds: float) -> _Watched:
    """Look at the engine once a second, from outside."""
    began_ns, before = time.monotonic_ns(), _thread_times(engine.pid)
    resident = [_resident_mib(engine.pid)]
    for second in range(1, int(seconds) + 1):
        time.sleep(max(0.0, began_ns / 1e9 + second - time.monotonic()))
        engine.check()
        resident.append(_resident_mib(engine.pid))
    time.sleep(max(0.0, began_ns / 1e9 + seconds - time.monotonic()))
    ended_ns, after = time.monotonic_ns(), _thread_times(engine.pid)
    threads: dict[str, float] = {}
    for thread, (name, spent_ns) in after.items():
        spent_s = (spent_ns - before.get(thread, (name, 0))[1]) / 1e9
        threads[name] = threads.get(name, 0.0) + spent_s
    return _Watched(began_ns, ended_ns, threads, resident)


def _thread_times(pid: int) -> dict[int, tuple[str, int]]:
    """Name and processor time in nanoseconds of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = "hot loop" if int(task.name) == pid else (task / "comm").read_text().strip()
        found[int(task.name)] = name, int((task / "schedstat").read_text().split()[0])
    return found


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

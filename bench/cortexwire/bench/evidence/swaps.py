"""Hot swaps in a live stream: every bin decoded once by a named bundle, and offline the same with the same swap points.

An engine in a process of its own decodes simulated wideband in real time. An operator stages one of two bundles while
the other decodes, waits until it is ready, and lets it take over: at once, at a bin in the near future, or over a
cross-fade; every fifth time the bundle before is rolled back to instead. Once the two have the same signal chain and
share its bins, and once each brings a front end of its own.

Everything that the engine took and gave is read from its tap while it runs. The same packets, ticks and commands, in
the same order, then go through the offline pipeline: each message, its times taken out, has to be the same bytes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence import progress
from cortexwire.bench.live import Child, RunError, lossless_config, short_folder
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.config import EngineConfig, TapSettings
from cortexwire.decoders import Bundle, ExecutorName
from cortexwire.decoders.manifest import StreamSpec
from cortexwire.pipeline.commands import (
    ActivateBundle,
    Command,
    RollbackBundle,
    StageBundle,
    decode_command,
)
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.tap import TapReader, TapRecord
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training import seeded_bundle
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.wire import Applied, OutFlag, OutKind, RecordKind, decode_journal, decode_output, strip_times
from cortexwire.wire import encode_output as encode

CHANNELS: Final = 32
SWAPS: Final = 100
PACKET_SAMPLES: Final = 30
BACK_EVERY: Final = 5
FADES: Final = (0, 0, 5, 25)
AHEAD: Final = 3
"""Bins ahead at which every other takeover is asked for."""
CALIBRATION_S: Final = 2.0
LONGEST_S: Final = 60.0
_TAP_MEGABYTES: Final = 64
_POLL_S: Final = 0.01


@dataclass
class Taken:
    """What the tap gave, read while the engine runs.

    Attributes:
        records: Everything, in order.
        lost: Records that the reader was too slow for.
    """

    records: list[TapRecord] = field(default_factory=list)
    lost: int = 0


def swap_run(
    *,
    swaps: int = SWAPS,
    channels: int = CHANNELS,
    executors: Sequence[ExecutorName] = ("onnx", "incremental"),
) -> dict[str, Any]:
    """Must-show 2: hot swaps between two bundles during a live stream, for both executors and both kinds of candidate.

    Args:
        swaps: How many, in each run.
        channels: Channels of the stream.
        executors: Executors, each with a run of its own.

    Raises:
        RunError: A run could not be carried out.
    """
    found: dict[str, dict[str, Any]] = {}
    with short_folder() as folder:
        old, new, other = _bundles(folder, channels)
        for executor in executors:
            for name, pair in (("same chain", (old, new)), ("own front end", (old, other))):
                what = f"{executor}, {name}"
                found[what] = _run(folder / f"{executor}-{name[:3]}", pair, executor, swaps, channels, what)
                progress(f"{what}: {found[what]}")
    return {
        "passed": all(run["passed"] for run in found.values()),
        "expected": {
            "bins": f"{swaps} takeovers in each run; every bin decoded exactly once, by the bundle in command of it",
            "replay": "every message the same bytes offline, with packets, ticks and commands from the tap",
        },
        "swaps": sum(run["swaps"] for run in found.values()),
        "differing": sum(run["differing"] for run in found.values()),
        "runs": found,
    }


def _bundles(folder: Path, channels: int) -> tuple[Bundle, Bundle, Bundle]:
    """Two decoders on one signal chain, and a third on another one; weights are drawn at random."""
    session = SimulatedSession(SimulatorSettings(channels=channels))
    stream = StreamSpec(
        kind="wideband",
        rate_num=session.rate.num,
        rate_den=session.rate.den,
        uv_per_bit=session.settings.uv_per_bit,
        n_channels=channels,
        bin_ms=20.0,
    )
    plain, apart = _chain(session, 250.0, "none", None), _chain(session, 400.0, "mean", (-45.0,) * channels)
    return (
        seeded_bundle(folder / "old", seed=1, stream=stream, history=10, front_end=plain),
        seeded_gru(folder / "new", seed=2, stream=stream, units=32, front_end=plain),
        seeded_bundle(folder / "other", seed=3, stream=stream, history=8, front_end=apart),
    )


def _chain(session: Any, low_hz: float, mode: Any, values_uv: tuple[float, ...] | None) -> dict[str, Any]:
    filtered = FilterSettings(low_hz=low_hz)
    filtered = filtered.model_copy(update={"design": design_filter(filtered, session.rate)})
    threshold = ThresholdSettings(calibration_s=CALIBRATION_S, values_uv=values_uv)
    chain = FrontEndSettings(filter=filtered, threshold=threshold, reference=ReferenceSettings(mode=mode))
    return chain.model_dump(mode="json")


def _run(
    folder: Path, pair: tuple[Bundle, Bundle], executor: ExecutorName, swaps: int, channels: int, what: str
) -> dict[str, Any]:
    folder.mkdir()
    config = lossless_config(
        pair[0].path,
        folder,
        executor=executor,
        armed=True,
        pipeline=PipelineSettings(),
        tap=TapSettings(megabytes=_TAP_MEGABYTES),
    )
    taken, staged = Taken(), list[tuple[int, int]]()
    with Child("engine", config.model_dump(mode="json")) as engine:
        done = threading.Event()
        reader = threading.Thread(target=_read, args=(RunDir(config.run_dir).tap, taken, done))
        reader.start()
        try:
            simulator = {
                "endpoint": engine.ready["ingest"],
                "simulator": SimulatorSettings(channels=channels).model_dump(mode="json"),
                "packet_samples": PACKET_SAMPLES,
                "socket": "push",
                "bind": False,
                "seconds": None,
            }
            with Child("rig", simulator) as rig:
                with ControlClient(RunDir(config.run_dir).control_endpoint, LONGEST_S) as operator:
                    took_s = _operate(operator, pair, swaps, staged, what)
                rig.stop()
            engine.stop()
        finally:
            done.set()
            reader.join()
    return _judge(config, pair, taken, swaps, staged) | {"swapping_s": round(took_s, 1)}


def _read(path: Path, taken: Taken, done: threading.Event) -> None:
    with TapReader(path) as tap:
        while True:
            over = done.is_set()
            taken.records += tap
            taken.lost = tap.lost
            if over:
                return
            time.sleep(_POLL_S)


def _operate(
    operator: ControlClient, pair: tuple[Bundle, Bundle], swaps: int, staged: list[tuple[int, int]], what: str
) -> float:
    """Swap until it is enough; returns how long that took."""
    began = time.monotonic()
    _until(operator, lambda state: state["state"] == "running" and state["bin"] > 0, "decoding")
    for number in range(swaps):
        bundle = pair[(number + 1) % 2]
        wanted = f"{bundle.hash:016x}"
        if number % BACK_EVERY == BACK_EVERY - 1:
            _obey(operator, RollbackBundle())
        else:
            since = time.monotonic_ns()
            _obey(operator, StageBundle(str(bundle.path), bundle.sha256))
            _until(operator, _is_ready, f"{bundle.path.name} ready")
            staged.append((since, time.monotonic_ns()))
            ahead = _state(operator)["bin"] + AHEAD if number % 2 else None
            _obey(operator, ActivateBundle(ahead, FADES[number % len(FADES)], wanted))
        _until(
            operator,
            lambda state, wanted=wanted: (  # type: ignore[misc]  # no type is inferred for a default
                state["bundle_hash"] == wanted and state["takeover_bin"] is None and state["crossfade_until"] is None
            ),
            f"{bundle.path.name} in command",
        )
        if (number + 1) % 20 == 0:
            progress(f"{what}: {number + 1} of {swaps} swaps")
    return time.monotonic() - began


def _is_ready(state: dict[str, Any]) -> bool:
    candidate = state["candidate"]
    if candidate is not None and candidate["phase"] == "refused":
        raise RunError(f"expected a candidate, it was refused: {candidate['why']}")
    return candidate is not None and candidate["phase"] == "ready"


def _obey(operator: ControlClient, command: Command | StageBundle) -> None:
    reply = operator.send(command)
    if reply.problem is not None:
        raise RunError(f"{command}: {reply.problem}")


def _state(operator: ControlClient) -> dict[str, Any]:
    reply = operator.state()
    if reply.state is None:
        raise RunError(f"expected a state, got {reply.problem}")
    return reply.state


def _until(operator: ControlClient, wanted: Callable[[dict[str, Any]], bool], what: str) -> None:
    give_up = time.monotonic() + LONGEST_S
    while not wanted(state := _state(operator)):
        if time.monotonic() > give_up:
            raise RunError(f"expected {what} within {LONGEST_S:g} s, got {state['candidate']}, {state['last_note']}")
        time.sleep(_POLL_S)


def _judge(
    config: EngineConfig, pair: tuple[Bundle, Bundle], taken: Taken, swaps: int, staged: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    sent = [record.payload for record in taken.records if record.kind is RecordKind.OUTPUT]
    points = swap_points(taken.records)
    came, want = [strip_times(frame) for frame in sent], replay(config, taken.records)
    differing = sum(a != b for a, b in zip(came, want, strict=False)) + abs(len(came) - len(want))
    decoded = [output for output in map(decode_output, sent) if output.kind is OutKind.DECODED]
    bins = [output.bin for output in decoded]
    once = bins == list(range(bins[0], bins[0] + len(bins)))
    by = {bundle.hash for bundle in pair}
    changes = sum(a.bundle_hash != b.bundle_hash for a, b in pairwise(decoded))
    late = sum(OutFlag.LATE in output.flags for output in decoded)
    took = np.array([output.times.published_ns - output.times.received_ns for output in decoded]) / 1e3
    when = np.array([output.times.published_ns for output in decoded])
    staging = np.zeros(len(when), np.bool_)
    for since, until in staged:
        staging |= (when >= since) & (when <= until)
    named = all(output.bundle_hash in by for output in decoded)
    return {
        "passed": once and named and differing == 0 and taken.lost == 0 and len(points) == changes == swaps,
        "swaps": len(points),
        "changes_of_bundle": changes,
        "decoded_bins": len(decoded),
        "each_bin_once": once,
        "each_by_a_named_bundle": named,
        "messages_compared": len(want),
        "differing": differing,
        "tap_records_lost": taken.lost,
        "late_bins": late,
        "late_bins_while_staging": sum(
            OutFlag.LATE in output.flags for output, during in zip(decoded, staging, strict=True) if during
        ),
        "received_to_published_us": {
            "while staging": _percentiles(took[staging]),
            "else": _percentiles(took[~staging]),
        },
        "seconds_to_stage": [round(float(np.median(_lengths(staged))), 3), round(float(np.max(_lengths(staged))), 3)],
    }


def swap_points(records: Sequence[TapRecord]) -> list[int]:
    """The bins at which the bundle in command changed, as the commands were answered."""
    points = []
    command: Command | None = None
    for record in records:
        if record.kind is RecordKind.COMMAND:
            command = decode_command(record.payload)
        elif record.kind is RecordKind.APPLIED and isinstance(command, ActivateBundle | RollbackBundle):
            applied = decode_journal(record.payload, Applied)
            if applied.problem is None:
                points.append(applied.bin)
    return points


def replay(config: EngineConfig, records: Sequence[TapRecord]) -> list[bytes]:
    """What comes of packets, ticks and commands offline: messages without their times."""
    pipeline, prepare, _ = assemble(config, live=False)
    made: list[bytes] = []
    for record in records:
        if record.kind is RecordKind.PACKET:
            outputs = pipeline.packet(record.payload, record.t_ns)
        elif record.kind is RecordKind.TICK:
            outputs = pipeline.tick(record.t_ns)
        elif record.kind is RecordKind.COMMAND:
            command = decode_command(record.payload)
            prepare(command)
            _, _, outputs = pipeline.command(command)
        else:
            continue
        made += [strip_times(encode(output)) for output in outputs]
    return made


def _lengths(spans: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    return np.array([(until - since) / 1e9 for since, until in spans] or [0.0])


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"p{q:g}": round(float(np.percentile(values, q)), 1) for q in (50, 99, 100)}

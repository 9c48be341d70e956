"""A pipeline that does nothing but keep what it was given and answer with one bin a frame, and its rig."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zmq
from numpy.typing import NDArray

from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, TapSettings
from cortexwire.pipeline.commands import Arm, Command, Mark, Neutral
from cortexwire.pipeline.counters import Counters
from cortexwire.runtime.engine import Build, Engine, EngineSummary
from cortexwire.types import Rate
from cortexwire.wire import Clock, Clocks, OutKind, Output, Start, Times

BIN_SAMPLES = 600


class FakeReport(NamedTuple):
    """Two channels."""

    rates_hz: NDArray[np.float32]
    rms_uv: NDArray[np.float32]
    thresholds_uv: NDArray[np.float32]
    status: NDArray[np.uint8]


class FakePipeline:
    """One bin a frame. `Neutral` comes too late for it, `Mark` breaks it, the frame `fall` ends it."""

    n_channels = 2
    rate = Rate(30000)
    outputs_per_bin = 1
    in_force = (5, 6)
    shadow_ns = 0

    def __init__(self) -> None:
        self.counters = Counters()
        self.armed = False
        self.next_due_ns: int | None = None
        self.taken: list[tuple[str, object]] = []
        self.notes: list[str] = []
        self.warm = False
        self._bin = -1

    @property
    def state(self) -> str:
        """Waiting before the first frame."""
        return "waiting" if self._bin < 0 else "running"

    def packet(self, frame: bytes, received_ns: int) -> Sequence[Output]:
        """Keep the frame; answer with a bin."""
        self.taken.append(("packet", frame))
        if frame == b"fall":
            raise RuntimeError("a fault of our own")
        if frame == b"silent":
            return []
        if frame == b"due":
            self.next_due_ns = received_ns
        if frame == b"bad":
            self.notes.append("packet 3: expected magic")
            self.counters.malformed["magic"] += 1
        return [self._output(OutKind.DECODED, received_ns)]

    def tick(self, now_ns: int) -> Sequence[Output]:
        """Keep the time; answer with a safe output."""
        assert self.next_due_ns is not None
        assert now_ns >= self.next_due_ns
        self.next_due_ns = None
        self.taken.append(("tick", now_ns))
        return [self._output(OutKind.SAFE, now_ns)]

    def command(self, command: Command) -> tuple[int, str | None, Sequence[Output]]:
        """Keep the command; answer as the class says."""
        self.taken.append(("command", command))
        match command:
            case Neutral():
                return self._bin, "not now", []
            case Mark():
                raise ValueError("no marks here")
            case Arm():
                self.armed = True
        return self._bin + 1, None, [self._output(OutKind.SAFE, 0)]

    def channel_report(self) -> FakeReport:
        """Two channels."""
        row = np.array([1, 2], np.float32)
        return FakeReport(row, row + 10, -row, np.array([0, 1], np.uint8))

    def drain_notes(self) -> Sequence[str]:
        """Hand over the notes."""
        notes, self.notes = self.notes, []
        return notes

    def describe(self) -> dict[str, Any]:
        """Next to nothing."""
        return {"bundle_name": "fake", "neutral": False}

    def settle(self) -> None:
        """Nothing was put off."""

    def rehearse(self) -> None:
        """Nothing to rehearse."""

    def warm_up(self) -> None:
        """Remember it."""
        self.warm = True

    def _output(self, kind: OutKind, received_ns: int) -> Output:
        self._bin += kind is OutKind.DECODED
        stamped = kind is OutKind.DECODED
        clock = Clock.MONOTONIC if stamped else Clock.NONE
        return Output(
            kind=kind,
            epoch=77,
            bin=self._bin,
            end_sample=(self._bin + 1) * BIN_SAMPLES,
            bundle_hash=5,
            overlay_hash=6,
            times=Times(0, received_ns, received_ns, received_ns, received_ns) if stamped else Times(),
            clocks=Clocks(Clock.NONE, clock, clock, clock, clock) if stamped else Clocks(),
            tensors={"velocity": np.array([self._bin, -self._bin], np.float32)},
        )


def built_with(pipeline: FakePipeline) -> Build:
    """What makes an engine's pipeline: this one, whose commands need no preparation."""
    start = Start(pid=1, t_realtime_ns=0, config={}, bundle="none", bundle_sha256="0" * 64, fingerprint="none")
    return lambda _: (pipeline, lambda _: None, start)


def config(folder: Path, **changes: object) -> EngineConfig:
    """An engine on free ports, fed by PUSH, all of whose outputs a slow test still gets."""
    base: dict[str, object] = {
        "ingest": IngestSettings(endpoint="tcp://127.0.0.1:*", socket="pull", bind=True),
        "output": OutputSocketSettings(endpoint="tcp://127.0.0.1:*", high_water_bins=1000),
        "run_dir": folder / "run",
        "tap": TapSettings(megabytes=1),
    }
    return EngineConfig.model_validate(base | changes)


class Rig:
    """A running engine, the socket that feeds it, and one that hears it."""

    def __init__(self, engine: Engine, pipeline: FakePipeline, push: zmq.Socket[bytes], sub: zmq.Socket[bytes]) -> None:
        self.engine, self.pipeline, self.push, self.sub = engine, pipeline, push, sub
        self.stop = threading.Event()
        self.summary: EngineSummary | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.summary = self.engine.run(self.stop)
        except RuntimeError as error:
            self.error = error

    def finish(self) -> EngineSummary:
        """Stop the engine and return what it did."""
        self.stop.set()
        self.thread.join()
        assert self.summary is not None
        return self.summary


@contextmanager
def running(settings: EngineConfig) -> Iterator[Rig]:
    """An engine around a fake pipeline, in a thread, with its subscriber already connected."""
    pipeline = FakePipeline()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Engine(settings, built_with(pipeline)) as engine:
        push, sub = context.socket(zmq.PUSH), context.socket(zmq.SUB)
        sub.set(zmq.RCVTIMEO, 10_000)
        sub.set(zmq.RCVHWM, 0)
        sub.set(zmq.SUBSCRIBE, b"")
        sub.connect(engine.output_endpoint)
        push.connect(engine.ingest_endpoint)
        rig = Rig(engine, pipeline, push, sub)
        rig.thread.start()
        try:
            while not sub.poll(5):
                push.send(b"hello")
            yield rig
        finally:
            rig.stop.set()
            rig.thread.join()
            context.destroy(linger=0)

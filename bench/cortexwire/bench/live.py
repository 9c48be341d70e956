"""A real engine in a process of its own, fed losslessly over ZeroMQ, and every output that it publishes.

For comparisons of bits a run has no deadlines: whether a bin is late depends on the clock by definition, and where
there are no deadlines the clock decides nothing. Packets go over PUSH/PULL, which waits instead of dropping; outputs
come over PUB/SUB with queues that hold more than the run makes, and that none was lost is checked against the
engine's own count.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import zmq

from cortexwire.clients.replay import Speed, replay
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, TapSettings
from cortexwire.decoders import load_bundle
from cortexwire.errors import CortexwireError
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.offline import decode_frames
from cortexwire.runtime.parent import PARENT_VARIABLE
from cortexwire.sessions import Session, session_packets
from cortexwire.sessions.packets import PacketSizes
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, Output, PacketEncoder, decode_output, encode_output, strip_times

START_S: Final = 90.0
"""Longest wait for a process to be ready; the first engine on a machine compiles its kernels."""
SILENCE_MS: Final = 60_000
"""Longest silence of an engine that still has packets to decode."""
PROBE_EPOCH: Final = 1
"""Epoch of the empty stream by which a run finds out that its subscription stands."""
_TAP_MEGABYTES: Final = 8
_WHOLE_STREAM_MS: Final = 1e7
"""Room for all that a run sends. libzmq throws away what a closed connection still holds while a full queue keeps it
from being read, so a sender that is done before the engine would lose its last packets otherwise."""
_PROBE_WAIT_MS: Final = 20
_LOOK_MS: Final = 500
_IN_MEMORY: Final = Path("/dev/shm")
_SAID: Final = 2000


class RunError(CortexwireError):
    """A run could not be carried out, so it says nothing about what was to be measured."""


class Child:
    """One process of `cortexwire.bench.child`: started, ready, and ended with its result.

    It ends with the process that started it, however that ends.

    Args:
        role: What it runs.
        settings: What it is told.
        module: The module that knows the role.

    Attributes:
        ready: What it said when it was ready.

    Raises:
        RunError: It ended, or said nothing, before it was ready.
    """

    def __init__(self, role: str, settings: Mapping[str, Any], module: str = "cortexwire.bench.child") -> None:
        self._role = role
        command = [sys.executable, "-m", module, role, json.dumps(dict(settings))]
        with ExitStack() as opened:
            self._errors = opened.enter_context(tempfile.TemporaryFile())
            # In a group of its own: Ctrl-C reaches whoever measures, which then ends its processes in order.
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=self._errors, env=_environment(), process_group=0
            )
            self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
            self._reader = threading.Thread(target=self._read, name=f"output of {role}")
            self._reader.start()
            opened.callback(self._end)
            self.ready: dict[str, Any] = self._line(START_S)
            self._opened = opened.pop_all()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _line(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise RunError(f"{self._role}: expected a line within {seconds:g} s, none came") from None
        if not line:
            self._process.wait()
            self.check()
            raise RunError(f"{self._role}: ended without a result")
        content: dict[str, Any] = json.loads(line)
        return content

    def check(self) -> None:
        """Look whether it still runs, or ended well.

        Raises:
            RunError: It failed; with the end of what it said.
        """
        if self._process.poll():
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()[-_SAID:]
            raise RunError(f"{self._role}: ended with exit status {self._process.returncode}: {said}")

    def said(self) -> str:
        """All that it has written to its standard error so far."""
        # Read at a place of its own: the child writes where the shared offset is.
        return os.pread(self._errors.fileno(), os.fstat(self._errors.fileno()).st_size, 0).decode(errors="replace")

    def ended(self, seconds: float) -> bool:
        """Wait for it to end by itself for at most `seconds`; whether it has."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def result(self, seconds: float = START_S) -> dict[str, Any]:
        """Wait for it to end by itself, and give its result.

        Raises:
            RunError: It failed, or does not end.
        """
        try:
            return self._line(seconds)
        finally:
            self.close()

    def stop(self) -> dict[str, Any]:
        """Ask it to end, and give its result.

        Raises:
            RunError: It failed, or does not end.
        """
        self._process.terminate()
        return self.result()

    def close(self) -> None:
        """End it if it still runs; safe to call twice."""
        self._opened.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


def _environment() -> dict[str, str]:
    """Leave out what would change an engine's configuration: one that is measured gets its own whole."""
    kept = ("CORTEXWIRE_CACHE", "CORTEXWIRE_DATA")
    passed = {name: value for name, value in os.environ.items() if name in kept or not name.startswith("CORTEXWIRE_")}
    return passed | {PARENT_VARIABLE: str(os.getpid())}


def lossless_config(bundle: Path, folder: Path, **changes: Any) -> EngineConfig:
    """An engine's configuration for runs that are compared bit for bit.

    Args:
        bundle: The bundle's folder.
        folder: Where sockets and the run directory are made; its path must be short.
        changes: Other keys of `EngineConfig`.
    """
    given: dict[str, Any] = {
        "ingest": IngestSettings(
            endpoint=f"ipc://{folder}/in", socket="pull", bind=True, high_water_ms=_WHOLE_STREAM_MS
        ),
        "output": OutputSocketSettings(endpoint=f"ipc://{folder}/out", high_water_bins=100_000),
        "bundle": bundle,
        "run_dir": folder / "run",
        "tap": TapSettings(megabytes=_TAP_MEGABYTES),
        "pipeline": PipelineSettings(deadline=DeadlineSettings(deadline_ms=None)),
    }
    return EngineConfig(**(given | changes))


@dataclass(frozen=True)
class LiveRun:
    """What one live run gave.

    Attributes:
        frames: Every output of the stream in the order of publication, the end of the stream last.
        counters: The engine's counters at its end.
        seconds: How long the engine ran.
        cpu_s: Processor time that it took for that.
    """

    frames: tuple[bytes, ...]
    counters: dict[str, int]
    seconds: float
    cpu_s: float

    @property
    def outputs(self) -> list[Output]:
        """The frames, decoded."""
        return [decode_output(frame) for frame in self.frames]


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for sockets, in memory where there is such a place.

    A run directory belongs there, as `$XDG_RUNTIME_DIR` does: on a disk the kernel keeps writing the tap's ring back.
    """
    place = str(_IN_MEMORY) if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cxw-", dir=place) as folder:
        yield Path(folder)


def run_live(config: EngineConfig, send: Callable[[str], object], epoch: int) -> LiveRun:
    """Start an engine, send it one stream, and collect all that it publishes of it.

    Args:
        config: The engine's configuration, as of `lossless_config`.
        send: Sends a stream, with its end, to the endpoint that it is given.
        epoch: Epoch of that stream.

    Raises:
        RunError: The engine failed or fell silent, or an output was lost on the way.
    """
    with Child("engine", config.model_dump(mode="json")) as engine, zmq.Context() as context:
        with context.socket(zmq.SUB) as outputs:
            outputs.set(zmq.RCVHWM, 0)
            outputs.set(zmq.LINGER, 0)
            outputs.set(zmq.SUBSCRIBE, b"")
            outputs.connect(engine.ready["output"])
            probes = _subscribed(context, engine.ready["ingest"], outputs, config)
            send(engine.ready["ingest"])
            frames = tuple(_until_end(outputs, epoch, engine))
        summary = engine.stop()
    published = summary["counters"]["outputs"] - probes
    if len(frames) != published:
        raise RunError(f"expected all {published} outputs of the stream, got {len(frames)}")
    return LiveRun(frames, summary["counters"], summary["wall_s"], summary["cpu_s"])


def replay_live(
    config: EngineConfig,
    session: Session,
    packet_samples: PacketSizes,
    *,
    epoch: int,
    start_s: float = 0.0,
    stop_s: float | None = None,
    speed: Speed = "fast",
) -> LiveRun:
    """`run_live` of a session that `replay` sends, by default as fast as the engine takes it.

    Raises:
        RunError: As `run_live`.
    """

    def send(endpoint: str) -> None:
        replay(session, endpoint, packet_samples, speed=speed, epoch=epoch, start_s=start_s, stop_s=stop_s)

    return run_live(config, send, epoch)


def decode_offline(
    config: EngineConfig,
    session: Session,
    packet_samples: PacketSizes,
    *,
    epoch: int,
    start_s: float = 0.0,
    stop_s: float | None = None,
) -> list[bytes]:
    """The same stream through the offline pipeline: frames of its outputs."""
    rate = session.rate.hz
    stop = session.n_samples if stop_s is None else min(session.n_samples, round(stop_s * rate))
    packets = session_packets(session, packet_samples, epoch, round(start_s * rate), stop)
    pipeline = assemble(config, live=False).pipeline
    return [encode_output(output) for output in decode_frames(pipeline, packets)]


def untimed(frames: Iterable[bytes]) -> list[bytes]:
    """Frames without their times: all that has to be equal in equal runs."""
    return [strip_times(frame) for frame in frames]


def _subscribed(
    context: zmq.Context[zmq.Socket[bytes]], ingest: str, outputs: zmq.Socket[bytes], config: EngineConfig
) -> int:
    """Send ends of an empty stream until the engine's answer to one is heard; give their number."""
    if config.bundle is None:
        raise RunError("expected an engine with a bundle")
    stream = load_bundle(config.bundle).manifest.stream
    rate = Rate(stream.rate_num, stream.rate_den)
    encoder = PacketEncoder(rate, stream.n_channels, None, stream.uv_per_bit, epoch=PROBE_EPOCH)
    with context.socket(zmq.PUSH) as probe:
        probe.connect(ingest)
        for _ in range(int(START_S * 1000 / _PROBE_WAIT_MS)):
            probe.send(encoder.end(0))
            if outputs.poll(_PROBE_WAIT_MS):
                return encoder.sequence
    raise RunError(f"expected an answer to one of {encoder.sequence} probes, none came")


def _until_end(outputs: zmq.Socket[bytes], epoch: int, engine: Child) -> Iterator[bytes]:
    silent_ms = 0
    while silent_ms < SILENCE_MS:
        if not outputs.poll(_LOOK_MS):
            engine.check()
            silent_ms += _LOOK_MS
            continue
        silent_ms = 0
        frame = outputs.recv()
        output = decode_output(frame)
        if output.epoch != epoch:
            continue
        yield frame
        if OutFlag.ENDED in output.flags:
            return
    raise RunError(f"expected the end of the stream, got {SILENCE_MS / 1000:g} s of silence")

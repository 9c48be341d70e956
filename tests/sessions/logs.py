"""Logs for tests: written record by record, or from the tap of an engine that really ran."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import zmq

from cortexwire.config import EngineConfig
from cortexwire.pipeline.commands import Command
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.engine import Engine
from cortexwire.runtime.tap import TapReader
from cortexwire.types import Rate
from cortexwire.wire import (
    Descriptor,
    Electrode,
    Loss,
    MarkerCode,
    PacketEncoder,
    RecordKind,
    SegmentHeader,
    Sidecar,
    encode_record,
    encode_segment_header,
    make_events,
    make_markers,
    segment_path,
)

RECORDING = bytes(range(16))
RATE = Rate(30_000)
N_CHANNELS = 5
COLUMNS = ("px", "py")
ELECTRODES = tuple(Electrode(f"e{k}", "A") for k in range(N_CHANNELS))

Raw = tuple[RecordKind, int, bytes]
"""A record to be written: kind, time, payload."""


def write_segment(folder: Path, number: int, records: Sequence[Raw], first_index: int) -> Path:
    """One segment with these records."""
    path = segment_path(folder, number)
    parts = [encode_segment_header(SegmentHeader(number, RECORDING, first_index, 1_700_000_000_000_000_000))]
    parts += [encode_record(kind, t_ns, body, first_index + k) for k, (kind, t_ns, body) in enumerate(records)]
    path.write_bytes(b"".join(parts))
    return path


def write_log(
    folder: Path, records: Sequence[Raw], per_segment: int = 10**9, first_index: int = 0, *, stopped: bool = True
) -> Path:
    """A recording of these records, so many in each segment."""
    folder.mkdir(parents=True, exist_ok=True)
    start = next((body for kind, _, body in records if kind is RecordKind.START), None)
    sidecar = Sidecar(
        recording=RECORDING.hex(),
        name=folder.name,
        started="2026-01-01T00:00:00+00:00",
        stopped="2026-01-01T00:01:00+00:00" if stopped else None,
        start=None if start is None else msgspec.json.decode(start),
        from_start=bool(records) and records[0][0] is RecordKind.START,
    )
    (folder / "recording.json").write_bytes(msgspec.json.encode(sidecar))
    for number, at in enumerate(range(0, max(1, len(records)), per_segment)):
        write_segment(folder, number, records[at : at + per_segment], first_index + at)
    return folder


def loss(records: int, **known: object) -> bytes:
    """The payload of a `LOSS`."""
    return msgspec.json.encode(Loss(records=records, why="overrun", **known))  # type: ignore[arg-type]  # by name


def packets(frames: Iterable[bytes], begin_ns: int = 0, step_ns: int = 1_000_000) -> list[Raw]:
    """Frames as records, a millisecond apart."""
    return [(RecordKind.PACKET, begin_ns + k * step_ns, frame) for k, frame in enumerate(frames)]


def encoder(epoch: int = 7) -> PacketEncoder:
    """An encoder of `N_CHANNELS` channels with two columns."""
    descriptor = Descriptor("rig", ELECTRODES, 0.25, "ground", COLUMNS)
    return PacketEncoder(RATE, N_CHANNELS, descriptor, 0.25, epoch=epoch)


def wideband_frames(n_packets: int = 40, size: int = 30, epoch: int = 7, first: int = 0) -> list[bytes]:
    """Noise with columns at each packet's last sample, two trials, and an end."""
    send, frames = encoder(epoch), []
    noise = noise_of(n_packets * size)
    for k in range(n_packets):
        at = first + k * size
        if k % 20 == 0:
            frames.append(send.descriptor_packet(at))
        frames.append(send.columns(at, np.array([size - 1]), np.array([[at, -at]], np.float32)))
        for code, when in ((MarkerCode.TRIAL_START, 2), (MarkerCode.TRIAL_END, 6)):
            if k % 10 == when:
                frames.append(send.markers(at, make_markers([0], [code], [k // 10])))
        frames.append(send.wideband(at, noise[k * size : (k + 1) * size]))
    return [*frames, send.end(first + n_packets * size)]


def noise_of(n_samples: int) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """What `wideband_frames` sends."""
    return np.random.default_rng(4).integers(-300, 300, (n_samples, N_CHANNELS)).astype(np.int16)


def event_frames(
    n_packets: int = 120,
    size: int = 250,
    epoch: int = 99,
    seed: int = 8,
    sizes: Sequence[int] | None = None,
    *,
    described: bool = True,
) -> list[bytes]:
    """A descriptor, events in packets of one size or of these sizes, and an end."""
    rng = np.random.default_rng(seed)
    send = PacketEncoder(RATE, N_CHANNELS, Descriptor("rig", ELECTRODES) if described else None, 1.0, epoch=epoch)
    frames, at = [send.descriptor_packet(0)] if described else [], 0
    for length in sizes or [size] * n_packets:
        n = int(rng.integers(0, 9))
        offsets = np.sort(rng.integers(0, length, n))
        frames.append(send.events(at, length, make_events(offsets, rng.integers(0, N_CHANNELS, n))))
        at += length
    return [*frames, send.end(at)]


Step = bytes | Command | float
"""What a rig or an operator does: send a frame, give a command, wait seconds."""


@contextmanager
def running(settings: EngineConfig) -> Iterator[tuple[Engine, Callable[[Iterable[Step]], None]]]:
    """An engine that takes what it is given; leaving stops it when it has taken all."""
    sent = 0
    with Engine(settings) as engine, zmq.Context() as context, context.socket(zmq.PUSH) as push:
        stop, summary = threading.Event(), []
        thread = threading.Thread(target=lambda: summary.append(engine.run(stop)))
        push.connect(engine.ingest_endpoint)
        thread.start()

        def taken() -> int:
            with TapReader(settings.run_dir / "tap.ring") as tap:
                return sum(record.kind is RecordKind.PACKET for record in tap)

        def settle(count: int) -> None:
            until = time.monotonic() + 30
            while taken() < count:
                assert time.monotonic() < until
                time.sleep(0.005)

        already = taken()

        def give(steps: Iterable[Step]) -> None:
            nonlocal sent
            with ControlClient(engine.run_dir.control_endpoint) as client:
                for step in steps:
                    if isinstance(step, bytes):
                        push.send(step)
                        sent += 1
                    elif isinstance(step, float):
                        settle(already + sent)
                        time.sleep(step)
                    else:
                        settle(already + sent)
                        client.send(step)
            settle(already + sent)

        try:
            yield engine, give
        finally:
            stop.set()
            thread.join()


def tap_records(run_dir: Path) -> list[Raw]:
    """All that a tap holds."""
    with TapReader(run_dir / "tap.ring") as tap:
        return [(record.kind, record.t_ns, record.payload) for record in tap]

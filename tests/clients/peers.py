"""The other ends: a receiver of packets, a publisher of outputs, a session in memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from cortexwire.sessions import RecordedSession
from cortexwire.sessions.matrix import ArrayMatrix
from cortexwire.sessions.signals import WidebandSignal
from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    Clocks,
    Descriptor,
    Kind,
    OutFlag,
    OutKind,
    Output,
    Packet,
    Times,
    decode_packet,
    encode_output,
)

WAIT_MS = 3_000


def wideband_session(n_samples: int = 3000, n_channels: int = 4, rate: int = 30_000) -> RecordedSession:
    """A session of noise in memory."""
    samples = np.random.default_rng(0).integers(-99, 99, (n_samples, n_channels)).astype(np.int16)
    return RecordedSession("noise", Rate(rate), WidebandSignal(ArrayMatrix(samples)), Descriptor("noise"))


def ipc(folder: Path, name: str = "s") -> str:
    """An endpoint of one's own."""
    return f"ipc://{folder}/{name}"


class Receiver:
    """A socket that takes packets."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def frame(self, wait_ms: int = WAIT_MS) -> bytes | None:
        """The next frame, or nothing within `wait_ms`."""
        return self.socket.recv() if self.socket.poll(wait_ms) else None

    def frames(self, count: int) -> list[bytes]:
        """The next `count` frames."""
        frames = []
        for _ in range(count):
            frame = self.frame()
            assert frame is not None
            frames.append(frame)
        return frames

    def packet(self) -> Packet:
        """The next packet."""
        return decode_packet(self.frames(1)[0])

    def until_end(self) -> list[Packet]:
        """All packets to the end of the stream."""
        packets = [self.packet()]
        while packets[-1].kind != Kind.END:
            packets.append(self.packet())
        return packets


@contextmanager
def receiver(kind: int, endpoint: str, bind: bool = True, **options: int) -> Iterator[Receiver]:
    """A PULL or SUB socket."""
    with zmq.Context() as context, context.socket(kind) as socket:
        for name, value in options.items():
            socket.set(getattr(zmq.SocketOption, name), value)
        if kind == zmq.SUB:
            socket.set(zmq.SUBSCRIBE, b"")
        if bind:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
        yield Receiver(socket)


@contextmanager
def publisher(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """An engine's output socket that can be asked whether somebody subscribed."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.LINGER, 0)
        socket.bind(endpoint)
        yield socket


def subscribed(socket: zmq.Socket[bytes]) -> None:
    """Wait for a subscription."""
    assert socket.poll(WAIT_MS)
    socket.recv()


def output(
    bin_: int = 0,
    velocity: tuple[float, float] = (3.0, -4.0),
    *,
    flags: OutFlag = OutFlag.COMMAND | OutFlag.ARMED,
    published_ns: int = 0,
    valid_for_ms: float = 100.0,
    **fields: Any,
) -> bytes:
    """An encoded output."""
    clock = Clock.MONOTONIC if published_ns else Clock.NONE
    out = Output(
        kind=fields.pop("kind", OutKind.DECODED),
        epoch=1,
        bin=bin_,
        end_sample=(bin_ + 1) * 600,
        flags=flags,
        valid_for_ms=valid_for_ms,
        times=Times(sent_ns=published_ns, published_ns=published_ns),
        clocks=Clocks(sent=clock, published=clock),
        tensors={"velocity": np.array(velocity, np.float32)},
        **fields,
    )
    return encode_output(out)


@contextmanager
def in_background(task: Any, *args: Any, **kwargs: Any) -> Iterator["Future[Any]"]:
    """Run something in a thread that is gone afterwards."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(task, *args, **kwargs)

"""Ways by which packets may travel from one process to another on a machine, all with the same two ends.

ZeroMQ sockets as the service has them, over ipc or tcp, and a Unix socket that keeps the bounds of messages: no
library, one copy into the kernel and one out of it, which is the floor for anything that asks the kernel.
"""

import socket as kernel
from pathlib import Path
from struct import Struct
from typing import Final, Literal, Protocol

import zmq

LinkKind = Literal["push-pull ipc", "pub-sub ipc", "push-pull tcp", "pub-sub tcp", "unix seqpacket"]

LINKS: Final[tuple[LinkKind, ...]] = (
    "push-pull ipc",
    "pub-sub ipc",
    "push-pull tcp",
    "pub-sub tcp",
    "unix seqpacket",
)
QUEUE: Final = 1000
"""Packets that a ZeroMQ queue holds: a second of them."""
_KERNEL_BYTES: Final = 4 * 2**20
_MOST_BYTES: Final = 2**20
_TIMEVAL: Final = Struct("ll")


class Sender(Protocol):
    """The end that messages go into."""

    def send(self, message: bytearray) -> bool:
        """Send without waiting; whether there was room."""

    def close(self) -> None:
        """Close it."""


class Receiver(Protocol):
    """The end that messages come out of; it is bound.

    Attributes:
        endpoint: Where a sender connects.
    """

    endpoint: str

    def receive(self, timeout_ms: int) -> bytes | memoryview | None:
        """Wait for a message for at most so long; what it gives is good until the next call."""

    def close(self) -> None:
        """Close it."""


def open_receiver(kind: LinkKind, folder: Path, name: str) -> Receiver:
    """Bind the receiving end.

    Args:
        kind: Which way.
        folder: Where sockets with a path are made.
        name: Tells the sockets in a folder apart.
    """
    if kind == "unix seqpacket":
        return _SeqpacketReceiver(folder / name)
    pattern, _, transport = kind.partition(" ")
    return _ZmqReceiver(pattern, f"ipc://{folder}/{name}" if transport == "ipc" else "tcp://127.0.0.1:*")


def open_sender(kind: LinkKind, endpoint: str) -> Sender:
    """Connect the sending end to what a receiver says of itself."""
    if kind == "unix seqpacket":
        return _SeqpacketSender(endpoint)
    return _ZmqSender(kind.partition(" ")[0], endpoint)


class _ZmqReceiver:
    def __init__(self, pattern: str, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PULL if pattern == "push-pull" else zmq.SUB)
        self._socket.set(zmq.RCVHWM, QUEUE)
        self._socket.set(zmq.LINGER, 0)
        if pattern != "push-pull":
            self._socket.set(zmq.SUBSCRIBE, b"")
        self._socket.bind(endpoint)
        self._timeout_ms = -1
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)

    def receive(self, timeout_ms: int) -> bytes | None:
        if timeout_ms != self._timeout_ms:
            self._socket.set(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        try:
            return self._socket.recv()
        except zmq.Again:
            return None

    def close(self) -> None:
        self._context.destroy(0)


class _ZmqSender:
    def __init__(self, pattern: str, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH if pattern == "push-pull" else zmq.PUB)
        self._socket.set(zmq.SNDHWM, QUEUE)
        self._socket.set(zmq.LINGER, 0)
        self._socket.connect(endpoint)

    def send(self, message: bytearray) -> bool:
        try:
            self._socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._context.destroy(0)


class _SeqpacketReceiver:
    def __init__(self, path: Path) -> None:
        self.endpoint = str(path)
        self._listening = kernel.socket(kernel.AF_UNIX, kernel.SOCK_SEQPACKET)
        self._listening.bind(self.endpoint)
        self._listening.listen(1)
        self._link: kernel.socket | None = None
        self._buffer = memoryview(bytearray(_MOST_BYTES))

    def receive(self, timeout_ms: int) -> memoryview | None:
        try:
            if self._link is None:
                self._listening.settimeout(timeout_ms / 1000)
                self._link, _ = self._listening.accept()
                # The kernel's own deadline spares a second call for each message.
                self._link.settimeout(None)
                deadline = _TIMEVAL.pack(timeout_ms // 1000, timeout_ms % 1000 * 1000)
                self._link.setsockopt(kernel.SOL_SOCKET, kernel.SO_RCVTIMEO, deadline)
            size = self._link.recv_into(self._buffer)
        except (TimeoutError, BlockingIOError):
            return None
        if not size:
            self._link.close()
            self._link = None
            return None
        return self._buffer[:size]

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._listening.close()


class _SeqpacketSender:
    def __init__(self, endpoint: str) -> None:
        self._link = kernel.socket(kernel.AF_UNIX, kernel.SOCK_SEQPACKET)
        self._link.setsockopt(kernel.SOL_SOCKET, kernel.SO_SNDBUF, _KERNEL_BYTES)
        self._link.connect(endpoint)

    def send(self, message: bytearray) -> bool:
        try:
            self._link.send(message, kernel.MSG_DONTWAIT)
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def close(self) -> None:
        self._link.close()

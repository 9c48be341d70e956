"""The ZeroMQ sockets of a sender: which kind loses what when it is full, and how full is stated.

`push` is lossless: when the receiver's and its own queue are full, sending waits. `pub` never waits: what
a subscriber has no room for is dropped at its queue, and the receiver counts the gap from the sequence
numbers. High-water marks are stated in milliseconds of signal; ZeroMQ counts packets, and the kernel's
socket buffers come on top.
"""

from math import ceil
from threading import Event
from time import monotonic
from typing import Final, Literal

import zmq

from cortexwire.errors import ConfigError
from cortexwire.types import Rate

SocketKind = Literal["pub", "push"]

DEFAULT_HWM_MS: Final = 1000.0
_POLL_MS: Final = 100


def hwm_packets(hwm_ms: float, rate: Rate, packet_samples: float) -> int:
    """Packets that hold `hwm_ms` of signal; at least one, because ZeroMQ takes 0 for endless."""
    return max(1, ceil(hwm_ms / 1000 * rate.hz / packet_samples))


def open_sender(
    context: zmq.Context[zmq.Socket[bytes]], kind: SocketKind, endpoint: str, bind: bool, hwm: int
) -> zmq.Socket[bytes]:
    """Open a sending socket.

    Args:
        context: Owner of the socket.
        kind: `pub` or `push`.
        endpoint: `tcp://host:port` or `ipc://path`.
        bind: Whether to bind rather than connect.
        hwm: High-water mark in packets.

    Raises:
        ConfigError: The endpoint cannot be bound or connected.
    """
    # XPUB is PUB that can be asked whether somebody subscribed.
    socket = context.socket(zmq.XPUB if kind == "pub" else zmq.PUSH)
    socket.set(zmq.SNDHWM, hwm)
    # Only a peer that is there is given packets, so that "full" and "nobody there" both make a push wait.
    socket.set(zmq.IMMEDIATE, 1)
    attach(socket, endpoint, bind)
    return socket


def attach(socket: zmq.Socket[bytes], endpoint: str, bind: bool) -> None:
    """Bind or connect.

    Raises:
        ConfigError: It cannot be done; the socket is closed.
    """
    try:
        if bind:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        verb = "bind" if bind else "connect to"
        raise ConfigError(f"cannot {verb} {endpoint!r}: {error.strerror}") from error


def wait_for_peer(socket: zmq.Socket[bytes], seconds: float, stop: Event | None = None) -> bool:
    """Wait until a receiver is there: for `push` one that takes packets, for `pub` one that subscribed.

    Returns:
        False when none came in time; true also when stopped.
    """
    wanted = zmq.POLLIN if socket.type == zmq.XPUB else zmq.POLLOUT
    until = monotonic() + seconds
    while not socket.poll(_POLL_MS, wanted):
        if stop is not None and stop.is_set():
            return True
        if monotonic() > until:
            return False
    return True


def is_local(endpoint: str) -> bool:
    """Whether both ends of an endpoint are surely on this host, and so share a monotonic clock."""
    return endpoint.startswith(("ipc://", "inproc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"))

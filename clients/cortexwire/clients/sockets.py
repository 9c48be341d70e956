"""The ZeroMQ sockets of a sender: which kind loses what when it is full, and how full is stated.

`push` is lossless: when the receiver's and its own queue are full, sending waits. `pub` never waits: what
a subscriber has no room for is dropped at its queue, and the receiver counts the gap from the sequence
numbers. High-water marks are stated in milliseconds of signal; ZeroMQ counts packets, and the kernel's
socket buffers come on top.

A `push` is lossless to its end only if it is closed by `close_sender`: when a connection is hung up while
the receiver's queue is full, the receiver's libzmq drops what it has not yet read from the kernel.
"""

import logging
import os
import socket as kernel
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from math import ceil
from threading import Event
from time import monotonic
from typing import Final, Literal
from uuid import uuid4

import zmq
from zmq.utils.monitor import recv_monitor_message

from cortexwire.clients.curve import CurveClient
from cortexwire.errors import ConfigError
from cortexwire.types import Rate

SocketKind = Literal["pub", "push"]

DEFAULT_HWM_MS: Final = 1000.0
_POLL_MS: Final = 100
_EVENTS: Final = zmq.EVENT_CONNECTED | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED

_log = logging.getLogger(__name__)


def hwm_packets(hwm_ms: float, rate: Rate, packet_samples: float) -> int:
    """Packets that hold `hwm_ms` of signal; at least one, because ZeroMQ takes 0 for endless."""
    return max(1, ceil(hwm_ms / 1000 * rate.hz / packet_samples))


def open_sender(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: SocketKind,
    endpoint: str,
    bind: bool,
    hwm: int,
    curve: CurveClient | None = None,
) -> zmq.Socket[bytes]:
    """Open a sending socket, to be closed with `close_sender`.

    Args:
        context: Owner of the socket.
        kind: `pub` or `push`.
        endpoint: `tcp://host:port` or `ipc://path`.
        bind: Whether to bind rather than connect.
        hwm: High-water mark in packets.
        curve: Keys, for an engine that wants them.

    Raises:
        ConfigError: The endpoint cannot be bound or connected.
    """
    # XPUB is PUB that can be asked whether somebody subscribed.
    socket = context.socket(zmq.XPUB if kind == "pub" else zmq.PUSH)
    socket.set(zmq.SNDHWM, hwm)
    if curve is not None:
        curve.secure(socket)
    # Only a peer that is there is given packets, so that "full" and "nobody there" both make a push wait.
    socket.set(zmq.IMMEDIATE, 1)
    if kind == "push":
        # It is read only at the end, and a bounded queue of events would make libzmq's thread wait when it is full.
        # Its name is its own: pyzmq's comes from a descriptor's number, which a socket just closed may have had.
        socket.get_monitor_socket(_EVENTS, f"inproc://{uuid4()}").set(zmq.RCVHWM, 0)
    try:
        attach(socket, endpoint, bind)
    except ConfigError:
        if kind == "push":
            socket.get_monitor_socket().close(0)
        raise
    return socket


def close_sender(socket: zmq.Socket[bytes], seconds: float, stop: Event | None = None) -> bool:
    """Close what `open_sender` opened; a `push` hangs up only when its receivers have read all that was sent.

    A copy of each connection's descriptor keeps it up beyond the ZeroMQ socket. When libzmq has written all
    and let go of it, the connection is ended for writing only, which no receiver takes for a hang-up; a
    receiver that has read to that end closes its own side, and that is what is waited for.

    Args:
        socket: The socket; a `push` is gone at return, a `pub` lingers for at most `seconds`.
        seconds: How long to wait at most.
        stop: Ends the wait early.

    Returns:
        False, and logs a warning, when a `push` gave up or its connection broke before all was read.
    """
    if socket.type != zmq.PUSH:
        socket.close(round(1000 * seconds))
        return True
    until = monotonic() + seconds

    def waiting() -> bool:
        return monotonic() < until and not (stop is not None and stop.is_set())

    monitor = socket.get_monitor_socket()
    links = _share_connections(monitor)
    taken, gone = True, False
    try:
        socket.close(round(1000 * seconds) if waiting() else 0)
        while not gone and waiting():
            if monitor.poll(_POLL_MS):
                message = recv_monitor_message(monitor)
                gone = message["event"] == zmq.EVENT_MONITOR_STOPPED
                taken &= not (message["event"] == zmq.EVENT_DISCONNECTED and message["value"] in links)
        ends = [_is_read_to_its_end(link, waiting) for link in links.values()] if gone else [False]
        taken &= all(ends)
    finally:
        for link in links.values():
            # A libzmq that is still writing gives up by this.
            with suppress(OSError):
                link.shutdown(kernel.SHUT_RDWR)
            link.close()
        while not gone:
            gone = recv_monitor_message(monitor)["event"] == zmq.EVENT_MONITOR_STOPPED
        monitor.close(0)
    if not taken:
        _log.warning("closed before the receiver had read all that was sent: the end of the stream may be lost")
    return taken


def _share_connections(monitor: zmq.Socket[bytes]) -> dict[int, kernel.socket]:
    """Copy the descriptors of the connections that are up, by libzmq's own number of each."""
    copies: dict[int, int] = {}
    # A descriptor is closed after its event was sent, so one whose end is not told after copying was still open.
    while monitor.poll(0):
        message = recv_monitor_message(monitor)
        descriptor = message["value"]
        if descriptor in copies:
            os.close(copies.pop(descriptor))
        if message["event"] != zmq.EVENT_DISCONNECTED:
            with suppress(OSError):
                copies[descriptor] = os.dup(descriptor)
    return {descriptor: kernel.socket(fileno=copy) for descriptor, copy in copies.items()}


def _is_read_to_its_end(link: kernel.socket, waiting: Callable[[], bool]) -> bool:
    """End a connection for writing, and wait until the other side closes it."""
    try:
        link.shutdown(kernel.SHUT_WR)
        link.settimeout(_POLL_MS / 1000)
        while waiting():
            with suppress(TimeoutError):
                if not link.recv(4096):
                    return True
    except OSError:
        return False  # the receiver has gone with something unread
    return False


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
        taken = "; does an engine bind there? then --socket push --connect" if error.errno == zmq.EADDRINUSE else ""
        raise ConfigError(f"cannot {verb} {endpoint!r}: {zmq.strerror(error.errno or 0)}{taken}") from error


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
    transport, _, address = endpoint.partition("://")
    if transport != "tcp":
        return transport in ("ipc", "inproc")
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

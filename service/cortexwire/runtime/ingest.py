"""Ingest: the one socket through which packets come in, and what happens when it is full.

The queue holds `high_water_ms` of signal, counted in packets of `packet_ms`. When the engine falls that far
behind, a SUB socket lets the *publisher* drop its newest packets, which the pipeline sees as missing sequence
numbers and counts; a PULL socket lets the *sender* wait, and nothing is lost. A message has one frame; of a
message in several frames each is taken as a packet of its own, and counted as whatever is wrong with it.
"""

import math

import zmq

from cortexwire.config import IngestSettings
from cortexwire.errors import ConfigError
from cortexwire.runtime.curve import CurveServer
from cortexwire.runtime.rundir import SocketFile

_LONGEST_MESSAGE_BYTES = 64 * 1024 * 1024
"""A peer that sends more is disconnected; 64 MiB is 8 s of 96 channels at 30 kHz, far beyond any packet."""


class Ingest:
    """A blocking receiver of packets for one thread, without asyncio.

    Args:
        settings: Endpoint, kind of socket, bind or connect, depth of the queue.
        context: ZeroMQ context whose I/O thread serves the socket.
        curve: Protects it where other machines reach it.

    Raises:
        ConfigError: The endpoint cannot be bound or connected to.
    """

    def __init__(
        self, settings: IngestSettings, context: zmq.Context[zmq.Socket[bytes]], curve: CurveServer | None = None
    ) -> None:
        pull = settings.socket == "pull"
        self._socket = context.socket(zmq.PULL if pull else zmq.SUB)
        self._timeout_ms = -1
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVHWM, max(1, math.ceil(settings.high_water_ms / settings.packet_ms)))
        self._socket.set(zmq.MAXMSGSIZE, _LONGEST_MESSAGE_BYTES)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        if curve is not None:
            curve.secure(self._socket, settings.endpoint)
        if not pull:
            self._socket.set(zmq.SUBSCRIBE, b"")
        try:
            if settings.bind:
                self._socket.bind(settings.endpoint)
            else:
                self._socket.connect(settings.endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            verb = "bind" if settings.bind else "connect to"
            raise ConfigError(
                f"ingest.endpoint: cannot {verb} {settings.endpoint}: {zmq.strerror(error.errno or 0)}"
            ) from error
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        self._file = SocketFile(self.endpoint) if settings.bind else None

    def receive(self, timeout_ms: int) -> bytes | None:
        """Wait for the next packet for at most `timeout_ms` (0 does not wait); return None when none came."""
        if timeout_ms != self._timeout_ms:
            self._socket.set(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        try:
            return self._socket.recv()
        except zmq.Again:
            return None

    def try_receive(self) -> bytes | None:
        """Return the next packet if one is there."""
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def close(self) -> None:
        """Close the socket; what is queued is dropped."""
        if self._file is not None:
            self._file.remove()
        self._socket.close()

"""The synthetic rig on the wire: packets on an absolute schedule, so that it neither drifts nor drops.

A packet is due when its last sample would have been acquired. It is made before that, sent at once when due,
and one that is behind goes out without waiting; how far behind is counted, never hidden.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import zmq

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.simulator import Simulator
from cortexwire.clients.sockets import close_sender, open_sender
from cortexwire.errors import ConfigError
from cortexwire.wire import MarkerCode, PacketEncoder, make_markers

_POLL_S = 0.05
_CLOSE_S = 5.0
_STOPPED_CLOSE_S = 1.0


@dataclass(frozen=True)
class SimulatorSummary:
    """What a run of the simulator sent.

    Attributes:
        epoch: Name of the stream.
        packets: Signal packets sent.
        samples: Samples sent.
        seconds: Signal time sent.
        late_packets: Packets sent more than their own length after they were due.
        max_lag_ms: The longest that a packet was behind.
        cpu_share: Processor time of the sending thread per second of real time.
        interrupted: Whether it was stopped before its time.
    """

    epoch: int
    packets: int
    samples: int
    seconds: float
    late_packets: int
    max_lag_ms: float
    cpu_share: float
    interrupted: bool


def run_simulator(
    endpoint: str,
    settings: SimulatorSettings,
    packet_samples: int = 30,
    *,
    socket: Literal["pub", "push"] = "pub",
    bind: bool = True,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    queue_ms: float = 1000.0,
    epoch: int | None = None,
    source: int = 0,
    on_ready: Callable[[str], None] | None = None,
    curve: CurveClient | None = None,
) -> SimulatorSummary:
    """Send the simulated rig in real time until `seconds` have passed, `stop` is set, or Ctrl-C.

    With `push` the clock starts when the first peer takes the descriptor, and a slow peer makes the rig
    late; with `pub` it starts at once, and what a subscriber has not taken after `queue_ms` of signal is
    dropped by its queue.

    Args:
        endpoint: ZeroMQ endpoint.
        settings: Settings of the rig.
        packet_samples: Samples in a signal packet.
        socket: Kind of socket.
        bind: Whether to bind (or else connect).
        seconds: Signal time to send; endlessly when `None`.
        stop: Ends the run early.
        queue_ms: High-water mark in milliseconds of signal.
        epoch: Name of the stream; random when `None`.
        source: Number of the source.
        on_ready: Called with the endpoint, its port resolved, once the socket stands.
        curve: Keys, for an engine that wants them.

    Raises:
        ConfigError: The packet size is not positive, or the endpoint cannot be used.
    """
    if packet_samples < 1:
        raise ConfigError(f"simulator: expected packets of at least one sample, got {packet_samples}")
    simulator = Simulator(settings)
    # Compiles, or loads, the kernels before the clock starts.
    simulator.read(0, 1)
    encoder = PacketEncoder(
        simulator.rate,
        simulator.n_channels,
        simulator.descriptor,
        settings.uv_per_bit,
        epoch=epoch,
        source=source,
    )
    queue = max(2, round(queue_ms * settings.rate_hz / 1000 / packet_samples))
    stop = stop or threading.Event()
    with zmq.Context() as context:
        try:
            out = open_sender(context, socket, endpoint, bind, queue, curve)
        except ConfigError as error:
            raise ConfigError(f"simulator: expected a usable endpoint, got {endpoint!r}: {error}") from error
        finished = False
        try:
            out.setsockopt(zmq.SNDTIMEO, round(_POLL_S * 1000))
            if on_ready is not None:
                on_ready(out.getsockopt_string(zmq.LAST_ENDPOINT))
            run = _Run(simulator, encoder, out, packet_samples, stop)
            summary = run.until(None if seconds is None else round(seconds * settings.rate_hz))
            finished = not summary.interrupted
            return summary
        finally:
            if finished:
                close_sender(out, _CLOSE_S, stop)
            else:
                close_sender(out, _STOPPED_CLOSE_S)


class _StopError(Exception):
    """Somebody asked for the end of the run."""


class _Run:
    """One run: the schedule, and what was sent."""

    def __init__(
        self,
        simulator: Simulator,
        encoder: PacketEncoder,
        out: "zmq.Socket[bytes]",
        packet_samples: int,
        stop: threading.Event,
    ) -> None:
        self._simulator = simulator
        self._encoder = encoder
        self._out = out
        self._size = packet_samples
        self._stop = stop
        self._second = simulator.rate.num // simulator.rate.den
        self._origin_ns = 0
        self._frames = 0
        self._packets = 0
        self._samples = 0
        self._late = 0
        self._max_lag_ns = 0
        self._edges = simulator.trial_edges(self._second)

    def until(self, n_samples: int | None) -> SimulatorSummary:
        """Send `n_samples` (or endlessly), then the end of the stream."""
        interrupted = False
        began_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        try:
            self._send(self._encoder.descriptor_packet(0))
            self._origin_ns = time.monotonic_ns()
            described = 0
            while n_samples is None or self._samples < n_samples:
                first = self._samples
                last = first + self._size if n_samples is None else min(first + self._size, n_samples)
                if first // self._second > described:
                    described = first // self._second
                    self._send(self._encoder.descriptor_packet(first))
                    self._edges = self._simulator.trial_edges(last + self._second)
                self._send_packet(first, last)
        except (_StopError, KeyboardInterrupt):
            interrupted = True
        self._send_end()
        took_ns = max(1, time.monotonic_ns() - began_ns)
        return SimulatorSummary(
            epoch=self._encoder.epoch,
            packets=self._packets,
            samples=self._samples,
            seconds=self._samples / self._simulator.settings.rate_hz,
            late_packets=self._late,
            max_lag_ms=self._max_lag_ns / 1e6,
            cpu_share=(time.thread_time_ns() - cpu_ns) / took_ns,
            interrupted=interrupted,
        )

    def _send_packet(self, first: int, last: int) -> None:
        samples = self._simulator.read(first, last)
        asides = self._asides(first, last)
        due_ns = self._origin_ns + self._duration_ns(last)
        self._wait(due_ns)
        for aside in asides:
            self._send(aside)
        now_ns = time.monotonic_ns()
        self._send(self._encoder.wideband(first, samples, acquired_ns=due_ns, sent_ns=now_ns))
        self._samples = last
        self._packets += 1
        lag_ns = time.monotonic_ns() - due_ns
        self._late += lag_ns > self._duration_ns(last - first)
        self._max_lag_ns = max(self._max_lag_ns, lag_ns)

    def _asides(self, first: int, last: int) -> list[bytes]:
        """Make what goes before the signal of `[first, last)`: its columns and trial markers."""
        asides = []
        samples, values = self._simulator.columns(first, last)
        if len(samples):
            asides.append(self._encoder.columns(first, samples - first, values))
        low, high = np.searchsorted(self._edges, (first, last + 1))
        rows = [row for number in range(low, high) for row in self._edge_markers(number, first, last)]
        if rows:
            asides.append(self._encoder.markers(first, make_markers(*zip(*rows, strict=True))))
        return asides

    def _edge_markers(self, number: int, first: int, last: int) -> list[tuple[int, int, float]]:
        """Give offset, code and trial of the markers at an edge: the end before it, the start behind it."""
        edge = int(self._edges[number])
        rows = []
        if number and first < edge:
            rows.append((edge - 1 - first, int(MarkerCode.TRIAL_END), number - 1.0))
        if edge < last:
            rows.append((edge - first, int(MarkerCode.TRIAL_START), float(number)))
        return rows

    def _send_end(self) -> None:
        """Send the end of the stream, unless nobody takes it; a frame made but not sent leaves no gap."""
        self._encoder.sequence = self._frames
        self._out.setsockopt(zmq.SNDTIMEO, round(1000 * _STOPPED_CLOSE_S))
        with suppress(zmq.Again):
            self._out.send(self._encoder.end(self._samples, sent_ns=time.monotonic_ns()))

    def _duration_ns(self, n_samples: int) -> int:
        rate = self._simulator.rate
        return n_samples * 1_000_000_000 * rate.den // rate.num

    def _wait(self, due_ns: int) -> None:
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            self._check()
            time.sleep(min(left_ns / 1e9, _POLL_S))
        self._check()

    def _send(self, frame: bytes) -> None:
        while True:
            try:
                self._out.send(frame)
            except zmq.Again:
                self._check()
            else:
                self._frames += 1
                return

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StopError

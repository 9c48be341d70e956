"""What the demo hears: outputs of the engine and the intended movement of the simulator, and what follows from them.

A thread does nothing but receive, so that the time at which a velocity came is taken at once, whatever the view is
busy with.
"""

import contextlib
import threading
import time
from array import array
from collections import deque
from typing import Final, Protocol

import numpy as np
import zmq
from numpy.typing import NDArray

from cortexwire.errors import PacketError
from cortexwire.wire import (
    Clock,
    Columns,
    Kind,
    OutFlag,
    OutKind,
    Output,
    Validity,
    decode_output,
    decode_packet,
    subscription,
)

TRAIL_BINS: Final = 150
"""Bins that the view looks back."""
LEAK_S: Final = 1.5
"""Time constant with which both cursors drift back to the middle, so that neither wanders out of the box."""
RATE_S: Final = 0.5
"""Time constant of the rates shown."""

_POLL_MS = 50


class DemoRecord:
    """Everything received so far; one thread adds to it, others read.

    Attributes:
        decoded: Decoded bins.
        safe: Safe messages.
        late: Decoded bins past their deadline.
        not_valid: Decoded bins that were partial or stale.
        damaged: Messages that broke the protocol.
        last: The newest output.
        latencies_ms: From closing packet sent to velocity received, one a decoded bin.
        velocities: Decoded velocity of the last bins, `(vx, vy)`.
        intents: Intended velocity at the same bins.
        cursor: Where the decoded velocity has taken the cursor.
        target: Where the intended velocity has.
        rates_hz: Crossings per second, smoothed, `(n_channels,)`.

    Args:
        n_channels: Channels of the stream.
        bin_ms: Width of a bin.
    """

    def __init__(self, n_channels: int, bin_ms: float) -> None:
        self.decoded = self.safe = self.late = self.not_valid = self.damaged = 0
        self.last: Output | None = None
        self.latencies_ms = array("d")
        self.velocities: deque[tuple[float, float]] = deque(maxlen=TRAIL_BINS)
        self.intents: deque[tuple[float, float]] = deque(maxlen=TRAIL_BINS)
        self.cursor: deque[tuple[float, float]] = deque(maxlen=TRAIL_BINS)
        self.target: deque[tuple[float, float]] = deque(maxlen=TRAIL_BINS)
        self.rates_hz: NDArray[np.float64] = np.zeros(n_channels)
        self._bin_s = bin_ms / 1000
        self._bins = array("q")
        self._ends = array("q")
        self._decoded = array("d")
        self._samples = array("q")
        self._intended = array("d")

    @property
    def seconds(self) -> float:
        """Signal decoded."""
        return self.decoded * self._bin_s

    @property
    def missing_bins(self) -> int:
        """Bins between the first and the last decoded one that did not come, or came twice."""
        return self._bins[-1] - self._bins[0] + 1 - len(self._bins) if self._bins else 0

    def take_output(self, output: Output, received_ns: int) -> None:
        """Take one output that came at `received_ns`, CLOCK_MONOTONIC."""
        self.last = output
        if output.kind is OutKind.SAFE:
            self.safe += 1
            return
        velocity = output.tensors["velocity"]
        vx, vy = float(velocity[0]), float(velocity[1])
        self._bins.append(output.bin)
        self._ends.append(output.end_sample)
        self._decoded.extend((vx, vy))
        self.decoded += 1
        self.late += OutFlag.LATE in output.flags
        self.not_valid += output.validity is not Validity.VALID
        if output.clocks.sent == Clock.MONOTONIC:
            self.latencies_ms.append((received_ns - output.times.sent_ns) / 1e6)
        intended = (self._intended[-2], self._intended[-1]) if self._intended else (0.0, 0.0)
        self.velocities.append((vx, vy))
        self.intents.append(intended)
        self.cursor.append(self._moved(self.cursor, (vx, vy)))
        self.target.append(self._moved(self.target, intended))
        counts = output.tensors.get("counts")
        if counts is not None and len(counts) == len(self.rates_hz):
            share = self._bin_s / RATE_S
            self.rates_hz = (1 - share) * self.rates_hz + share * counts / self._bin_s

    def take_columns(self, first_sample: int, columns: Columns) -> None:
        """Take rows of the simulator's columns, of which the first two are the intended velocity."""
        for offset, row in zip(columns.offsets.tolist(), columns.values.tolist(), strict=True):
            self._samples.append(first_sample + offset)
            self._intended.extend(row[:2])

    def scored(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Intended and decoded velocity at the last sample of each decoded bin, `(n_bins, 2)` each.

        Bins before the first or after the last row of columns are left out.
        """
        n, m = len(self._ends), len(self._samples)
        at = np.array(self._ends[:n], np.float64) - 1
        decoded = np.array(self._decoded[: 2 * n]).reshape(-1, 2)
        samples = np.array(self._samples[:m], np.float64)
        intended = np.array(self._intended[: 2 * m]).reshape(-1, 2)
        if not m:
            return np.empty((0, 2)), np.empty((0, 2))
        inside = (at >= samples[0]) & (at <= samples[-1])
        true = np.stack([np.interp(at[inside], samples, axis) for axis in intended.T], axis=1)
        return true, decoded[inside]

    def _moved(self, trail: deque[tuple[float, float]], velocity: tuple[float, float]) -> tuple[float, float]:
        x, y = trail[-1] if trail else (0.0, 0.0)
        keep = 1 - self._bin_s / LEAK_S
        return keep * x + velocity[0] * self._bin_s, keep * y + velocity[1] * self._bin_s


class _Take(Protocol):
    def __call__(self, frame: bytes, received_ns: int, /) -> None:
        """Take one message."""


class Receiver:
    """Fills a record from two subscriptions until it is closed.

    Args:
        record: What to fill.
        outputs: Where the engine publishes.
        rig: Where the simulator publishes; only its columns are subscribed to.
    """

    def __init__(self, record: DemoRecord, outputs: str, rig: str) -> None:
        self._record = record
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._outputs = self._subscribe(outputs, b"")
        self._rig = self._subscribe(rig, subscription(Kind.COLUMNS))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="cortexwire-demo", daemon=True)
        self._thread.start()

    def _subscribe(self, endpoint: str, prefix: bytes) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SUB)
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.RECONNECT_IVL, 10)
        socket.set(zmq.SUBSCRIBE, prefix)
        socket.connect(endpoint)
        return socket

    def _receive(self) -> None:
        poller = zmq.Poller()
        poller.register(self._outputs, zmq.POLLIN)
        poller.register(self._rig, zmq.POLLIN)
        while not self._stop.is_set():
            poller.poll(_POLL_MS)
            # Columns first: the intended velocity of a bin is sent before the packet that closes it.
            self._drain(self._rig, self._take_columns)
            self._drain(self._outputs, self._take_output)

    def _drain(self, socket: zmq.Socket[bytes], take: _Take) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                frame = socket.recv(zmq.NOBLOCK)
                received_ns = time.monotonic_ns()
                try:
                    take(frame, received_ns)
                except PacketError:
                    self._record.damaged += 1

    def _take_columns(self, frame: bytes, _received_ns: int) -> None:
        packet = decode_packet(frame)
        assert isinstance(packet.data, Columns)
        self._record.take_columns(packet.sample_index, packet.data)

    def _take_output(self, frame: bytes, received_ns: int) -> None:
        self._record.take_output(decode_output(frame), received_ns)

    def close(self) -> None:
        """Stop receiving; safe to call twice."""
        self._stop.set()
        self._thread.join()
        self._context.destroy(0)

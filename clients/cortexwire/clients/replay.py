"""Sends a recorded session as a rig would: on time, `k` times as fast, or as fast as the receiver takes it.

The schedule is absolute: a packet is due when its last sample would have been acquired, counted from the
start, so a late packet never makes the next ones later. `sent_ns` is stamped just before sending.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event
from typing import Final, Literal

import zmq

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.sockets import (
    DEFAULT_HWM_MS,
    SocketKind,
    close_sender,
    hwm_packets,
    open_sender,
    wait_for_peer,
)
from cortexwire.errors import ConfigError
from cortexwire.sessions.packets import PacketSizes, session_packets
from cortexwire.sessions.session import Session
from cortexwire.types import Rate
from cortexwire.wire import Clock, Kind, Packet, encode_packet, stamp_sent
from cortexwire.wire.header import Header, read_header

Speed = float | Literal["fast"]
"""Multiple of real time, or as fast as the receiver takes it."""

_NS: Final = 10**9
_NAP_S: Final = 0.05
"""Longest sleep between two looks at the stop event."""
_CLOSE_S: Final = 30.0
_STOPPED_CLOSE_S: Final = 0.5


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay has come; also its summary.

    Attributes:
        packets: Packets sent, of any kind.
        bytes: Bytes of these packets.
        samples: Samples covered by the signal packets sent.
        seconds: Time since the first packet.
        lag_ms: How late the last signal packet was sent; 0 when sending as fast as possible.
        lag_max_ms: The latest of all.
        stopped: Whether it was stopped before the end.
    """

    packets: int = 0
    bytes: int = 0
    samples: int = 0
    seconds: float = 0.0
    lag_ms: float = 0.0
    lag_max_ms: float = 0.0
    stopped: bool = False


Progress = Callable[[ReplayProgress], None]


def replay(
    session: Session,
    endpoint: str,
    packet_samples: PacketSizes | None = None,
    *,
    socket: SocketKind = "push",
    bind: bool = False,
    speed: Speed = 1.0,
    loop: bool = False,
    start_s: float = 0.0,
    stop_s: float | None = None,
    epoch: int | None = None,
    hwm_ms: float = DEFAULT_HWM_MS,
    wait_s: float = 10.0,
    stop: Event | None = None,
    progress: Progress | None = None,
    curve: CurveClient | None = None,
) -> ReplayProgress:
    """Send a session over ZeroMQ.

    Args:
        session: The recording.
        endpoint: `tcp://host:port` or `ipc://path`.
        packet_samples: Samples per packet; about 1 ms by default.
        socket: `push` waits for the receiver, `pub` drops what a subscriber has no room for.
        bind: Whether to bind rather than connect.
        speed: Multiple of real time, or `fast`, which needs `push`.
        loop: Whether to go on from the start at the end, sample indices running on.
        start_s: Where to begin, in seconds of the recording.
        stop_s: Where to end; its end when `None`.
        epoch: Name of this start of the stream; random when `None`.
        hwm_ms: High-water mark in milliseconds of signal.
        wait_s: How long to wait for a receiver before the first packet; 0 does not wait.
        stop: Set it to stop; a Ctrl-C does the same. The stream is then ended properly.
        progress: Called about once a second.
        curve: Keys, for an engine that wants them.

    Raises:
        ConfigError: The settings cannot work, or no receiver came.
    """
    rate = session.rate
    if packet_samples is None:
        packet_samples = max(1, round(rate.hz / 1000))
    first = round(start_s * rate.hz)
    last = session.n_samples if stop_s is None else min(session.n_samples, round(stop_s * rate.hz))
    frames = session_packets(session, packet_samples, epoch, first, last, passes=None if loop else 1)
    per_packet = packet_samples if isinstance(packet_samples, int) else rate.hz / 1000
    hwm = hwm_packets(hwm_ms, rate, per_packet)
    return send_frames(
        frames,
        endpoint,
        socket=socket,
        bind=bind,
        speed=speed,
        hwm=hwm,
        wait_s=wait_s,
        stop=stop,
        progress=progress,
        curve=curve,
    )


def send_frames(
    frames: Iterable[bytes],
    endpoint: str,
    *,
    socket: SocketKind = "push",
    bind: bool = False,
    speed: Speed = 1.0,
    hwm: int = 1000,
    wait_s: float = 10.0,
    stop: Event | None = None,
    progress: Progress | None = None,
    curve: CurveClient | None = None,
) -> ReplayProgress:
    """Send packets on the schedule of their own sample indices; arguments as in `replay`, `hwm` in packets.

    Raises:
        ConfigError: The settings cannot work, or no receiver came.
    """
    if speed == "fast" and socket == "pub":
        raise ConfigError("replay: speed 'fast' needs a push socket: pub would drop what is not taken in time")
    if speed != "fast" and not speed > 0:
        raise ConfigError(f"replay: expected a speed above 0 or 'fast', got {speed}")
    with zmq.Context() as context:
        sender = _Sender(open_sender(context, socket, endpoint, bind, hwm, curve), speed, stop or Event(), progress)
        try:
            if wait_s and not wait_for_peer(sender.socket, wait_s, sender.stop):
                raise ConfigError(f"replay: expected a receiver at {endpoint} within {wait_s} s, none came")
            return sender.run(frames)
        finally:
            if sender.finished:
                close_sender(sender.socket, _CLOSE_S, sender.stop)
            else:
                close_sender(sender.socket, _STOPPED_CLOSE_S)


class _Sender:
    """Sends frames one after the other, each when it is due, until it is stopped."""

    def __init__(self, socket: zmq.Socket[bytes], speed: Speed, stop: Event, progress: Progress | None) -> None:
        self.socket = socket
        self.stop = stop
        self.finished = False
        self._speed = speed
        self._progress = progress
        self._packets = self._bytes = self._samples = 0
        self._lag_ns = self._lag_max_ns = 0
        self._began_ns = self._reported_ns = 0
        self._first_sample = 0
        self._sequence = 0
        self._last_signal: Header | None = None

    def run(self, frames: Iterable[bytes]) -> ReplayProgress:
        """Send all frames, or those before the stop."""
        self._began_ns = self._reported_ns = time.monotonic_ns()
        try:
            self.finished = all(self._send_on_time(frame) for frame in frames)
        except KeyboardInterrupt:
            self.stop.set()
        if not self.finished:
            self._send_end()
        return self._state(stopped=not self.finished)

    def _send_on_time(self, frame: bytes) -> bool:
        """Send one frame when it is due; false when stopped instead."""
        header = read_header(frame)
        due_ns = 0
        if header.n_samples and self._speed != "fast":
            if self._last_signal is None:
                self._first_sample = header.sample_index
            covered = header.sample_index + header.n_samples - self._first_sample
            seconds = covered * header.rate_den / header.rate_num / self._speed
            due_ns = self._began_ns + round(seconds * _NS)
        if not (self._sleep_until(due_ns) and self._send(frame)):
            return False
        self._sequence = header.sequence
        if header.n_samples:
            self._samples += header.n_samples
            self._last_signal = header
        if due_ns:
            self._lag_ns = max(0, time.monotonic_ns() - due_ns)
            self._lag_max_ns = max(self._lag_max_ns, self._lag_ns)
        return True

    def _sleep_until(self, due_ns: int) -> bool:
        """Sleep on the absolute schedule; false when stopped."""
        while not self.stop.is_set():
            left_s = (due_ns - time.monotonic_ns()) / _NS
            if left_s <= 0:
                return True
            time.sleep(min(left_s, _NAP_S))
        return False

    def _send(self, frame: bytes) -> bool:
        while not self.stop.is_set():
            now_ns = time.monotonic_ns()
            if self._progress is not None and now_ns - self._reported_ns >= _NS:
                self._reported_ns = now_ns
                self._progress(self._state())
            try:
                self.socket.send(stamp_sent(frame, time.monotonic_ns()), zmq.NOBLOCK)
            except zmq.Again:
                self.socket.poll(round(_NAP_S * 1000), zmq.POLLOUT)
                continue
            self._packets += 1
            self._bytes += len(frame)
            return True
        return False

    def _send_end(self) -> None:
        """End a stream that was stopped, if the socket soon takes one more packet."""
        last = self._last_signal
        if last is None:
            return
        end = Packet(
            kind=Kind.END,
            epoch=last.epoch,
            sequence=self._sequence + 1,
            sample_index=last.sample_index + last.n_samples,
            n_samples=0,
            n_channels=last.n_channels,
            rate=Rate(last.rate_num, last.rate_den),
            uv_per_bit=last.uv_per_bit,
            descriptor_hash=last.descriptor_hash,
            source=last.source,
            flags=0,
            acquired_ns=0,
            acquired_clock=Clock.NONE,
            sent_ns=time.monotonic_ns(),
            sent_clock=Clock.MONOTONIC,
            data=None,
        )
        frame = encode_packet(end)
        if not self.socket.poll(round(1000 * _STOPPED_CLOSE_S), zmq.POLLOUT):
            return
        self.socket.send(frame)
        self._packets += 1
        self._bytes += len(frame)

    def _state(self, stopped: bool = False) -> ReplayProgress:
        return ReplayProgress(
            self._packets,
            self._bytes,
            self._samples,
            (time.monotonic_ns() - self._began_ns) / _NS,
            self._lag_ns / 1e6,
            self._lag_max_ns / 1e6,
            stopped,
        )

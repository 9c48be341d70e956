"""Sends the packets of a log as they came: the same bytes, each as long after the first as it was then.

Whatever came is sent, packets that no engine could read included, so that what happened to an engine happens again.
Times of sending inside the packets are those of the recording, unless they are to be stamped anew. Where the clock of
the recording goes back (another boot), the schedule goes on from the packet before.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from struct import Struct
from threading import Event
from typing import Final, NamedTuple
from zlib import crc32

import zmq

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.replay import Progress, ReplayProgress, Speed
from cortexwire.clients.sockets import DEFAULT_HWM_MS, SocketKind, close_sender, hwm_packets, open_sender, wait_for_peer
from cortexwire.errors import ConfigError, PacketError
from cortexwire.sessions.log import Fault, Log
from cortexwire.types import Rate
from cortexwire.wire import HEADER_BYTES, RecordKind, stamp_sent
from cortexwire.wire.header import read_header

_NS: Final = 10**9
_LOOKED_AT: Final = 100
_NAP_S: Final = 0.05
_CLOSE_S: Final = 30.0
_STOPPED_CLOSE_S: Final = 0.5
_U64: Final = Struct("<Q")
_EPOCH_AT: Final = 8
_CRC_AT: Final = 124


class TimedFrame(NamedTuple):
    """A frame, and when it is due after the first, in nanoseconds."""

    due_ns: int
    frame: bytes


def log_frames(log: Log, start_s: float = 0.0, stop_s: float | None = None) -> Iterator[TimedFrame]:
    """The packets of a log, in the order in which an engine took them.

    Args:
        log: The log.
        start_s: Where to begin, in seconds after the first record.
        stop_s: Where to end; the end of the log when None.
    """
    first = next(iter(log.records()), None)
    if first is None:
        return
    begin_ns = first.t_ns + round(start_s * _NS)
    stop_ns = None if stop_s is None else first.t_ns + round(stop_s * _NS)
    last: int | None = None
    due = 0
    for item in log.walk(log.seek_time(begin_ns) if start_s else None):
        if isinstance(item, Fault) or item.kind is not RecordKind.PACKET or item.t_ns < begin_ns:
            continue
        if stop_ns is not None and item.t_ns >= stop_ns:
            return
        due += 0 if last is None else max(0, item.t_ns - last)
        last = item.t_ns
        yield TimedFrame(due, bytes(item.payload))


def renamed(frames: Iterable[TimedFrame], epoch: int) -> Iterator[TimedFrame]:
    """The same with the first epoch called `epoch`, and other epochs other than that; what is no packet stays."""
    change: int | None = None
    for timed in frames:
        try:
            own = read_header(timed.frame).epoch
        except PacketError:
            yield timed
            continue
        change = own ^ epoch if change is None else change
        head = bytearray(timed.frame[:HEADER_BYTES])
        _U64.pack_into(head, _EPOCH_AT, own ^ change)
        head[_CRC_AT:] = crc32(head[:_CRC_AT]).to_bytes(4, "little")
        yield timed._replace(frame=bytes(head) + timed.frame[HEADER_BYTES:])


def send_timed(
    frames: Iterable[TimedFrame],
    endpoint: str,
    *,
    socket: SocketKind = "push",
    bind: bool = False,
    speed: Speed = 1.0,
    stamp: bool = False,
    hwm_ms: float = DEFAULT_HWM_MS,
    wait_s: float = 10.0,
    stop: Event | None = None,
    progress: Progress | None = None,
    curve: CurveClient | None = None,
) -> ReplayProgress:
    """Send frames when they are due.

    Args:
        frames: The frames.
        endpoint: `tcp://host:port` or `ipc://path`.
        socket: `push` waits for the receiver, `pub` drops what a subscriber has no room for.
        bind: Whether to bind rather than connect.
        speed: Multiple of real time, or `fast`, which needs `push`.
        stamp: Whether packets get the time of this sending.
        hwm_ms: High-water mark in milliseconds of signal, by the first packet that has any.
        wait_s: How long to wait for a receiver before the first packet; 0 does not wait.
        stop: Set it to stop; a Ctrl-C does the same. Nothing is added to what was sent.
        progress: Called about once a second.
        curve: Keys, for an engine that wants them.

    Raises:
        ConfigError: The settings cannot work, or no receiver came.
    """
    if speed == "fast" and socket == "pub":
        raise ConfigError("replay: speed 'fast' needs a push socket: pub would drop what is not taken in time")
    if speed != "fast" and not speed > 0:
        raise ConfigError(f"replay: expected a speed above 0 or 'fast', got {speed}")
    stop = stop or Event()
    hwm, frames = _high_water(frames, hwm_ms)
    with zmq.Context() as context:
        sender = open_sender(context, socket, endpoint, bind, hwm, curve)
        finished = False
        try:
            if wait_s and not wait_for_peer(sender, wait_s, stop):
                raise ConfigError(f"replay: expected a receiver at {endpoint} within {wait_s} s, none came")
            state = _send(sender, frames, speed, stamp, stop, progress)
            finished = not state.stopped
            return state
        finally:
            close_sender(sender, _CLOSE_S if finished else _STOPPED_CLOSE_S, stop if finished else None)


def _send(
    sender: zmq.Socket[bytes],
    frames: Iterable[TimedFrame],
    speed: Speed,
    stamp: bool,
    stop: Event,
    progress: Progress | None,
) -> ReplayProgress:
    began = told = time.monotonic_ns()
    packets = sent_bytes = samples = lag = most = 0
    stopped = False

    def state() -> ReplayProgress:
        seconds = (time.monotonic_ns() - began) / _NS
        return ReplayProgress(packets, sent_bytes, samples, seconds, lag / 1e6, most / 1e6, stopped)

    try:
        for due_ns, frame in frames:
            due = began if speed == "fast" else began + round(due_ns / speed)
            n_samples = _samples_in(frame)
            if not _sleep_until(due, stop) or not _put(sender, _stamped(frame, n_samples) if stamp else frame, stop):
                stopped = True
                break
            now = time.monotonic_ns()
            packets, sent_bytes = packets + 1, sent_bytes + len(frame)
            samples += n_samples or 0
            lag = 0 if speed == "fast" else max(0, now - due)
            most = max(most, lag)
            if progress is not None and now - told >= _NS:
                told = now
                progress(state())
    except KeyboardInterrupt:
        stop.set()
        stopped = True
    return state()


def _high_water(frames: Iterable[TimedFrame], hwm_ms: float) -> tuple[int, Iterable[TimedFrame]]:
    """The packets that hold so much signal, and the frames with those that had to be looked at put back."""
    rest, seen = iter(frames), []
    for timed in islice(rest, _LOOKED_AT):
        seen.append(timed)
        with suppress(PacketError):
            header = read_header(timed.frame)
            if header.n_samples:
                return hwm_packets(hwm_ms, Rate(header.rate_num, header.rate_den), header.n_samples), chain(seen, rest)
    return _LOOKED_AT, chain(seen, rest)


def _samples_in(frame: bytes) -> int | None:
    """Samples that a packet covers; None for what is no packet."""
    try:
        return read_header(frame).n_samples
    except PacketError:
        return None


def _stamped(frame: bytes, n_samples: int | None) -> bytes:
    return frame if n_samples is None else stamp_sent(frame, time.monotonic_ns())


def _sleep_until(due_ns: int, stop: Event) -> bool:
    """Sleep on the absolute schedule; false when stopped."""
    while not stop.is_set():
        left_s = (due_ns - time.monotonic_ns()) / _NS
        if left_s <= 0:
            return True
        time.sleep(min(left_s, _NAP_S))
    return False


def _put(sender: zmq.Socket[bytes], frame: bytes, stop: Event) -> bool:
    """Send one frame as soon as there is room; false when stopped."""
    while not stop.is_set():
        try:
            sender.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            sender.poll(round(_NAP_S * 1000), zmq.POLLOUT)
            continue
        return True
    return False

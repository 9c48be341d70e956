"""A session as the packets that a rig would have sent: descriptor, columns, markers, signal, end.

What is sent about a sample never depends on the packet size: only where the cuts fall does. Columns and
markers go before the signal packet that covers their sample; the descriptor goes first, and again once a
second. Of a session that names `gaps`, `(n, 2)`, the samples in them are not sent, and no packet reaches over one.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.sessions.session import DEFAULT_COLUMN_MS, Session
from cortexwire.wire import Clock, MarkerCode, PacketEncoder, make_events, make_markers

PacketSizes = int | Iterable[int] | Callable[[], int]
"""Samples per packet: one number, one after the other, or asked for each time."""


def session_packets(
    session: Session,
    packet_samples: PacketSizes,
    epoch: int | None = None,
    start: int = 0,
    stop: int | None = None,
    *,
    column_ms: float = DEFAULT_COLUMN_MS,
    passes: int | None = 1,
    source: int = 0,
    payload_checksum: bool = False,
) -> Iterator[bytes]:
    """Give the packets of a session in the order of sending.

    Signal packets name as time of acquisition, on the device's clock, when their last sample ends.

    Args:
        session: The recording.
        packet_samples: Sizes of signal packets; recordings of counts are sent a recorded bin at a time.
        epoch: Name of this start of the stream; random when `None`.
        start: First sample.
        stop: One past the last sample; the recording's end when `None`.
        column_ms: Period of column rows.
        passes: How often the range is sent, sample indices running on; endlessly when `None`.
        source: Number of the source.
        payload_checksum: Whether payloads carry a checksum.

    Raises:
        ConfigError: The range or a packet size is impossible.
    """
    stop = session.n_samples if stop is None else stop
    if not 0 <= start < stop <= session.n_samples:
        raise ConfigError(f"session packets: expected a range within [0, {session.n_samples}), got [{start}, {stop})")
    encoder = PacketEncoder(
        session.rate,
        session.n_channels,
        session.descriptor,
        session.uv_per_bit,
        epoch=epoch,
        source=source,
        acquired_clock=Clock.DEVICE,
        payload_checksum=payload_checksum,
    )
    sender = _Sender(session, encoder, column_ms)
    sizes = _sizes(packet_samples)
    return _all_passes(sender, sizes, start, stop, passes)


def _all_passes(sender: "_Sender", sizes: Iterator[int], start: int, stop: int, passes: int | None) -> Iterator[bytes]:
    shift = 0
    for _ in repeat(None) if passes is None else range(passes):
        yield from sender.send(sizes, start, stop, shift)
        shift += stop - start
    yield sender.encoder.end(start + shift)


def _sizes(packet_samples: PacketSizes) -> Iterator[int]:
    if isinstance(packet_samples, int):
        return repeat(packet_samples)
    if callable(packet_samples):
        return iter(packet_samples, None)
    return iter(packet_samples)


_Cut = tuple[int, int, NDArray[Any] | None]
"""First sample, one past the last, and the counts of a recorded bin."""


class _Sender:
    """Encodes ranges of a session, one after the other, as one stream."""

    def __init__(self, session: Session, encoder: PacketEncoder, column_ms: float) -> None:
        self.encoder = encoder
        self._session = session
        self._columns = _ColumnRows(session, column_ms)
        self._markers = _trial_markers(session)
        self._described = -1

    def send(self, sizes: Iterator[int], start: int, stop: int, shift: int) -> Iterator[bytes]:
        """Give the packets of `[start, stop)`, numbered from `start + shift`."""
        rate = self._session.rate
        for first, last, counts in self._cuts(sizes, start, stop):
            index = first + shift
            second = index * rate.den // rate.num
            if second != self._described:
                self._described = second
                yield self.encoder.descriptor_packet(index)
            yield from self._asides(first, last, index)
            yield self._signal(first, last, index, counts)

    def _cuts(self, sizes: Iterator[int], start: int, stop: int) -> Iterator[_Cut]:
        for first, last in _stretches(self._session, start, stop):
            yield from self._cut(sizes, first, last)

    def _cut(self, sizes: Iterator[int], start: int, stop: int) -> Iterator[_Cut]:
        if self._session.kind == "counts":
            edges, rows = self._session.counts(start, stop)
            for first, last, counts in zip(edges[:-1].tolist(), edges[1:].tolist(), rows, strict=True):
                if last <= stop:
                    yield first, last, counts
            return
        while start < stop:
            size = next(sizes, None)
            if size is None or size < 1:
                raise ConfigError(
                    f"session packets: expected a packet size of at least 1 at sample {start}, got {size}"
                )
            last = min(stop, start + size)
            yield start, last, None
            start = last

    def _asides(self, first: int, last: int, index: int) -> Iterator[bytes]:
        if self._session.column_names:
            samples, values = self._columns.between(first, last)
            if len(samples):
                yield self.encoder.columns(index, samples - first, values)
        low, high = np.searchsorted(self._markers["sample"], (first, last))
        if high > low:
            due = self._markers[low:high]
            yield self.encoder.markers(index, make_markers(due["sample"] - first, due["code"], due["trial"]))

    def _signal(self, first: int, last: int, index: int, counts: NDArray[Any] | None) -> bytes:
        rate = self._session.rate
        acquired_ns = (index + last - first) * 10**9 * rate.den // rate.num
        if counts is not None:
            return self.encoder.counts(index, last - first, counts, acquired_ns)
        if self._session.kind == "wideband":
            return self.encoder.wideband(index, self._session.wideband(first, last), acquired_ns)
        spikes = self._session.events(first, last)
        events = make_events(spikes["sample"] - first, spikes["channel"], spikes["unit"])
        return self.encoder.events(index, last - first, events, acquired_ns)


class _ColumnRows:
    """Column rows, read about a second at a time because asking for a packet's few samples is slow."""

    def __init__(self, session: Session, column_ms: float) -> None:
        self._session = session
        self._column_ms = column_ms
        self._start = self._stop = 0
        self._samples: NDArray[np.int64] = np.zeros(0, np.int64)
        self._values: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def between(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows in `[first, last)`: samples `(n,)` and values `(n, n_columns)`."""
        if not (self._start <= first and last <= self._stop):
            ahead = max(last - first, int(self._session.rate.hz))
            self._start, self._stop = first, min(self._session.n_samples, first + ahead)
            self._samples, self._values = self._session.column_rows(self._start, self._stop, self._column_ms)
        low, high = np.searchsorted(self._samples, (first, last))
        return self._samples[low:high], self._values[low:high]


def _stretches(session: Session, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that lie between the session's gaps."""
    for gap_start, gap_stop in np.asarray(getattr(session, "gaps", ())).reshape(-1, 2).tolist():
        if gap_start >= stop:
            break
        if start < gap_start:
            yield start, gap_start
        start = max(start, gap_stop)
    if start < stop:
        yield start, stop


def _trial_markers(session: Session) -> NDArray[np.void]:
    """All trial markers by sample: a start at the first sample of a trial, an end at its last."""
    trials = session.trials
    number = np.arange(len(trials))
    markers = np.zeros(2 * len(trials), [("sample", "<i8"), ("code", "<u4"), ("trial", "<f8")])
    markers["sample"] = np.concatenate((trials["start"], trials["stop"] - 1))
    markers["code"] = np.repeat((MarkerCode.TRIAL_START, MarkerCode.TRIAL_END), len(trials))
    markers["trial"] = np.concatenate((number, number))
    return markers[np.lexsort((markers["trial"], markers["sample"]))]

"""What is missing from a recording, counted: records from their numbers, samples from packet headers.

Of records that the recorder had and dropped everything is known. Of records that the ring overwrote before the
recorder came to them only their number is; the samples in them are those between the packet before and the packet
after, and the packets are as many as their sequence numbers say. Samples that the rig itself lost meanwhile are among
these: they are not in the log either.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Final

import msgspec

from cortexwire.errors import PacketError
from cortexwire.wire import RECORD_HEADER_BYTES, Kind, Loss, RecordKind, Span, decode_record_header
from cortexwire.wire.header import read_header

MOST_SPANS: Final = 256
"""Spans told apart in one loss; later samples of the same epoch then widen the last one."""

Content = bytes | bytearray | mmap

_SIGNAL: Final = frozenset({Kind.WIDEBAND, Kind.EVENTS, Kind.COUNTS})


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where in its stream a packet of signal stands.

    Attributes:
        epoch: Name of the stream.
        start: Its first sample.
        stop: One past its last sample.
        sequence: Its number.
    """

    epoch: int
    start: int
    stop: int
    sequence: int


def place_of(frame: bytes | memoryview) -> Place | None:
    """Where a frame stands in its stream; None for one that holds no signal or is damaged."""
    try:
        header = read_header(memoryview(frame))
    except PacketError:
        return None
    if header.kind not in _SIGNAL:
        return None
    return Place(header.epoch, header.sample_index, header.sample_index + header.n_samples, header.sequence)


def packets(buffer: Content, begin: int, ends: list[int]) -> Iterator[memoryview]:
    """The frames among records that lie one behind the other, the first at `begin`."""
    with memoryview(buffer).toreadonly() as view:
        at = begin
        for end in ends:
            header = decode_record_header(view, at)
            if header.kind is RecordKind.PACKET:
                start = at + RECORD_HEADER_BYTES
                with view[start : start + header.payload_bytes] as frame:
                    yield frame
            at = end


def first_place(buffer: Content, begin: int, ends: list[int]) -> Place | None:
    """The first packet of signal among records."""
    for frame in packets(buffer, begin, ends):
        place = place_of(frame)
        if place is not None:
            return place
    return None


def last_place(buffer: Content, begin: int, ends: list[int]) -> Place | None:
    """The last packet of signal among records."""
    for number in range(len(ends) - 1, -1, -1):
        start = ends[number - 1] if number else begin
        place = first_place(buffer, start, ends[number : number + 1])
        if place is not None:
            return place
    return None


def loss_between(before: Place | None, after: Place | None, records: int, why: str) -> Loss:
    """Say what so many records were that came between two packets of signal."""
    if before is None or after is None:
        known = () if before is None else (_span(before.epoch, before.stop, None),)
        return Loss(records=records, why=why, spans=known)
    if before.epoch != after.epoch or after.start < before.stop:
        spans = (_span(before.epoch, before.stop, None), _span(after.epoch, None, after.start))
        return Loss(records=records, why=why, spans=spans)
    between = after.sequence - before.sequence - 1
    return Loss(
        records=records,
        why=why,
        packets=between if 0 <= between <= records else None,
        samples=after.start - before.stop,
        spans=(_span(before.epoch, before.stop, after.start),) if after.start > before.stop else (),
    )


def _span(epoch: int, start: int | None, stop: int | None) -> Span:
    return Span(f"{epoch:016x}", start, stop)


class Tally:
    """Adds up what is missing in one place.

    Attributes:
        index: Number of the first record that is missing.
        records: How many are missing.
        packets: Packets among them, as far as they are known.
        samples: Samples in them, as far as they are known.

    Args:
        index: Number of the first record that is missing.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.records = self.packets = self.samples = 0
        self._packets_known = self._samples_known = True
        self._reasons: dict[str, None] = {}
        self._spans: list[Span] = []

    @property
    def why(self) -> str:
        """What became of them."""
        return ", ".join(self._reasons)

    @property
    def next_index(self) -> int:
        """Number of the first record behind those that are missing."""
        return self.index + self.records

    def drop(self, buffer: Content, begin: int, ends: list[int], why: str) -> None:
        """Count records that were there and are dropped."""
        self.records += len(ends)
        self._reasons[why] = None
        for frame in packets(buffer, begin, ends):
            self.packets += 1
            place = place_of(frame)
            if place is not None:
                self.samples += place.stop - place.start
                self._extend(place)

    def add(self, loss: Loss) -> None:
        """Count what somebody else has counted, behind what is here."""
        self.records += loss.records
        self.packets += loss.packets or 0
        self.samples += loss.samples or 0
        self._packets_known &= loss.packets is not None
        self._samples_known &= loss.samples is not None
        self._reasons[loss.why] = None
        self._spans += loss.spans

    def _extend(self, place: Place) -> None:
        if place.stop == place.start:
            return
        span = _span(place.epoch, place.start, place.stop)
        last = self._spans[-1] if self._spans else Span("", None, None)
        is_full = len(self._spans) >= MOST_SPANS
        follows = last.epoch == span.epoch and last.stop is not None
        if follows and (last.stop == place.start or (is_full and (last.stop or 0) < place.start)):
            self._spans[-1] = Span(last.epoch, last.start, place.stop)
        elif not is_full:
            self._spans.append(span)

    def loss(self) -> Loss:
        """Say it as a record does."""
        return Loss(
            records=self.records,
            why=self.why,
            packets=self.packets if self._packets_known else None,
            samples=self.samples if self._samples_known else None,
            spans=tuple(self._spans),
        )

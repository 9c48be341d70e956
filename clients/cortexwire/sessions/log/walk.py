"""The records of a log in order, and between them what is wrong, each where it stands.

A record that is no record is gone past: the next header in the segment whose checksum holds is where reading goes
on. What then is missing follows from the records' numbers. At the end of a segment nothing follows, and what is there
is a torn tail. Where a later segment begins with a number that was there already, its recorder took up from what was
durable, and the later records count.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from cortexwire.errors import PacketError
from cortexwire.sessions.log.faults import Fault, FaultKind
from cortexwire.sessions.log.segment import ALIGNMENT, Segment
from cortexwire.wire import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Loss,
    RecordHeader,
    RecordKind,
    decode_journal,
    decode_record,
    decode_record_header,
)

_HALF: Final = 1 << 31
_WRAP: Final = 1 << 32


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a log.

    Attributes:
        kind: What it holds.
        t_ns: The engine's CLOCK_MONOTONIC.
        index: Its number, 64 bits.
        payload: Its content, or as much of it as was asked for; read-only, and good for as long as it is kept.
        payload_bytes: Length of the whole content.
        segment: Which of `Log.segments` it is in.
        at: First byte of the record in that file.
    """

    kind: RecordKind
    t_ns: int
    index: int
    payload: memoryview
    payload_bytes: int
    segment: int
    at: int


class Place(msgspec.Struct, frozen=True):
    """Where a record begins.

    Attributes:
        segment: Which of `Log.segments`.
        at: Byte in its file.
        index: Number of the record there, if it is known.
    """

    segment: int = 0
    at: int = SEGMENT_HEADER_BYTES
    index: int | None = None


def limits_of(segments: Sequence[Segment]) -> list[int | None]:
    """For each segment the least first number of all later ones: its records from there on are superseded."""
    limits: list[int | None] = []
    least: int | None = None
    for segment in reversed(segments):
        limits.append(least)
        if segment.header is not None:
            least = segment.header.first_index if least is None else min(least, segment.header.first_index)
    return limits[::-1]


def unwrapped(low: int, near: int) -> int:
    """The 64-bit number nearest to `near` whose lowest 32 bits are `low`."""
    return near + (low - near + _HALF) % _WRAP - _HALF


class Walk:
    """One reading of segments, from a place to the end.

    Attributes:
        at: How far it has come: `(segment, byte)`.

    Args:
        segments: The segments, in order.
        start: Where to begin.
        head_bytes: Bytes of each payload to give, unchecked; None gives the whole, checked.
    """

    def __init__(self, segments: Sequence[Segment], start: Place, head_bytes: int | None = None) -> None:
        self.at = start.segment, start.at
        self._segments = segments
        self._start = start
        self._head = head_bytes
        self._limits = limits_of(segments)
        self._expected = start.index

    def __iter__(self) -> Iterator[LogRecord | Fault]:
        """Give records and faults in order."""
        for number in range(self._start.segment, len(self._segments)):
            segment = self._segments[number]
            here = number == self._start.segment
            if not here or self._start.at == SEGMENT_HEADER_BYTES:
                yield from self._opening(number)
            try:
                yield from self._through(number, self._start.at if here else SEGMENT_HEADER_BYTES)
            finally:
                segment.close()

    def _opening(self, number: int) -> Iterator[Fault]:
        """What is wrong with a segment as such."""
        segment = self._segments[number]
        due = self._segments[number - 1].number + 1 if number else 0
        index = -1 if self._expected is None else self._expected
        if segment.number > due:
            text = f"expected segment {due} before it, got {segment.number}"
            yield Fault(FaultKind.MISSING_SEGMENT, segment.name, 0, 0, index, 0, text)
        header = segment.header
        if header is None and segment.size < SEGMENT_HEADER_BYTES:
            last = number == len(self._segments) - 1
            text = f"expected a header of {SEGMENT_HEADER_BYTES} bytes, got {segment.size}; no record was begun"
            yield Fault(FaultKind.TORN, segment.name, 0, segment.size, index, 0, text, harmless=not last)
        elif header is None and not segment.is_blank(0):
            yield Fault(FaultKind.HEADER, segment.name, 0, SEGMENT_HEADER_BYTES, index, 0, segment.problem)
        elif header is not None and header.number != segment.number:
            text = f"expected the number of its name, {segment.number}, got {header.number}"
            yield Fault(FaultKind.HEADER, segment.name, 0, SEGMENT_HEADER_BYTES, header.first_index, 0, text)

    def _through(self, number: int, at: int) -> Iterator[LogRecord | Fault]:
        segment, limit = self._segments[number], self._limits[number]
        near = self._expected
        if at == SEGMENT_HEADER_BYTES and segment.header is not None:
            near = segment.header.first_index
            self._expected = near if self._expected is None else self._expected
        bad: int | None = None
        superseded: tuple[int, int, int] | None = None
        while at < segment.size:
            header, payload, end = self._take(segment, at)
            if header is None:
                bad = at if bad is None else bad
                following = self._resume(segment, at, end)
                if following is None:
                    break
                at = following
                continue
            index = header.index if near is None else unwrapped(header.index, near)
            if limit is not None and index >= limit:
                first, first_at, count = superseded or (index, at if bad is None else bad, 0)
                superseded = first, first_at, count + 1
                near, at, bad = index + 1, end, None
                continue
            again = self._expected is not None and index < self._expected and header.kind is not RecordKind.START
            if not again:
                yield from self._before(segment, index, at, bad)
                self.at = number, at
                self._expected = self._after(segment, at, header, index)
                yield LogRecord(header.kind, header.t_ns, index, payload, header.payload_bytes, number, at)
            else:
                text = f"expected record {self._expected} or later, got {index}"
                yield Fault(FaultKind.REPEATED, segment.name, at, end - at, index, 1, text)
            near, at, bad = self._expected, end, None
        if superseded is not None:
            first, first_at, count = superseded
            text = f"records {first} to {first + count - 1} are in a later segment too, and count there"
            n_bytes = (at if bad is None else bad) - first_at
            yield Fault(FaultKind.SUPERSEDED, segment.name, first_at, n_bytes, first, count, text, harmless=True)
        if bad is not None and not segment.is_blank(bad):
            yield self._torn(segment, bad, limit, superseded is not None)
        self.at = number, segment.size

    def _take(self, segment: Segment, at: int) -> tuple[RecordHeader | None, memoryview, int]:
        """The record at a byte, its payload and its end; without a header where it is none, and no end if unknown."""
        end = 0
        try:
            if self._head is None:
                view = segment.read(at, RECORD_HEADER_BYTES)
                header = decode_record_header(view)
                end = at + header.record_bytes
                return header, decode_record(segment.read(at, header.record_bytes)).payload, end
            header, view = segment.glance(at, RECORD_HEADER_BYTES + self._head)
            end = at + header.record_bytes
            if end > segment.size:
                return None, view, end
            stop = RECORD_HEADER_BYTES + min(self._head, header.payload_bytes)
            return header, view[RECORD_HEADER_BYTES:stop], end
        except PacketError:
            return None, memoryview(b""), end

    def _resume(self, segment: Segment, at: int, end: int) -> int | None:
        """Where to go on after what is no record at `at`: at its own end if its header holds, else at the next one."""
        if end and (end == segment.size or segment.next_header(end, end + ALIGNMENT) == end):
            return None if end == segment.size else end
        return segment.next_header(at + ALIGNMENT)

    def _before(self, segment: Segment, index: int, at: int, bad: int | None) -> Iterator[Fault]:
        """What is to be said before a record: damage that was gone past, and numbers that were left out."""
        expected = index if self._expected is None else self._expected
        missing = max(0, index - expected)
        lost = f"records {expected} to {index - 1} are missing" if missing else "no record is missing"
        if bad is not None:
            text = f"{at - bad} bytes are no whole records; {lost}"
            yield Fault(FaultKind.DAMAGE, segment.name, bad, at - bad, expected, missing, text)
        elif missing:
            text = f"expected record {expected}, got {index}: {lost}, and no loss was recorded"
            yield Fault(FaultKind.GAP, segment.name, at, 0, expected, missing, text)

    def _after(self, segment: Segment, at: int, header: RecordHeader, index: int) -> int:
        """The number that the next record must have."""
        if header.kind is not RecordKind.LOSS:
            return index + 1
        try:
            payload = decode_record(segment.read(at, header.record_bytes)).payload
            return index + max(1, decode_journal(payload, Loss).records)
        except PacketError:
            return index + 1

    def _torn(self, segment: Segment, at: int, limit: int | None, superseded: bool) -> Fault:
        harmless = superseded or (limit is not None and self._expected == limit)
        index = -1 if self._expected is None else self._expected
        rest = segment.size - at
        text = f"the last {rest} bytes are no whole record, of which the first would be record {index}"
        if harmless:
            text = f"the last {rest} bytes are no whole record; the next segment goes on from record {limit}"
        return Fault(FaultKind.TORN, segment.name, at, rest, index, 0, text, harmless)

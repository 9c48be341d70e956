"""The records of a log in order, and between them what is wrong, each where it stands.

A record that is no record is gone past: the next header in the segment whose checksum holds is where reading goes
on. What then is missing follows from the records' numbers. At the end of a segment nothing follows, and what is there
is a torn tail. Where a later segment begins with a record that was there already, its recorder took up from what was
durable: the later records count, and the earlier ones only where there is no later one. Where a later segment begins
with a number that was there already and another record, numbers began again, and all count.
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


class _Tail(msgspec.Struct):
    """Records at a segment's end that a later segment should have again.

    Attributes:
        segment: Which segment.
        at: Byte of the first of them.
        first: Its number.
        count: How many there are.
    """

    segment: int
    at: int
    first: int
    count: int = 0


def heirs_of(segments: Sequence[Segment]) -> list[int | None]:
    """For each segment that of all later ones which begins with the least number: its records may be there again."""
    heirs: list[int | None] = []
    least: tuple[int, int] | None = None
    for number in range(len(segments) - 1, -1, -1):
        heirs.append(None if least is None else least[1])
        header = segments[number].header
        if header is not None and (least is None or header.first_index <= least[0]):
            least = header.first_index, number
    return heirs[::-1]


def unwrapped(low: int, near: int) -> int:
    """The 64-bit number nearest to `near` whose lowest 32 bits are `low`."""
    return near + (low - near + _HALF) % _WRAP - _HALF


class Walk:
    """One reading of segments, from a place to the end.

    Attributes:
        at: How far it has come, `(segment, byte)`, wherever the last record was taken from.

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
        self._heirs = heirs_of(segments)
        self._expected = start.index
        self._tails: list[_Tail] = []

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
        if self._segments:
            yield from self._recovered(None, self._segments[-1])

    def _opening(self, number: int) -> Iterator[Fault]:
        """What is wrong with a segment as such."""
        segment = self._segments[number]
        due = self._segments[number - 1].number + 1 if number else 0
        index = -1 if self._expected is None else self._expected
        if segment.number > due:
            text = f"expected segment {due} before it, got {segment.number}"
            yield Fault(FaultKind.MISSING_SEGMENT, segment.name, 0, 0, index, 0, text)
        header = segment.header
        if header is not None and self._expected is not None and header.first_index < self._expected:
            text = f"expected record {self._expected} or later, got {header.first_index}, and it is another one"
            yield Fault(FaultKind.RENUMBERED, segment.name, 0, SEGMENT_HEADER_BYTES, header.first_index, 0, text)
            self._expected = header.first_index
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
        self.at = number, at
        segment = self._segments[number]
        heir = self._heirs[number]
        limit = None if heir is None else self._first_of(heir)
        near = self._expected
        if at == SEGMENT_HEADER_BYTES and segment.header is not None:
            near = segment.header.first_index
            self._expected = near if self._expected is None else self._expected
        bad: int | None = None
        tail: _Tail | None = None
        again: tuple[int, int, int] | None = None
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
            if limit is not None and heir is not None and index >= limit:
                if tail is None and not self._has_again(heir, header):
                    limit = None
                else:
                    tail = tail or _Tail(number, at if bad is None else bad, index)
                    tail.count = index + 1 - tail.first
                    near, at, bad = index + 1, end, None
                    continue
            if self._expected is not None and index < self._expected and header.kind is not RecordKind.START:
                first, first_at, count = again or (index, at, 0)
                again = first, first_at, count + 1
                near, at, bad = self._expected, end, None
                continue
            if again is not None:
                yield self._repeated(segment, again, at)
                again = None
            if self._expected is not None and index > self._expected:
                yield from self._recovered(index, segment)
            yield from self._before(segment, index, at, bad)
            self.at = number, at
            self._expected = self._after(segment, at, header, index)
            yield LogRecord(header.kind, header.t_ns, index, payload, header.payload_bytes, number, at)
            near, at, bad = self._expected, end, None
        stop = at if bad is None else bad
        if again is not None:
            yield self._repeated(segment, again, stop)
        if tail is not None:
            self._tails.append(tail)
            text = f"records {tail.first} to {tail.first + tail.count - 1} are in a later segment again"
            n_bytes = stop - tail.at
            yield Fault(
                FaultKind.SUPERSEDED, segment.name, tail.at, n_bytes, tail.first, tail.count, text, harmless=True
            )
        if bad is not None and not segment.is_blank(bad):
            yield self._torn(segment, bad, limit, tail is not None)
        self.at = number, segment.size

    def _first_of(self, number: int) -> int | None:
        header = self._segments[number].header
        return None if header is None else header.first_index

    def _has_again(self, heir: int, header: RecordHeader) -> bool:
        """Whether a later segment goes on from a record of this one, rather than counting anew."""
        later = self._segments[heir]
        try:
            first, _ = later.glance(SEGMENT_HEADER_BYTES)
        except PacketError:
            return True
        finally:
            later.close()
        if first.index == header.index:
            return first == header
        return header.t_ns >= first.t_ns

    def _recovered(self, stop: int | None, where: Segment) -> Iterator[LogRecord | Fault]:
        """Records that should be in a later segment and are not, from the earlier one that has them."""
        for tail in self._tails:
            end = tail.first + tail.count if stop is None else min(stop, tail.first + tail.count)
            if self._expected is None or not tail.first <= self._expected < end:
                continue
            segment = self._segments[tail.segment]
            text = f"records {self._expected} to {end - 1} are taken from {segment.name}, which has them"
            yield Fault(FaultKind.SUPERSEDED, where.name, 0, 0, self._expected, 0, text, harmless=True)
            at, near = tail.at, tail.first
            while at < segment.size and self._expected < end:
                header, payload, after = self._take(segment, at)
                if header is None:
                    following = self._resume(segment, at, after)
                    if following is None:
                        break
                    at = following
                    continue
                index = unwrapped(header.index, near)
                if self._expected <= index < end:
                    yield from self._before(segment, index, at, None)
                    self._expected = self._after(segment, at, header, index)
                    yield LogRecord(header.kind, header.t_ns, index, payload, header.payload_bytes, tail.segment, at)
                near, at = index + 1, after
            if segment is not where:
                segment.close()

    def _repeated(self, segment: Segment, again: tuple[int, int, int], stop: int) -> Fault:
        first, at, count = again
        text = f"expected record {self._expected} or later, got {count} that came before, from record {first} on"
        return Fault(FaultKind.REPEATED, segment.name, at, stop - at, first, count, text)

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

"""Which streams a log holds, and which of their samples: told from the headers of its packets alone.

A stream is one start of a source: its epoch, how often it began again within it, and the shape of its signal. Of
samples that came twice the first ones count; a packet that came late fills the hole that it left. A hole is either the
rig's (the packet never came) or the recording's (records are missing there).
"""

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from cortexwire.errors import PacketError
from cortexwire.types import Rate
from cortexwire.wire import HEADER_BYTES, Kind
from cortexwire.wire.header import MAX_SAMPLE_INDEX, Header, read_header

RESTART_RUN: Final = 32
"""Packets in a row that hold nothing new, each beginning where the one before ended: the source began again."""
SIGNAL: Final = frozenset((Kind.WIDEBAND, Kind.EVENTS, Kind.COUNTS))

_CHANGING: Final = Struct("<QQqqq")
_COUNTERS_AT: Final = 8
_STAYING_AT: Final = 48
_CRC_AT: Final = 124
_CRC: Final = Struct("<I")
_MOST_KNOWN: Final = 256
_SEGMENT_SHIFT: Final = 44


class HeadReader:
    """Reads packet headers; one like another before it is known again by its bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, Header]] = {}

    def read(self, head: memoryview, frame_bytes: int) -> Header | None:
        """The header of a frame, or None where it breaks a rule."""
        head_bytes = bytes(head[:HEADER_BYTES])
        staying = head_bytes[:_COUNTERS_AT] + head_bytes[_STAYING_AT:_CRC_AT]
        known = self._known.get(staying)
        if known is not None and known[0] == frame_bytes:
            epoch, sequence, sample, acquired_ns, sent_ns = _CHANGING.unpack_from(head_bytes, _COUNTERS_AT)
            like = known[1]
            if (
                _CRC.unpack_from(head_bytes, _CRC_AT)[0] == crc32(head_bytes[:_CRC_AT])
                and 0 <= sample <= MAX_SAMPLE_INDEX
                and not (acquired_ns and not like.acquired_clock)
                and not (sent_ns and not like.sent_clock)
            ):
                return like._replace(epoch=epoch, sequence=sequence, sample_index=sample)
        try:
            header = read_header(head_bytes, frame_bytes)
        except PacketError:
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[staying] = frame_bytes, header
        return header


class Hole(NamedTuple):
    """Samples `[start, stop)` that are not there.

    Attributes:
        recorded: Whether the recording was whole around it: then they never came. Else they are missing in the log.
    """

    start: int
    stop: int
    recorded: bool


class StreamId(NamedTuple):
    """What a stream is told by."""

    source: int
    epoch: int
    kind: Kind
    dtype: int
    n_channels: int
    rate: Rate
    uv_per_bit: float


class Stream:
    """One stream, as far as it was seen.

    Attributes:
        id: What it is told by.
        restart: How often it had begun again in its epoch.
        descriptor_hash: Of its identities; 0 for none.
        first: Its first sample.
        stop: One past its last.
        packets: Its packets that held something new.
        repeats: Its packets that did not.
        holes: What is missing between first and stop, in order.
        pieces: Three numbers for each run of new samples: first, one past the last, and where the packet is.
    """

    def __init__(self, stream: StreamId, restart: int, head: Header, breaks: int) -> None:
        self.id = stream
        self.restart = restart
        self.descriptor_hash = head.descriptor_hash
        self.first = self.stop = head.sample_index
        self.packets = self.repeats = 0
        self.holes: list[Hole] = []
        self.pieces = array("q")
        self._breaks = breaks

    @property
    def n_samples(self) -> int:
        """Samples that are there."""
        return self.stop - self.first - sum(hole.stop - hole.start for hole in self.holes)

    @property
    def never_came(self) -> int:
        """Samples that the rig did not send, or that were lost on the way."""
        return sum(hole.stop - hole.start for hole in self.holes if hole.recorded)

    @property
    def not_recorded(self) -> int:
        """Samples that are missing because records are."""
        return sum(hole.stop - hole.start for hole in self.holes if not hole.recorded)

    def take(self, head: Header, where: int, breaks: int) -> bool:
        """Take a signal packet; False where it held nothing new.

        Args:
            head: Its header.
            where: Where it is.
            breaks: How often records were missing in the log so far.
        """
        start, stop = head.sample_index, head.sample_index + head.n_samples
        new = list(self._filled(start, stop)) if start < self.stop else []
        if stop > self.stop:
            if start > self.stop:
                self.holes.append(Hole(self.stop, start, breaks == self._breaks))
            new.append((max(start, self.stop), stop))
            self.stop = stop
            self._breaks = breaks
        for first, last in new:
            self.pieces.extend((first, last, where))
        self.packets += bool(new)
        return bool(new)

    def _filled(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Fill what holes a late packet can; gives what it filled."""
        for number in range(len(self.holes) - 1, -1, -1):
            hole = self.holes[number]
            if hole.stop <= start:
                return
            low, high = max(start, hole.start), min(stop, hole.stop)
            if low < high:
                rest = (hole._replace(stop=low), hole._replace(start=high))
                self.holes[number : number + 1] = [part for part in rest if part.start < part.stop]
                yield low, high


def pack_where(segment: int, at: int) -> int:
    """One number for the place of a record."""
    return segment << _SEGMENT_SHIFT | at


def unpack_where(where: int) -> tuple[int, int]:
    """The segment and byte of `pack_where`."""
    return where >> _SEGMENT_SHIFT, where & (1 << _SEGMENT_SHIFT) - 1


class Streams:
    """All streams of a log, in the order in which they began.

    Attributes:
        found: The streams.
        malformed: Frames that are no packets.
        breaks: How often records were missing so far; to be counted by whoever feeds it.

    Args:
        keep: Whether the places of packets are kept (`Stream.pieces`).
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.found: list[Stream] = []
        self.malformed = 0
        self.breaks = 0
        self._keep = keep
        self._heads = HeadReader()
        self._ids: dict[tuple[float, ...], StreamId] = {}
        self._current: dict[StreamId, Stream] = {}
        self._runs: dict[StreamId, list[tuple[Header, int]]] = {}

    def head(self, frame: memoryview, frame_bytes: int) -> Header | None:
        """The header of a frame; one that is no packet is counted."""
        head = self._heads.read(frame, frame_bytes)
        self.malformed += head is None
        return head

    def take(self, head: Header, segment: int = 0, at: int = 0) -> None:
        """Take a signal packet, and where its record is."""
        where = pack_where(segment, at)
        # Told by plain numbers first: one is looked up for every packet.
        told_by = head.source, head.epoch, head.kind, head.dtype, head.n_channels, *head[16:19]
        stream_id = self._ids.get(told_by)
        if stream_id is None:
            rate = Rate(head.rate_num, head.rate_den)
            shape = Kind(head.kind), head.dtype, head.n_channels, rate, head.uv_per_bit
            stream_id = self._ids[told_by] = StreamId(head.source, head.epoch, *shape)
        stream = self._current.get(stream_id)
        if stream is None:
            stream = self._begin(stream_id, 0, head)
        if stream.take(head, where, self.breaks):
            self._runs.pop(stream_id, None)
        else:
            self._repeated(stream_id, stream, head, where)
        if not self._keep:
            del stream.pieces[:]

    def restart_of(self, source: int, epoch: int) -> int:
        """How often a source has begun again in an epoch so far."""
        return max(
            (s.restart for key, s in self._current.items() if (key.source, key.epoch) == (source, epoch)), default=0
        )

    def _begin(self, stream_id: StreamId, restart: int, head: Header) -> Stream:
        stream = self._current[stream_id] = Stream(stream_id, restart, head, self.breaks)
        self.found.append(stream)
        return stream

    def _repeated(self, stream_id: StreamId, stream: Stream, head: Header, where: int) -> None:
        """Count a packet with nothing new, unless enough of them say that the source began again."""
        stream.repeats += 1
        run = self._runs.setdefault(stream_id, [])
        if run and run[-1][0].sample_index + run[-1][0].n_samples != head.sample_index:
            run.clear()
        run.append((head, where))
        if len(run) < RESTART_RUN:
            return
        del self._runs[stream_id]
        stream.repeats -= len(run)
        again = self._begin(stream_id, stream.restart + 1, run[0][0])
        for each, place in run:
            again.take(each, place, self.breaks)

"""Where a recording ended, and whether the tap still goes on from there.

A recorder that was killed left a recording without an end. Its sidecar names the ring that it was taken from; the ring
goes on from it if it is that ring, and, where it still holds the last record, holds the same one.
"""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from cortexwire.errors import PacketError
from cortexwire.runtime.recorder.blocks import PIECE_BYTES
from cortexwire.runtime.recorder.keeping import read_sidecar
from cortexwire.runtime.recorder.losses import Place, last_place
from cortexwire.runtime.tap import TapReader
from cortexwire.wire import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_SUFFIX,
    Loss,
    Record,
    RecordKind,
    Sidecar,
    decode_journal,
    decode_record,
    decode_record_header,
    decode_segment_header,
)

_INDEX_MASK: Final = 0xFFFFFFFF


class Tail(msgspec.Struct, frozen=True):
    """The end of a recording.

    Attributes:
        next_index: Number of the record that comes next.
        next_number: Number of the segment that comes next.
        kind: Of the last whole record.
        t_ns: Its time.
        payload: Its content.
        place: Where the last packet of signal stands that its segment holds.
    """

    next_index: int
    next_number: int
    kind: RecordKind
    t_ns: int
    payload: bytes
    place: Place | None


def find_tail(folder: Path) -> Tail | None:
    """Find the last whole record of a recording; None for one without any."""
    segments = sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))
    for path in reversed(segments):
        with (
            suppress(OSError, ValueError, PacketError),
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            tail = _tail_of(content, int(segments[-1].stem) + 1)
            if tail is not None:
                return tail
    return None


def _tail_of(content: mmap.mmap, next_number: int) -> Tail | None:
    first_index = decode_segment_header(content[:SEGMENT_HEADER_BYTES]).first_index
    with memoryview(content) as view:
        ends = list(_ends(view))
        while ends:
            begin = ends[-2] if len(ends) > 1 else SEGMENT_HEADER_BYTES
            try:
                return _tail_at(decode_record(content[begin : ends[-1]]), first_index, next_number, content, ends)
            except PacketError:
                ends.pop()
    return None


def _tail_at(record: Record, first_index: int, next_number: int, content: mmap.mmap, ends: list[int]) -> Tail:
    index = first_index + ((record.index - first_index) & _INDEX_MASK)
    missing = decode_journal(record.payload, Loss).records if record.kind is RecordKind.LOSS else 1
    place = last_place(content, SEGMENT_HEADER_BYTES, ends)
    return Tail(index + missing, next_number, record.kind, record.t_ns, bytes(record.payload), place)


def _ends(view: memoryview) -> Iterator[int]:
    at = SEGMENT_HEADER_BYTES
    with suppress(PacketError):
        while True:
            at += decode_record_header(view, at).record_bytes
            if at > len(view):
                return
            yield at


class Survey(msgspec.Struct, frozen=True):
    """What a ring holds.

    Attributes:
        ring_id: Its id, hexadecimal.
        first_index: Number of the oldest record.
        next_index: Number of the next one to be written.
        start_index: Number of the newest `START`, or none.
        begun_index: Number of the first record of its last writer.
        is_same: Whether it goes on where a recording ended.
    """

    ring_id: str
    first_index: int
    next_index: int
    start_index: int | None
    begun_index: int
    is_same: bool


def survey(path: Path, tail: Tail | None = None) -> Survey:
    """Look through a ring, and compare it with the end of a recording that was taken from it.

    Raises:
        ConfigError: There is no ring.
    """
    first_index = start_index = None
    buffer = bytearray(PIECE_BYTES)
    with TapReader(path) as tap:
        ring_id, next_index, begun_index = tap.ring_id, tap.next_index, tap.begun_index
        is_same = tail is None or tail.next_index <= next_index
        while (run := tap.read_run(buffer, follow=False)) is not None:
            first_index = run.index if first_index is None else first_index
            for number, begin in enumerate((run.begin, *run.ends[:-1])):
                header = decode_record_header(buffer, begin)
                index = run.index + number
                if header.kind is RecordKind.START:
                    start_index = index
                if tail is not None and tail.kind is not RecordKind.LOSS and index == tail.next_index - 1:
                    with memoryview(buffer) as view:
                        payload = view[begin + 32 : begin + 32 + header.payload_bytes]
                        is_same &= (header.kind, header.t_ns) == (tail.kind, tail.t_ns) and payload == tail.payload
            if run.index + len(run.ends) >= next_index:
                break
    first_index = next_index if first_index is None else first_index
    return Survey(ring_id, first_index, next_index, start_index, begun_index, is_same)


def newest_of(parent: Path, ring_id: str) -> tuple[Path, Sidecar] | None:
    """The newest recording in a folder that was taken from this ring."""
    found = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        sidecar = read_sidecar(folder)
        if sidecar is not None and sidecar.tap == ring_id:
            found.append((sidecar.started, folder, sidecar))
    if not found:
        return None
    _, folder, sidecar = max(found, key=lambda item: item[:2])
    return folder, sidecar

"""The tap: a bounded ring, in a file that outlives the engine, of the newest that went in and came out.

One writer (the hot thread), any number of readers in other processes, each with a place of its own; a reader
that is too slow loses records and is told how many, the writer never waits. Records are those of the wire log
(`cortexwire.wire.records`), save that the checksum of the payload is left 0: at 1 kHz of 1024 channels it
would cost more than all else here, and whoever writes a log computes it there. The header's own checksum is
present.

File, version 1, little-endian; a page of header, then the ring:

====== ===== =====================================================================================
offset bytes field
====== ===== =====================================================================================
0      4     magic `CXTP`
4      2     version u16 = 1
8      8     capacity u64: length of the ring in bytes, a multiple of 8
16     8     head u64: bytes ever written; the next record goes to `head % capacity`
24     8     tail u64: bytes ever written before the oldest record that is still whole
32     8     records u64: records ever written, the index of the next one
40     8     writers u64: how often a writer has opened the ring
48     4     process id u32 of the last writer
56     16    the ring's id, random: a ring that takes its place has another
72     8     begun u64: `records` as the last writer found it, the index of its first record
4096         ring
====== ===== =====================================================================================

A record lies in one piece. Where one does not fit before the end of the ring, 8 zero bytes stand in its place
and it begins at the start. The writer moves the tail past whatever it is about to overwrite, writes the
record, and moves the head; a reader copies a record and then looks whether the tail has passed it. A writer
that dies at any point leaves a ring that its successor continues. The order of stores that this needs is the
one that x86-64 guarantees.

A writer holds a shared `flock` on the file while it lives, by which others see whether the ring is being written.

The run directory is best kept in memory (tmpfs, as `$XDG_RUNTIME_DIR` is): on a disk the kernel writes the
ring back now and then, and the first write to each page after that costs about a microsecond.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Literal, Self

import msgspec
import numpy as np

from cortexwire.errors import ConfigError, PacketError
from cortexwire.runtime.locks import is_locked
from cortexwire.wire import (
    RECORD_HEADER_BYTES,
    RecordKind,
    decode_record_header,
    encode_record_header,
    record_length,
)

RING_AT = 4096
"""Where the ring begins in the file."""

_MAGIC = b"CXTP"
_VERSION = 1
_HEADER = Struct("<4sHxxQQQQQIxxxx16s")
_ID = slice(56, 72)
_CAPACITY, _HEAD, _TAIL, _RECORDS, _WRITERS = range(1, 6)
_BEGUN = 9
_PAYLOAD_BYTES_AT = 16
_KIND_AT = 6
_PEEK = Struct("<H16xI")
_KINDS = {int(kind): kind for kind in RecordKind}
_SKIP = bytes(8)
_INDEX_MASK = 0xFFFFFFFF
_LOCK_TRIES, _LOCK_AGAIN_S = 20, 0.005


class TapRecord(msgspec.Struct, frozen=True, gc=False):
    """One record taken from the ring, a copy.

    Attributes:
        kind: What it holds.
        t_ns: When the engine took it, CLOCK_MONOTONIC.
        index: Its number, counted over all writers, modulo 2**32.
        payload: Its content.
    """

    kind: RecordKind
    t_ns: int
    index: int
    payload: bytes


class TapRun(msgspec.Struct, frozen=True, gc=False):
    """Records one behind the other, whole and without a gap, as bytes at the beginning of the caller's buffer.

    Attributes:
        index: Number of the first, counted over all writers, in 64 bits.
        begin: Where in the buffer the first one begins.
        ends: Where each of them ends, in bytes from the beginning of the buffer; the next one begins there.
        lost: Records that are missing before the first one.
        why: What became of those: `overrun`, `damaged`, or `unfinished` by a writer that died.
    """

    index: int
    begin: int
    ends: list[int]
    lost: int
    why: Literal["overrun", "damaged", "unfinished"]


class _Ring:
    """The mapped file: header words, and where the record behind another one begins."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self.mapping = mapping
        self.words = memoryview(mapping)[:RING_AT].cast("Q")
        self.capacity = self.words[_CAPACITY]
        self.bytes = memoryview(mapping)[RING_AT : RING_AT + self.capacity]
        self._eights = self.bytes.cast("Q")
        self._fours = self.bytes.cast("I")

    def is_skip(self, at: int) -> bool:
        return self._eights[at >> 3] == 0

    def after(self, position: int) -> int:
        """Return the position behind the record (or the skipped rest) at `position`."""
        at = position % self.capacity
        if self.is_skip(at):
            return position + self.capacity - at
        return position + record_length(self._fours[(at + _PAYLOAD_BYTES_AT) >> 2])

    def close(self) -> None:
        for view in (self.words, self._eights, self._fours):
            view.release()
        self.bytes.release()
        self.mapping.close()


def _is_sound(ring: _Ring, capacity: int) -> bool:
    head, tail = ring.words[_HEAD], ring.words[_TAIL]
    if ring.capacity != capacity or head % 8 or tail % 8 or not 0 <= head - tail <= capacity:
        return False
    at = tail % capacity
    if head == tail or ring.is_skip(at):
        return True
    try:
        decode_record_header(ring.bytes, at)
    except PacketError:
        return False
    return True


class TapWriter:
    """The engine's side. An older ring of the same size is continued, any other replaced.

    Attributes:
        refused: Records longer than half the ring, which are left out; their numbers are not given again.

    Args:
        path: The file.
        megabytes: Length of the ring in MiB.

    Raises:
        ConfigError: The file cannot be made.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.refused = 0
        capacity = megabytes * 1024 * 1024
        try:
            self._ring = _open_ring(path, capacity) or _make_ring(path, capacity)
        except OSError as error:
            raise ConfigError(f"tap: cannot make {path} with tap.megabytes = {megabytes}: {error.strerror}") from error
        words = self._ring.words
        words[_WRITERS] += 1
        words[_BEGUN] = words[_RECORDS]
        self._ring.mapping[48:52] = os.getpid().to_bytes(4, "little")
        self._lock: int | None = _lock(path)
        self._head, self._tail, self._records = words[_HEAD], words[_TAIL], words[_RECORDS]
        self._longest = capacity // 2

    def append(self, kind: RecordKind, t_ns: int, payload: bytes | bytearray | memoryview) -> None:
        """Put one record at the head, over the oldest ones.

        Args:
            kind: What it holds.
            t_ns: When it was taken, CLOCK_MONOTONIC.
            payload: Its content.
        """
        size = len(payload)
        length = record_length(size)
        if length > self._longest:
            self.refused += 1
            self._records += 1
            return
        ring = self._ring
        at = self._head % ring.capacity
        room = ring.capacity - at
        skip = room if length > room else 0
        head = self._head + skip + length
        self._make_room(head - ring.capacity)
        if skip:
            ring.bytes[at : at + 8] = _SKIP
            at = 0
        ring.bytes[at : at + RECORD_HEADER_BYTES] = encode_record_header(kind, t_ns, size, 0, self._records)
        ring.bytes[at + RECORD_HEADER_BYTES : at + RECORD_HEADER_BYTES + size] = payload
        self._records += 1
        self._head = head
        ring.words[_RECORDS] = self._records
        ring.words[_HEAD] = head

    def _make_room(self, least: int) -> None:
        tail = self._tail
        if tail >= least:
            return
        while tail < least:
            tail = self._ring.after(tail)
        # A damaged length would lead beyond the head: then nothing old is kept.
        self._tail = self._ring.words[_TAIL] = min(tail, self._head)

    def close(self) -> None:
        """Unmap the file, which stays for its readers; safe to call twice."""
        self._ring.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(path: Path) -> int:
    """Say that the ring is being written; whoever looks (`is_written`) is in the way for microseconds."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(_LOCK_AGAIN_S)
    return lock


def is_written(path: Path) -> bool:
    """Whether a living engine has the ring open for writing."""
    try:
        return is_locked(path, fcntl.LOCK_EX)
    except OSError:
        return False


def _map(path: Path, length: int) -> mmap.mmap:
    with path.open("r+b") as file:
        # Reserving the blocks turns a full disk into a start-up error instead of a SIGBUS in the hot loop.
        os.posix_fallocate(file.fileno(), 0, length)
        mapping = mmap.mmap(file.fileno(), length, mmap.MAP_SHARED | mmap.MAP_POPULATE)
    # A page's first write costs a fault of its own: taken now, it is not taken by the hot loop.
    pages = np.frombuffer(mapping, np.uint8)[:: mmap.PAGESIZE]
    pages |= 0
    return mapping


def _open_ring(path: Path, capacity: int) -> _Ring | None:
    if not path.is_file() or path.stat().st_size != RING_AT + capacity:
        return None
    mapping = _map(path, RING_AT + capacity)
    if mapping[:4] != _MAGIC or int.from_bytes(mapping[4:6], "little") != _VERSION:
        mapping.close()
        return None
    ring = _Ring(mapping)
    if _is_sound(ring, capacity):
        return ring
    ring.close()
    return None


def _make_ring(path: Path, capacity: int) -> _Ring:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(_HEADER.pack(_MAGIC, _VERSION, capacity, 0, 0, 0, 0, os.getpid(), os.urandom(16)))
    ring = _Ring(_map(fresh, RING_AT + capacity))
    fresh.replace(path)
    return ring


class TapReader:
    """Another process's side, with a place of its own in the ring.

    Attributes:
        lost: Records overwritten before this reader came to them.
        damaged: Times that a record was unreadable, so that all up to the newest was given up.

    Args:
        path: The file.
        start: `oldest` begins with what the ring still holds, `newest` with what comes next.

    Raises:
        ConfigError: There is no ring at `path`.
    """

    def __init__(self, path: Path, start: Literal["oldest", "newest"] = "oldest") -> None:
        self.lost = 0
        self.damaged = 0
        self._path = path
        self._next_index: int | None = None
        self._why: Literal["overrun", "damaged", "unfinished"] = "unfinished"
        self._ring, self._inode = self._open()
        self._cursor = self._ring.words[_TAIL if start == "oldest" else _HEAD]

    def _open(self) -> tuple[_Ring, int]:
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tap: expected a ring at {self._path}: {error}") from error
        magic, version, capacity, *_ = _HEADER.unpack_from(mapping)
        if (magic, version) != (_MAGIC, _VERSION) or len(mapping) != RING_AT + capacity:
            mapping.close()
            raise ConfigError(f"tap: expected a ring of version {_VERSION} at {self._path}, got {magic!r}")
        return _Ring(mapping), inode

    @property
    def ring_id(self) -> str:
        """The ring's id, hexadecimal."""
        return self._ring.mapping[_ID].hex()

    @property
    def capacity(self) -> int:
        """Length of the ring in bytes."""
        return self._ring.capacity

    @property
    def next_index(self) -> int:
        """Number that the next record to be written will have, in 64 bits."""
        return self._ring.words[_RECORDS]

    @property
    def begun_index(self) -> int:
        """Number of the first record of the last writer, in 64 bits."""
        return self._ring.words[_BEGUN]

    @property
    def is_replaced(self) -> bool:
        """Whether a new writer has put another ring in the place of this one."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return False

    @property
    def behind_bytes(self) -> int:
        """How much of the ring is still to be read."""
        return max(0, self._ring.words[_HEAD] - self._cursor)

    def __iter__(self) -> Iterator[TapRecord]:
        """Yield the records that are there now, in order, and end; call again for what comes later."""
        while (record := self.next()) is not None:
            yield record

    def next(self) -> TapRecord | None:
        """Return the next record, or None when there is none yet."""
        while self._find():
            ring = self._ring
            record = self._copy(self._cursor)
            # What was copied counts only if the writer had not begun to overwrite it meanwhile.
            if ring.words[_TAIL] > self._cursor:
                continue
            if isinstance(record, TapRecord):
                self._cursor += record_length(len(record.payload))
                self._count(self._unwrap(record.index), 1)
                return record
            self._cursor = record
        return None

    def read_run(self, buffer: bytearray, *, follow: bool = True) -> TapRun | None:
        """Copy all that is there now, up to a gap, the end of the ring, or what the buffer holds, at once.

        Args:
            buffer: Where to; made longer where it cannot hold the next record.
            follow: Whether to go over to a ring that took the place of this one.

        Returns:
            What was read, or None when there is nothing yet.
        """
        while self._find(follow=follow):
            ring, position = self._ring, self._cursor
            at = position % ring.capacity
            if ring.is_skip(at):
                if ring.words[_TAIL] <= position:
                    self._cursor = position + ring.capacity - at
                continue
            length = min(ring.words[_HEAD] - position, ring.capacity - at, len(buffer))
            buffer[:length] = ring.bytes[at : at + length]
            # What the writer has begun to overwrite meanwhile does not count; what lies behind the tail is whole.
            begin = max(0, ring.words[_TAIL] - position)
            if begin >= length:
                continue
            if begin:
                self._why = "overrun"
            first, ends = self._walk(buffer, begin, length)
            if ends:
                self._cursor = position + ends[-1]
                index = self._unwrap(first)
                lost, why = self._count(index, len(ends)), self._why
                self._why = "unfinished"
                return TapRun(index, begin, ends, lost, why)
            self._cursor = position + begin
            self._make_fit(buffer)
        return None

    def _find(self, *, follow: bool = True) -> bool:
        """Put the cursor on what can be read next; whether there is anything."""
        while True:
            words = self._ring.words
            head = words[_HEAD]
            if self._cursor == head:
                if not (follow and self._follow()):
                    return False
                continue
            if words[_TAIL] <= self._cursor < head:
                return True
            self._cursor = words[_TAIL]
            self._why = "overrun"

    @staticmethod
    def _walk(buffer: bytearray, begin: int, length: int) -> tuple[int, list[int]]:
        """Find the records that lie whole, undamaged and without a gap in `buffer[begin:length]`."""
        first, at = 0, begin
        ends: list[int] = []
        while at + RECORD_HEADER_BYTES <= length:
            try:
                header = decode_record_header(buffer, at)
            except PacketError:
                break
            if not ends:
                first = header.index
            end = at + header.record_bytes
            if end > length or header.index != (first + len(ends)) & _INDEX_MASK:
                break
            ends.append(end)
            at = end
        return first, ends

    def _make_fit(self, buffer: bytearray) -> None:
        """Make the buffer long enough for the record at the cursor, or give up what is damaged."""
        record = self._copy(self._cursor)
        if isinstance(record, TapRecord):
            missing = record_length(len(record.payload)) - len(buffer)
            if missing > 0:
                buffer.extend(bytes(missing))
        elif self._ring.words[_TAIL] <= self._cursor:
            self._cursor, self._why = record, "damaged"

    def next_of(self, wanted: Callable[[RecordKind, memoryview], bool]) -> TapRecord | None:
        """Return the next record that is wanted, or None when there is none yet; others are passed by, not copied.

        Args:
            wanted: Is told the kind of a record and where its payload begins (up to 8 bytes, padding included);
                the writer may be overwriting it, so what is seen there is only good for passing by.
        """
        while True:
            ring, cursor = self._ring, self._cursor
            at = cursor % ring.capacity
            if ring.words[_TAIL] <= cursor < ring.words[_HEAD] and not ring.is_skip(at):
                kind, index = _PEEK.unpack_from(ring.bytes, at + _KIND_AT)
                start = at + RECORD_HEADER_BYTES
                after = ring.after(cursor)
                passed_by = kind in _KINDS and not wanted(_KINDS[kind], ring.bytes[start : start + 8])
                if passed_by and ring.words[_TAIL] <= cursor and after <= ring.words[_HEAD]:
                    self._cursor = after
                    self._count(self._unwrap(index), 1)
                    continue
            record = self.next()
            if record is None or wanted(record.kind, memoryview(record.payload)):
                return record

    def _copy(self, position: int) -> TapRecord | int:
        """Copy the record at `position`, or say where to go on when there is none."""
        ring = self._ring
        at = position % ring.capacity
        if ring.is_skip(at):
            return position + ring.capacity - at
        try:
            header = decode_record_header(ring.bytes, at)
        except PacketError:
            if ring.words[_TAIL] <= position:
                self.damaged += 1
            return ring.words[_HEAD]
        start = at + RECORD_HEADER_BYTES
        payload = bytes(ring.bytes[start : start + header.payload_bytes])
        return TapRecord(header.kind, header.t_ns, header.index, payload)

    def _unwrap(self, index: int) -> int:
        """A record's number in 64 bits: the newest that has these lowest 32."""
        newest = self._ring.words[_RECORDS] - 1
        return newest - ((newest - index) & _INDEX_MASK)

    def _count(self, index: int, records: int) -> int:
        """Note that these have been read; how many are missing before them."""
        lost = 0 if self._next_index is None else max(0, index - self._next_index)
        self.lost += lost
        self._next_index = index + records
        return lost

    def _follow(self) -> bool:
        """Once this ring is read to its end, go over to the one that a new writer put in its place."""
        if not self.is_replaced:
            return False
        ring, inode = self._open()
        self._ring.close()
        self._ring, self._inode = ring, inode
        self._cursor = ring.words[_TAIL]
        self._next_index = None
        return True

    def close(self) -> None:
        """Unmap the file."""
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

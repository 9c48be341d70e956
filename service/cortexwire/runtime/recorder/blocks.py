"""Blocks: runs of records on their way from the tap to the disk, and the bounded memory that they wait in.

Memory is taken in pieces that are used again, the latest first, so that a recorder whose disk keeps up stays within a
few megabytes, and one whose disk stalls takes what it was allowed and no more. When all of it is in use the reader
waits, and the ring holds what comes; when that is full too, records are lost and counted.
"""

import threading
from collections import deque
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from cortexwire.wire import RECORD_HEADER_BYTES, Loss, RecordKind

PIECE_BYTES: Final = 2 * 1024 * 1024
"""Length of a piece of memory; a longer record makes its piece longer."""

_SIZE_AND_CRC: Final = Struct("<II")
_KIND: Final = Struct("<H")
_SIZE_AT: Final = 16
_KIND_AT: Final = 6
_HEADER_CRC_AT: Final = 28


class Block(msgspec.Struct, gc=False):
    """Records without a gap.

    Attributes:
        buffer: Memory in which they lie.
        begin: Where the first one begins.
        ends: Where each of them ends.
        index: Number of the first one.
        loss: What is missing before it.
    """

    buffer: bytearray
    begin: int
    ends: list[int]
    index: int
    loss: Loss | None = None

    @property
    def bytes(self) -> int:
        """Length of its records."""
        return self.ends[-1] - self.begin

    @property
    def next_index(self) -> int:
        """Number of the first record behind it."""
        return self.index + len(self.ends)

    def skip(self, records: int) -> None:
        """Leave out the first few."""
        self.begin = self.ends[records - 1]
        self.ends = self.ends[records:]
        self.index += records


def seal(block: Block) -> list[tuple[RecordKind, bytes]]:
    """Put the checksum of its payload into each record, and zeros into its padding.

    Returns:
        The `START` and `COMMAND` records, which name files that belong to the recording.
    """
    buffer, at, naming = block.buffer, block.begin, []
    with memoryview(buffer) as view:
        for end in block.ends:
            size = int.from_bytes(buffer[at + _SIZE_AT : at + _SIZE_AT + 4], "little")
            start = at + RECORD_HEADER_BYTES
            stop = start + size
            _SIZE_AND_CRC.pack_into(buffer, at + _SIZE_AT, size, crc32(view[start:stop]))
            buffer[at + _HEADER_CRC_AT : start] = crc32(view[at : at + _HEADER_CRC_AT]).to_bytes(4, "little")
            if stop < end:
                buffer[stop:end] = bytes(end - stop)
            (kind,) = _KIND.unpack_from(buffer, at + _KIND_AT)
            if kind in (RecordKind.START, RecordKind.COMMAND):
                naming.append((RecordKind(kind), bytes(view[start:stop])))
            at = end
    return naming


class BlockQueue:
    """Blocks between one reader and one writer, and the memory for them.

    Args:
        megabytes: Most memory to take.
    """

    def __init__(self, megabytes: int) -> None:
        self._changed = threading.Condition()
        self._blocks: deque[Block] = deque()
        self._free: list[bytearray] = []
        self._left = max(2, megabytes * 1024 * 1024 // PIECE_BYTES)
        self._bytes = self._most = self._given = 0
        self._ended = False

    @property
    def bytes(self) -> int:
        """Length of the records that wait."""
        return self._bytes

    @property
    def most_bytes(self) -> int:
        """The most that ever waited."""
        return self._most

    @property
    def depth(self) -> int:
        """Blocks that wait."""
        return len(self._blocks)

    def take_memory(self, timeout_s: float) -> bytearray | None:
        """Give the reader a piece of memory, or None when all is in use for so long."""
        with self._changed:
            if not self._free and not self._left:
                self._changed.wait(timeout_s)
            if self._free:
                return self._free.pop()
            if not self._left:
                return None
            self._left -= 1
        return bytearray(PIECE_BYTES)

    def give_back(self, memory: bytearray) -> None:
        """Take a piece of memory back."""
        with self._changed:
            self._free.append(memory)
            self._changed.notify_all()

    def put(self, block: Block) -> None:
        """Hand a block to the writer."""
        with self._changed:
            self._blocks.append(block)
            self._bytes += block.bytes
            self._most = max(self._most, self._bytes)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Block | None:
        """Give the writer the next block, or None when none came for so long."""
        with self._changed:
            if not self._blocks and not self._ended:
                self._changed.wait(timeout_s)
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._given = block.bytes
            return block

    def done(self, block: Block) -> None:
        """Say that the block that the writer was given last waits no more."""
        with self._changed:
            self._bytes -= self._given
        self.give_back(block.buffer)

    def end(self) -> None:
        """Say that no more blocks will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether the writer has been given all that there ever will be."""
        with self._changed:
            return self._ended and not self._blocks

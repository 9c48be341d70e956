"""One segment's file, read by byte range: what is at a byte, and where the next record begins.

Bytes are read, not mapped: a mapping of a file that shrinks or a disk that fails kills the process that looks at it,
a read raises. A window of the file is kept, so small records cost no call each, and never more than that.
"""

import os
import weakref
from pathlib import Path
from typing import Final

from cortexwire.errors import PacketError
from cortexwire.wire import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    RecordHeader,
    SegmentHeader,
    decode_record_header,
    decode_segment_header,
)
from cortexwire.wire.records import RECORD_MAGIC

WINDOW_BYTES: Final = 1 << 20
"""Read ahead at once; a longer record is read in one piece."""
GLANCE_BYTES: Final = 1 << 12
"""Read at once by who looks at headers only and skips what is behind them."""
ALIGNMENT: Final = 8


class Segment:
    """A segment's file, opened when first read.

    Attributes:
        path: The file.
        number: Its number, by its name.
        size: Its length in bytes when it was opened; what a recorder appends later is not seen.
        header: Its checked header, or none.
        problem: Why there is no header.

    Args:
        path: The file.
        number: Its number, by its name.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number
        self.size = path.stat().st_size
        self.header: SegmentHeader | None = None
        self.problem = ""
        self._file: int | None = None
        self._window = memoryview(b"")
        self._window_at = 0
        try:
            self.header = decode_segment_header(self.read(0, SEGMENT_HEADER_BYTES))
        except (PacketError, OSError) as error:
            self.problem = str(error)
        self.close()

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    def read(self, at: int, n_bytes: int, ahead: int = WINDOW_BYTES) -> memoryview:
        """Bytes `[at, at + n_bytes)`, fewer where the file ends; the view stays good.

        Args:
            at: First byte.
            n_bytes: How many.
            ahead: How many to read at once where they are not at hand.
        """
        first = at - self._window_at
        if first < 0 or first + n_bytes > len(self._window):
            self._window = self._bytes(at, min(max(n_bytes, ahead), max(0, self.size - at)))
            self._window_at, first = at, 0
        return self._window[first : first + n_bytes]

    def _bytes(self, at: int, n_bytes: int) -> memoryview:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._closing = weakref.finalize(self, os.close, self._file)
        parts = []
        while n_bytes > 0 and (part := os.pread(self._file, n_bytes, at)):
            parts.append(part)
            at, n_bytes = at + len(part), n_bytes - len(part)
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    def glance(self, at: int, n_bytes: int = RECORD_HEADER_BYTES) -> tuple[RecordHeader, memoryview]:
        """The header of the record at a byte, and as many bytes from there as asked for.

        Raises:
            PacketError: There is none.
        """
        view = self.read(at, n_bytes, GLANCE_BYTES)
        return decode_record_header(view), view

    def next_header(self, at: int, stop: int | None = None) -> int | None:
        """First byte from `at` on, and before `stop`, where a record's header stands whose checksum holds."""
        stop = self.size if stop is None else min(stop, self.size)
        at += -at % ALIGNMENT
        while at < stop:
            view = bytes(self.read(at, WINDOW_BYTES))
            if len(view) < RECORD_HEADER_BYTES:
                return None
            found = view.find(RECORD_MAGIC)
            while 0 <= found <= len(view) - RECORD_HEADER_BYTES and at + found < stop:
                if found % ALIGNMENT == 0 and self._is_header(view, found):
                    return at + found
                found = view.find(RECORD_MAGIC, found + 1)
            # A header may lie across the edge of what was read.
            at += len(view) - (RECORD_HEADER_BYTES - ALIGNMENT)
            at -= at % ALIGNMENT
        return None

    def is_blank(self, at: int) -> bool:
        """Whether nothing but zeros is from `at` on: room that a recorder set aside and did not come to use."""
        while at < self.size:
            view = self.read(at, WINDOW_BYTES)
            if not view:
                return True
            if view.tobytes().count(0) != len(view):
                return False
            at += len(view)
        return True

    def close(self) -> None:
        """Let go of the file and of what was read; reading opens it again."""
        if self._file is not None:
            self._closing()
            self._file = None
        self._window = memoryview(b"")

    def _is_header(self, view: bytes, at: int) -> bool:
        try:
            decode_record_header(view, at)
        except PacketError:
            return False
        return True

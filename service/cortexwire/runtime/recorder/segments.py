"""The segment writer: whole records appended to the segments of one recording, a new one when the last is full.

A segment gets its name when its header is written, so that one that was begun in vain is never found. Where writing
fails, what was written of the record that did not fit is cut off, the segment ends there, and the next record begins
another one.
"""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from time import time_ns
from typing import Final

from cortexwire.runtime.recorder.blocks import Block
from cortexwire.runtime.recorder.disk import Disk
from cortexwire.wire import SEGMENT_HEADER_BYTES, SegmentHeader, encode_segment_header, segment_path

UNNAMED: Final = ".new"
"""What the name of a segment ends with before its header is written."""


class Segment:
    """One segment while it is written and until it is on the disk.

    Attributes:
        number: Which one.
        file: Its descriptor.
        before_bytes: Length of the segments before it that this process wrote.
        written: Its length, and the number of the next record; one value, so that another thread gets both of a time.
        durable: The same, as of the last `fdatasync`; length 0 before the first.
        is_finished: Whether nothing more will be written to it.
    """

    def __init__(self, number: int, file: int, first_index: int, before_bytes: int) -> None:
        self.number = number
        self.file = file
        self.before_bytes = before_bytes
        self.written = (SEGMENT_HEADER_BYTES, first_index)
        self.durable = (0, first_index)
        self.is_finished = False


class SegmentWriter:
    """Appends blocks.

    Args:
        folder: Of the recording.
        recording: Its id, 16 bytes.
        limit_bytes: Length that a segment exceeds only if its one record is longer.
        number: Of the first segment that is to be written.
        disk: Where to.
        began: Told of each segment that begins.
        rotating: Told when a segment is about to begin, and when it has.

    Attributes:
        current: The segment that is being written.
        next_number: Of the next segment.
    """

    def __init__(
        self,
        folder: Path,
        recording: bytes,
        limit_bytes: int,
        number: int,
        disk: Disk,
        began: Callable[[Segment], object],
        rotating: Callable[[bool], object] = lambda _on: None,
    ) -> None:
        self.current: Segment | None = None
        self.next_number = number
        self._folder = folder
        self._recording = recording
        self._limit = limit_bytes
        self._disk = disk
        self._began = began
        self._rotating = rotating
        self._bytes = 0

    @property
    def written_bytes(self) -> int:
        """Length of all segments that this process wrote."""
        return self._bytes + (0 if self.current is None else self.current.written[0])

    def append(self, block: Block, next_index: int | None = None) -> None:
        """Write a block's records, into as many segments as they take.

        Args:
            block: What to write; what has been written is taken out of it.
            next_index: Number of the record behind it, where that is not one more than its last.

        Raises:
            OSError: Not all could be written; what is still in `block` is not in the log.
        """
        while block.ends:
            segment = self.current or self._begin(block.index)
            room = self._limit - segment.written[0]
            fitting = bisect_right(block.ends, block.begin + room)
            if fitting == 0 and segment.written[0] > SEGMENT_HEADER_BYTES:
                self.finish()
                continue
            self._write(segment, block, max(1, fitting))
        if next_index is not None and self.current is not None:
            self.current.written = (self.current.written[0], next_index)

    def _write(self, segment: Segment, block: Block, records: int) -> None:
        at, stop = block.begin, block.ends[records - 1]
        try:
            with memoryview(block.buffer) as view:
                while at < stop:
                    at += self._disk.write(segment.file, view[at:stop])
        except OSError:
            self._took(segment, block, bisect_right(block.ends, at, 0, records))
            self._cut(segment)
            self.finish()
            raise
        self._took(segment, block, records)

    @staticmethod
    def _took(segment: Segment, block: Block, records: int) -> None:
        if records:
            length = block.ends[records - 1] - block.begin
            block.skip(records)
            segment.written = (segment.written[0] + length, block.index)

    def _cut(self, segment: Segment) -> None:
        try:
            self._disk.truncate(segment.file, segment.written[0])
        except OSError:
            # The torn record stays; the next segment's first index says that it does not count.
            return

    def _begin(self, first_index: int) -> Segment:
        path = segment_path(self._folder, self.next_number)
        unnamed = path.with_name(path.name + UNNAMED)
        header = encode_segment_header(SegmentHeader(self.next_number, self._recording, first_index, time_ns()))
        self._rotating(True)
        try:
            file = self._disk.create(unnamed)
            try:
                rest = memoryview(header)
                while rest:
                    rest = rest[self._disk.write(file, rest) :]
                self._disk.rename(unnamed, path)
            except OSError:
                self._disk.close(file)
                self._disk.remove(unnamed)
                raise
        finally:
            self._rotating(False)
        segment = self.current = Segment(self.next_number, file, first_index, self._bytes)
        self.next_number += 1
        self._began(segment)
        return segment

    def forget(self, length: int) -> None:
        """Hear that so much of the segments that are finished has been cut off."""
        self._bytes -= length

    def finish(self) -> None:
        """Write no more into the segment that is being written."""
        if self.current is not None:
            self._bytes += self.current.written[0]
            self.current.is_finished = True
            self.current = None

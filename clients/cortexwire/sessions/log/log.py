"""A recording as it is on disk: its sidecar and segments, its records in order, from the start or from anywhere.

Opening reads each segment's header and nothing else. Whoever asks for a record by number or time finds it by
halving, and what was seen on the way is kept for the next search.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cortexwire.errors import PacketError, SessionError
from cortexwire.sessions.log.faults import Fault, FaultKind
from cortexwire.sessions.log.segment import Segment
from cortexwire.sessions.log.walk import LogRecord, Place, Walk
from cortexwire.wire import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_SUFFIX,
    SIDECAR,
    Sidecar,
    decode_record,
)

NEAR_BYTES: Final = 4 << 20
"""A search ends so near before its record; the rest is walked."""


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """A record that a search came by: where it begins, its number and time."""

    at: int
    index: int
    t_ns: int


class Log:
    """A recording, opened.

    Attributes:
        folder: Where it is.
        segments: Its segments, in order.
        sidecar: What `recording.json` says, or none.
        faults: What is wrong with the folder as such.

    Args:
        folder: The folder.
        segments: Its segments.
        sidecar: Its sidecar.
        faults: What was found.
    """

    def __init__(
        self, folder: Path, segments: Sequence[Segment], sidecar: Sidecar | None, faults: Sequence[Fault]
    ) -> None:
        self.folder = folder
        self.segments = tuple(segments)
        self.sidecar = sidecar
        self.faults = tuple(faults)
        self._seen: dict[tuple[int, int], _Seen | None] = {}
        self._open: Segment | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return (self.sidecar.name if self.sidecar is not None else "") or self.folder.name

    @property
    def n_bytes(self) -> int:
        """Length of all segments."""
        return sum(segment.size for segment in self.segments)

    def walk(self, start: Place | None = None, head_bytes: int | None = None) -> Walk:
        """Records and faults in order.

        Args:
            start: Where to begin; None means the beginning.
            head_bytes: Give only so many bytes of each payload, unchecked, and skip the rest of it; None gives
                whole payloads, each checked.
        """
        return Walk(self.segments, start or Place(), head_bytes)

    def records(self, first: int | None = None) -> Iterator[LogRecord]:
        """Whole, checked records in order, whatever is wrong between them.

        Args:
            first: Number to begin with; None means the first.
        """
        start = None if first is None else self.seek(first)
        for item in self.walk(start):
            if isinstance(item, LogRecord) and (first is None or item.index >= first):
                yield item

    def read(self, segment: int, at: int) -> memoryview:
        """The payload of the record at a byte.

        Raises:
            SessionError: It is damaged.
        """
        file = self.segments[segment]
        if self._open is not file:
            if self._open is not None:
                self._open.close()
            self._open = file
        try:
            header, _ = file.glance(at)
            return decode_record(file.read(at, header.record_bytes, header.record_bytes)).payload
        except PacketError as error:
            raise SessionError(f"{file.path} at byte {at}: {error}; see `cortexwire log verify`") from error

    def seek(self, index: int) -> Place:
        """A place at or not far before a record's number."""
        starts = [s.header.first_index if s.header is not None else None for s in self.segments]
        number = max((k for k, first in enumerate(starts) if first is not None and first <= index), default=0)
        return self._halve(number, lambda seen: seen.index <= index)

    def seek_time(self, t_ns: int) -> Place:
        """A place at or not far before the first record of a time on the engine's clock, which runs on in one boot."""
        low, high = 0, len(self.segments) - 1
        while low < high:
            middle = (low + high + 1) // 2
            seen = self._look(middle, SEGMENT_HEADER_BYTES)
            low, high = (middle, high) if seen is not None and seen.t_ns < t_ns else (low, middle - 1)
        return self._halve(low, lambda seen: seen.t_ns < t_ns)

    def _halve(self, number: int, before: Callable[[_Seen], bool]) -> Place:
        """The last record seen in a segment for which `before` holds, or the segment's beginning."""
        low, high = SEGMENT_HEADER_BYTES, self.segments[number].size
        index: int | None = None
        while high - low > NEAR_BYTES:
            middle = (low + high) // 2
            seen = self._look(number, middle)
            if seen is None or seen.at >= high or not before(seen):
                high = middle
            else:
                low, index = seen.at, seen.index
        return Place(number, low, index)

    def _look(self, number: int, at: int) -> _Seen | None:
        """The first record that begins at or after a byte of a segment."""
        key = number, at
        if key not in self._seen:
            segment = self.segments[number]
            found = segment.next_header(at)
            if found is None:
                self._seen[key] = None
            else:
                header, _ = segment.glance(found)
                first = segment.header.first_index if segment.header is not None else 0
                self._seen[key] = _Seen(found, first + (header.index - first) % 2**32, header.t_ns)
            segment.close()
        return self._seen[key]


def log_folder(path: str | Path) -> tuple[Path, int | None]:
    """Part `FOLDER#2` into the folder and which of its streams, from 1; a folder that is called so is the folder."""
    text = str(path)
    folder, hash_, number = text.rpartition("#")
    if hash_ and number.isdecimal() and not Path(text).exists():
        return Path(folder), int(number)
    return Path(text), None


def is_log(path: str | Path) -> bool:
    """Whether a folder (or `FOLDER#2`) holds a recording of ours."""
    folder, _ = log_folder(path)
    return (folder / SIDECAR).is_file() or (folder.is_dir() and any(folder.glob(f"*{SEGMENT_SUFFIX}")))


def open_log(folder: str | Path) -> Log:
    """Open a recording.

    Raises:
        SessionError: There is no segment in it.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.glob(f"*{SEGMENT_SUFFIX}") if path.stem.isdecimal())
    if not paths:
        raise SessionError(f"{folder}: expected a recording with segments *{SEGMENT_SUFFIX}, got none")
    segments = sorted((Segment(path, int(path.stem)) for path in paths), key=lambda segment: segment.number)
    faults: list[Fault] = []
    sidecar: Sidecar | None = None
    try:
        sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=Sidecar)
    except (OSError, msgspec.MsgspecError) as error:
        faults.append(Fault(FaultKind.SIDECAR, SIDECAR, 0, 0, -1, 0, f"expected to read it: {error}"))
    ids = [segment.header.recording for segment in segments if segment.header is not None]
    own = bytes.fromhex(sidecar.recording) if sidecar is not None else max(ids, key=ids.count, default=b"")
    foreign = [s for s in segments if s.header is not None and s.header.recording != own]
    for segment in foreign:
        assert segment.header is not None
        text = (
            f"expected a segment of recording {own.hex()}, got one of {segment.header.recording.hex()}; it is left out"
        )
        faults.append(Fault(FaultKind.FOREIGN, segment.name, 0, segment.size, segment.header.first_index, 0, text))
    return Log(folder, [segment for segment in segments if segment not in foreign], sidecar, faults)

"""The tap's end: outputs, columns, descriptors and notes, as they come, and not a sample copied.

Records of signal are passed by after a look at their kind, so following a stream of 1024 channels costs no more than
following one of two.
"""

from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cortexwire.api.history import ColumnRows, Outputs
from cortexwire.errors import ConfigError, PacketError
from cortexwire.runtime.tap import TapReader, TapRecord
from cortexwire.wire import (
    Columns,
    Descriptor,
    Kind,
    RecordKind,
    Start,
    decode_journal,
    decode_output,
    decode_packet,
)

KEPT_NOTES: Final = 64
"""Notes in memory."""
_MOST_AT_ONCE: Final = 2000
_KIND_AT: Final = 6
_WANTED: Final = (RecordKind.OUTPUT, RecordKind.NOTE, RecordKind.START)
_WANTED_PACKETS: Final = frozenset((int(Kind.COLUMNS), int(Kind.DESCRIPTOR)))


class Note(NamedTuple):
    """What the engine found worth saying, and when, CLOCK_MONOTONIC."""

    t_ns: int
    text: str


def _is_wanted(kind: RecordKind, payload: memoryview) -> bool:
    if kind is RecordKind.PACKET:
        return len(payload) > _KIND_AT and payload[_KIND_AT] in _WANTED_PACKETS
    return kind in _WANTED


class Tail:
    """Follows a tap from the oldest record that it holds.

    Attributes:
        outputs: What was sent.
        columns: What the rig said beside the signal.
        descriptor: What the source last said of itself.
        notes: The newest notes.
        start: What the newest engine began with, once seen.
        damaged: Records that nobody could read.

    Args:
        path: The ring; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.outputs = Outputs()
        self.columns = ColumnRows()
        self.descriptor: Descriptor | None = None
        self.notes: deque[Note] = deque(maxlen=KEPT_NOTES)
        self.start: Start | None = None
        self.damaged = 0
        self._path = path
        self._reader: TapReader | None = None

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were read."""
        return 0 if self._reader is None else self._reader.lost

    def follow(self) -> bool:
        """Take what has come, at most a share of it that is quickly taken; whether there may be more."""
        if self._reader is None:
            try:
                self._reader = TapReader(self._path)
            except ConfigError:
                return False
        for _ in range(_MOST_AT_ONCE):
            record = self._reader.next_of(_is_wanted)
            if record is None:
                return False
            try:
                self._take(record)
            except (PacketError, msgspec.MsgspecError):
                self.damaged += 1
        return True

    def _take(self, record: TapRecord) -> None:
        match record.kind:
            case RecordKind.OUTPUT:
                self.outputs.put(decode_output(record.payload), record.t_ns)
            case RecordKind.PACKET:
                self._packet(record)
            case RecordKind.NOTE:
                self.notes.append(Note(record.t_ns, record.payload.decode("utf-8", "replace")))
            case RecordKind.START:
                self.start = decode_journal(record.payload, Start)
            case _:
                pass

    def _packet(self, record: TapRecord) -> None:
        packet = decode_packet(record.payload)
        if isinstance(packet.data, Descriptor):
            self.descriptor = packet.data
            self.columns.name(packet.data.columns)
        elif isinstance(packet.data, Columns):
            samples = packet.sample_index + packet.data.offsets.astype(np.int64)
            self.columns.put(record.t_ns, samples, packet.data.values)

    def close(self) -> None:
        """Let go of the ring."""
        if self._reader is not None:
            self._reader.close()


def read_start(path: Path) -> Start | None:
    """What the newest engine left of its beginning; None where there is no such file, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Start)
    except (OSError, msgspec.MsgspecError):
        return None

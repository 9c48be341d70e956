"""The recorder's status: what it says of itself, in a file that other processes read at any time.

One writer, any number of readers, no locks; the file outlives the recorder. A recorder that starts puts a new one in
its place. Layout, version 1, little-endian:

====== ===== =====================================================================================
offset bytes field
====== ===== =====================================================================================
0      4     magic `CXRS`
4      2     version u16 = 1
8      8     sequence u64: odd while the writer writes
16     8     rotating u64: 1 while a segment is being begun
24     8     syncing u64: 1 while `fdatasync` runs
32     8     state u64: its place in `STATES`
40     8     closed u64: 1 once the recorder has ended in good order
48     8 x n numbers i64, in the order of `NUMBERS`
512    2     bytes of the folder u16, then the folder, UTF-8, at most 1022
1536   2     bytes of the note u16, then the note, UTF-8, at most 510
====== ===== =====================================================================================

Reading: take the sequence; if it is odd, wait and begin again; copy; take it again; if it differs, begin again.
`rotating` and `syncing` are whole words outside the sequence. The order of stores that this needs is the one that
x86-64 guarantees.
"""

import mmap
import os
import struct
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from cortexwire.errors import ConfigError

RecorderState = Literal["idle", "recording", "full", "failed"]
STATES: Final[tuple[RecorderState, ...]] = ("idle", "recording", "full", "failed")
"""States in the order of their numbers: nothing to do, writing, dropping for want of room, dropping for a fault."""
STALE_AFTER_NS: Final = 1_000_000_000
"""A heartbeat older than this means that the recorder hangs or is stopped; it beats ten times a second."""
DEAD_AFTER_NS: Final = 5_000_000_000
"""A heartbeat older than this means that the recorder is gone."""

_MAGIC: Final = b"CXRS"
_VERSION: Final = 1
_BYTES: Final = 2048
_SEQUENCE_WORD: Final = 1
_ROTATING_WORD: Final = 2
_SYNCING_WORD: Final = 3
_STATE_AT: Final = 32
_NUMBERS_AT: Final = 48
_FOLDER_AT: Final = 512
_NOTE_AT: Final = 1536
_TORN_AFTER_NS: Final = 100_000_000


class RecorderStatus(msgspec.Struct, kw_only=True):
    """What a recorder says of itself; counts begin anew with each recording that it begins or continues.

    Attributes:
        state: One of `STATES`.
        health: `live`, `stale` or `dead` by the age of the heartbeat, or `closed`: ended in good order.
        folder: Of the recording, empty before the first.
        note: The last worth saying: a loss, a fault, a stall.
        rotating: Whether a segment is being begun.
        syncing: Whether `fdatasync` runs.
        pid: Process of the recorder.
        heartbeat_ns: When this was written, CLOCK_MONOTONIC.
        segment: Number of the segment that is written, -1 before the first.
        records: Records written, `LOSS` records among them.
        written_bytes: Bytes handed to the kernel, segment headers among them.
        next_index: Number of the next record to be written.
        durable_bytes: Of `written_bytes`, those that are on the disk: `fdatasync` has returned.
        durable_segment: The segment that holds the end of them, -1 before there is one.
        durable_offset: Where in that segment that end is.
        durable_index: Records with a number below this are on the disk, or counted as lost there.
        losses: How often something was lost.
        lost_records: Records lost.
        lost_packets: Packets among them, as far as that is known.
        lost_samples: Samples in them, as far as that is known.
        stalls: Writes that took longer than 50 ms.
        longest_stall_ns: The longest write.
        syncs: How often `fdatasync` was called.
        longest_sync_ns: The longest of these calls.
        queued_bytes: Read from the tap and not written yet.
        most_queued_bytes: The most that there ever was of it.
        behind_bytes: In the tap and not read yet.
        free_bytes: Room on the disk.
    """

    state: RecorderState = "idle"
    health: Literal["live", "stale", "dead", "closed"] = "live"
    folder: str = ""
    note: str = ""
    rotating: bool = False
    syncing: bool = False
    pid: int = 0
    heartbeat_ns: int = 0
    segment: int = -1
    records: int = 0
    written_bytes: int = 0
    next_index: int = 0
    durable_bytes: int = 0
    durable_segment: int = -1
    durable_offset: int = 0
    durable_index: int = 0
    losses: int = 0
    lost_records: int = 0
    lost_packets: int = 0
    lost_samples: int = 0
    stalls: int = 0
    longest_stall_ns: int = 0
    syncs: int = 0
    longest_sync_ns: int = 0
    queued_bytes: int = 0
    most_queued_bytes: int = 0
    behind_bytes: int = 0
    free_bytes: int = 0


NUMBERS: Final = tuple(field.name for field in msgspec.structs.fields(RecorderStatus) if field.type is int)
"""Names of the numbers in the order in which they lie in the file."""

_PACKED: Final = struct.Struct(f"<QQ{len(NUMBERS)}q")


class StatusMap:
    """The recorder's side; any of its threads may write.

    Args:
        path: The file; an older one is replaced.

    Raises:
        ConfigError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._now = RecorderStatus(pid=os.getpid())
        self._closed = 0
        fresh = path.with_name(path.name + ".new")
        try:
            with fresh.open("w+b") as file:
                # Reserving the blocks now turns a full disk into a start-up error instead of a SIGBUS later.
                os.posix_fallocate(file.fileno(), 0, _BYTES)
                self._map = mmap.mmap(file.fileno(), _BYTES)
            self._map[:6] = _MAGIC + _VERSION.to_bytes(2, "little")
            self._words = memoryview(self._map).cast("Q")
            self.update()
            fresh.replace(path)
        except OSError as error:
            raise ConfigError(f"recorder: cannot make {path}: {error.strerror}") from error

    def update(self, more: Mapping[str, int] | None = None, /, **changes: Any) -> None:
        """Change fields by name, and write them all at once, stamped with the time now.

        Args:
            more: What is added to numbers.
            changes: What takes the place of values.
        """
        with self._lock:
            for name, amount in (more or {}).items():
                setattr(self._now, name, getattr(self._now, name) + amount)
            for name, value in changes.items():
                setattr(self._now, name, value)
            self._write(self._now)

    def begin(self, folder: str) -> None:
        """Count anew, for a recording in this folder."""
        with self._lock:
            self._now = RecorderStatus(pid=self._now.pid, state="recording", folder=folder)
            self._write(self._now)

    def get(self) -> RecorderStatus:
        """A copy of what was last written."""
        with self._lock:
            return msgspec.structs.replace(
                self._now, rotating=bool(self._words[_ROTATING_WORD]), syncing=bool(self._words[_SYNCING_WORD])
            )

    def set_rotating(self, on: bool) -> None:
        """Say at once whether a segment is being begun."""
        self._words[_ROTATING_WORD] = on

    def set_syncing(self, on: bool) -> None:
        """Say at once whether `fdatasync` runs."""
        self._words[_SYNCING_WORD] = on

    def close(self) -> None:
        """Say that the recorder has ended in good order. The file stays."""
        with self._lock:
            self._closed = 1
            self._write(self._now)
            self._words.release()
            self._map.close()

    def _write(self, now: RecorderStatus) -> None:
        now.heartbeat_ns = time.monotonic_ns()
        self._words[_SEQUENCE_WORD] += 1
        numbers = (getattr(now, name) for name in NUMBERS)
        _PACKED.pack_into(self._map, _STATE_AT, STATES.index(now.state), self._closed, *numbers)
        self._put(_FOLDER_AT, _NOTE_AT, now.folder)
        self._put(_NOTE_AT, _BYTES, now.note)
        self._words[_SEQUENCE_WORD] += 1

    def _put(self, at: int, end: int, text: str) -> None:
        raw = text.encode("utf-8", "replace")[: end - at - 2]
        self._map[at : at + 2 + len(raw)] = len(raw).to_bytes(2, "little") + raw


def read_status(path: Path) -> RecorderStatus:
    """Read the newest whole status (or, 0.1 s after a recorder died while writing, what it left).

    Raises:
        ConfigError: There is no such file, or it is none of this version.
    """
    try:
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ConfigError(f"recorder: expected a recorder's status at {path}: {error}") from error
    with mapping:
        if mapping[:6] != _MAGIC + _VERSION.to_bytes(2, "little") or len(mapping) != _BYTES:
            raise ConfigError(f"recorder: expected a status of version {_VERSION} at {path}, got {mapping[:6]!r}")
        return _decode(_copy(mapping))


def recorder_state(path: Path) -> dict[str, Any] | None:
    """The status as plain JSON values, for another process's report; None where there is no recorder."""
    try:
        return msgspec.structs.asdict(read_status(path))
    except ConfigError:
        return None


def _copy(mapping: mmap.mmap) -> bytes:
    give_up_ns = time.monotonic_ns() + _TORN_AFTER_NS
    while True:
        before = mapping[8:16]
        content = mapping[:]
        if (before[0] % 2 == 0 and mapping[8:16] == before) or time.monotonic_ns() > give_up_ns:
            return content
        time.sleep(0.0)


def _decode(content: bytes) -> RecorderStatus:
    state, closed, *numbers = _PACKED.unpack_from(content, _STATE_AT)
    rotating, syncing = struct.unpack_from("<QQ", content, 8 * _ROTATING_WORD)
    status = RecorderStatus(
        state=STATES[state],
        folder=_text(content, _FOLDER_AT),
        note=_text(content, _NOTE_AT),
        rotating=bool(rotating),
        syncing=bool(syncing),
        **dict(zip(NUMBERS, numbers, strict=True)),
    )
    age_ns = time.monotonic_ns() - status.heartbeat_ns
    if closed:
        status.health = "closed"
    # A heartbeat from the future is one from before a reboot: that recorder is gone too.
    elif not 0 <= age_ns < DEAD_AFTER_NS:
        status.health = "dead"
    elif age_ns >= STALE_AFTER_NS:
        status.health = "stale"
    return status


def _text(content: bytes, at: int) -> str:
    size = int.from_bytes(content[at : at + 2], "little")
    return content[at + 2 : at + 2 + size].decode("utf-8", "replace")

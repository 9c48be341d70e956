"""A copy of a log with nothing wrong in it but what is missing, and that is said in it.

Segments in which nothing is wrong become hard links where the file system allows, since nobody writes to them again.
The others are written anew with their whole records; where records are missing, a `LOSS` record says so. The log
itself is left alone.
"""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from cortexwire.errors import ConfigError
from cortexwire.sessions.log.faults import Fault
from cortexwire.sessions.log.log import Log
from cortexwire.sessions.log.verify import Verification
from cortexwire.wire import (
    SIDECAR,
    Loss,
    RecordKind,
    SegmentHeader,
    Sidecar,
    encode_record,
    encode_segment_header,
    segment_path,
)

WHY: Final = "damage"
"""What `LOSS` records that stand for damage give as their reason."""


def repair_log(log: Log, found: Verification, out: Path, progress: Callable[[float], Any] = lambda _: None) -> int:
    """Write the copy.

    Args:
        log: The log.
        found: What `verify_log` found in it.
        out: The folder to make.
        progress: Told the share that is done.

    Returns:
        How many segments were linked or copied as they are.

    Raises:
        ConfigError: The folder is there already.
    """
    partial = out.with_name(out.name + ".partial")
    if out.exists() or partial.exists():
        raise ConfigError(f"--repair: expected a folder that is to be made, got {out if out.exists() else partial}")
    partial.mkdir(parents=True)
    try:
        kept = _Repair(log, found, partial).run(progress)
        partial.rename(out)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    return kept


class _Repair:
    """Writes one copy."""

    def __init__(self, log: Log, found: Verification, out: Path) -> None:
        self._log = log
        self._out = out
        self._faulty = {fault.segment for fault in found.faults}
        ids = [segment.header.recording for segment in log.segments if segment.header is not None]
        self._id = bytes.fromhex(log.sidecar.recording) if log.sidecar is not None else ids[0] if ids else bytes(16)
        self._starts = found.starts
        self._file: BinaryIO | None = None
        self._writing = -1

    def run(self, progress: Callable[[float], Any]) -> int:
        """Copy all."""
        self._extras()
        whole = [segment.name not in self._faulty for segment in self._log.segments]
        closed = self._log.sidecar is not None and self._log.sidecar.stopped is not None
        for number, segment in enumerate(self._log.segments):
            if whole[number]:
                # A recorder may still be writing to the last one, and a link would grow with it.
                grows = number == len(whole) - 1 and not closed
                _link(segment.path, segment_path(self._out, segment.number), copy=grows)
        due = 0
        index: int | None = None
        missing: tuple[int, int] | None = None
        walk = self._log.walk()
        for item in walk:
            if isinstance(item, Fault):
                if item.breaks:
                    missing = item.index, item.records
                continue
            # Records that only an earlier segment still has go where they are missing.
            here = walk.at[0]
            if self._writing != here:
                self._leave()
                number = self._log.segments[here].number
                while due < number:
                    # A segment that is missing is where its records' loss is said.
                    at, count = missing or (item.index, 0)
                    self._begin(due, at)
                    self._loss(at, count, item.t_ns)
                    self._leave()
                    missing, due = None, due + 1
                due = number + 1
                self._writing = here
                if not whole[here]:
                    self._begin(number, item.index if missing is None else missing[0])
                progress(here / len(whole))
            if self._file is not None:
                if missing is not None:
                    self._loss(*missing, item.t_ns)
                self._file.write(encode_record(item.kind, item.t_ns, item.payload, item.index))
            missing, index = None, item.index
        self._leave()
        self._empty(index)
        return sum(whole)

    def _begin(self, number: int, first_index: int) -> None:
        known = {segment.number: segment.header for segment in self._log.segments}.get(number)
        t_ns = known.t_realtime_ns if known is not None else 0
        self._file = segment_path(self._out, number).open("wb")
        self._file.write(encode_segment_header(SegmentHeader(number, self._id, first_index, t_ns)))

    def _started(self) -> str:
        times = [segment.header.t_realtime_ns for segment in self._log.segments if segment.header is not None]
        return datetime.fromtimestamp(min(times, default=0) / 1e9, UTC).isoformat(timespec="seconds")

    def _loss(self, index: int, records: int, t_ns: int) -> None:
        if records and self._file is not None:
            payload = msgspec.json.encode(Loss(records=records, why=WHY))
            self._file.write(encode_record(RecordKind.LOSS, t_ns, payload, index))

    def _leave(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _empty(self, last: int | None) -> None:
        """Segments without a single whole record keep their place by a header alone."""
        for segment in self._log.segments:
            if not segment_path(self._out, segment.number).exists():
                self._begin(segment.number, 0 if last is None else last + 1)
                self._leave()

    def _extras(self) -> None:
        """Everything in the folder that is no segment; a sidecar that is lost is made from what the log says."""
        for path in sorted(self._log.folder.rglob("*")):
            target = self._out / path.relative_to(self._log.folder)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif path.is_file() and not (path.parent == self._log.folder and path.suffix == ".cxlog"):
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.name != SIDECAR:
                    _link(path, target, copy=False)
        sidecar = self._log.sidecar
        if sidecar is None:
            start = msgspec.to_builtins(self._starts[0][1]) if self._starts else None
            bundle = "bundle" if (self._log.folder / "bundle").is_dir() else None
            sidecar = Sidecar(
                recording=self._id.hex(),
                name=self._log.folder.name,
                started=self._started(),
                start=start,
                from_start=bool(self._starts),
                bundle=bundle,
            )
        (self._out / SIDECAR).write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n")


def _link(path: Path, target: Path, *, copy: bool) -> None:
    """Link a file, or copy it where it cannot be linked or must not be."""
    if not copy:
        try:
            os.link(path, target)
        except OSError:
            copy = True
    if copy:
        shutil.copy2(path, target)

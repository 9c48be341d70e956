"""One recording while it is made: its folder, and the threads that read, write, sync and keep."""

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import msgspec
import structlog

from cortexwire.config import RecorderSettings
from cortexwire.errors import ConfigError
from cortexwire.runtime.recorder.blocks import BlockQueue
from cortexwire.runtime.recorder.disk import Disk, OsDisk
from cortexwire.runtime.recorder.draining import Drain
from cortexwire.runtime.recorder.keeping import Keeper, now_utc, write_sidecar
from cortexwire.runtime.recorder.losses import Place
from cortexwire.runtime.recorder.resuming import find_tail, newest_of, survey
from cortexwire.runtime.recorder.segments import UNNAMED, SegmentWriter
from cortexwire.runtime.recorder.status import StatusMap
from cortexwire.runtime.recorder.syncing import Syncer
from cortexwire.runtime.recorder.writing import Writer
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.tap import TapReader
from cortexwire.wire import SEGMENT_SUFFIX, SIDECAR, Sidecar

_MEBIBYTE = 1024 * 1024


class Plan(msgspec.Struct, frozen=True):
    """Where a recording goes and where it begins.

    Attributes:
        folder: Of the recording; it exists and has its sidecar.
        sidecar: That.
        first_index: Number of the first record wanted.
        number: Of the first segment to be written.
        is_new: Whether nothing is in it yet.
        before: Where the last packet stands that is in it.
    """

    folder: Path
    sidecar: Sidecar
    first_index: int
    number: int = 0
    is_new: bool = True
    before: Place | None = None


def left_unfinished(parent: Path, run_dir: RunDir) -> Plan | None:
    """How to go on with the recording that a recorder of this ring left without an end, if there is one.

    Raises:
        ConfigError: There is no ring.
    """
    with TapReader(run_dir.tap) as tap:
        found = newest_of(parent, tap.ring_id)
    if found is None or found[1].stopped is not None:
        return None
    folder, sidecar = found
    tail = find_tail(folder)
    if tail is None:
        return Plan(folder, sidecar, 0, _next_number(folder))
    if not survey(run_dir.tap, tail).is_same:
        return None
    for path in folder.glob(f"*{UNNAMED}"):
        path.unlink(missing_ok=True)
    return Plan(folder, sidecar, tail.next_index, tail.next_number, is_new=False, before=tail.place)


def begin_new(parent: Path, run_dir: RunDir, name: str, about: str, *, from_now: bool) -> Plan:
    """Make the folder of a new recording.

    Args:
        parent: Where to.
        run_dir: Where the ring is.
        name: What to call it, or nothing.
        about: The user's words.
        from_now: Whether it begins with what comes next; else with the newest `START` in the ring or, where there is
            none, the oldest record, but with nothing that another recording has already.

    Raises:
        ConfigError: There is no ring, or the folder cannot be made.
    """
    found = survey(run_dir.tap)
    first_index = found.next_index
    if not from_now:
        first_index = found.first_index if found.start_index is None else found.start_index
        before = newest_of(parent, found.ring_id)
        tail = find_tail(before[0]) if before is not None else None
        if tail is not None and survey(run_dir.tap, tail).is_same:
            first_index = max(first_index, tail.next_index)
    started = now_utc()
    stamp = started.replace("-", "").replace(":", "")[:15]
    sidecar = Sidecar(
        recording=os.urandom(16).hex(),
        name=name or stamp,
        started=started,
        start=_start_of(run_dir),
        software={"cortexwire": metadata.version("cortexwire"), "python": platform.python_version()},
        tap=found.ring_id,
        about=about,
    )
    try:
        folder = _make_folder(parent, f"{stamp}-{_plain(name)}" if name else stamp)
        write_sidecar(folder, sidecar)
    except OSError as error:
        raise ConfigError(f"recorder: cannot make a recording in {parent}: {error.strerror}") from error
    return Plan(folder, sidecar, first_index)


def _make_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise FileExistsError(17, "a thousand recordings of that name")


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)[:80]


def _start_of(run_dir: RunDir) -> dict[str, object] | None:
    """What the engine that runs now, or ran last, began with."""
    try:
        return msgspec.json.decode(run_dir.start.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return None


def _next_number(folder: Path) -> int:
    return max((int(path.stem) + 1 for path in folder.glob(f"*{SEGMENT_SUFFIX}")), default=0)


class Recording:
    """Records until it is stopped.

    Args:
        plan: Where to, and where it begins.
        tap: The ring's file.
        settings: The recorder's.
        status: Where to say how it goes.
        disk: Where to write.

    Raises:
        ConfigError: There is no ring.
    """

    def __init__(
        self, plan: Plan, tap: Path, settings: RecorderSettings, status: StatusMap, disk: Disk | None = None
    ) -> None:
        self.plan = plan
        self._status = status
        self._has_ended = False
        self._disk = disk = disk or OsDisk()
        status.begin(str(plan.folder))
        folder = plan.folder
        self._queue = BlockQueue(settings.buffer_megabytes)
        self._syncer = Syncer(folder, disk, status, settings.sync_ms / 1000, settings.sync_megabytes * _MEBIBYTE)
        self._keeper = Keeper(folder, plan.sidecar, copies=settings.keep_bundle)
        segments = SegmentWriter(
            folder,
            bytes.fromhex(plan.sidecar.recording),
            settings.segment_megabytes * _MEBIBYTE,
            plan.number,
            disk,
            self._syncer.add,
            status.set_rotating,
        )
        self._writer = Writer(
            folder, self._queue, segments, self._syncer, self._keeper, status, disk, is_new=plan.is_new
        )
        reader = TapReader(tap)
        self._drain = Drain(reader, self._queue, plan.first_index, is_fresh=plan.is_new, before=plan.before)
        self._log = structlog.get_logger("cortexwire.recorder")

    @property
    def is_over(self) -> bool:
        """Whether it goes on no more by itself: another ring has taken the place of its own, or a thread fell."""
        return self._drain.is_replaced or self._drain.fault is not None or self._writer.fault is not None

    def start(self) -> None:
        """Begin."""
        if not self.plan.is_new:
            self._keeper.take_known()
        for thread in (self._syncer, self._keeper, self._writer, self._drain):
            thread.start()
        self._log.info(
            "recording" if self.plan.is_new else "recording continued",
            folder=str(self.plan.folder),
            index=self.plan.first_index,
        )

    def look(self) -> None:
        """Say what only changes with time."""
        free = 0
        with suppress(OSError):
            free = self._disk.free_bytes(self.plan.folder)
        self._status.update(
            queued_bytes=self._queue.bytes,
            most_queued_bytes=self._queue.most_bytes,
            behind_bytes=self._drain.behind_bytes,
            free_bytes=free,
        )

    def stop(self) -> None:
        """Write what the ring holds now, bring it to the disk, and end in good order; safe to call twice."""
        if self._has_ended:
            return
        self._has_ended = True
        self._drain.stop()
        while not self._writer.join(0.1):
            self.look_closing()
        self._syncer.stop()
        problem = self._problem()
        if problem:
            self._status.update(note=problem)
            self._log.error("recording not ended in good order", folder=str(self.plan.folder), why=problem)
        self._keeper.stop(finished=not problem)
        status = self._status.get()
        self._status.update(state="failed" if problem else "idle", queued_bytes=0)
        self._log.info(
            "recording ended",
            folder=str(self.plan.folder),
            records=status.records,
            bytes=status.written_bytes,
            lost_records=status.lost_records,
            stalls=status.stalls,
            longest_stall_ms=status.longest_stall_ns // 1_000_000,
            longest_sync_ms=status.longest_sync_ns // 1_000_000,
        )

    def _problem(self) -> str:
        """Why it did not end in good order; empty if it did."""
        self._syncer.close()
        if self._syncer.failure is not None:
            return f"sync failed: {self._syncer.failure.strerror}"
        fault = self._writer.fault or self._drain.fault
        return "" if fault is None else f"{type(fault).__name__}: {fault}"

    def discard_empty(self) -> None:
        """Take away a recording in which nothing is, as of a ring that an engine was just about to replace."""
        folder = self.plan.folder
        if self.plan.is_new and not any(folder.glob(f"*{SEGMENT_SUFFIX}")):
            (folder / SIDECAR).unlink(missing_ok=True)
            # Whatever else is there stays.
            with suppress(OSError):
                folder.rmdir()

    def look_closing(self) -> None:
        """Say how far the end is."""
        self._status.update(queued_bytes=self._queue.bytes, behind_bytes=0)

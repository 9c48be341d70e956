"""The writing half with a disk that fails at will: nothing is lost that is not counted, nothing durable that is not."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.config import RecorderSettings
from cortexwire.runtime.recorder.blocks import Block, seal
from cortexwire.runtime.recorder.disk import OsDisk
from cortexwire.runtime.recorder.losses import MOST_SPANS, Place, Tally, loss_between
from cortexwire.runtime.recorder.recording import Recording, begin_new
from cortexwire.runtime.recorder.segments import Segment, SegmentWriter
from cortexwire.runtime.recorder.status import StatusMap, read_status
from cortexwire.runtime.rundir import RunDir
from cortexwire.wire import Loss, RecordKind, Span, encode_record, record_length
from tests.runtime.recordings import PATIENCE_S, SAMPLES, Feeder, assert_same, losses, only_folder, read_log


class Disk(OsDisk):
    """A disk of so many bytes that fails when told to, and remembers what of each file is durable.

    Attributes:
        room: Bytes that can still be written.
        broken: What each call of that name raises.
        slow_s: How long a sync takes.
        durable: Length of each file by inode as of the last sync that returned.
    """

    def __init__(self) -> None:
        self.room = 2**60
        self.broken: dict[str, int] = {}
        self.slow_s = 0.0
        self.durable: dict[int, int] = {}
        self.folder_synced = False

    def _maybe(self, call: str) -> None:
        if call in self.broken:
            raise OSError(self.broken[call], os.strerror(self.broken[call]))

    def write(self, file: int, data: memoryview) -> int:
        """Take what there is room for."""
        self._maybe("write")
        taken = min(len(data), self.room)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= taken
        return super().write(file, data[:taken])

    def truncate(self, file: int, length: int) -> None:
        """Cut, and have that room again."""
        self._maybe("truncate")
        self.room += os.fstat(file).st_size - length
        super().truncate(file, length)

    def read(self, file: int, at: int, length: int) -> bytes:
        """Read, or fail."""
        self._maybe("read")
        return super().read(file, at, length)

    def sync(self, file: int) -> None:
        """Sync slowly, or fail, and remember what is durable."""
        time.sleep(self.slow_s)
        length = os.fstat(file).st_size
        self._maybe("sync")
        super().sync(file)
        self.durable[os.fstat(file).st_ino] = length

    def sync_folder(self, path: Path) -> None:
        """Sync, and remember it."""
        super().sync_folder(path)
        self.folder_synced = True

    def free_bytes(self, path: Path) -> int:
        """What is left."""
        return self.room


class Bench:
    """A recording in this process, on a disk that can fail."""

    def __init__(self, folder: Path, disk: Disk, megabytes: int = 16, **settings: float) -> None:
        self.run_dir = RunDir(folder / "run")
        self.feeder = Feeder(folder / "run", megabytes)
        self.disk = disk
        self.out = folder / "out"
        self.status = StatusMap(self.run_dir.recorder)
        given = RecorderSettings.model_validate({"segment_megabytes": 1, "sync_ms": 20, **settings})
        plan = begin_new(self.out, self.run_dir, "", "", from_now=True)
        self.recording = Recording(plan, self.run_dir.tap, given, self.status, disk)
        self.recording.start()

    def until(self, seen: int) -> None:
        """Wait until so many records have been written, counted as lost, or are on the disk."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            status = self.status.get()
            if status.durable_index >= seen or status.records + status.lost_records >= seen:
                return
            time.sleep(0.002)
        raise AssertionError(f"waited for nothing: {self.status.get()}")


@contextmanager
def bench(folder: Path, disk: Disk, megabytes: int = 16, **settings: float) -> Iterator[Bench]:
    made = Bench(folder, disk, megabytes, **settings)
    try:
        yield made
    finally:
        made.recording.stop()
        made.status.close()
        made.feeder.close()


def check(made: Bench) -> tuple[list[Loss], int]:
    """The log says of every record that it is there or lost, and of every sample lost which it was."""
    entries = read_log(only_folder(made.out))
    assert_same(entries, made.feeder.sent)
    found = losses(entries)
    kept = {entry.index for entry in entries if entry.kind is not RecordKind.LOSS}
    missing = [sent for index, sent in enumerate(made.feeder.sent) if index not in kept]
    packets = sum(kind is RecordKind.PACKET for kind, *_ in missing)
    assert sum(loss.records for loss in found) == len(missing)
    assert sum(loss.packets or 0 for loss in found) == packets
    assert sum(loss.samples or 0 for loss in found) == packets * SAMPLES
    spanned = sum((span.stop or 0) - (span.start or 0) for loss in found for span in loss.spans)
    assert spanned == packets * SAMPLES
    return found, len(missing)


@pytest.mark.parametrize("room", [0, 40, 64, 65, 96, 100, 5000, 200_000, 1_048_576])
def test_a_full_disk_costs_what_did_not_fit_and_no_more_and_the_loss_is_written_once_there_is_room(
    tmp_path: Path, room: int
) -> None:
    disk = Disk()
    disk.room = room
    with bench(tmp_path, disk) as made:
        made.feeder.packets(400)
        made.until(len(made.feeder.sent))
        status = read_status(made.run_dir.recorder)
        assert (status.state, status.losses) == ("full", 1)
        assert "disk full" in status.note
        disk.room = 2**60
        time.sleep(0.3)
        made.feeder.packets(50)
        made.until(len(made.feeder.sent) + 1)
    (loss,), missing = check(made)
    assert loss.why == "disk full"
    status = read_status(made.run_dir.recorder)
    assert (status.lost_records, status.lost_samples) == (missing, loss.samples)
    assert missing < len(made.feeder.sent) - 50 if room > 100_000 else missing > 0


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_for_a_while_costs_what_came_meanwhile(tmp_path: Path, number: int) -> None:
    disk = Disk()
    with bench(tmp_path, disk) as made:
        made.feeder.packets(50)
        made.until(len(made.feeder.sent))
        disk.broken = {"write": number, "truncate": number}
        made.feeder.packets(50)
        made.until(len(made.feeder.sent))
        assert made.status.get().state == ("full" if number == errno.EDQUOT else "failed")
        disk.broken = {}
        time.sleep(0.6)
        made.feeder.packets(50)
        made.until(len(made.feeder.sent) + 1)
    (loss,), missing = check(made)
    assert 0 < missing <= 60
    assert ("disk full" if number == errno.EDQUOT else "Input/output error") in loss.why


def test_what_one_sync_could_not_keep_is_written_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    disk = Disk()
    with bench(tmp_path, disk) as made:
        made.feeder.packets(50)
        made.until(len(made.feeder.sent))
        disk.broken = {"sync": errno.EIO}
        made.feeder.packets(50)
        while "sync failed" not in made.status.get().note:
            made.feeder.packets(1, 0.005)
        disk.broken = {}
        made.feeder.packets(20)
        made.until(len(made.feeder.sent))
    assert check(made) == ([], 0)


def test_what_can_neither_be_synced_nor_read_back_is_counted(tmp_path: Path) -> None:
    disk = Disk()
    with bench(tmp_path, disk) as made:
        made.feeder.packets(50)
        made.until(len(made.feeder.sent))
        disk.broken = {"sync": errno.EIO, "read": errno.EIO}
        while not made.status.get().losses:
            made.feeder.packets(1, 0.005)
        disk.broken = {}
        time.sleep(1.1)
        made.feeder.packets(20)
        made.until(len(made.feeder.sent) + 1)
    entries = read_log(only_folder(made.out))
    assert_same(entries, made.feeder.sent)
    found = losses(entries)
    assert any("sync failed" in loss.why for loss in found)
    kept = sum(entry.kind is not RecordKind.LOSS for entry in entries)
    assert kept + sum(loss.records for loss in found) == len(made.feeder.sent)
    assert read_status(made.run_dir.recorder).lost_records == sum(loss.records for loss in found)


def test_a_writer_that_falls_holds_nobody_up_and_the_next_recording_goes_on_from_it(tmp_path: Path) -> None:
    disk = Disk()
    with bench(tmp_path, disk, buffer_megabytes=4) as made:
        made.feeder.packets(20)
        made.until(len(made.feeder.sent))
        done = len(made.feeder.sent)
        disk.room = "none"  # type: ignore[assignment]
        for _ in range(20):
            made.feeder.packets(100)
        while not made.recording.is_over:
            time.sleep(0.01)
        made.recording.stop()
        assert made.status.get().state == "failed"
        assert "TypeError" in made.status.get().note
        assert begin_new(made.out, made.run_dir, "", "", from_now=False).first_index == done


def test_a_sync_that_fails_at_the_very_end_is_said(tmp_path: Path) -> None:
    disk = Disk()
    with bench(tmp_path, disk, sync_ms=60_000) as made:
        made.feeder.packets(20)
        while made.status.get().records < len(made.feeder.sent):
            time.sleep(0.01)
        disk.broken = {"sync": errno.EIO}
        made.recording.stop()
        assert "sync failed" in made.status.get().note
        assert made.status.get().durable_index < len(made.feeder.sent)


def test_a_slow_sync_is_absorbed_and_reported(tmp_path: Path) -> None:
    disk = Disk()
    disk.slow_s = 0.4
    with bench(tmp_path, disk, megabytes=4) as made:
        for _ in range(30):
            made.feeder.packets(100)
            made.until(len(made.feeder.sent) - 500)
    assert check(made) == ([], 0)
    assert read_status(made.run_dir.recorder).longest_sync_ns >= 400_000_000


def test_nothing_is_said_to_be_durable_before_the_sync_returned(tmp_path: Path) -> None:
    disk = Disk()
    disk.slow_s = 0.05
    stop = threading.Event()
    wrong: list[str] = []

    def watch(made: Bench) -> None:
        while not stop.is_set():
            status = made.status.get()
            if status.durable_segment < 0:
                continue
            path = only_folder(made.out) / f"{status.durable_segment:06d}.cxlog"
            durable = disk.durable.get(path.stat().st_ino, 0)
            if status.durable_offset > durable or not disk.folder_synced:
                wrong.append(f"{status.durable_offset} > {durable}")

    with bench(tmp_path, disk) as made:
        watcher = threading.Thread(target=watch, args=(made,))
        watcher.start()
        for _ in range(20):
            made.feeder.packets(40, 0.001)
        stop.set()
        watcher.join()
    assert not wrong
    assert check(made) == ([], 0)


def block(index: int, sizes: list[int]) -> Block:
    buffer = bytearray(b"old padding" * 3)
    begin, ends = len(buffer), []
    for number, size in enumerate(sizes):
        record = bytearray(encode_record(RecordKind.NOTE, index + number, bytes([number % 251]) * size, index + number))
        record[20:24] = record[28:32] = os.urandom(4)  # no checksum of the payload yet, so a wrong one of the header
        buffer += record
        if size % 8:
            buffer[-1] = 0xFF
        ends.append(len(buffer))
    return Block(buffer, begin, ends, index)


@given(
    blocks=st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=12), min_size=1, max_size=12),
    limit=st.integers(64, 9000),
    first=st.integers(0, 2**33),
    failures=st.lists(st.integers(0, 20_000), max_size=4),
)
def test_segments_hold_whole_records_in_order_whatever_their_sizes_and_whenever_writing_fails(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[int]],
    limit: int,
    first: int,
    failures: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("log")
    disk = Disk()
    begun: list[Segment] = []
    writer = SegmentWriter(folder, bytes(16), limit, 0, disk, begun.append)
    index, sizes = first, []
    for sizes_of in blocks:
        given = block(index, sizes_of)
        assert not seal(given)
        index += len(sizes_of)
        sizes += sizes_of
        while given.ends:
            disk.room = failures.pop() if failures else 2**60
            try:
                writer.append(given)
            except OSError:
                continue
    writer.finish()
    for segment in begun:
        os.close(segment.file)
    entries = read_log(folder)
    assert [entry.index for entry in entries] == list(range(first, first + len(sizes)))
    assert [len(entry.payload) for entry in entries] == sizes
    assert [path.name for path in folder.iterdir() if path.suffix != ".cxlog"] == []
    lengths = [path.stat().st_size for path in folder.glob("*.cxlog")]
    assert all(length <= max(limit, 64 + record_length(max(sizes))) for length in lengths)
    assert writer.written_bytes == sum(lengths)


def test_a_gap_is_told_by_the_packets_around_it() -> None:
    before, after = Place(1, 0, 30, 4), Place(1, 90, 120, 7)
    assert loss_between(before, after, 9, "overrun") == Loss(
        records=9, why="overrun", packets=2, samples=60, spans=(Span(f"{1:016x}", 30, 90),)
    )
    assert loss_between(before, Place(2, 500, 530, 1), 9, "overrun").spans == (
        Span(f"{1:016x}", 30, None),
        Span(f"{2:016x}", None, 500),
    )
    assert loss_between(before, None, 9, "overrun").samples is None
    assert loss_between(None, after, 9, "overrun").spans == ()
    assert loss_between(before, Place(1, 90, 120, 99), 9, "overrun").packets is None
    tally = Tally(5)
    tally.add(loss_between(before, after, 9, "overrun"))
    tally.add(Loss(records=1, why="disk full"))
    assert (tally.next_index, tally.loss().packets, tally.loss().why) == (15, None, "overrun, disk full")


def test_spans_of_a_loss_stay_few(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run")
    tally = Tally(0)
    for _ in range(2 * MOST_SPANS):
        feeder.packets(1)
        feeder.sample += 7
    for kind, t_ns, payload in feeder.sent:
        record = bytearray(encode_record(kind, t_ns, payload, 0))
        tally.drop(record, 0, [len(record)], "disk full")
    loss = tally.loss()
    assert loss.samples == 2 * MOST_SPANS * SAMPLES
    assert len(loss.spans) == MOST_SPANS
    assert loss.spans[-1].stop == feeder.sample - 7
    feeder.close()

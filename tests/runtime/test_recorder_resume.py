import random
import shutil
from pathlib import Path

import pytest

from cortexwire.runtime.recorder import read_status
from cortexwire.runtime.recorder.resuming import find_tail, survey
from cortexwire.runtime.rundir import RunDir
from cortexwire.wire import RecordKind
from tests.runtime.recordings import SAMPLES, Feeder, assert_same, losses, only_folder, read_log, recorder


def test_a_recorder_that_was_killed_again_and_again_leaves_one_whole_recording(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run", 8)
    rng = random.Random(5)
    for _ in range(6):
        with recorder(tmp_path / "run", tmp_path / "out", "recorder.segment_megabytes=1") as recording:
            goal = len(feeder.sent) + rng.randrange(50, 400)
            while len(feeder.sent) < goal:
                feeder.packets(10, 0.001)
            recording.until(lambda status: status.state == "recording" and status.records > 0)
            recording.kill()
        status = read_status(RunDir(tmp_path / "run").recorder)
        entries = read_log(only_folder(tmp_path / "out"))
        assert entries[-1].index + 1 >= status.durable_index
        feeder.packets(20)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.stop()
    entries = read_log(only_folder(tmp_path / "out"))
    assert len(entries) == len(feeder.sent)
    assert not losses(entries)
    assert_same(entries, feeder.sent)
    feeder.close()


@pytest.mark.parametrize("cut", [1, 20, 100, 4000])
def test_a_torn_record_is_left_alone_and_superseded(tmp_path: Path, cut: int) -> None:
    feeder = Feeder(tmp_path / "run", 4)
    feeder.packets(100)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.kill()
    segment = only_folder(tmp_path / "out") / "000000.cxlog"
    torn = segment.read_bytes()[:-cut]
    segment.write_bytes(torn)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        feeder.packets(5)
        recording.until_written(feeder)
        recording.stop()
    assert segment.read_bytes() == torn
    entries = read_log(segment.parent)
    assert len(entries) == len(feeder.sent)
    assert_same(entries, feeder.sent)
    feeder.close()


def test_what_the_ring_lost_while_no_recorder_ran_is_counted_when_one_goes_on(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run", 1)
    feeder.packets(50)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.kill()
    feeder.packets(2000)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.stop()
    entries = read_log(only_folder(tmp_path / "out"))
    (loss,) = losses(entries)
    kept = sum(entry.kind is RecordKind.PACKET for entry in entries)
    assert loss.samples == (2050 - kept) * SAMPLES
    assert loss.records + len(entries) - 1 == len(feeder.sent)
    assert [(span.start, span.stop) for span in loss.spans] == [(50 * SAMPLES, 50 * SAMPLES + loss.samples)]
    assert_same(entries, feeder.sent)
    feeder.close()


def test_an_engine_that_comes_back_goes_on_in_the_same_recording(tmp_path: Path) -> None:
    first = Feeder(tmp_path / "run", 4)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        first.packets(30)
        recording.until_written(first)
        first.close()
        second = Feeder(tmp_path / "run", 4, epoch=8)
        second.put(RecordKind.NOTE, b"here again")
        second.packets(30)
        everything = first.sent + second.sent
        recording.until(lambda status: status.durable_index == len(everything))
        recording.stop()
    entries = read_log(only_folder(tmp_path / "out"))
    assert len(entries) == len(everything)
    assert_same(entries, everything)
    second.close()


def test_another_ring_is_not_mistaken_for_the_one_that_was_left(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run", 4)
    feeder.packets(30)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.kill()
    feeder.close()
    RunDir(tmp_path / "run").tap.unlink()
    other = Feeder(tmp_path / "run", 4, epoch=9)
    other.packets(60)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(other)
        recording.stop()
    folders = sorted(tmp_path.glob("out/*"), key=lambda folder: len(read_log(folder)))
    assert [len(read_log(folder)) for folder in folders] == [len(feeder.sent), len(other.sent)]
    other.close()


def test_a_ring_of_the_same_id_with_another_record_in_its_place_is_another(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run", 4)
    feeder.packets(30)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(feeder)
        recording.kill()
    tail = find_tail(only_folder(tmp_path / "out"))
    assert tail is not None
    ring = RunDir(tmp_path / "run").tap
    assert survey(ring, tail).is_same
    copy = tmp_path / "copy"
    shutil.copy(ring, copy)
    content = bytearray(copy.read_bytes())
    at = content.rfind(tail.payload[-64:])
    content[at] ^= 1
    copy.write_bytes(content)
    assert not survey(copy, tail).is_same
    feeder.close()


def test_a_recorder_that_ended_in_good_order_does_not_record_the_same_twice(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run", 4)
    for _ in range(2):
        feeder.packets(30)
        with recorder(tmp_path / "run", tmp_path / "out") as recording:
            recording.until_written(feeder)
            recording.stop()
    one, two = sorted(map(read_log, tmp_path.glob("out/*")), key=lambda entries: entries[0].index)
    assert [entry.index for entry in one + two] == list(range(len(feeder.sent)))
    feeder.close()


def test_a_ring_that_is_replaced_before_anything_came_leaves_no_empty_recording(tmp_path: Path) -> None:
    old = Feeder(tmp_path / "run", 4)
    old.packets(30)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until_written(old)
        recording.stop()
    old.close()
    # As when the service is started with another tap.megabytes: recorder and engine begin side by side.
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until(lambda status: "waiting" in status.note)
        new = Feeder(tmp_path / "run", 8, epoch=8)
        new.packets(60)
        recording.until_written(new)
        recording.stop()
    assert sorted(len(read_log(folder)) for folder in tmp_path.glob("out/*")) == [len(old.sent), len(new.sent)]
    new.close()

"""A repaired copy holds every whole record, says what is missing, and leaves the log as it was."""

from pathlib import Path

import pytest

from cortexwire.errors import ConfigError
from cortexwire.sessions.log import Log, open_log, repair_log, verify_log
from cortexwire.wire import RecordKind
from tests.sessions.logs import Raw, write_log, write_segment

RECORDS: list[Raw] = [(RecordKind.NOTE, 10 * k, bytes([k % 251]) * (k % 37)) for k in range(60)]


def notes(log: Log) -> list[tuple[int, bytes]]:
    return [(record.index, bytes(record.payload)) for record in log.records() if record.kind is RecordKind.NOTE]


def repaired(folder: Path) -> tuple[Log, int]:
    log = open_log(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    out = folder.with_name("out")
    kept = repair_log(log, verify_log(log), out)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    copy = open_log(out)
    assert notes(copy) == notes(log)
    assert verify_log(copy).faults == []
    return copy, kept


def test_a_torn_tail_is_cut_off_and_whole_segments_are_links(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 20)
    last = folder / "000002.cxlog"
    last.write_bytes(last.read_bytes()[:-5])
    (folder / "bundle").mkdir()
    (folder / "bundle" / "manifest.json").write_text("{}")
    copy, kept = repaired(folder)
    assert (kept, len(notes(copy))) == (2, 59)
    assert verify_log(copy).whole
    assert (copy.folder / "000000.cxlog").stat().st_ino == (folder / "000000.cxlog").stat().st_ino
    assert (copy.folder / "bundle" / "manifest.json").read_text() == "{}"


def test_damage_becomes_a_loss(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 20)
    path = folder / "000001.cxlog"
    content = bytearray(path.read_bytes())
    content[400] ^= 1
    path.write_bytes(content)
    copy, kept = repaired(folder)
    found = verify_log(copy)
    assert kept == 2
    assert [(loss.records, loss.why) for _, loss in found.losses] == [(1, "damage")]
    assert len(notes(copy)) == 59


def test_missing_segments_become_losses_in_their_place(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 10)
    (folder / "000002.cxlog").unlink()
    (folder / "000003.cxlog").unlink()
    copy, _ = repaired(folder)
    assert [(index, loss.records) for index, loss in verify_log(copy).losses] == [(20, 20)]
    assert len(copy.segments) == 6


def test_what_a_later_segment_has_again_is_left_out(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30])
    write_segment(folder, 1, RECORDS[25:], 25)
    copy, kept = repaired(folder)
    assert (kept, verify_log(copy).whole) == (1, True)


def test_records_that_only_the_earlier_segment_has_are_kept(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30])
    write_segment(folder, 1, RECORDS[25:27], 25)
    write_segment(folder, 2, RECORDS[29:], 29)
    copy, _ = repaired(folder)
    assert [index for index, _ in notes(copy)] == list(range(60))
    assert verify_log(copy).whole


def test_a_segment_that_may_still_grow_is_copied(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 40, stopped=False)
    copy, kept = repaired(folder)
    assert kept == 2
    assert (copy.folder / "000001.cxlog").stat().st_ino != (folder / "000001.cxlog").stat().st_ino


def test_a_sidecar_that_is_lost_is_made_again(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    (folder / "recording.json").unlink()
    copy, _ = repaired(folder)
    assert copy.sidecar is not None
    assert copy.sidecar.started.startswith("2023-11-14T22:13:20")


def test_a_segment_of_which_nothing_is_whole_keeps_its_place(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 30)
    path = folder / "000001.cxlog"
    path.write_bytes(path.read_bytes()[:70])
    copy, _ = repaired(folder)
    assert (len(notes(copy)), len(copy.segments)) == (30, 2)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    log = open_log(write_log(tmp_path / "log", RECORDS))
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="expected a folder that is to be made"):
        repair_log(log, verify_log(log), tmp_path / "out")

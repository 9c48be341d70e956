"""A log's records come back, and what is wrong with a log is told where it stands."""

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.errors import SessionError
from cortexwire.sessions.log import Fault, FaultKind, Log, LogRecord, is_log, log_folder, open_log, verify_log
from cortexwire.wire import RecordKind, encode_record
from tests.sessions.logs import Raw, loss, write_log, write_segment

RECORDS: list[Raw] = [(RecordKind.NOTE, 10 * k, bytes([k % 251]) * (k % 37)) for k in range(60)]


def notes(log: Log) -> list[tuple[int, int, bytes]]:
    return [(record.index, record.t_ns, bytes(record.payload)) for record in log.records()]


def faults(log: Log) -> list[Fault]:
    return [item for item in log.walk() if isinstance(item, Fault)]


def expected(first: int = 0, stop: int = 60, base: int = 0) -> list[tuple[int, int, bytes]]:
    return [(base + k, t_ns, body) for k, (_, t_ns, body) in list(enumerate(RECORDS))[first:stop]]


@pytest.mark.parametrize("per_segment", [1, 7, 60])
def test_records_come_back_in_order_across_segments(tmp_path: Path, per_segment: int) -> None:
    log = open_log(write_log(tmp_path / "log", RECORDS, per_segment))
    assert notes(log) == expected()
    assert faults(log) == []
    assert log.name == "log"
    assert verify_log(log).whole


def test_numbers_run_on_beyond_32_bits(tmp_path: Path) -> None:
    base = 2**32 - 20
    log = open_log(write_log(tmp_path / "log", RECORDS, 25, first_index=base))
    assert notes(log) == expected(base=base)
    assert [record.index for record in log.records(base + 41)] == list(range(base + 41, base + 60))


@pytest.mark.parametrize("per_segment", [9, 60])
def test_any_record_is_found_by_its_number_and_by_its_time(
    tmp_path: Path, per_segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortexwire.sessions.log.log.NEAR_BYTES", 128)
    log = open_log(write_log(tmp_path / "log", RECORDS, per_segment))
    for index in range(60):
        assert next(log.records(index)).index == index
        place = log.seek_time(10 * index)
        come = [item.t_ns for item in log.walk(place) if isinstance(item, LogRecord)]
        assert 10 * index in come
        assert len(come) <= 60 - index + 60


def test_a_search_does_not_read_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortexwire.sessions.log.log.NEAR_BYTES", 256)
    log = open_log(write_log(tmp_path / "log", RECORDS))
    first = next(item for item in log.walk(log.seek(50)) if isinstance(item, LogRecord))
    assert 40 < first.index <= 50


def last_two(path: Path) -> tuple[int, int, int]:
    """Where the record before the last, the last, and the file end."""
    size = path.stat().st_size
    last = len(encode_record(*RECORDS[-1], 59))
    before = len(encode_record(*RECORDS[-2], 58))
    return size - last - before, size - last, size


def test_a_log_cut_anywhere_in_its_last_two_records_gives_all_records_before_the_cut(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, stopped=False)
    segment = folder / "000000.cxlog"
    whole = segment.read_bytes()
    before, last, end = last_two(segment)
    for cut in range(before, end):
        segment.write_bytes(whole[:cut])
        log = open_log(folder)
        kept = 58 if cut < last else 59
        assert notes(log) == expected(0, kept)
        found = faults(log)
        if cut in (before, last):
            assert found == []
            continue
        at = before if cut < last else last
        assert [(f.kind, f.segment, f.at, f.n_bytes, f.index) for f in found] == [
            (FaultKind.TORN, "000000.cxlog", at, cut - at, kept)
        ]
        assert not found[0].harmless


@given(st.data())
def test_no_flipped_byte_goes_unnoticed_or_takes_more_than_its_record(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = write_log(Path(scratch) / "log", RECORDS, 23)
        number = data.draw(st.integers(0, 2))
        path = folder / f"{number:06d}.cxlog"
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(64, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        came, whole = notes(open_log(folder)), expected()
        found = faults(open_log(folder))
        if not found:
            assert came == whole  # a byte of padding, which belongs to nothing
            return
        lost = [record for record in whole if record not in came]
        assert len(lost) == 1
        assert [record for record in came if record not in whole] == []
        assert all(fault.segment.startswith(("000000", "000001", "000002")) for fault in found)
        assert lost[0][0] in [fault.index for fault in found] or lost[0][0] == 59


def test_damage_inside_is_gone_past_and_says_what_is_missing(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    path = folder / "000000.cxlog"
    content = bytearray(path.read_bytes())
    records = [item for item in open_log(folder).walk() if isinstance(item, LogRecord)]
    content[records[20].at : records[24].at] = bytes(records[24].at - records[20].at)
    path.write_bytes(content)
    (fault,) = faults(open_log(folder))
    assert (fault.kind, fault.at, fault.n_bytes) == (FaultKind.DAMAGE, records[20].at, records[24].at - records[20].at)
    assert (fault.index, fault.records, fault.breaks) == (20, 4, True)
    assert "records 20 to 23 are missing" in str(fault)
    assert len(notes(open_log(folder))) == 56


def test_a_record_inside_a_payload_is_no_record_of_the_log(tmp_path: Path) -> None:
    inner = encode_record(RecordKind.NOTE, 1, b"inner", 5)
    records: list[Raw] = [*RECORDS[:5], (RecordKind.NOTE, 1, inner * 3), *RECORDS[5:]]
    folder = write_log(tmp_path / "log", records)
    path = folder / "000000.cxlog"
    content = bytearray(path.read_bytes())
    content[content.index(inner) + len(inner) + 40] ^= 1
    path.write_bytes(content)
    (fault,) = faults(open_log(folder))
    assert (fault.kind, fault.index, fault.records) == (FaultKind.DAMAGE, 5, 1)
    assert len(notes(open_log(folder))) == 60


def test_a_tail_that_a_later_segment_has_again_is_told_and_counts_once(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30], stopped=False)
    path = folder / "000000.cxlog"
    path.write_bytes(path.read_bytes()[:-3])
    write_segment(folder, 1, RECORDS[25:], 25)
    log = open_log(folder)
    assert notes(log) == expected()
    superseded, torn = faults(log)
    assert (superseded.kind, superseded.index, superseded.records) == (FaultKind.SUPERSEDED, 25, 4)
    assert (torn.kind, torn.harmless) == (FaultKind.TORN, True)
    found = verify_log(log)
    assert found.whole
    assert (found.segments[0].last, found.segments[1].first) == (24, 25)


def test_records_that_only_the_earlier_segment_has_are_taken_from_there(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30], stopped=False)
    write_segment(folder, 1, RECORDS[25:27], 25)
    assert notes(open_log(folder)) == expected(0, 30)
    write_segment(folder, 2, RECORDS[29:], 29)
    log = open_log(folder)
    assert notes(log) == expected()
    assert [(fault.kind, fault.harmless) for fault in faults(log)] == [(FaultKind.SUPERSEDED, True)] * 2
    write_segment(folder, 1, [], 25)
    write_segment(folder, 2, RECORDS[31:], 31)
    gap = faults(open_log(folder))[-1]
    assert (gap.kind, gap.index, gap.records) == (FaultKind.GAP, 30, 1)
    assert notes(open_log(folder)) == [*expected(0, 30), *expected(31)]


def test_numbers_that_begin_again_supersede_nothing(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30])
    write_segment(folder, 1, [(RecordKind.START, 10**6, b"{}"), *RECORDS[40:45]], 0)
    log = open_log(folder)
    came = [(record.index, record.kind) for record in log.records()]
    assert came == [(k, RecordKind.NOTE) for k in range(30)] + [(0, RecordKind.START)] + [
        (k, RecordKind.NOTE) for k in range(1, 6)
    ]
    (fault,) = faults(log)
    assert (fault.kind, fault.breaks, fault.harmless) == (FaultKind.RENUMBERED, True, False)


def test_repeated_records_count_once_and_are_one_finding(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    path = folder / "000000.cxlog"
    content = path.read_bytes()
    path.write_bytes(content + content[64:])
    (fault,) = faults(open_log(folder))
    assert (fault.kind, fault.at, fault.records) == (FaultKind.REPEATED, len(content), 60)
    assert notes(open_log(folder)) == expected()


def test_a_torn_tail_that_the_next_segment_takes_up_is_harmless_and_one_that_it_skips_is_a_gap(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS[:30])
    path = folder / "000000.cxlog"
    path.write_bytes(path.read_bytes()[:-3])
    write_segment(folder, 1, RECORDS[29:], 29)
    (torn,) = faults(open_log(folder))
    assert torn.harmless
    write_segment(folder, 1, RECORDS[30:], 30)
    torn, gap = faults(open_log(folder))
    assert (torn.kind, torn.harmless) == (FaultKind.TORN, False)
    assert (gap.kind, gap.index, gap.records) == (FaultKind.GAP, 29, 1)


def test_missing_segments_and_gaps_are_named_and_a_recorded_loss_is_no_gap(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 10)
    (folder / "000002.cxlog").unlink()
    missing, gap = faults(open_log(folder))
    assert (missing.kind, missing.segment) == (FaultKind.MISSING_SEGMENT, "000003.cxlog")
    assert (gap.kind, gap.index, gap.records) == (FaultKind.GAP, 20, 10)
    write_segment(folder, 2, [(RecordKind.LOSS, 200, loss(10, packets=4, samples=120))], 20)
    log = open_log(folder)
    assert faults(log) == []
    found = verify_log(log)
    assert [(index, told.records, told.samples) for index, told in found.losses] == [(20, 10, 120)]
    assert not found.whole


def test_room_that_was_set_aside_is_no_torn_tail(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 40, stopped=False)
    with (folder / "000001.cxlog").open("ab") as file:
        file.truncate(3 << 20)
    write_segment(folder, 2, [], 60)
    (folder / "000002.cxlog").write_bytes(bytes(4096))
    log = open_log(folder)
    assert notes(log) == expected()
    assert faults(log) == []


@pytest.mark.parametrize("size", [0, 63])
def test_a_segment_that_was_hardly_begun_is_a_torn_tail(tmp_path: Path, size: int) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    (folder / "000001.cxlog").write_bytes((folder / "000000.cxlog").read_bytes()[:size])
    (fault,) = faults(open_log(folder))
    assert (fault.kind, fault.segment, fault.n_bytes) == (FaultKind.TORN, "000001.cxlog", size)
    assert notes(open_log(folder)) == expected()


def test_a_segment_header_that_is_damaged_costs_no_record(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 20)
    path = folder / "000001.cxlog"
    content = bytearray(path.read_bytes())
    content[33] ^= 1
    path.write_bytes(content)
    log = open_log(folder)
    assert notes(log) == expected()
    assert [fault.kind for fault in faults(log)] == [FaultKind.HEADER]


def test_segments_of_another_recording_are_left_out(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    other = write_log(tmp_path / "other", RECORDS[:3])
    content = bytearray((other / "000000.cxlog").read_bytes())
    from cortexwire.wire import SegmentHeader, encode_segment_header

    content[:64] = encode_segment_header(SegmentHeader(1, bytes(16), 60, 0))
    (folder / "000001.cxlog").write_bytes(content)
    log = open_log(folder)
    assert [fault.kind for fault in log.faults] == [FaultKind.FOREIGN]
    assert notes(log) == expected()
    assert not verify_log(log).whole


def test_without_a_sidecar_the_records_are_there_and_it_is_told(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    (folder / "recording.json").write_text("{")
    log = open_log(folder)
    assert [fault.kind for fault in verify_log(log).faults] == [FaultKind.SIDECAR]
    assert notes(log) == expected()


def test_content_that_nobody_could_have_written_is_told(tmp_path: Path) -> None:
    folder = write_log(
        tmp_path / "log", [*RECORDS, (RecordKind.OUTPUT, 1, b"no output"), (RecordKind.APPLIED, 1, b"{}")]
    )
    found = verify_log(open_log(folder)).faults
    assert [(fault.kind, fault.index) for fault in found] == [(FaultKind.CONTENT, 60), (FaultKind.CONTENT, 61)]


def test_a_log_is_known_by_what_is_in_its_folder(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "a#3", RECORDS)
    assert is_log(folder)
    assert log_folder(folder) == (folder, None)
    assert log_folder(f"{folder}#2") == (folder, 2)
    assert is_log(f"{folder}#2")
    assert not is_log(tmp_path)
    with pytest.raises(SessionError, match="expected a recording with segments"):
        open_log(tmp_path)


def test_what_is_appended_later_is_not_seen_and_what_is_cut_off_is_a_torn_tail(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS)
    path = folder / "000000.cxlog"
    log = open_log(folder)
    with path.open("ab") as file:
        file.write(encode_record(RecordKind.NOTE, 0, b"later", 60))
    assert notes(log) == expected()
    before, _, _ = last_two(path)
    path.write_bytes(path.read_bytes()[: before - 70])
    assert [fault.kind for fault in faults(log)] == [FaultKind.TORN]


def test_a_payload_stays_good_after_the_walk_went_on(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", RECORDS, 13)
    kept = list(open_log(folder).records())
    shutil.rmtree(folder)
    assert [bytes(record.payload) for record in kept] == [body for _, _, body in RECORDS]


def test_a_verification_is_plain_json(tmp_path: Path) -> None:
    found = verify_log(open_log(write_log(tmp_path / "log", RECORDS, 20)))
    assert msgspec.json.decode(msgspec.json.encode(found.as_json()))["records"] == {"note": 60}

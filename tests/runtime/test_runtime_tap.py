import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.errors import ConfigError
from cortexwire.runtime.tap import RING_AT, TapReader, TapWriter
from cortexwire.wire import RecordKind, decode_record_header

MEBIBYTE = 1024 * 1024


def fill(writer: TapWriter, first: int, count: int, size: int = 1000) -> None:
    for number in range(first, first + count):
        writer.append(RecordKind.PACKET, number, number.to_bytes(8, "little") * (size // 8))


def times(reader: TapReader) -> list[int]:
    return [record.t_ns for record in reader]


def word(path: Path, at: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(8, "little"))


def test_records_come_back_in_order_and_whole(tmp_path: Path) -> None:
    writer = TapWriter(tmp_path / "ring", 1)
    sent = [(kind, 10 * n, bytes([n]) * n) for n, kind in enumerate(RecordKind)]
    for kind, t_ns, payload in sent:
        writer.append(kind, t_ns, payload)
    with TapReader(tmp_path / "ring") as reader:
        got = list(reader)
        assert [(record.kind, record.t_ns, record.payload) for record in got] == sent
        assert [record.index for record in got] == list(range(len(sent)))
        assert reader.next() is None
        assert reader.behind_bytes == 0
        writer.append(RecordKind.NOTE, 99, b"later")
        assert reader.behind_bytes == 40
        assert times(reader) == [99]
        assert reader.lost == 0
    writer.close()


@given(sizes=st.lists(st.integers(0, 400_000), max_size=25), every=st.integers(1, 6))
def test_a_reader_that_keeps_up_loses_nothing_whatever_the_sizes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], every: int
) -> None:
    path = tmp_path_factory.mktemp("tap") / "ring"
    writer = TapWriter(path, 1)
    with TapReader(path) as reader:
        got, held = [], 0
        for number, size in enumerate(sizes):
            held += size + 100
            # A wrap may leave as much as the longest record unused.
            if number % every == 0 or held > MEBIBYTE // 2 - 400_100:
                got += list(reader)
                held = size + 100
            writer.append(RecordKind.OUTPUT, number, os.urandom(1) * size)
        got += list(reader)
        assert [(record.t_ns, len(record.payload)) for record in got] == list(enumerate(sizes))
        assert all(len(set(record.payload)) <= 1 for record in got)
        assert (reader.lost, reader.damaged) == (0, 0)
    writer.close()


def test_a_reader_that_was_overrun_goes_on_at_the_oldest_and_counts_what_it_lost(tmp_path: Path) -> None:
    writer = TapWriter(tmp_path / "ring", 1)
    fill(writer, 0, 10)
    with TapReader(tmp_path / "ring") as reader:
        assert times(reader) == list(range(10))
        fill(writer, 10, 5000)
        got = times(reader)
        assert got == list(range(5010 - len(got), 5010))
        assert reader.lost == 5000 - len(got)
        assert len(got) >= MEBIBYTE // 1032 - 2
        assert reader.damaged == 0
    writer.close()


@pytest.mark.parametrize(("start", "first"), [("oldest", 0), ("newest", 5)])
def test_a_reader_begins_where_it_was_told_to(tmp_path: Path, start: Literal["oldest", "newest"], first: int) -> None:
    writer = TapWriter(tmp_path / "ring", 1)
    fill(writer, 0, 5)
    with TapReader(tmp_path / "ring", start) as reader:
        fill(writer, 5, 3)
        assert times(reader) == list(range(first, 8))
    writer.close()


def test_a_successor_continues_the_ring(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    first = TapWriter(path, 1)
    fill(first, 0, 1500)
    first.close()
    with TapReader(path, "newest") as reader:
        second = TapWriter(path, 1)
        fill(second, 1500, 10)
        got = list(reader)
        assert [record.index for record in got] == list(range(1500, 1510))
    with TapReader(path) as late:
        whole = times(late)
        assert whole == list(range(1510 - len(whole), 1510))
    assert int.from_bytes(path.read_bytes()[40:48], "little") == 2
    second.close()


def test_a_ring_of_another_size_is_replaced_and_readers_go_over_to_it(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    first = TapWriter(path, 1)
    fill(first, 0, 5)
    with TapReader(path) as reader:
        assert reader.next() is not None
        second = TapWriter(path, 2)
        fill(second, 100, 2)
        assert times(reader) == [1, 2, 3, 4, 100, 101]
        assert reader.lost == 0
        path.unlink()
        assert reader.next() is None
    first.close()
    second.close()


def test_a_writer_that_died_in_the_middle_of_a_record_leaves_the_ones_before_it(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    writer = TapWriter(path, 1)
    fill(writer, 0, 3)
    whole = int.from_bytes(path.read_bytes()[16:24], "little")
    fill(writer, 3, 1)
    writer.close()
    word(path, 16, whole)
    word(path, 32, 3)
    successor = TapWriter(path, 1)
    fill(successor, 50, 1)
    with TapReader(path) as reader:
        assert times(reader) == [0, 1, 2, 50]
        assert reader.damaged == 0
    successor.close()


def test_a_damaged_ring_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    for at, value in ((16, 3), (24, 2**40), (8, 16), (0, 0), (RING_AT, 1)):
        writer = TapWriter(path, 1)
        fill(writer, 0, 3)
        writer.close()
        word(path, at, value)
        successor = TapWriter(path, 1)
        fill(successor, 7, 1)
        with TapReader(path) as reader:
            assert times(reader) == [7]
        successor.close()
        path.unlink()


def test_a_reader_gives_up_what_is_damaged_and_goes_on_with_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    writer = TapWriter(path, 1)
    fill(writer, 0, 3)
    with TapReader(path) as reader:
        assert reader.next() is not None
        word(path, RING_AT + 1032, 0xDEADBEEF)
        assert reader.next() is None
        assert reader.damaged == 1
        fill(writer, 3, 2)
        assert times(reader) == [3, 4]
        assert reader.lost == 2
    writer.close()


def test_a_damaged_length_costs_the_writer_old_records_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    writer = TapWriter(path, 1)
    fill(writer, 0, 10)
    word(path, RING_AT + 16, 0xFFFFFFFF)
    fill(writer, 10, 1500)
    with TapReader(path) as reader:
        got = times(reader)
    assert got == list(range(1510 - len(got), 1510))
    writer.close()


def test_a_record_longer_than_half_the_ring_is_left_out_and_counted(tmp_path: Path) -> None:
    writer = TapWriter(tmp_path / "ring", 1)
    writer.append(RecordKind.PACKET, 1, bytes(MEBIBYTE // 2))
    writer.append(RecordKind.PACKET, 2, bytes(MEBIBYTE // 2 - 32))
    with TapReader(tmp_path / "ring") as reader:
        assert times(reader) == [2]
        writer.append(RecordKind.PACKET, 3, bytes(MEBIBYTE // 2))
        writer.append(RecordKind.TICK, 4, b"")
        assert times(reader) == [4]
        assert reader.lost == 1
    assert writer.refused == 2
    writer.close()


def test_the_layout_is_the_one_that_is_documented(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    writer = TapWriter(path, 1)
    writer.append(RecordKind.NOTE, 5, b"hello")
    writer.close()
    raw = path.read_bytes()
    assert raw[:6] == b"CXTP\x01\x00"
    words = [int.from_bytes(raw[at : at + 8], "little") for at in range(8, 48, 8)]
    assert words == [MEBIBYTE, 40, 0, 1, 1]
    assert int.from_bytes(raw[48:52], "little") == os.getpid()
    assert len(raw) == RING_AT + MEBIBYTE
    header = decode_record_header(raw, RING_AT)
    assert (header.kind, header.t_ns, header.payload_bytes, header.payload_crc32) == (
        RecordKind.NOTE,
        5,
        5,
        0,
    )
    assert raw[RING_AT + 32 : RING_AT + 37] == b"hello"


def write_for_ever(path: Path, stop: Event) -> None:
    writer = TapWriter(path, 1)
    number = 0
    while not stop.is_set():
        payload = number.to_bytes(8, "little") * (number % 997)
        writer.append(RecordKind.PACKET, number, payload)
        number += 1


def test_no_reader_sees_a_torn_record_and_every_one_is_read_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    process = spawn.Process(target=write_for_ever, args=(path, stop))
    process.start()
    try:
        until = time.monotonic() + 20.0
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.005)
        read, first, last = 0, -1, -1
        with TapReader(path) as reader:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                record = reader.next()
                if record is None:
                    continue
                number = record.t_ns
                assert number > last
                assert record.payload == number.to_bytes(8, "little") * (number % 997)
                first, last, read = (number if first < 0 else first), number, read + 1
                if read % 200 == 0:
                    time.sleep(0.02)
            assert read + reader.lost == last - first + 1
            assert reader.damaged == 0
            assert reader.lost > 0
    finally:
        stop.set()
        process.join()
        process.close()


def test_what_is_no_ring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tap: expected a ring at .*absent"):
        TapReader(tmp_path / "absent")
    (tmp_path / "other").write_bytes(bytes(5000))
    with pytest.raises(ConfigError, match=r"expected a ring of version 1 at .*other"):
        TapReader(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"tap: cannot make .*tap\.megabytes = 1"):
        TapWriter(tmp_path / "absent" / "ring", 1)


@given(sizes=st.lists(st.integers(0, 300_000), max_size=40), every=st.integers(1, 9))
def test_what_is_not_wanted_is_passed_by_and_not_lost(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], every: int
) -> None:
    path = tmp_path_factory.mktemp("tap") / "ring"
    writer = TapWriter(path, 2)
    sent, got = [], []
    with TapReader(path) as reader:
        for number, size in enumerate(sizes):
            wanted = number % 3 == 0
            writer.append(RecordKind.PACKET, number, bytes([wanted]) * size)
            if wanted and size:
                sent.append(number)
            if number % every == 0:
                while (record := reader.next_of(lambda _, payload: bytes(payload[:1]) == b"\1")) is not None:
                    got.append(record.t_ns)
                assert reader.behind_bytes == 0
        while (record := reader.next_of(lambda _, payload: bytes(payload[:1]) == b"\1")) is not None:
            got.append(record.t_ns)
        assert reader.damaged == 0
        # Only what was overwritten before it was looked at is lost, and it is counted.
        assert got == [number for number in sent if number in set(got)]
        assert len(sent) - len(got) <= reader.lost
        if not reader.lost:
            assert got == sent
    writer.close()

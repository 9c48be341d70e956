import multiprocessing
import os
import struct
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.runtime.histogram import Histogram
from cortexwire.runtime.telemetry import (
    DEAD_AFTER_NS,
    STAGES,
    STALE_AFTER_NS,
    STATES,
    EngineStatus,
    TelemetryReader,
    TelemetryWriter,
)
from cortexwire.types import Rate


def numbered(n: int, n_channels: int = 4) -> EngineStatus:
    """A status all of whose numbers follow from `n`."""
    row = np.full(n_channels, n % 1000, np.float32)
    return EngineStatus(
        state=STATES[n % len(STATES)],
        armed=n % 2 == 1,
        epoch=n,
        restart=n,
        bin=n,
        sample_index=n,
        rate=Rate(n + 1, n + 2),
        bundle_hash=n,
        overlay_hash=n,
        velocity=(float(n % 1000), -float(n % 1000)),
        notes=n,
        last_note=f"note {n}",
        rate_hz=row,
        rms_uv=row + 1,
        threshold_uv=-row,
        status=np.full(n_channels, n % 256, np.uint8),
    )


def assert_same(got: EngineStatus, want: EngineStatus) -> None:
    for name in EngineStatus.__dataclass_fields__:
        assert np.array_equal(getattr(got, name), getattr(want, name)), name


@pytest.mark.parametrize("n_channels", [0, 1, 3, 1024])
def test_a_reader_sees_what_the_writer_said(tmp_path: Path, n_channels: int) -> None:
    writer = TelemetryWriter(tmp_path / "map", n_channels, ("lost", "late"))
    writer.publish(numbered(7, n_channels), (3, 4))
    with TelemetryReader(tmp_path / "map") as reader:
        snapshot = reader.read()
    assert_same(snapshot.status, numbered(7, n_channels))
    assert snapshot.counters == {"lost": 3, "late": 4}
    assert snapshot.pid == os.getpid()
    assert snapshot.writer == "live"
    assert not snapshot.torn


def test_a_map_tells_at_once_that_the_engine_waits(tmp_path: Path) -> None:
    TelemetryWriter(tmp_path / "map", 2)
    with TelemetryReader(tmp_path / "map") as reader:
        snapshot = reader.read()
    assert snapshot.status.state == "waiting"
    assert snapshot.status.bin == -1
    assert list(snapshot.latency) == list(STAGES)


def test_histograms_are_counted_in_the_map(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 0, (), ("a", "b"))
    writer.histograms["b"].record(1000)
    with TelemetryReader(tmp_path / "map") as reader:
        latency = reader.read().latency
    want = Histogram()
    want.record(1000)
    assert latency["b"].summary() == want.summary()
    assert latency["a"].count == 0


def test_more_channels_than_the_map_holds_are_left_out(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 2)
    writer.publish(numbered(5, 9), ())
    with TelemetryReader(tmp_path / "map") as reader:
        assert reader.read().status.rate_hz.tolist() == [5.0, 5.0]


def test_a_long_note_is_cut_and_a_cut_letter_is_no_error(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 0)
    writer.publish(EngineStatus(last_note="x" + "é" * 300), ())
    with TelemetryReader(tmp_path / "map") as reader:
        assert reader.read().status.last_note == "x" + "é" * 255 + "\ufffd"


def test_the_layout_is_the_one_that_is_documented(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 3, ("lost",))
    writer.publish(numbered(9, 3), (5,))
    raw = (tmp_path / "map").read_bytes()
    assert raw[:6] == b"CXWT\x02\x00"
    capacity, n_counters, n_histograms, words = struct.unpack_from("<IIII", raw, 20)
    names, counters, histograms, channels, length = struct.unpack_from("<IIIII", raw, 36)
    assert (capacity, n_counters, n_histograms) == (3, 1, len(STAGES))
    assert length == len(raw)
    assert raw[names : names + 48].rstrip(b"\0") == b"lost"
    assert raw[names + 48 : names + 96].rstrip(b"\0") == STAGES[0].encode()
    assert struct.unpack_from("<Q", raw, counters) == (5,)
    assert channels == histograms + 8 * words * n_histograms
    assert struct.unpack_from("<3f", raw, channels + 12) == (10.0, 10.0, 10.0)
    assert struct.unpack_from("<QqqQQ", raw, 136) == (9, 9, 9, 9, 9)
    assert struct.unpack_from("<IIffII", raw, 176) == (10, 11, 9.0, -9.0, 9, 3)
    assert struct.unpack_from("<BBB", raw, 200) == (9 % len(STATES), 1, 0)
    assert raw[216 : 216 + struct.unpack_from("<I", raw, 204)[0]] == b"note 9"


def test_facts_are_read_as_told_and_too_many_are_said_to_be(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 3, ("lost",), lines=("a p99 <= 1 us",))
    with TelemetryReader(tmp_path / "map") as reader:
        assert reader.read().facts == {}
        writer.tell({"candidate": {"phase": "loading"}, "bin_ms": 20.0})
        writer.publish(numbered(7, 3), (3,))
        assert reader.read().facts == {"candidate": {"phase": "loading"}, "bin_ms": 20.0}
        assert_same(reader.read().status, numbered(7, 3))
        writer.tell({"bundle_name": "x"})
        assert reader.read().facts == {"bundle_name": "x"}
        writer.tell({"bundle_name": "x" * 20_000})
        assert "expected at most" in reader.read().facts["problem"]
    raw = (tmp_path / "map").read_bytes()
    at, room = struct.unpack_from("<II", raw, 80)
    assert at + room == len(raw)


def test_a_heartbeat_grows_stale_then_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TelemetryWriter(tmp_path / "map", 0)
    clock = time.monotonic_ns
    with TelemetryReader(tmp_path / "map") as reader:
        for later, health in (
            (0, "live"),
            (STALE_AFTER_NS, "stale"),
            (DEAD_AFTER_NS, "dead"),
            (-(10**15), "dead"),
        ):
            monkeypatch.setattr(time, "monotonic_ns", lambda later=later: clock() + later)
            assert reader.read().writer == health


def test_an_orderly_end_is_told_from_a_death(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 0)
    writer.close(numbered(5, 0), ())
    with TelemetryReader(tmp_path / "map") as reader:
        snapshot = reader.read()
    assert snapshot.writer == "closed"
    assert snapshot.status.bin == 5


def test_a_reader_follows_an_engine_that_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "map"
    TelemetryWriter(path, 4).publish(numbered(1), ())
    with TelemetryReader(path) as reader:
        assert reader.read().status.bin == 1
        TelemetryWriter(path, 8, ("lost",)).publish(numbered(2, 8), (6,))
        assert reader.read().status.bin == 2
        assert reader.read().counters == {"lost": 6}
        path.unlink()
        assert reader.read().status.bin == 2


def test_a_writer_that_died_while_writing_leaves_a_reading_marked_torn(tmp_path: Path) -> None:
    path = tmp_path / "map"
    TelemetryWriter(path, 4).publish(numbered(3), ())
    with path.open("r+b") as file:
        file.seek(8)
        file.write((7).to_bytes(8, "little"))
    with TelemetryReader(path) as reader:
        assert reader.read().torn


def publish_for_ever(path: Path, stop: Event) -> None:
    writer = TelemetryWriter(path, 64, ("n",))
    n = 0
    while not stop.is_set():
        n += 1
        writer.publish(numbered(n, 64), (n,))


def test_no_reading_mixes_two_writings(tmp_path: Path) -> None:
    path = tmp_path / "map"
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    process = spawn.Process(target=publish_for_ever, args=(path, stop))
    process.start()
    try:
        until = time.monotonic() + 20.0
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.005)
        seen = set()
        with TelemetryReader(path) as reader:
            for _ in range(2000):
                snapshot = reader.read()
                n = snapshot.counters["n"]
                if n > 0 and not snapshot.torn:
                    assert_same(snapshot.status, numbered(n, 64))
                    seen.add(n)
        assert len(seen) > 10
    finally:
        stop.set()
        process.join()
        process.close()


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected an engine's map at .*absent"):
        TelemetryReader(tmp_path / "absent")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"expected an engine's map at .*empty"):
        TelemetryReader(tmp_path / "empty")
    (tmp_path / "other").write_bytes(b"CXWT\x01\x00" + bytes(200))
    with pytest.raises(ConfigError, match=r"expected b'CXWT' version 2 .* got b'CXWT' version 1"):
        TelemetryReader(tmp_path / "other")


def test_a_map_that_cannot_be_made_is_a_start_up_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="telemetry: cannot make"):
        TelemetryWriter(tmp_path / "absent" / "map", 1)


def test_a_name_too_long_for_its_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name of at most 48 bytes"):
        TelemetryWriter(tmp_path / "map", 1, ("x" * 49,))

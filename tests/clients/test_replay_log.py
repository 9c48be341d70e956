"""A log is sent as it came: the same bytes in the same order, as far apart as they were."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest
import zmq

from cortexwire.clients.replay_log import TimedFrame, log_frames, renamed, send_timed
from cortexwire.errors import ConfigError
from cortexwire.sessions.log import Log, open_log
from cortexwire.wire import Clock, RecordKind, decode_packet
from tests.clients.peers import in_background, ipc, receiver
from tests.sessions.logs import Raw, event_frames, packets, write_log

MS = 1_000_000
FRAMES = [*event_frames(30), b"no packet", *event_frames(10, epoch=5)]


def log_of(folder: Path, records: list[Raw] | None = None) -> Log:
    return open_log(write_log(folder / "log", packets(FRAMES, 10**12) if records is None else records, 13))


@pytest.mark.parametrize("speed", ["fast", 1.0, 4.0])
def test_the_bytes_that_came_are_sent_again(tmp_path: Path, speed: Any) -> None:
    endpoint = ipc(tmp_path)
    with (
        receiver(zmq.PULL, endpoint) as pull,
        in_background(send_timed, log_frames(log_of(tmp_path)), endpoint, speed=speed) as sent,
    ):
        came = pull.frames(len(FRAMES))
    assert came == FRAMES
    summary = sent.result()
    assert (summary.packets, summary.bytes, summary.stopped) == (len(FRAMES), sum(map(len, FRAMES)), False)
    assert summary.samples == 40 * 250
    if speed != "fast":
        assert summary.seconds >= (len(FRAMES) - 1) / 1000 / speed


def test_frames_are_due_as_they_came_and_a_clock_that_goes_back_costs_nothing(tmp_path: Path) -> None:
    records: list[Raw] = [
        (RecordKind.START, 5 * MS, b"{}"),
        (RecordKind.PACKET, 100 * MS, b"a"),
        (RecordKind.TICK, 101 * MS, b""),
        (RecordKind.PACKET, 103 * MS, b"b"),
        (RecordKind.PACKET, 7 * MS, b"c"),
        (RecordKind.PACKET, 9 * MS, b"d"),
    ]
    frames = list(log_frames(log_of(tmp_path, records)))
    assert frames == [(0, b"a"), (3 * MS, b"b"), (3 * MS, b"c"), (5 * MS, b"d")]


def test_a_part_is_named_in_seconds_after_the_first_record(tmp_path: Path) -> None:
    part = list(log_frames(log_of(tmp_path), 0.005, 0.012))
    assert [frame for _, frame in part] == FRAMES[5:12]
    assert [due for due, _ in part] == [k * MS for k in range(7)]


def test_epochs_can_be_called_otherwise_and_stay_apart(tmp_path: Path) -> None:
    frames = list(renamed(log_frames(log_of(tmp_path)), 1234))
    decoded = [decode_packet(frame) for _, frame in frames if frame != b"no packet"]
    assert {packet.epoch for packet in decoded[:32]} == {1234}
    assert {packet.epoch for packet in decoded[32:]} == {5 ^ 99 ^ 1234}
    assert [packet.sample_index for packet in decoded[:32]] == [
        decode_packet(frame).sample_index for frame in FRAMES[:32]
    ]


def test_packets_can_be_stamped_anew_and_what_is_none_stays_as_it_is(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path)
    with (
        receiver(zmq.PULL, endpoint) as pull,
        in_background(send_timed, log_frames(log_of(tmp_path)), endpoint, speed="fast", stamp=True) as sent,
    ):
        came = pull.frames(len(FRAMES))
    sent.result()
    assert came[32] == b"no packet"
    stamped = [decode_packet(frame) for frame in came if frame != b"no packet"]
    assert {packet.sent_clock for packet in stamped} == {Clock.MONOTONIC}
    assert min(packet.sent_ns for packet in stamped) > 0


def test_a_stop_ends_it_and_adds_nothing(tmp_path: Path) -> None:
    endpoint, stop = ipc(tmp_path), Event()

    def endless() -> Any:
        number = 0
        while True:
            yield TimedFrame(0, FRAMES[number % 5])
            number += 1
            if number == 50:
                stop.set()

    with receiver(zmq.PULL, endpoint) as pull:
        summary = send_timed(endless(), endpoint, speed="fast", stop=stop)
        came = pull.frames(summary.packets)
        assert pull.frame(100) is None
    assert summary.stopped
    assert len(came) == summary.packets <= 51


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a push socket"):
        send_timed([], ipc(tmp_path), socket="pub", speed="fast")
    with pytest.raises(ConfigError, match="expected a speed above 0"):
        send_timed([], ipc(tmp_path), speed=0.0)
    with pytest.raises(ConfigError, match="none came"):
        send_timed([], ipc(tmp_path), wait_s=0.01)

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import zmq

from cortexwire.clients.replay import ReplayProgress, replay, send_frames
from cortexwire.clients.sockets import hwm_packets, is_local
from cortexwire.errors import ConfigError
from cortexwire.sessions import session_packets
from cortexwire.types import Rate
from cortexwire.wire import Clock, Kind, stamp_sent
from tests.clients.peers import in_background, ipc, receiver, wideband_session


@pytest.mark.parametrize("speed", ["fast", 1.0, 20.0])
@pytest.mark.parametrize("bind", [False, True])
def test_every_packet_of_the_session_comes_in_order(tmp_path: Path, speed: Any, bind: bool) -> None:
    session, endpoint = wideband_session(), ipc(tmp_path)
    with (
        receiver(zmq.PULL, endpoint, bind=not bind) as pull,
        in_background(replay, session, endpoint, 30, bind=bind, speed=speed, epoch=5) as sent,
    ):
        came = pull.frames(102)
    expected = list(session_packets(session, 30, 5))
    assert [stamp_sent(frame, 0, Clock.NONE) for frame in came] == expected
    summary: ReplayProgress = sent.result()
    assert (summary.packets, summary.samples, summary.stopped) == (len(expected), 3000, False)
    assert summary.bytes == sum(map(len, expected))


def test_packets_are_stamped_just_before_sending_and_never_before_they_are_due(tmp_path: Path) -> None:
    session, endpoint = wideband_session(), ipc(tmp_path)
    with (
        receiver(zmq.PULL, endpoint) as pull,
        in_background(replay, session, endpoint, 300, speed=2.0) as sent,
    ):
        packets = pull.until_end()
    assert {packet.sent_clock for packet in packets} == {Clock.MONOTONIC}
    signal = [packet for packet in packets if packet.kind == Kind.WIDEBAND]
    spacing = (signal[-1].sent_ns - signal[0].sent_ns) / 1e6
    assert spacing + sent.result().lag_max_ms >= 45 - 1e-3
    assert (np.diff([packet.sent_ns for packet in packets]) >= 0).all()


def test_pub_waits_for_a_subscriber_and_then_sends(tmp_path: Path) -> None:
    session, endpoint = wideband_session(), ipc(tmp_path)
    with (
        receiver(zmq.SUB, endpoint, bind=False) as subscriber,
        in_background(replay, session, endpoint, socket="pub", bind=True, speed=5.0) as sent,
    ):
        packets = subscriber.until_end()
    assert [packet.sequence for packet in packets] == list(range(sent.result().packets))


def test_a_part_of_the_recording_is_named_in_seconds(tmp_path: Path) -> None:
    session, endpoint = wideband_session(), ipc(tmp_path)
    part = {"start_s": 0.02, "stop_s": 0.05, "speed": "fast"}
    with receiver(zmq.PULL, endpoint) as pull, in_background(replay, session, endpoint, **part) as sent:
        packets = [packet for packet in pull.until_end() if packet.kind == Kind.WIDEBAND]
    assert (packets[0].sample_index, packets[-1].end_sample) == (600, 1500)
    assert sent.result().samples == 900


def test_a_loop_runs_on_until_it_is_stopped_and_ends_the_stream_properly(tmp_path: Path) -> None:
    session, endpoint, stop = wideband_session(300), ipc(tmp_path), Event()
    with (
        receiver(zmq.PULL, endpoint) as pull,
        in_background(replay, session, endpoint, 30, speed="fast", loop=True, stop=stop, hwm_ms=5) as sent,
    ):
        packets = [pull.packet() for _ in range(100)]
        stop.set()
        packets += pull.until_end()
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    signal = [packet for packet in packets if packet.kind == Kind.WIDEBAND]
    assert [packet.sample_index for packet in signal] == [30 * number for number in range(len(signal))]
    assert packets[-1].sample_index == signal[-1].end_sample > 300
    assert sent.result().stopped
    assert sent.result().packets == len(packets)


def test_a_receiver_that_takes_nothing_holds_push_back_until_stopped(tmp_path: Path) -> None:
    session, endpoint, stop = wideband_session(60_000, 64), ipc(tmp_path), Event()
    reports: list[ReplayProgress] = []

    def stop_at_first_report(report: ReplayProgress) -> None:
        reports.append(report)
        stop.set()

    with receiver(zmq.PULL, endpoint, RCVHWM=1):
        summary = replay(session, endpoint, 30, speed="fast", hwm_ms=2, stop=stop, progress=stop_at_first_report)
    assert summary.stopped
    assert 0 < summary.packets < 2000
    assert len(reports) == 1
    assert not reports[0].stopped


def test_a_stop_before_the_first_packet_sends_nothing(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with receiver(zmq.PULL, ipc(tmp_path)):
        summary = replay(wideband_session(), ipc(tmp_path), stop=stop)
    assert (summary.packets, summary.stopped) == (0, True)
    assert replay(wideband_session(), ipc(tmp_path, "nobody"), stop=stop).stopped


def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    def interrupted() -> Any:
        frames = session_packets(wideband_session(), 30)
        for _ in range(10):
            yield next(frames)
        raise KeyboardInterrupt

    with receiver(zmq.PULL, ipc(tmp_path)) as pull:
        summary = send_frames(interrupted(), ipc(tmp_path), speed="fast")
        packets = pull.until_end()
    assert summary.stopped
    assert len(packets) == 11


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    session, endpoint = wideband_session(), ipc(tmp_path)
    with pytest.raises(ConfigError, match="speed 'fast' needs a push socket"):
        replay(session, endpoint, socket="pub", bind=True, speed="fast")
    with pytest.raises(ConfigError, match="expected a speed above 0 or 'fast', got -1"):
        replay(session, endpoint, speed=-1.0)
    with pytest.raises(ConfigError, match=r"expected a receiver at ipc://.* within 0.01 s, none came"):
        replay(session, endpoint, wait_s=0.01)
    with pytest.raises(ConfigError, match="cannot bind 'tcp://nowhere'"):
        replay(session, "tcp://nowhere", bind=True)


def test_an_endpoint_that_is_taken_is_said_once_with_what_may_help(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        expected = f"cannot bind 'tcp://127.0.0.1:{port}': Address already in use; does an engine bind there? then"
        with pytest.raises(ConfigError) as raised:
            replay(wideband_session(), f"tcp://127.0.0.1:{port}", bind=True)
        assert str(raised.value) == f"{expected} --socket push --connect"


def test_high_water_marks_are_stated_in_time() -> None:
    assert hwm_packets(1000, Rate(30_000), 30) == 1000
    assert hwm_packets(0.1, Rate(30_000), 600) == 1


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("ipc:///x", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://localhost:1", True),
        ("tcp://10.0.0.1:1", False),
        ("tcp://rig:1", False),
    ],
)
def test_only_endpoints_on_this_host_share_its_clock(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) == local

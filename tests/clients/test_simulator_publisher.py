"""The simulated rig over real ZeroMQ: whole, in order, and ended properly however it ends."""

import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path
from queue import Queue
from typing import Any, Literal

import numpy as np
import pytest
import zmq

from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings, SimulatorSummary, run_simulator
from cortexwire.errors import ConfigError
from cortexwire.sessions import session_packets
from cortexwire.wire import Clock, Kind, MarkerCode, Packet, decode_packet

SETTINGS = SimulatorSettings(channels=3)


def received(
    tmp_path: Path, socket: Literal["push", "pub"], kind: int, **options: Any
) -> tuple[SimulatorSummary, list[Packet]]:
    """Run a rig in a thread and take its packets until the end."""
    ready: Queue[str] = Queue()
    summaries: Queue[SimulatorSummary] = Queue()

    def run() -> None:
        endpoint = f"ipc://{tmp_path}/rig"
        summaries.put(run_simulator(endpoint, SETTINGS, socket=socket, on_ready=ready.put, **options))

    thread = threading.Thread(target=run)
    thread.start()
    packets: list[Packet] = []
    with zmq.Context() as context, context.socket(kind) as taker:
        if kind == zmq.SUB:
            taker.subscribe(b"")
        taker.setsockopt(zmq.RCVTIMEO, 10_000)
        taker.connect(ready.get(timeout=10))
        while not packets or packets[-1].kind != Kind.END:
            packets.append(decode_packet(taker.recv()))
    thread.join(10)
    return summaries.get(timeout=1), packets


def test_a_pushed_run_is_whole_and_numbered_without_gaps(tmp_path: Path) -> None:
    summary, packets = received(tmp_path, "push", zmq.PULL, packet_samples=250, seconds=1.1, epoch=5, source=2)
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    assert {(packet.epoch, packet.source) for packet in packets} == {(5, 2)}
    assert packets[0].kind == Kind.DESCRIPTOR
    assert [packet.kind for packet in packets].count(Kind.DESCRIPTOR) == 2
    assert packets[-1].sample_index == summary.samples == 33_000
    assert (summary.packets, summary.interrupted, summary.epoch) == (132, False, 5)
    assert summary.seconds == pytest.approx(1.1)
    assert summary.max_lag_ms > 0.0


def test_a_run_sends_what_the_session_of_the_same_settings_sends(tmp_path: Path) -> None:
    _, packets = received(tmp_path, "push", zmq.PULL, packet_samples=170, seconds=1.2, epoch=5)
    session = SimulatedSession(SETTINGS, 1.2)
    for expected in (decode_packet(frame) for frame in session_packets(session, 170, epoch=5)):
        came = packets.pop(0)
        if came.kind == Kind.MARKERS != expected.kind:  # a rig marks the start of a trial that it does not finish
            assert came.data["code"].tolist() == [MarkerCode.TRIAL_START]
            came = packets.pop(0)
        assert (came.kind, came.sample_index) == (expected.kind, expected.sample_index)
        if came.kind == Kind.WIDEBAND:
            assert np.array_equal(came.data, expected.data)
        elif came.kind == Kind.COLUMNS:
            assert np.array_equal(came.data.offsets, expected.data.offsets)
            assert np.array_equal(came.data.values, expected.data.values)
        elif came.kind == Kind.MARKERS:
            assert came.data[: len(expected.data)].tolist() == expected.data.tolist()
    assert not packets


def test_packets_are_stamped_when_due_and_when_sent(tmp_path: Path) -> None:
    _, packets = received(tmp_path, "push", zmq.PULL, packet_samples=300, seconds=0.1)
    signals = [packet for packet in packets if packet.kind == Kind.WIDEBAND]
    assert (
        {packet.acquired_clock for packet in signals} == {packet.sent_clock for packet in signals} == {Clock.MONOTONIC}
    )
    assert {b.acquired_ns - a.acquired_ns for a, b in pairwise(signals)} == {10_000_000}
    assert all(packet.sent_ns >= packet.acquired_ns for packet in signals)


def test_a_subscriber_that_joins_late_gets_packets_and_the_end(tmp_path: Path) -> None:
    summary, packets = received(tmp_path, "pub", zmq.SUB, packet_samples=30, seconds=0.4)
    assert packets[-1].sample_index == summary.samples == 12_000
    assert any(packet.kind == Kind.WIDEBAND for packet in packets)


def test_a_stop_ends_the_stream_where_it_is(tmp_path: Path) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    summary, packets = received(tmp_path, "push", zmq.PULL, packet_samples=6000, stop=stop)
    timer.join()
    assert summary.interrupted
    assert packets[-1].sample_index == summary.samples == 6000 * summary.packets
    assert [packet.sequence for packet in packets] == list(range(len(packets)))


def test_ctrl_c_ends_the_stream_and_gives_the_summary(tmp_path: Path) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    summary = run_simulator(f"ipc://{tmp_path}/rig", SETTINGS, 300)
    timer.join()
    assert summary.interrupted
    assert summary.samples == 300 * summary.packets


def test_without_a_peer_a_push_rig_waits_and_can_be_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    before = time.monotonic()
    summary = run_simulator(f"ipc://{tmp_path}/rig", SETTINGS, socket="push", stop=stop)
    timer.join()
    assert time.monotonic() > before
    assert (summary.packets, summary.samples, summary.interrupted) == (0, 0, True)


def test_a_rig_can_connect(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as taker:
        taker.bind(f"ipc://{tmp_path}/engine")
        run_simulator(f"ipc://{tmp_path}/engine", SETTINGS, 300, socket="push", bind=False, seconds=0.05)
        assert decode_packet(taker.recv()).kind == Kind.DESCRIPTOR


def test_what_cannot_work_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one sample, got 0"):
        run_simulator(f"ipc://{tmp_path}/rig", SETTINGS, 0)
    with pytest.raises(ConfigError, match="usable endpoint, got 'nonsense'"):
        run_simulator("nonsense", SETTINGS)

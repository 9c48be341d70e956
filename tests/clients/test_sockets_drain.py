"""A push stream is whole to its last message, however slowly it is read and however soon its sender closes."""

import logging
import os
import socket as kernel
import time
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import zmq

from cortexwire.clients import Rig
from cortexwire.clients.replay import replay
from cortexwire.clients.simulator import SimulatorSettings, run_simulator
from cortexwire.clients.sockets import close_sender, open_sender, wait_for_peer
from cortexwire.errors import ConfigError
from cortexwire.wire import Kind
from tests.clients.peers import in_background, ipc, receiver, wideband_session

MESSAGES = 300
SIZE = 8_192
LONG_S = 600.0
"""Longer than any test may take: what ends within it did not wait for it."""


def an_endpoint(transport: str, folder: Path) -> str:
    if transport == "ipc":
        return ipc(folder)
    with kernel.create_server(("127.0.0.1", 0)) as free:
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def send_and_close(endpoint: str, bind: bool, messages: int = MESSAGES, **closing: Any) -> bool:
    """Send as fast as it is taken, close at once, and say whether all was read."""
    with zmq.Context() as context:
        sender = open_sender(context, "push", endpoint, bind, MESSAGES)
        assert wait_for_peer(sender, 5)
        for number in range(messages):
            sender.send(number.to_bytes(4, "big") * (SIZE // 4))
        return close_sender(sender, **{"seconds": LONG_S, **closing})


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("bind", [True, False], ids=["bind", "connect"])
def test_a_slow_receiver_gets_every_message_of_a_sender_that_closes_at_once(
    tmp_path: Path, transport: str, bind: bool
) -> None:
    endpoint = an_endpoint(transport, tmp_path)
    with (
        receiver(zmq.PULL, endpoint, bind=not bind, RCVHWM=1) as pull,
        in_background(send_and_close, endpoint, bind) as all_read,
    ):
        time.sleep(0.2)
        numbers = []
        for frame in pull.frames(MESSAGES):
            numbers.append(int.from_bytes(frame[:4], "big"))
            time.sleep(0.001)
    assert numbers == list(range(MESSAGES))
    assert all_read.result()


def test_every_sender_of_ours_closes_so(tmp_path: Path) -> None:
    def rig(endpoint: str) -> None:
        with Rig(endpoint, 30_000, 64) as sender:
            assert sender.wait_for_engine()
            for _ in range(200):
                sender.send_wideband(np.zeros((30, 64), np.int16))
            sender.end()

    def recording(endpoint: str) -> None:
        replay(wideband_session(6000, 64), endpoint, 30, speed="fast")

    def simulator(endpoint: str) -> None:
        settings = SimulatorSettings(channels=64)
        run_simulator(endpoint, settings, 30, socket="push", bind=False, seconds=0.2)

    for send in (rig, recording, simulator):
        endpoint = ipc(tmp_path, send.__name__)
        with receiver(zmq.PULL, endpoint, RCVHWM=1) as pull, in_background(send, endpoint):
            time.sleep(0.4)
            packets = [pull.packet()]
            while packets[-1].kind != Kind.END:
                time.sleep(0.001)
                packets.append(pull.packet())
        assert [packet.sequence for packet in packets] == list(range(len(packets)))
        assert packets[-1].sample_index == 6000


@pytest.mark.parametrize("messages", [MESSAGES // 20, MESSAGES], ids=["all-in-the-kernel", "some-in-the-queue"])
def test_a_receiver_that_reads_nothing_is_given_up_in_time_and_in_words(
    tmp_path: Path, messages: int, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(zmq.PULL, ipc(tmp_path), RCVHWM=1):
        assert not send_and_close(ipc(tmp_path), False, messages, seconds=0.1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the end of the stream may be lost" in caplog.text


@pytest.mark.parametrize("bind", [True, False], ids=["bind", "connect"])
def test_a_stop_ends_the_wait(tmp_path: Path, bind: bool) -> None:
    stop = Event()
    with (
        receiver(zmq.PULL, ipc(tmp_path), bind=not bind, RCVHWM=1),
        in_background(send_and_close, ipc(tmp_path), bind, stop=stop) as all_read,
    ):
        time.sleep(0.5)
        stop.set()
        assert not all_read.result()


def test_a_stop_that_was_set_before_closes_at_once(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with receiver(zmq.PULL, ipc(tmp_path), RCVHWM=1):
        assert not send_and_close(ipc(tmp_path), False, stop=stop)


def test_a_receiver_that_goes_away_ends_the_wait(tmp_path: Path) -> None:
    with (
        in_background(send_and_close, ipc(tmp_path), True) as all_read,
        receiver(zmq.PULL, ipc(tmp_path), bind=False, RCVHWM=1) as pull,
    ):
        pull.frames(2)
        time.sleep(0.2)
        pull.socket.close(0)
        assert not all_read.result()


def test_closing_waits_only_for_receivers_that_are_there(tmp_path: Path) -> None:
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with zmq.Context() as context:
        sender = open_sender(context, "push", ipc(tmp_path), True, MESSAGES)
        for _ in range(3):
            with receiver(zmq.PULL, ipc(tmp_path), bind=False) as pull:
                assert wait_for_peer(sender, 5)
                sender.send(b"a")
                assert pull.frames(1) == [b"a"]
            while sender.poll(0, zmq.POLLOUT):
                time.sleep(0.01)
        assert close_sender(sender, LONG_S)
        assert close_sender(open_sender(context, "push", ipc(tmp_path, "nobody"), False, 1), LONG_S)
        with pytest.raises(ConfigError, match="cannot bind"):
            open_sender(context, "push", "tcp://nowhere", True, 1)
    if files is not None:
        assert len(os.listdir("/proc/self/fd")) == files

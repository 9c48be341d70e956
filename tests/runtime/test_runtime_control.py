import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.commands import Arm, Command, SetGain, SetOffset, encode_command
from cortexwire.runtime.control import MOST_WAITING, ControlClient, ControlReply, ControlServer
from cortexwire.runtime.telemetry import EngineStatus, TelemetryWriter


@contextmanager
def served(
    folder: Path,
    *,
    hot: bool = True,
    prepare: Callable[[Command], None] | None = None,
    timeout_s: float = 2.0,
) -> Iterator[tuple[ControlServer, str]]:
    """A server, and a stand-in for the hot loop that answers with growing bins."""
    endpoint = f"ipc://{folder}/control"
    server = ControlServer(endpoint, folder / "map", prepare, timeout_s)
    server.start()
    over = threading.Event()

    def loop() -> None:
        bin_index = 100
        while not over.is_set():
            pending = server.take()
            if pending is None:
                time.sleep(0.001)
                continue
            refused = isinstance(pending.command, SetOffset)
            pending.answer(bin_index, "not this one" if refused else None)
            bin_index += 1

    thread = threading.Thread(target=loop)
    if hot:
        thread.start()
    try:
        yield server, endpoint
    finally:
        over.set()
        if hot:
            thread.join()
        server.close()


def test_a_command_is_answered_with_the_bin_at_which_it_took_effect(tmp_path: Path) -> None:
    with served(tmp_path) as (_, endpoint), ControlClient(endpoint) as client:
        assert client.send(Arm()) == ControlReply(bin=100)
        assert client.send({"command": "set_gain", "gain": 2.0}) == ControlReply(bin=101)
        assert client.send(SetOffset((1.0, 2.0))) == ControlReply(problem="not this one")


def test_a_client_in_any_language_needs_only_json(tmp_path: Path) -> None:
    with served(tmp_path) as (_, endpoint), zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(endpoint)
        socket.send(b'{"command": "arm"}')
        assert socket.recv() == b'{"bin":100}'


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"command": "fly"}, "not a command"),
        ({"command": "set_gain"}, "not a command"),
        ({"command": "state", "more": 1}, "not a command"),
        ({}, "not a command"),
    ],
)
def test_what_is_no_command_is_refused_and_the_next_one_served(
    tmp_path: Path, request_: dict[str, object], problem: str
) -> None:
    with served(tmp_path) as (_, endpoint), ControlClient(endpoint) as client:
        reply = client.send(request_)
        assert reply.problem is not None
        assert problem in reply.problem
        assert client.send(Arm()) == ControlReply(bin=100)


def test_garbage_is_refused(tmp_path: Path) -> None:
    with served(tmp_path) as (_, endpoint), zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(endpoint)
        socket.send(b"\xff\x00{")
        reply = msgspec.json.decode(socket.recv(), type=ControlReply)
        assert reply.problem is not None
        assert "not a command" in reply.problem


def test_the_state_is_read_from_the_map_without_the_hot_loop(tmp_path: Path) -> None:
    with served(tmp_path, hot=False) as (_, endpoint), ControlClient(endpoint) as client:
        absent = client.state()
        assert absent.problem is not None
        assert "expected an engine's map" in absent.problem
        writer = TelemetryWriter(tmp_path / "map", 1, ("lost",))
        writer.publish(EngineStatus(state="running", bin=9, epoch=255), (4,))
        reply = client.send({"command": "state"})
        assert reply.state is not None
        assert reply.state["state"] == "running"
        assert reply.state["epoch"] == "00000000000000ff"
        assert reply.state["counters"] == {"lost": 4}
        assert reply.state["latency"]["sent_to_published"]["total"] == 0


def test_a_command_that_nobody_took_in_time_is_withdrawn_and_never_takes_effect(tmp_path: Path) -> None:
    with served(tmp_path, hot=False, timeout_s=0.05) as (server, endpoint), ControlClient(endpoint) as client:
        reply = client.send(Arm())
        assert reply.problem == "withdrawn: the engine did not take it in 0.05 s"
        assert server.take() is None


def test_a_command_that_was_taken_is_answered_however_late(tmp_path: Path) -> None:
    with served(tmp_path, hot=False, timeout_s=0.02) as (server, endpoint):
        replies: list[ControlReply] = []

        def ask() -> None:
            with ControlClient(endpoint) as client:
                replies.append(client.send(Arm()))

        thread = threading.Thread(target=ask)
        thread.start()
        while (pending := server.take()) is None:
            time.sleep(0.001)
        time.sleep(0.1)
        pending.answer(7, None)
        thread.join()
    assert replies == [ControlReply(bin=7)]


def test_what_a_command_needs_is_loaded_outside_the_hot_loop(tmp_path: Path) -> None:
    threads = []

    def prepare(command: Command) -> None:
        threads.append(threading.current_thread().name)
        if isinstance(command, SetGain):
            raise BundleError("no such overlay")
        if isinstance(command, SetOffset):
            raise OSError("disk on fire")

    with served(tmp_path, hot=False, prepare=prepare) as (server, endpoint), zmq.Context() as context:
        with ControlClient(endpoint) as client:
            assert client.send(SetGain(2.0)) == ControlReply(problem="no such overlay")
            offset = client.send(SetOffset((1.0, 2.0)))
            assert offset == ControlReply(problem="request failed: OSError: disk on fire")
        with context.socket(zmq.DEALER) as socket:
            socket.connect(endpoint)
            socket.send_multipart([b"", encode_command(Arm())])
            while (pending := server.take()) is None:
                time.sleep(0.001)
            assert pending.command == Arm()
    assert set(threads) == {"cortexwire-control"}


def test_more_commands_than_can_wait_are_turned_away(tmp_path: Path) -> None:
    with (
        served(tmp_path, hot=False) as (_, endpoint),
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.set(zmq.LINGER, 0)
        socket.connect(endpoint)
        for _ in range(MOST_WAITING + 1):
            socket.send_multipart([b"", encode_command(Arm())])
        reply = msgspec.json.decode(socket.recv_multipart()[-1], type=ControlReply)
        assert reply.problem == f"busy: {MOST_WAITING} commands are waiting already"


def test_stopping_answers_what_still_waits(tmp_path: Path) -> None:
    server = ControlServer(f"ipc://{tmp_path}/control", tmp_path / "map")
    server.start()
    replies: list[ControlReply] = []

    def ask() -> None:
        with ControlClient(server.endpoint) as client:
            replies.append(client.send(Arm()))

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.is_waiting:
        time.sleep(0.001)
    server.close()
    thread.join()
    assert replies == [ControlReply(problem="the engine stopped before it answered")]


def test_a_client_gives_up_an_engine_that_is_not_there_and_may_ask_again(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/control"
    with ControlClient(endpoint, timeout_s=0.05) as client:
        reply = client.send(Arm())
        assert reply.problem == f"no answer within 0.05 s from {endpoint}"
        with served(tmp_path):
            while (reply := client.send(Arm())).problem:
                assert "no answer" in reply.problem
        assert reply.bin is not None


def test_an_endpoint_that_cannot_be_bound_is_named(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/absent/control"
    with pytest.raises(ConfigError, match=f"control: cannot bind {endpoint}"):
        ControlServer(endpoint, tmp_path / "map")


def test_a_server_that_never_started_closes(tmp_path: Path) -> None:
    ControlServer(f"ipc://{tmp_path}/control", tmp_path / "map").close()


def test_a_server_that_ends_removes_its_socket_and_no_successors(tmp_path: Path) -> None:
    endpoint, file = f"ipc://{tmp_path}/control", tmp_path / "control"
    first = ControlServer(endpoint, tmp_path / "map")
    second = ControlServer(endpoint, tmp_path / "map")
    first.close()
    assert file.exists()
    second.close()
    assert not file.exists()

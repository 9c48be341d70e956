import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import zmq

from cortexwire.clients import Subscriber
from cortexwire.errors import ConfigError
from cortexwire.wire import OutFlag, OutKind
from tests.clients.peers import WAIT_MS, ipc, output, publisher, subscribed

SHADOW = OutFlag.ARMED
S = 10**9


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 1000 * S

    def __call__(self) -> int:
        """The time in nanoseconds."""
        return self.ns


@contextmanager
def pair(folder: Path, latest: bool = True) -> Iterator[tuple[zmq.Socket[bytes], Subscriber, HandClock]]:
    clock, endpoint = HandClock(), ipc(folder)
    with publisher(endpoint) as engine, Subscriber(endpoint, latest, clock=clock) as subscriber:
        subscribed(engine)
        yield engine, subscriber, clock


def test_outputs_come_decoded(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, _):
        engine.send(output(7))
        out = subscriber.receive(WAIT_MS)
        assert out is not None
        assert out is subscriber.last
        assert (out.bin, out.tensors["velocity"].tolist()) == (7, [3.0, -4.0])
        assert subscriber.receive(0) is None


def test_before_any_command_the_velocity_is_neutral(tmp_path: Path) -> None:
    with pair(tmp_path) as (_, subscriber, _clock):
        assert subscriber.velocity().tolist() == [0, 0]
        assert not subscriber.commanded()


def test_a_velocity_holds_for_its_validity_and_then_turns_neutral_by_itself(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, clock):
        engine.send(output(valid_for_ms=100))
        assert subscriber.receive(WAIT_MS)
        assert subscriber.velocity().tolist() == [3, -4]
        clock.ns += 99_999_999
        assert subscriber.velocity().tolist() == [3, -4]
        clock.ns += 1
        assert subscriber.velocity().tolist() == [0, 0]
        clock.ns -= S
        assert subscriber.velocity().tolist() == [0, 0]


def test_only_commands_move_anything(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, clock):
        engine.send(output(0, flags=SHADOW))
        assert subscriber.receive(WAIT_MS)
        assert subscriber.velocity().tolist() == [0, 0]
        engine.send(output(1))
        assert subscriber.receive(WAIT_MS)
        engine.send(output(2, (9, 9), flags=SHADOW))
        assert subscriber.receive(WAIT_MS)
        assert subscriber.velocity().tolist() == [3, -4]
        clock.ns += S
        assert subscriber.velocity().tolist() == [0, 0]


def test_asking_for_the_velocity_receives_what_has_come(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, _):
        engine.send(output(0))
        assert subscriber._socket.poll(WAIT_MS)
        assert subscriber.velocity().tolist() == [3, -4]


def test_a_safe_message_is_a_command_like_any_other(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, _):
        engine.send(output(0))
        assert subscriber.receive(WAIT_MS)
        engine.send(output(1, (1, 0), kind=OutKind.SAFE))
        assert subscriber.receive(WAIT_MS)
        assert subscriber.velocity().tolist() == [1, 0]


def test_a_value_that_is_not_finite_moves_nothing(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, _):
        engine.send(output(0, (float("nan"), 1)))
        assert subscriber.receive(WAIT_MS)
        assert subscriber.velocity().tolist() == [0, 0]


def test_validity_counts_from_publication_where_the_clock_is_shared(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, clock):
        engine.send(output(valid_for_ms=100, published_ns=clock.ns - 15_000_000))
        assert subscriber.receive(WAIT_MS)
        clock.ns += 84_000_000
        assert subscriber.velocity().tolist() == [3, -4]
        clock.ns += 1_000_000
        assert subscriber.velocity().tolist() == [0, 0]


def test_a_command_past_its_validity_is_never_received(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, clock):
        engine.send(output(0, valid_for_ms=100, published_ns=clock.ns - S))
        assert subscriber.receive(200) is None
        assert subscriber.expired == 1
        assert subscriber.velocity().tolist() == [0, 0]


def test_an_old_message_gives_way_to_a_newer_one(tmp_path: Path) -> None:
    with pair(tmp_path, latest=False) as (engine, subscriber, clock):
        engine.send(output(0, (9, 9), published_ns=clock.ns - S))
        engine.send(output(1, published_ns=clock.ns))
        assert subscriber._socket.poll(WAIT_MS)
        time.sleep(0.05)
        # Both wait in the queue now, as behind a socket that keeps the newest while its thread catches up.
        subscriber._latest = True
        out = subscriber.receive(WAIT_MS)
        assert out is not None
        assert out.bin == 1


def test_all_messages_come_where_the_latest_is_not_asked_for(tmp_path: Path) -> None:
    with pair(tmp_path, latest=False) as (engine, subscriber, clock):
        for number in range(500):
            engine.send(output(number, published_ns=clock.ns - S))
        bins: list[int] = []
        for out in subscriber:
            bins.append(out.bin)
            if len(bins) == 500:
                subscriber.close()
        assert bins == list(range(500))
        assert subscriber.expired == 0


def test_the_latest_replaces_what_was_not_read(tmp_path: Path) -> None:
    with pair(tmp_path) as (engine, subscriber, _):
        for number in range(500):
            engine.send(output(number))
        bins: list[int] = []
        while not bins or bins[-1] != 499:
            out = subscriber.receive(WAIT_MS)
            assert out is not None
            bins.append(out.bin)
        assert bins == sorted(bins)


def test_damaged_messages_are_counted_and_passed_over(tmp_path: Path) -> None:
    with pair(tmp_path, latest=False) as (engine, subscriber, _):
        engine.send(b"garbage")
        engine.send(output(1)[:-1])
        engine.send(output(2))
        out = subscriber.receive(WAIT_MS)
        assert out is not None
        assert (out.bin, subscriber.damaged) == (2, 2)


def test_endpoints_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot connect to 'nonsense'"):
        Subscriber("nonsense")


SLEEPER = """
import sys, time
from cortexwire.clients import Subscriber
with Subscriber(sys.argv[1]) as subscriber:
    for out in subscriber:
        age_ms = (time.monotonic_ns() - out.times.published_ns) / 1e6
        print(out.bin, age_ms, flush=True)
"""


def test_a_process_that_slept_reads_at_most_one_bin_of_age_first(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path)
    with publisher(endpoint) as engine:
        process = subprocess.Popen([sys.executable, "-c", SLEEPER, endpoint], stdout=subprocess.PIPE, text=True)
        try:
            subscribed(engine)
            assert process.stdout is not None

            def publish(first: int, last: int) -> None:
                for number in range(first, last):
                    engine.send(output(number, valid_for_ms=10_000, published_ns=time.monotonic_ns()))
                    time.sleep(0.01)

            publish(0, 20)
            os.kill(process.pid, signal.SIGSTOP)
            publish(20, 80)
            os.kill(process.pid, signal.SIGCONT)
            publish(80, 120)
        finally:
            process.kill()
            lines = process.communicate()[0].split()
    bins, ages = [int(word) for word in lines[::2]], [float(word) for word in lines[1::2]]
    gaps = [after for before, after in pairwise(bins) if after > before + 10]
    assert gaps
    assert gaps[0] >= 78
    assert ages[bins.index(gaps[0])] < 200

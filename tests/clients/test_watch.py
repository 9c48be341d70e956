import io
import json
import time
from pathlib import Path
from threading import Event
from typing import Any

import zmq

from cortexwire.clients.watch import WatchSummary, watch
from cortexwire.wire import OutFlag, OutKind, Validity, decode_output
from tests.clients.peers import in_background, ipc, output, publisher, subscribed


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


def engine(socket: zmq.Socket[bytes], frames: list[bytes], sent: Event) -> None:
    subscribed(socket)
    for frame in frames:
        socket.send(frame)
    sent.set()


def watched(folder: Path, frames: list[bytes], out: Any, seconds: float = 0.4, **options: Any) -> WatchSummary:
    endpoint = ipc(folder)
    with publisher(endpoint) as socket, in_background(engine, socket, frames, Event()):
        return watch(endpoint, seconds=seconds, out=out, **options)


def stream() -> list[bytes]:
    now = time.monotonic_ns()
    return [
        output(0, published_ns=now),
        output(1, flags=OutFlag.LATE | OutFlag.ARMED, validity=Validity.PARTIAL, missing_samples=30),
        output(1, (1, 1), kind=OutKind.SAFE, valid_for_ms=5),
        b"garbage",
    ]


def test_json_is_one_object_a_line_commands_first_and_neutral_when_they_lapse(tmp_path: Path) -> None:
    out = io.StringIO()
    summary = watched(tmp_path, stream(), out, json=True)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["decoded", "safe", "neutral"]
    assert lines[-1]["velocity"] == [0, 0]
    assert (summary.messages, summary.decoded, summary.safe, summary.commands) == (3, 2, 1, 2)
    assert (summary.late, summary.not_valid, summary.missing_samples) == (1, 1, 30)
    assert (summary.damaged, summary.lapses) == (1, 1)
    assert len(summary.latencies_ms) == 1


def test_with_shadow_json_has_every_output(tmp_path: Path) -> None:
    out = io.StringIO()
    watched(tmp_path, stream(), out, json=True, shadow=True)
    kinds = [json.loads(line)["kind"] for line in out.getvalue().splitlines()]
    assert kinds == ["decoded", "decoded", "safe", "neutral"]


def test_without_a_terminal_lines_are_plain(tmp_path: Path) -> None:
    out = io.StringIO()
    watched(tmp_path, stream(), out)
    assert "\x1b" not in out.getvalue()
    assert "state armed  bin 1" in out.getvalue()
    assert "decoded 2 safe 1 commands 2" in out.getvalue()


def test_in_a_terminal_there_is_a_table(tmp_path: Path) -> None:
    out = Terminal()
    watched(tmp_path, [output(5, flags=OutFlag(0))], out, shadow=True)
    assert "disarmed" in out.getvalue()
    assert "3.00    -4.00" in out.getvalue()


def test_states_are_named_by_what_matters_most() -> None:
    summary = WatchSummary()
    assert (summary.state(), summary.latency()) == ("waiting", "-")
    for flags, state in (
        (OutFlag.CALIBRATING | OutFlag.ARMED, "calibrating"),
        (OutFlag.BLOCKED | OutFlag.WARMING, "blocked"),
        (OutFlag.ENDED | OutFlag.ARMED, "ended"),
        (OutFlag.ARMED, "armed"),
    ):
        summary.take(decode_output(output(0, flags=flags)), 1)
        assert summary.state() == state

"""Those who hear a service that is killed: one that obeys its commands, one that notes every output.

Each is a process, as in `cortexwire.bench.child`.
"""

import sys
import time
from hashlib import blake2b
from typing import Any, Final

from numpy.typing import NDArray

from cortexwire.bench.roles import run_role, say
from cortexwire.clients import Subscriber
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.wire import OutFlag, Output, decode_output, strip_times

LOOK_S: Final = 0.001
"""How often a consumer asks for the velocity to apply."""


def digest(frame: bytes) -> str:
    """A name for what a message says, its times left out."""
    return blake2b(strip_times(frame), digest_size=12).hexdigest()


def contents(output: Output) -> tuple[str, str]:
    """Names for an output's counts and for its velocity; the first is empty where there are none."""
    counts = output.tensors.get("counts")
    return "" if counts is None else _name(counts), _name(output.tensors["velocity"])


def _name(values: NDArray[Any]) -> str:
    return blake2b(values.tobytes(), digest_size=12).hexdigest()


def _obey(settings: dict[str, Any]) -> dict[str, Any]:
    """Apply the velocity as a consumer does, looking each millisecond; gives when it moved and when it was neutral.

    Beside what the subscriber says stands what the last command itself says: how long it is valid, and since when.
    """
    changes: list[tuple[int, bool]] = []
    outlived_ms: list[float] = []
    looks = 0
    longest_ns = 0
    until_ns = 0
    moved = False
    with stop_on_signals() as stop, Subscriber(settings["endpoint"]) as subscriber:
        say({})
        last = time.monotonic_ns()
        while not stop.wait(LOOK_S):
            looks += 1
            before = time.monotonic_ns()
            longest_ns, last = max(longest_ns, before - last), before
            moves = bool(subscriber.velocity().any())
            heard = subscriber.last
            if heard is not None and OutFlag.COMMAND in heard.flags:
                until_ns = heard.times.published_ns + round(heard.valid_for_ms * 1e6)
            if moves and before > until_ns:
                outlived_ms.append((before - until_ns) / 1e6)
            if moves != moved:
                changes.append((time.monotonic_ns(), moves))
                moved = moves
    return {"looks": looks, "longest_ms": longest_ns / 1e6, "changes": changes, "outlived_ms": outlived_ms}


def _hear(settings: dict[str, Any]) -> dict[str, Any]:
    """Take every output; gives one row each, in the order of `cortexwire.bench.kills.Heard`."""
    import zmq

    rows: list[tuple[Any, ...]] = []
    with stop_on_signals() as stop, zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SUBSCRIBE, b"")
        socket.connect(settings["endpoint"])
        say({})
        while not stop.is_set():
            if not socket.poll(50):
                continue
            frame = socket.recv()
            now = time.monotonic_ns()
            out = decode_output(frame)
            rows.append((
                int(out.kind), out.epoch, out.bin, int(out.flags), int(out.validity), out.times.published_ns, now,
                digest(frame), *contents(out),
            ))  # fmt: skip
    return {"rows": rows}


if __name__ == "__main__":
    sys.exit(run_role({"obey": _obey, "hear": _hear}))

"""The processes of a transport measurement, each `python -m` of this module: source, relay and sink.

The source sends messages of one size, 1000 a second, on an absolute schedule, with number and time of sending in their
first bytes. The relay answers each to the sink with a message as long as an output, and does nothing else. Relay and
sink note when each message was in their hands: one way, and there and back.
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from struct import Struct
from typing import Any, Final

from cortexwire.bench.links import Receiver, open_receiver, open_sender
from cortexwire.bench.roles import run_role, say
from cortexwire.runtime.engine import stop_on_signals

INTERVAL_NS: Final = 1_000_000
STAMP: Final = Struct("<qq")
"""Number of the message, and when it was sent."""
_WAIT_MS: Final = 100


def _source(settings: dict[str, Any]) -> dict[str, Any]:
    """Send `messages` of `size` bytes to `endpoint` by `kind` of link."""
    message = bytearray(settings["size"])
    refused = 0
    max_lag_ns = 0
    with stop_on_signals() as stop, closing(open_sender(settings["kind"], settings["endpoint"])) as sender:
        say({})
        due_ns = time.monotonic_ns()
        for number in range(settings["messages"]):
            due_ns += INTERVAL_NS
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            now = time.monotonic_ns()
            max_lag_ns = max(max_lag_ns, now - due_ns)
            STAMP.pack_into(message, 0, number, now)
            refused += not sender.send(message)
            if stop.is_set():
                break
        stop.wait(settings["linger_s"])
    return {"refused": refused, "max_lag_ms": max_lag_ns / 1e6}


def _relay(settings: dict[str, Any]) -> dict[str, Any]:
    """Answer every message that comes by `kind` of link, with `reply` bytes to `endpoint`."""
    folder, kind = Path(settings["folder"]), settings["kind"]
    reply = bytearray(settings["reply"])
    with (
        closing(open_receiver(kind, folder, "in")) as receiver,
        closing(open_sender(kind, settings["endpoint"])) as out,
    ):

        def answer(message: bytes | memoryview) -> None:
            reply[: STAMP.size] = message[: STAMP.size]
            out.send(reply)

        began_ns, before_ns = time.monotonic_ns(), time.process_time_ns()
        rows = _collect(receiver, answer)
        share = (time.process_time_ns() - before_ns) / (time.monotonic_ns() - began_ns)
    return {"rows": rows, "core_share": share}


def _sink(settings: dict[str, Any]) -> dict[str, Any]:
    """Receive every message that comes by `kind` of link."""
    with closing(open_receiver(settings["kind"], Path(settings["folder"]), "out")) as receiver:
        return {"rows": _collect(receiver, lambda _: None)}


def _collect(receiver: Receiver, take: Callable[[bytes | memoryview], None]) -> list[tuple[int, int, int]]:
    """Receive until SIGTERM; number, time of sending and time of receipt of each message."""
    rows = []
    with stop_on_signals() as stop:
        say({"endpoint": receiver.endpoint})
        while not stop.is_set():
            message = receiver.receive(_WAIT_MS)
            if message is not None:
                now = time.monotonic_ns()
                rows.append((*STAMP.unpack_from(message), now))
                take(message)
    return rows


ROLES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "source": _source,
    "relay": _relay,
    "sink": _sink,
}

if __name__ == "__main__":
    sys.exit(run_role(ROLES))

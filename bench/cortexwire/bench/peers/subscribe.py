"""What is measured at the end of every service, whatever it is: one row for each decoded output."""

import time
from collections.abc import Mapping
from typing import Any, Final

from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.clients import Subscriber
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.wire import OutFlag, OutKind, Output

_WAIT_MS: Final = 100
COLUMNS: Final = ("bin", "acquired_ns", "sent_ns", "received_ns", "published_ns", "heard_ns", "crossings")
"""A row's integers; times are of CLOCK_MONOTONIC. The last but one is when the velocity was in our hands."""


class Heard:
    """Outputs as they come.

    Attributes:
        ended: Whether the end of the stream was heard.
    """

    def __init__(self) -> None:
        self.ended = False
        self._rows: list[tuple[int, ...]] = []
        self._velocities: list[tuple[float, float]] = []

    def take(self, output: Output, now_ns: int) -> None:
        """Take one output that was received at a time."""
        if output.kind is OutKind.DECODED:
            times, (x, y) = output.times, output.tensors["velocity"]
            row = (output.bin, times.acquired_ns, times.sent_ns, times.received_ns, times.published_ns, now_ns)
            self._rows.append((*row, int(output.tensors["counts"].sum())))
            self._velocities.append((float(x), float(y)))
        self.ended = OutFlag.ENDED in output.flags

    def summary(self, damaged: int) -> dict[str, Any]:
        """All of it, as plain values."""
        return {"rows": self._rows, "velocities": self._velocities, "ended": self.ended, "damaged": damaged}


def subscribe(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Receive every output until the stream ends, or SIGTERM.

    Args:
        settings: `endpoint`, where a service publishes.
        say: Told when the subscriber is connected.
    """
    heard = Heard()
    with stop_on_signals() as stop, Subscriber(settings["endpoint"], latest=False) as subscriber:
        keep_collector_out()
        say({})
        while not (stop.is_set() or heard.ended):
            output = subscriber.receive(_WAIT_MS)
            now = time.monotonic_ns()
            if output is not None:
                heard.take(output, now)
        damaged = subscriber.damaged
    return heard.summary(damaged)

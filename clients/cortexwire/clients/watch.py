"""Shows a decoded stream to a person: a live table in a terminal, plain lines elsewhere, or lines of JSON."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TextIO

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.sockets import is_local
from cortexwire.clients.subscriber import Subscriber
from cortexwire.types import Velocity
from cortexwire.wire import Clock, OutFlag, OutKind, Output, Validity, output_to_json

_TABLE_S: Final = 0.1
_LINE_S: Final = 1.0
_JSON_S: Final = 0.01
_LATENCIES: Final = 4096
_NEUTRAL: Final = '{"kind":"neutral","reason":"no command within valid_for_ms","velocity":[0.0,0.0]}'
_STATES: Final = (
    OutFlag.ENDED,
    OutFlag.BLOCKED,
    OutFlag.CALIBRATING,
    OutFlag.WARMING,
)


@dataclass
class WatchSummary:
    """What was seen of a stream.

    Attributes:
        messages: Outputs received.
        decoded: Decoded bins among them.
        safe: Safe messages among them.
        commands: Those that a consumer may act on.
        late: Decoded bins past their deadline.
        not_valid: Decoded bins that were partial or stale.
        missing_samples: Samples that never came.
        damaged: Messages that broke the protocol.
        lapses: How often a command's validity passed without a new one.
        latencies_ms: The last latencies from closing packet sent to output received, on one host.
        last: The newest output.
    """

    messages: int = 0
    decoded: int = 0
    safe: int = 0
    commands: int = 0
    late: int = 0
    not_valid: int = 0
    missing_samples: int = 0
    damaged: int = 0
    lapses: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    last: Output | None = None

    def take(self, out: Output, received_ns: int | None) -> None:
        """Count one output that came at `received_ns` on the engine's monotonic clock, if that is known."""
        self.last = out
        self.messages += 1
        self.commands += OutFlag.COMMAND in out.flags
        if out.kind == OutKind.SAFE:
            self.safe += 1
            return
        self.decoded += 1
        self.late += OutFlag.LATE in out.flags
        self.not_valid += out.validity != Validity.VALID
        self.missing_samples += out.missing_samples
        if received_ns is not None and out.clocks.sent == Clock.MONOTONIC:
            self.latencies_ms.append((received_ns - out.times.sent_ns) / 1e6)

    def latency(self) -> str:
        """The latencies' p50, p99 and maximum in words."""
        if not self.latencies_ms:
            return "-"
        p50, p99 = np.percentile(self.latencies_ms, (50, 99))
        return f"p50 {p50:.2f} p99 {p99:.2f} max {max(self.latencies_ms):.2f} ms"

    def state(self) -> str:
        """What the stream is doing, in a word."""
        if self.last is None:
            return "waiting"
        for flag in _STATES:
            if flag in self.last.flags:
                return str(flag.name).lower()
        return "armed" if OutFlag.ARMED in self.last.flags else "disarmed"


def watch(
    endpoint: str,
    json: bool = False,
    seconds: float | None = None,
    shadow: bool = False,
    *,
    out: TextIO,
    curve: CurveClient | None = None,
) -> WatchSummary:
    """Watch an engine's outputs until Ctrl-C or for some seconds.

    Args:
        endpoint: Where the engine publishes.
        json: Whether to print one JSON object a line: commands, and `neutral` whenever a command's validity
            passes without a new one.
        seconds: How long; for ever when `None`.
        shadow: Whether to show also what is no command: the velocity of a disarmed engine, in JSON every
            output.
        out: Where to print.
        curve: Keys, for an engine that wants them.

    Returns:
        What was seen.

    Raises:
        ConfigError: The endpoint cannot be connected.
    """
    watcher = _Watcher(endpoint, shadow, out)
    with Subscriber(endpoint, latest=False, curve=curve) as subscriber:
        until_s = None if seconds is None else time.monotonic() + seconds
        try:
            if json:
                watcher.print_json(subscriber, until_s)
            elif out.isatty():
                watcher.draw(subscriber, until_s)
            else:
                watcher.print_lines(subscriber, until_s)
        except KeyboardInterrupt:
            # The person who watches has seen enough: that is how watching ends.
            pass
        watcher.summary.damaged = subscriber.damaged
    return watcher.summary


class _Watcher:
    def __init__(self, endpoint: str, shadow: bool, out: TextIO) -> None:
        self.summary = WatchSummary()
        self._endpoint = endpoint
        self._shadow = shadow
        self._out = out
        self._local = is_local(endpoint)
        self._shadow_velocity: Velocity | None = None
        self._commanded = False

    def print_json(self, subscriber: Subscriber, until_s: float | None) -> None:
        """One object a line."""
        while until_s is None or time.monotonic() < until_s:
            lapses = self.summary.lapses
            output = self._receive(subscriber, _JSON_S)
            if self.summary.lapses > lapses:
                self._print(_NEUTRAL)
            if output is not None and (self._shadow or OutFlag.COMMAND in output.flags):
                self._print(output_to_json(output).decode())

    def print_lines(self, subscriber: Subscriber, until_s: float | None) -> None:
        """One line a second."""
        for bins_per_s in self._ticks(subscriber, until_s, _LINE_S):
            self._print("  ".join(f"{name} {value}" for name, value in self._rows(subscriber, bins_per_s)))

    def draw(self, subscriber: Subscriber, until_s: float | None) -> None:
        """A table that is redrawn in place."""
        with Live(console=Console(file=self._out), auto_refresh=False, transient=False) as live:
            for bins_per_s in self._ticks(subscriber, until_s, _TABLE_S):
                table = Table(title=self._endpoint, show_header=False)
                for name, value in self._rows(subscriber, bins_per_s):
                    table.add_row(name, value)
                live.update(table, refresh=True)

    def _ticks(self, subscriber: Subscriber, until_s: float | None, every_s: float) -> Iterator[float]:
        """Receive all the time; every `every_s` give the bins decoded per second since the last time."""
        began_s, decoded = time.monotonic(), 0
        while until_s is None or began_s < until_s:
            next_s = began_s + every_s if until_s is None else min(until_s, began_s + every_s)
            while (left_s := next_s - time.monotonic()) > 0:
                self._receive(subscriber, left_s)
            now_s = time.monotonic()
            yield (self.summary.decoded - decoded) / (now_s - began_s)
            began_s, decoded = now_s, self.summary.decoded

    def _receive(self, subscriber: Subscriber, wait_s: float) -> Output | None:
        output = subscriber.receive(wait_s * 1000)
        if output is not None:
            self.summary.take(output, time.monotonic_ns() if self._local else None)
            self._shadow_velocity = output.tensors.get("velocity", self._shadow_velocity)
        commanded = subscriber.commanded()
        self.summary.lapses += self._commanded and not commanded
        self._commanded = commanded
        return output

    def _rows(self, subscriber: Subscriber, bins_per_s: float) -> list[tuple[str, str]]:
        seen = self.summary
        rows = [
            ("state", seen.state()),
            ("bin", "-" if seen.last is None else str(seen.last.bin)),
            ("bins/s", f"{bins_per_s:.1f}"),
            ("velocity", _numbers(subscriber.velocity())),
        ]
        if self._shadow:
            rows.append(("shadow", _numbers(self._shadow_velocity)))
        faults = f"late {seen.late} not valid {seen.not_valid} missing {seen.missing_samples}"
        return [
            *rows,
            ("outputs", f"decoded {seen.decoded} safe {seen.safe} commands {seen.commands}"),
            ("faults", f"{faults} damaged {subscriber.damaged} lapses {seen.lapses}"),
            ("latency", seen.latency()),
        ]

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def _numbers(values: Velocity | None) -> str:
    return "-" if values is None else " ".join(f"{value:8.2f}" for value in values)

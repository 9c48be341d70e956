"""The monitor: one task that reads what the engine leaves in its run directory, whoever watches, and however many.

It never asks the engine for anything. All that viewers and requests are told comes from here, so their number changes
nothing of what is read.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog

from cortexwire.api.latencies import Latencies
from cortexwire.api.recorder import RecorderStatus, read_recorder
from cortexwire.api.tail import Tail, read_start
from cortexwire.decoders.bundle import short_hash
from cortexwire.errors import ConfigError
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot
from cortexwire.wire import Start

_TAIL_S: Final = 0.01
_FRESH_NS: Final = 20_000_000
_TORN_NS: Final = 1_000_000_000
"""An engine that died while it wrote makes each reading wait, so there are fewer."""
_SLOW_NS: Final = 250_000_000


class BundleInfo(NamedTuple):
    """What pictures say of a bundle; empty where it is not known."""

    name: str = ""
    unit: str = ""
    bin_ms: float = 0.0


class Monitor:
    """What is known of one run directory.

    Attributes:
        run_dir: The folder.
        tail: What came through the tap.
        latencies: Percentiles of the stages.
        engine: The newest telemetry, None while there is none.
        start: What the newest engine began with, None while nobody knows.
        recorder: What the recorder says of itself, None without one.

    Args:
        run_dir: The folder; an engine need not have made it yet.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self.run_dir = run_dir
        self.tail = Tail(run_dir.tap)
        self.latencies = Latencies()
        self.engine: TelemetrySnapshot | None = None
        self.start: Start | None = None
        self.recorder: RecorderStatus | None = None
        self._reader: TelemetryReader | None = None
        self._read_ns = 0
        self._slow_ns = 0
        self._log = structlog.get_logger("cortexwire.api")

    async def run(self) -> None:
        """Follow the tap until cancelled; a fault in what is read there is logged, and does not end it."""
        while True:
            try:
                more = self.tail.follow()
            except Exception:
                self._log.exception("cannot follow the tap")
                more = False
            if time.monotonic_ns() - self._slow_ns >= _SLOW_NS:
                self.refresh()
            await asyncio.sleep(0 if more else _TAIL_S)

    def refresh(self) -> None:
        """Read the telemetry again, unless that was just done."""
        now = time.monotonic_ns()
        torn = self.engine is not None and self.engine.torn
        if now - self._read_ns < (_TORN_NS if torn else _FRESH_NS):
            return
        self._read_ns = now
        self.engine = self._read()
        if now - self._slow_ns >= _SLOW_NS:
            self._slow_ns = now
            self.recorder = read_recorder(self.run_dir)
            if self.engine is not None:
                self.latencies.take(self.engine, now)
                self._know_start(self.engine)

    def _read(self) -> TelemetrySnapshot | None:
        try:
            if self._reader is None:
                self._reader = TelemetryReader(self.run_dir.telemetry)
            return self._reader.read()
        except (ConfigError, ValueError):
            self._reader = None
            return None

    def _know_start(self, engine: TelemetrySnapshot) -> None:
        if self.start is None or self.start.pid != engine.pid:
            self.start = read_start(self.run_dir.start) or self.tail.start

    @property
    def writer(self) -> str:
        """How the engine's telemetry stands: live, stale, dead, closed, or absent."""
        return "absent" if self.engine is None else self.engine.writer

    @property
    def stale(self) -> bool:
        """Whether what is shown is not what is: no fresh telemetry, or a stream from which nothing comes."""
        return self.engine is None or self.engine.writer != "live" or self.engine.status.state == "silent"

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the engine tells of what changes rarely: bundle, candidate, gain, scheduling and more."""
        return {} if self.engine is None else self.engine.facts

    @property
    def bundle(self) -> BundleInfo:
        """What the engine says of the bundle that decodes, wherever it came from and whoever swapped it in."""
        facts = self.facts
        return BundleInfo(facts.get("bundle_name", ""), facts.get("unit", ""), facts.get("bin_ms", 0.0))

    @property
    def bundle_hash(self) -> int:
        """Hash of the bundle that decodes, 0 while nobody knows; before the first output the one that will."""
        if self.engine is not None and self.engine.status.bundle_hash:
            return self.engine.status.bundle_hash
        return 0 if self.start is None else short_hash(self.start.bundle_sha256)

    def configuration(self) -> dict[str, Any]:
        """What the newest engine was told, empty while nobody knows."""
        return {} if self.start is None else self.start.config

    def close(self) -> None:
        """Let go of what is mapped."""
        self.tail.close()
        if self._reader is not None:
            self._reader.close()

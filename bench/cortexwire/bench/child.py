"""The processes of a measurement: engine, rig, subscriber, sleeper, telemetry reader, recorder.

Each is `python -m` of this module, takes one JSON object as its only argument, prints one JSON line when it is ready
and one with its result when it ends, and ends by itself or at SIGTERM. What decides a figure (the engine, the sleeper)
thus shares no interpreter with what measures it. Rooms that a process does not need are not imported into it: an
engine here is as lean as one that the service starts.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cortexwire.bench.roles import run_role, say

if TYPE_CHECKING:
    from cortexwire.bench.slowing import Slowed

ROW: Final = (
    "bin", "flags", "acquired_ns", "sent_ns", "heard_ns", "received_ns", "binned_ns", "decoded_ns", "published_ns",
    "end_sample",
)  # fmt: skip
"""What a subscriber notes of each decoded output, in this order."""
SLEEP_NS: Final = 1_000_000
"""What the bare sleeper asks for."""


def _engine(settings: dict[str, Any]) -> dict[str, Any]:
    """Run an engine with an `EngineConfig` until SIGTERM; gives its summary.

    `slow` beside the configuration is a `cortexwire.bench.slowing.Slowing`; when that began is in the summary.
    """
    import structlog

    from cortexwire.config import EngineConfig
    from cortexwire.runtime.engine import Engine, stop_on_signals

    slowed = _slowed(settings.pop("slow", None))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    config = EngineConfig.model_validate(settings)
    with stop_on_signals() as stop, Engine(config, *([slowed.build] if slowed else [])) as engine:
        say({"ingest": engine.ingest_endpoint, "output": engine.output_endpoint})
        summary = engine.run(stop)
    latency = {name: found._asdict() for name, found in summary.latency.items()}
    began = {} if slowed is None else {"slow_from_ns": slowed.from_ns}
    return asdict(summary) | {"latency": latency} | began


def _slowed(settings: dict[str, Any] | None) -> "Slowed | None":
    if settings is None:
        return None
    from cortexwire.bench.slowing import Slowed, Slowing

    return Slowed(Slowing.model_validate(settings))


def _rig(settings: dict[str, Any]) -> dict[str, Any]:
    """Send simulated wideband in real time, as `run_simulator` does; gives its summary."""
    from cortexwire.clients.simulator import SimulatorSettings, run_simulator
    from cortexwire.runtime.engine import stop_on_signals

    simulator = SimulatorSettings.model_validate(settings.pop("simulator"))
    endpoint = settings.pop("endpoint")
    with stop_on_signals() as stop:
        summary = run_simulator(endpoint, simulator, **settings, stop=stop, on_ready=lambda at: say({"endpoint": at}))
    return asdict(summary)


def _subscribe(settings: dict[str, Any]) -> dict[str, Any]:
    """Receive every output until the stream ends, or SIGTERM.

    Gives one `ROW` for each decoded output: when its closing packet was due, sent and received, what the engine
    stamped on the way, and when the velocity was in the subscriber's hands, in nanoseconds of CLOCK_MONOTONIC.
    """
    from cortexwire.clients import Subscriber
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.wire import OutFlag, OutKind

    rows: list[tuple[int, ...]] = []
    ended = False
    with stop_on_signals() as stop, Subscriber(settings["endpoint"], latest=False) as subscriber:
        say({})
        while not (stop.is_set() or ended):
            output = subscriber.receive(timeout_ms=100)
            now = time.monotonic_ns()
            if output is None:
                continue
            if output.kind is OutKind.DECODED:
                acquired, sent, *stages = output.times
                rows.append((output.bin, int(output.flags), acquired, sent, now, *stages, output.end_sample))
            ended = OutFlag.ENDED in output.flags
        damaged = subscriber.damaged
    return {"rows": rows, "ended": ended, "damaged": damaged}


def _sleep(_settings: dict[str, Any]) -> dict[str, Any]:
    """Sleep 1 ms again and again until SIGTERM; gives by how much each sleep was too long, in nanoseconds."""
    from cortexwire.runtime.engine import stop_on_signals

    over: list[int] = []
    with stop_on_signals() as stop:
        say({})
        while not stop.is_set():
            before = time.monotonic_ns()
            time.sleep(SLEEP_NS / 1e9)
            over.append(time.monotonic_ns() - before - SLEEP_NS)
    return {"over_ns": over}


def _telemetry(settings: dict[str, Any]) -> dict[str, Any]:
    """Read an engine's telemetry map again and again until SIGTERM; gives what was amiss in any reading."""
    from pathlib import Path

    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.runtime.telemetry import TelemetryReader

    polls = torn = unsound = 0
    most_age_ns = most_read_ns = 0
    with stop_on_signals() as stop, TelemetryReader(Path(settings["path"])) as reader:
        say({})
        while not stop.wait(settings["every_ms"] / 1e3):
            before = time.monotonic_ns()
            snapshot = reader.read()
            most_read_ns = max(most_read_ns, time.monotonic_ns() - before)
            polls += 1
            torn += snapshot.torn
            unsound += snapshot.writer != "live"
            most_age_ns = max(most_age_ns, snapshot.age_ns)
    return {
        "polls": polls,
        "torn": torn,
        "not_live": unsound,
        "most_age_ms": most_age_ns / 1e6,
        "most_read_ms": most_read_ns / 1e6,
    }


def _recorder(settings: dict[str, Any]) -> dict[str, Any]:
    """Record an engine's tap until SIGTERM; gives the last status."""
    from pathlib import Path

    import msgspec
    import structlog

    from cortexwire.config import RecorderSettings
    from cortexwire.runtime.recorder.process import Recorder
    from cortexwire.runtime.stopping import stop_on_signals

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = RecorderSettings.model_validate(settings["recorder"])
    with stop_on_signals() as stop, Recorder(Path(settings["run_dir"]), given) as recorder:
        say({"control": recorder.endpoint})
        return msgspec.structs.asdict(recorder.run(stop))


ROLES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "engine": _engine,
    "rig": _rig,
    "subscribe": _subscribe,
    "sleep": _sleep,
    "telemetry": _telemetry,
    "recorder": _recorder,
}

if __name__ == "__main__":
    sys.exit(run_role(ROLES))

"""The processes of a measurement: engine, rig, subscriber and sleeper, each `python -m` of this module.

Each takes one JSON object as its only argument, prints one JSON line when it is ready and one with its result when
it ends, and ends by itself or at SIGTERM. What decides a figure (the engine, the sleeper) thus shares no interpreter
with what measures it. Rooms that a process does not need are not imported into it: an engine here is as lean as one
that the service starts.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cortexwire.bench.slowing import Slowed

SLEEP_NS: Final = 1_000_000
"""What the bare sleeper asks for."""


def main(argv: list[str] | None = None) -> int:
    """Run one role: `ROLE JSON`."""
    role, settings = sys.argv[1:] if argv is None else argv
    _say(ROLES[role](json.loads(settings)))
    return 0


def _say(content: Mapping[str, Any]) -> None:
    print(json.dumps(content), flush=True)  # noqa: T201  # the line is the interface


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
        _say({"ingest": engine.ingest_endpoint, "output": engine.output_endpoint})
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
        summary = run_simulator(endpoint, simulator, **settings, stop=stop, on_ready=lambda at: _say({"endpoint": at}))
    return asdict(summary)


def _subscribe(settings: dict[str, Any]) -> dict[str, Any]:
    """Receive every output until the stream ends, or SIGTERM.

    Gives one row for each decoded output that is no calibration's: bin, flags, when its closing packet was due and
    sent, and when the velocity was in the subscriber's hands, all in nanoseconds of CLOCK_MONOTONIC.
    """
    from cortexwire.clients import Subscriber
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.wire import OutFlag, OutKind

    rows: list[tuple[int, int, int, int, int]] = []
    ended = False
    with stop_on_signals() as stop, Subscriber(settings["endpoint"], latest=False) as subscriber:
        _say({})
        while not (stop.is_set() or ended):
            output = subscriber.receive(timeout_ms=100)
            now = time.monotonic_ns()
            if output is None:
                continue
            if output.kind is OutKind.DECODED:
                times = output.times
                rows.append((output.bin, int(output.flags), times.acquired_ns, times.sent_ns, now))
            ended = OutFlag.ENDED in output.flags
        damaged = subscriber.damaged
    return {"rows": rows, "ended": ended, "damaged": damaged}


def _sleep(_settings: dict[str, Any]) -> dict[str, Any]:
    """Sleep 1 ms again and again until SIGTERM; gives by how much each sleep was too long, in nanoseconds."""
    from cortexwire.runtime.engine import stop_on_signals

    over: list[int] = []
    with stop_on_signals() as stop:
        _say({})
        while not stop.is_set():
            before = time.monotonic_ns()
            time.sleep(SLEEP_NS / 1e9)
            over.append(time.monotonic_ns() - before - SLEEP_NS)
    return {"over_ns": over}


ROLES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "engine": _engine,
    "rig": _rig,
    "subscribe": _subscribe,
    "sleep": _sleep,
}

if __name__ == "__main__":
    sys.exit(main())

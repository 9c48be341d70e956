"""A whole service for measurements of its API: engine, simulated rig and API, each the command that a person types."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from cortexwire.bench.live import START_S, RunError
from cortexwire.bench.loads import Load
from cortexwire.runtime.children import Child
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.telemetry import TelemetryReader

CALIBRATION_S: Final = 3.0
"""Signal on which thresholds are learned."""
_LOOK_S: Final = 0.05


@dataclass(frozen=True)
class ApiService:
    """A service that runs.

    Attributes:
        url: Of its API.
        run_dir: Its run directory.
        engine: What the engine said when it was ready.
        children: Its processes by name.
    """

    url: str
    run_dir: RunDir
    engine: dict[str, Any]
    children: Mapping[str, Child]

    def check(self) -> None:
        """Make sure that all of it runs.

        Raises:
            ChildError: A part ended by itself.
        """
        for child in self.children.values():
            child.check()


@contextmanager
def api_service(
    load: Load,
    folder: Path,
    *,
    engine: Sequence[str] = (),
    rig: Sequence[str] = (),
    api: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Iterator[ApiService]:
    """Start a service and wait until it decodes.

    Args:
        load: Channels, packets, decoder and priority.
        folder: Where all of it lies; its path must be short.
        engine: More of the engine's command line.
        rig: More of the simulated rig's.
        api: More of the API's.
        headers: Headers with which the API lets one read.

    Raises:
        RunError: It does not decode in time.
        ChildError: A part ended by itself.
    """
    bundle = load.bundle(folder / "bundle", CALIBRATION_S)
    run_dir = RunDir(folder / "run")
    priority = [] if load.fifo_priority is None else ["--fifo", str(load.fifo_priority)]
    with ExitStack() as opened:

        def child(name: str, *arguments: str) -> tuple[Child, dict[str, Any]]:
            started = opened.enter_context(Child(name, arguments))
            return started, _ready(started)

        decoding, said = child(
            "engine",
            *("engine", "--json", "--bundle", str(bundle.path), "--executor", load.executor, *priority),
            *("--ingest", f"ipc://{folder}/in", "--output", f"ipc://{folder}/out", "--run-dir", str(run_dir.path)),
            *("--set", "realtime.measure_cpu=true", *engine),
        )
        sending, _ = child(
            "simulator",
            *("simulate", "--json", "--channels", str(load.channels), "--seed", str(load.rig.seed)),
            *("--packet-ms", f"{load.packet_ms:g}", "--endpoint", f"ipc://{folder}/in", *rig),
        )
        serving, where = child("api", "api", "--json", "--run-dir", str(run_dir.path), "--bind", "127.0.0.1:0", *api)
        children = {"engine": decoding, "rig": sending, "api": serving}
        service = ApiService(where["url"], run_dir, said, children)
        with httpx.Client(base_url=service.url, timeout=30, headers=dict(headers or {}), trust_env=False) as client:

            def decodes() -> bool:
                service.check()
                engine_now = client.get("/v1/state").json().get("engine", {})
                return bool(engine_now.get("state") == "running" and engine_now.get("bin", -1) > 0)

            _until(decodes, "the engine to decode")
        yield service


def reading(run_dir: RunDir) -> TelemetryReader:
    """The engine's telemetry."""
    return TelemetryReader(run_dir.telemetry)


def _ready(child: Child) -> dict[str, Any]:
    lines: list[str] = []

    def said() -> bool:
        child.check()
        lines.extend(child.lines())
        return bool(lines)

    _until(said, f"the {child.name} to be ready")
    found: dict[str, Any] = json.loads(lines[0])["ready"]
    return found


def _until(happens: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + START_S
    while not happens():
        if time.monotonic() > give_up:
            raise RunError(f"expected {what} within {START_S:g} s")
        time.sleep(_LOOK_S)

"""A rig, an engine and a recorder that can be killed, stopped and started again, each a process of its own.

The engine listens at a fixed place, so that the rig finds the next one where the last one was. Sockets, telemetry and
tap lie in memory, as they should; where the recording goes is the caller's choice.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cortexwire.bench.latency import CALIBRATION_S
from cortexwire.bench.live import Child, RunError
from cortexwire.bench.loads import Load
from cortexwire.errors import ConfigError
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.recorder import RecorderStatus, read_status
from cortexwire.runtime.rundir import RunDir

PATIENCE_S: Final = 90.0
_POLL_S: Final = 0.005
_LONG_S: Final = 36_000.0


class RecordedService:
    """The processes; start each with its own call.

    Args:
        load: What the rig sends and how the engine is set up, with packets over ipc.
        folder: In memory, its path short.
        out: Where recordings go.
        settings: The recorder's, beside the folder.

    Attributes:
        run_dir: The engine's.
        engine: The engine's process, if it runs.
        recorder: The recorder's.
        rig: The rig's.
    """

    def __init__(self, load: Load, folder: Path, out: Path, **settings: Any) -> None:
        self.engine: Child | None = None
        self.recorder: Child | None = None
        self.rig: Child | None = None
        self._load = load
        self._out = out
        bundle = load.bundle(folder / "bundle", CALIBRATION_S)
        self._config = load.engine(bundle.path, folder)
        self._settings = {"folder": str(out), **settings}
        self.run_dir = RunDir(self._config.run_dir)

    def start_engine(self) -> None:
        """Start an engine; the one before must have ended."""
        self.engine = Child("engine", self._config.model_dump(mode="json"))

    def start_recorder(self, **environment: str) -> None:
        """Start a recorder, with variables of its own; the one before must have ended."""
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            self.recorder = Child("recorder", {"run_dir": str(self.run_dir.path), "recorder": self._settings})
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def start_rig(self, seconds: float = _LONG_S) -> None:
        """Start the rig, which outlives engines."""
        settings = {
            "endpoint": self._config.ingest.endpoint,
            "simulator": self._load.rig.model_dump(mode="json"),
            "packet_samples": self._load.packet_samples,
            "socket": "pub",
            "bind": False,
            "seconds": seconds,
        }
        self.rig = Child("rig", settings)

    def status(self) -> RecorderStatus:
        """What the recorder says, or left when it was killed."""
        return read_status(self.run_dir.recorder)

    def until(self, what: Callable[[RecorderStatus], bool], expected: str) -> RecorderStatus:
        """Wait for a status of the recorder that runs.

        Raises:
            RunError: It does not come.
        """
        assert self.recorder is not None
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with suppress(ConfigError):
                status = self.status()
                if status.pid == self.recorder.pid and what(status):
                    return status
            self.recorder.check()
            time.sleep(_POLL_S)
        raise RunError(f"recorder: expected {expected} within {PATIENCE_S:g} s")

    def state(self) -> dict[str, Any]:
        """What the engine says of the recorder."""
        with ControlClient(self.run_dir.control_endpoint) as client:
            found: dict[str, Any] = (client.state().state or {}).get("recorder") or {}
        return found

    @staticmethod
    def kill(*children: Child | None) -> None:
        """Kill processes, all before any of them is waited for."""
        running = [child for child in children if child is not None]
        for child in running:
            os.kill(child.pid, signal.SIGKILL)
        for child in running:
            child.close()

    def close(self) -> None:
        """End what still runs."""
        for child in (self.rig, self.engine, self.recorder):
            if child is not None:
                child.close()


def verified(folder: Path) -> dict[str, Any]:
    """What `cortexwire log verify` says of a recording, with its exit status as `exit`."""
    return _command("log", "verify", str(folder), "--json")


def against_recorded(folder: Path, bundle: Path) -> dict[str, Any]:
    """What `cortexwire decode --against recorded` says of a recording, with its exit status as `exit`."""
    return _command("decode", str(folder), "--bundle", str(bundle), "--against", "recorded", "--json")


def _command(*words: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "cortexwire.cli", *words], capture_output=True, text=True, check=False
    )
    last = ran.stdout.strip().splitlines()[-1:] or ["{}"]
    with suppress(json.JSONDecodeError):
        return {"exit": ran.returncode, **json.loads(last[0])}
    return {"exit": ran.returncode, "said": (ran.stdout + ran.stderr)[-1000:]}

"""The demo: a simulated rig, an engine and a subscriber on one machine, as the processes that they would be.

The rig and the engine are children with the real ZeroMQ between them, in a private folder; this process subscribes to
the outputs and to the rig's columns, shows them, and says at the end what was lost, how long it took, and how well
the intended velocity was decoded.
"""

import fcntl
import gc
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cortexwire.config import ENV_PREFIX, OTHER_VARIABLES
from cortexwire.decoders.bundle import Bundle, load_bundle
from cortexwire.errors import ConfigError
from cortexwire.runtime.children import Child, ChildError
from cortexwire.runtime.demo_record import DemoRecord, Receiver
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot

CALIBRATION_S: Final = 3.0
"""Clean signal from which the demo's engine finds its thresholds."""
QUEUE_MS: Final = 10_000.0
"""Signal that may wait between rig and engine: a busy machine makes the demo late, and drops nothing."""
START_S: Final = 180.0
"""Longest wait for the children; the first start on a machine compiles the kernels."""

PAGE_PORT: Final = 8765
"""Where the page is served, if nobody has that port."""

_LONGEST_FOLDER = 60
_PREFIX = "cortexwire-demo-"
_LOCK = "demo.lock"
_LOOK_S = 0.05
_SILENT_AFTER_S = 10.0
_SWITCH_INTERVAL_S = 5e-4

Score = Callable[[ArrayLike, ArrayLike], NDArray[np.float64]]
"""R2 of each column of (true, decoded)."""


@dataclass(frozen=True)
class DemoSettings:
    """What a demo is told.

    Attributes:
        bundle: Folder of the bundle.
        seconds: Signal to decode before it ends; endlessly when None.
        seed: Seed of the simulated run; drawn when None.
        calibration_s: Clean signal to calibrate on.
        page: Whether to serve the page for a browser.
        browse: Whether to open it in one.
    """

    bundle: Path
    seconds: float | None = None
    seed: int | None = None
    calibration_s: float = CALIBRATION_S
    page: bool = True
    browse: bool = False


@dataclass(frozen=True, eq=False)
class DemoScene:
    """What a view draws.

    Attributes:
        seed: Seed of the simulated run.
        unit: Unit of the velocity.
        seconds: Signal to decode, or None.
        record: What was received.
        engine: The engine's telemetry, once there is some.
        page: Address of the page for a browser, once it is served.
    """

    seed: int
    unit: str
    seconds: float | None
    record: DemoRecord
    engine: TelemetrySnapshot | None = None
    page: str | None = None


class View(Protocol):
    """Whatever shows a demo to a person."""

    def say(self, text: str) -> None:
        """Say what is being waited for."""

    def show(self, scene: DemoScene) -> None:
        """Show how things stand; called many times a second."""


@dataclass(frozen=True)
class DemoSummary:
    """What a demo did.

    Attributes:
        seed: Seed of the simulated run.
        trained_on: Sessions that the bundle was trained on.
        bins: Bins decoded.
        late: Those of them that came after their deadline.
        not_valid: Those of them that were partial or stale.
        drops: Packets lost, gaps in the signal, messages that nobody understood, outputs that did not come: all of it.
        lost: What the drops are, by name.
        latency_ms: p50, p99 and max, from closing packet sent to velocity received.
        r2: Of each axis; None where nothing was decoded.
        interrupted: Whether it was stopped before its time.
        counters: The engine's counters.
    """

    seed: int
    trained_on: tuple[str, ...]
    bins: int
    late: int
    not_valid: int
    drops: int
    lost: dict[str, int]
    latency_ms: dict[str, float]
    r2: tuple[float, ...] | None
    interrupted: bool
    counters: dict[str, int] = field(repr=False)


def run_demo(settings: DemoSettings, view: View, score: Score, stop: threading.Event) -> DemoSummary:
    """Run the demo until its time is up or `stop` is set.

    Raises:
        BundleError: The bundle is damaged.
        ConfigError: The bundle is not for a simulated rig, or the seed is the one that it was trained on.
        ChildError: The rig or the engine ended by itself, or does not get ready.
    """
    bundle = load_bundle(settings.bundle)
    seed = choose_seed(bundle, settings.seed)
    with ExitStack() as opened:
        folder = opened.enter_context(_private_folder())
        opened.enter_context(_undisturbed())
        demo = _Demo(settings, bundle, seed, folder, view, stop)
        opened.callback(demo.close)
        demo.start()
        interrupted = demo.watch()
        counters = demo.end()
        return _summary(demo.record, seed, bundle, counters, score, interrupted)


def choose_seed(bundle: Bundle, seed: int | None) -> int:
    """Draw the seed of the run: never one that the bundle was trained on.

    Raises:
        ConfigError: The bundle is not for a simulated rig, or the seed given was trained on.
    """
    sessions = bundle.manifest.training.sessions
    if bundle.manifest.stream.kind != "wideband" or not all(name.startswith("sim:") for name in sessions):
        raise ConfigError(f"demo: expected a bundle trained on the simulator, got one trained on {list(sessions)}")
    seen = {int(part[5:]) for name in sessions for part in name[4:].split(",") if part.startswith("seed=")}
    if seed is None:
        return next(drawn for drawn in iter(lambda: secrets.randbelow(2**31), None) if drawn not in seen)
    if seed in seen:
        raise ConfigError(f"demo: expected a seed that the bundle was not trained on, got {seed}")
    return seed


class _Demo:
    """The children, the receiver, and the loop that watches them."""

    def __init__(
        self,
        settings: DemoSettings,
        bundle: Bundle,
        seed: int,
        folder: Path,
        view: View,
        stop: threading.Event,
    ) -> None:
        manifest = bundle.manifest
        self.record = DemoRecord(manifest.stream.n_channels, manifest.stream.bin_ms)
        self._scene = DemoScene(seed, manifest.velocity.unit, settings.seconds, self.record)
        self._settings = settings
        self._bundle = bundle
        self._folder = folder
        self._view = view
        self._stop = stop
        self._opened = ExitStack()
        self._telemetry: TelemetryReader | None = None
        self._api: Child | None = None

    def start(self) -> None:
        """Start the children, wait until both are ready, and subscribe."""
        rig, outputs = f"ipc://{self._folder}/rig", f"ipc://{self._folder}/outputs"
        env = {name: value for name, value in os.environ.items() if _is_kept(name)}
        self._engine = self._child("engine", self._engine_arguments(rig, outputs), env)
        self._rig = self._child("simulator", self._rig_arguments(rig), env)
        if self._settings.page:
            self._api = self._child("api", self._api_arguments(outputs), env)
        self._view.say("starting; the first start on a machine compiles the kernels, which takes some seconds")
        waiting = [self._engine, self._rig]
        give_up = time.monotonic() + START_S
        while waiting and not self._stop.is_set():
            self._check()
            waiting = [child for child in waiting if not child.lines()]
            if time.monotonic() > give_up:
                names = " and ".join(child.name for child in waiting)
                raise ChildError(f"the {names} did not get ready within {START_S:g} s")
            self._stop.wait(_LOOK_S)
        if not self._stop.is_set():
            receiver = Receiver(self.record, outputs, rig)
            self._opened.callback(receiver.close)
            self._telemetry = TelemetryReader(self._folder / "run" / "telemetry.map")
            self._opened.callback(self._telemetry.close)
            self._view.say(f"calibrating on {self._settings.calibration_s:g} s of signal")

    def watch(self) -> bool:
        """Show what comes until the time is up; whether it was stopped before."""
        wanted = self._settings.seconds
        heard, heard_at = -1, time.monotonic()
        while not self._stop.wait(_LOOK_S):
            self._check()
            self._look_for_page()
            if self._telemetry is not None:
                self._scene = replace_engine(self._scene, self._telemetry.read())
            self._view.show(self._scene)
            if wanted is not None and self.record.seconds >= wanted - 1e-9:
                return False
            count = self.record.decoded + self.record.safe
            if count != heard:
                heard, heard_at = count, time.monotonic()
            elif time.monotonic() - heard_at > _SILENT_AFTER_S:
                raise ChildError(
                    f"the engine sent nothing for {_SILENT_AFTER_S:g} s; it said:\n{self._engine.last_words()}"
                )
        return True

    def end(self) -> dict[str, int]:
        """End the children, the engine first; give its counters."""
        self._engine.stop()
        counters: dict[str, int] = {}
        for line in self._engine.lines():
            counters = json.loads(line).get("summary", {}).get("counters", counters)
        self._rig.stop()
        return counters

    def close(self) -> None:
        """Let go of everything."""
        self._opened.close()

    def _child(self, name: str, arguments: Sequence[str], env: dict[str, str]) -> Child:
        return self._opened.enter_context(Child(name, arguments, env))

    def _check(self) -> None:
        self._engine.check()
        self._rig.check()

    def _look_for_page(self) -> None:
        """Say where the page is, once it is there; the demo does without one whose process ended."""
        if self._api is None or self._scene.page is not None:
            return
        for line in self._api.lines():
            page: str = json.loads(line)["ready"]["url"]
            self._scene = replace(self._scene, page=page)
            self._view.say(f"page {page}")
            if self._settings.browse:
                webbrowser.open(page)

    def _engine_arguments(self, rig: str, outputs: str) -> list[str]:
        chosen = {
            "front_end.threshold.calibration_s": self._settings.calibration_s,
            "ingest.high_water_ms": QUEUE_MS,
            # Every output is to be counted here, so a moment's delay of this process must not drop one.
            "output.high_water_bins": 1000,
        }
        sets = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
        return [
            "engine", "--json", "--armed", "--bundle", str(self._bundle.path.absolute()), "--socket", "sub",
            "--ingest", rig, "--output", outputs, "--run-dir", str(self._folder / "run"), *sets,
        ]  # fmt: skip

    def _api_arguments(self, outputs: str) -> list[str]:
        return [
            "api", "--json", "--run-dir", str(self._folder / "run"), "--bind", f"127.0.0.1:{free_port(PAGE_PORT)}",
            "--set", f"output.endpoint={outputs}",
        ]  # fmt: skip

    def _rig_arguments(self, rig: str) -> list[str]:
        stream = self._bundle.manifest.stream
        return [
            "simulate", "--json", "--endpoint", rig, "--socket", "pub", "--bind",
            "--queue-ms", f"{QUEUE_MS:g}", "--channels", str(stream.n_channels), "--seed", str(self._scene.seed),
            "--set", f"rate_hz={stream.rate_num / stream.rate_den:g}", "--set", f"uv_per_bit={stream.uv_per_bit:g}",
        ]  # fmt: skip


def free_port(wanted: int) -> int:
    """This port of the loopback if nobody has it, else one that nobody has."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ConfigError("demo: expected a free port on 127.0.0.1, got none")


def replace_engine(scene: DemoScene, engine: TelemetrySnapshot) -> DemoScene:
    """The same scene with newer telemetry."""
    return replace(scene, engine=engine)


def _is_kept(name: str) -> bool:
    """Whether a variable is handed to the children: settings of somebody's own engine are not."""
    return not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES


def _summary(
    record: DemoRecord, seed: int, bundle: Bundle, counters: dict[str, int], score: Score, interrupted: bool
) -> DemoSummary:
    true, decoded = record.scored()
    lost = {
        "lost_packets": counters.get("lost_packets", 0),
        "gaps": counters.get("gaps", 0),
        "malformed": sum(count for name, count in counters.items() if name.startswith("malformed_")),
        "outputs": record.missing_bins,
        "damaged": record.damaged,
    }
    return DemoSummary(
        seed=seed,
        trained_on=bundle.manifest.training.sessions,
        bins=record.decoded,
        late=record.late,
        not_valid=record.not_valid,
        drops=sum(lost.values()),
        lost=lost,
        latency_ms=latency(record.latencies_ms),
        r2=tuple(float(value) for value in score(true, decoded)) if len(true) else None,
        interrupted=interrupted,
        counters=counters,
    )


def latency(values_ms: "array[float]") -> dict[str, float]:
    """The p50, p99 and maximum of latencies in milliseconds; empty without any."""
    if not values_ms:
        return {}
    values = np.array(values_ms[:])
    p50, p99 = np.percentile(values, (50, 99)).tolist()
    return {"p50": p50, "p99": p99, "max": float(values.max())}


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only we can enter, with a name short enough for sockets; it is locked while this process lives."""
    base = tempfile.gettempdir()
    base = base if len(base) < _LONGEST_FOLDER else "/tmp"
    remove_abandoned(Path(base))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base) as name:
        folder = Path(name)
        lock = os.open(folder / "new.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "new.lock").rename(folder / _LOCK)
            yield folder
        finally:
            os.close(lock)


def remove_abandoned(base: Path) -> None:
    """Remove the folders of demos that were killed: 64 MB each."""
    for lock_file in base.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent)
            finally:
                os.close(lock)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep drawing from delaying the thread that takes the time of arrival."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


def as_json(summary: DemoSummary) -> dict[str, Any]:
    """The summary as plain JSON values."""
    worse = None if summary.r2 is None else min(summary.r2)
    return {name: getattr(summary, name) for name in summary.__dataclass_fields__} | {"r2_worse_axis": worse}

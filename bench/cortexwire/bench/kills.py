"""A service in mid-stream whose parts are killed, and what became of every output.

The rig, the service and two subscribers are processes; this one reads the tap as a recorder does. The tap holds each
engine's beginning, packets, ticks, commands and outputs in order, so each engine's life is decoded again, offline,
and has to give the same bytes.
"""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from cortexwire.bench.kill_roles import digest
from cortexwire.bench.live import Child as Role
from cortexwire.bench.live import RunError, short_folder
from cortexwire.config import EngineConfig
from cortexwire.decoders import load_bundle
from cortexwire.pipeline.commands import decode_command
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.children import Child
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.tap import TapReader, TapRecord
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot
from cortexwire.wire import OutFlag, OutKind, Output, RecordKind, Start, Validity, decode_output, encode_output
from cortexwire.wire.journal import decode_journal

START_S: Final = 120.0
"""Longest wait for anything to be ready."""
MARKS: Final = (
    OutFlag.UNOBSERVED
    | OutFlag.WARMING
    | OutFlag.HISTORY
    | OutFlag.ARTEFACT
    | OutFlag.CALIBRATING
    | OutFlag.NONFINITE
    | OutFlag.LATE
)
"""What an output says of itself that may differ from an undisturbed run."""
_SETTLED_BINS: Final = 30
_ROLES: Final = "cortexwire.bench.kill_roles"
_LOOK_S: Final = 0.005


class Heard(NamedTuple):
    """What a subscriber noted of one output; `name` stands for all that it says but its times."""

    kind: int
    epoch: int
    bin: int
    flags: int
    validity: int
    published_ns: int
    heard_ns: int
    name: str
    counts: str
    velocity: str

    @property
    def marked(self) -> bool:
        """Whether it says that it may differ from an undisturbed run."""
        return self.kind != OutKind.DECODED or self.validity != Validity.VALID or bool(self.flags & MARKS)


class Life(NamedTuple):
    """One engine by the tap: how it began, and its records behind that."""

    start: Start
    records: list[TapRecord]


class Killed(NamedTuple):
    """One kill: of which part, when, and what it took until it was there again."""

    part: str
    at_ns: int
    back_ms: float


class TapTaker:
    """Takes every record of a tap from its beginning, in a thread, sorted into engines' lives.

    Args:
        path: The tap.
    """

    def __init__(self, path: Path) -> None:
        self.lives: list[Life] = []
        self.lost = 0
        self._reader = TapReader(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="tap taker")
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.wait(0.01):
            self._take()
        self._take()
        self.lost = self._reader.lost + self._reader.damaged
        self._reader.close()

    def _take(self) -> None:
        for record in self._reader:
            if record.kind is RecordKind.START:
                self.lives.append(Life(decode_journal(record.payload, Start), []))
            elif self.lives:
                self.lives[-1].records.append(record)

    def close(self) -> None:
        """Take what is left, and end; safe to call twice."""
        self._stop.set()
        self._thread.join()


class KilledService:
    """A rig, a service, and those who hear it.

    Args:
        opened: What closes all of it.
        folder: Where sockets and the run directory are made; its path must be short.
        rig: Arguments of `cortexwire simulate` besides its endpoint.
        serve: Arguments of `cortexwire serve` besides its endpoints.
        seed: Draws when parts are killed.

    Raises:
        ChildError: The rig or the service did not start.
    """

    def __init__(
        self, opened: ExitStack, folder: Path, rig: Sequence[str], serve: Sequence[str], seed: int = 0
    ) -> None:
        self._random = random.Random(seed)
        self.run_dir = RunDir(folder / "run")
        ingest, output = f"ipc://{folder}/rig", f"ipc://{folder}/out"
        self.rig = opened.enter_context(Child("rig", ["simulate", "--json", "--endpoint", ingest, *rig]))
        _ready(self.rig)
        self.service = opened.enter_context(
            Child(
                "service",
                ["serve", "--json", "--log", "json", "--ingest", ingest, "--output", output,
                 "--run-dir", str(self.run_dir.path), "--set", "output.high_water_bins=1000", *serve],
            )
        )  # fmt: skip
        self.hears = opened.enter_context(Role("hear", {"endpoint": output}, _ROLES))
        self.obeys = opened.enter_context(Role("obey", {"endpoint": output}, _ROLES))
        self.ready = _ready(self.service)
        self.tap = TapTaker(self.run_dir.tap)
        opened.callback(self.tap.close)
        self.kills: list[Killed] = []

    def telemetry(self) -> TelemetrySnapshot:
        """What the engine says of itself."""
        with TelemetryReader(self.run_dir.telemetry) as reader:
            return reader.read()

    def until(self, happens: Callable[[], Any], what: str) -> Any:
        """Wait for something.

        Raises:
            RunError: It does not happen.
            ChildError: The service or the rig ended instead.
        """
        give_up = time.monotonic() + START_S
        while not (found := happens()):
            self.service.check()
            self.rig.check()
            if time.monotonic() > give_up:
                raise RunError(f"expected {what} within {START_S:g} s")
            time.sleep(_LOOK_S)
        return found

    def decodes(self, besides: int = 0) -> int:
        """Wait until an engine other than the given process decodes in earnest; gives its process id."""

        def pid() -> int | None:
            now = self.telemetry()
            well = now.status.state == "running" and now.counters["decoded_bins"] > _SETTLED_BINS
            return now.pid if well and now.pid != besides else None

        return int(self.until(pid, "an engine that decodes"))

    def kill_engine(self, pause_s: tuple[float, float]) -> None:
        """Kill the engine after a random pause, and wait until another one decodes."""
        pid = self.decodes()
        time.sleep(self._random.uniform(*pause_s))
        at_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        self.decodes(pid)
        self.kills.append(Killed("engine", at_ns, (time.monotonic_ns() - at_ns) / 1e6))

    def kill_api(self, pause_s: tuple[float, float]) -> None:
        """Kill the API after a random pause, and wait until it answers again."""
        pid = self.until(lambda: _child_of(self.service.pid, "api"), "an API")
        url = f"{self.ready['api']['url']}/healthz"
        self.until(lambda: _answers(url), "an answer of the API")
        time.sleep(self._random.uniform(*pause_s))
        at_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: _child_of(self.service.pid, "api") not in (pid, None) and _answers(url), "the API again")
        self.kills.append(Killed("api", at_ns, (time.monotonic_ns() - at_ns) / 1e6))

    def end(self) -> tuple[list[Heard], dict[str, Any], dict[str, Any]]:
        """End everything; gives what was heard, what was obeyed, and the service's summary."""
        code = self.service.stop(60)
        lines = [json.loads(line) for line in self.service.lines()]
        self.tap.close()
        obeyed = self.obeys.stop()
        heard = [Heard(*row) for row in self.hears.stop()["rows"]]
        self.rig.stop()
        summary: dict[str, Any] = next((line["summary"] for line in lines if "summary" in line), {})
        return heard, obeyed, summary | {"code": code}


@contextmanager
def killed_service(rig: Sequence[str], serve: Sequence[str], seed: int = 0) -> Iterator[KilledService]:
    """A service in a private folder."""
    with short_folder() as folder, ExitStack() as opened:
        yield KilledService(opened, folder, rig, serve, seed)


def _ready(child: Child) -> dict[str, Any]:
    give_up = time.monotonic() + START_S
    while not (lines := child.lines()):
        child.check()
        if time.monotonic() > give_up:
            raise RunError(f"expected a ready {child.name} within {START_S:g} s")
        time.sleep(_LOOK_S)
    ready: dict[str, Any] = json.loads(lines[0])["ready"]
    return ready


def _child_of(parent: int, command: str) -> int | None:
    """A child that runs this command of ours."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command.encode() in words:
            return int(pid)
    return None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def first_bin(life: Life) -> int | None:
    """The first bin that an engine decoded; None for one that decoded nothing."""
    for record in life.records:
        if record.kind is RecordKind.OUTPUT and (output := decode_output(record.payload)).kind is OutKind.DECODED:
            return output.bin
    return None


def config_of(start: Start, folder: Path, bundle: Path) -> EngineConfig:
    """The configuration of a pipeline that begins as this one did; its thresholds are put into a file in the folder.

    Args:
        start: How it began.
        folder: Where the thresholds are put.
        bundle: Its bundle, of which the supervisor's own copy is gone once that has ended.
    """
    config = EngineConfig.model_validate(start.config).model_copy(update={"bundle": bundle})
    if load_bundle(bundle).sha256 != start.bundle_sha256:
        raise RunError(f"expected a life with bundle {bundle}, got one with {start.bundle}")
    if start.thresholds_uv is None:
        return config
    # The file that the configuration names may be another one by now.
    path = folder / "thresholds.json"
    path.write_bytes(msgspec.json.encode({"thresholds_uv": start.thresholds_uv}))
    return config.model_copy(update={"thresholds": path})


def decoded_again(life: Life, folder: Path, bundle: Path) -> tuple[list[str], list[str], int]:
    """Put a life's packets, ticks and commands into a new pipeline.

    Returns:
        Digests of its outputs, of those that the tap holds, and how many the last record brought about: an engine that
        is killed has not always sent those, or not yet noted them.
    """
    pipeline = assemble(config_of(life.start, folder, bundle), live=False).pipeline
    again: list[str] = []
    taped: list[str] = []
    last = 0
    for record in life.records:
        outputs: Sequence[Output] = ()
        match record.kind:
            case RecordKind.PACKET:
                outputs = pipeline.packet(record.payload, record.t_ns)
            case RecordKind.TICK:
                outputs = pipeline.tick(record.t_ns)
            case RecordKind.COMMAND:
                outputs = pipeline.command(decode_command(record.payload))[2]
            case RecordKind.OUTPUT:
                taped.append(digest(record.payload))
                continue
            case _:
                continue
        last = len(outputs)
        again += [digest(encode_output(output)) for output in outputs]
    return again, taped, last

"""Budgets bite: a stage slowed on purpose breaks its own lines in a benchmark, and is told live within two seconds.

The limits come from a first run, with a margin, so that only what is done on purpose can exceed them: an unslowed run
has to hold them, and one slowed by more than the margin has to break them. Each benchmark is the command that anyone
would type, `cortexwire bench latency --budget FILE --slow STAGE=US`, and what counts is its exit status and what it
says. The live engine reads the same file; the stage grows slow while it runs, and its telemetry is read by a process
that is not the engine.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.live import Child, RunError, short_folder
from cortexwire.bench.slowing import CONTAINING, SLOWED, Slowing
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, TapSettings
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.runtime.telemetry import TelemetryReader

CHANNELS: Final = 96
SECONDS: Final = 8.0
MARGIN_US: Final = 5000.0
"""Above what the first run took: room for a machine that others use too."""
EXTRA_US: Final = 14_000.0
"""Above every limit of a stage of the engine, and short enough to keep up with bins of 20 ms."""
MOST_TOLD_S: Final = 2.0
SLOW_AFTER_S: Final = 10.0
SLOW_FOR_S: Final = 3.0
_CALIBRATION_S: Final = 2.0
_RECOVERS_S: Final = 15.0
_LOOK_S: Final = 0.002
_LOOKS_PER_CHECK: Final = 100
_LEAD_S: Final = 10.0


def budget_run() -> dict[str, Any]:
    """Must-show 11: each stage slowed in turn, in a benchmark and live.

    Returns:
        `passed`, `expected`, the verdicts, and how soon the live engine told.

    Raises:
        RunError: A measurement could not be made.
    """
    progress("limits from a first run")
    first = _bench()
    with short_folder() as folder:
        file = folder / "budgets.toml"
        file.write_text(limits(first["results"][0], MARGIN_US))
        progress("the same again, by these limits")
        again = _bench("--budget", str(file))
        slowed = {}
        for stage in SLOWED:
            progress(f"{stage} slowed")
            slowed[stage] = _bench("--budget", str(file), "--slow", f"{stage}={EXTRA_US:g}")
        progress("a live engine that grows slow")
        slowing = Slowing(stage="binned_to_decoded", extra_us=EXTRA_US, after_s=SLOW_AFTER_S, for_s=SLOW_FOR_S)
        live = watch_live(file, slowing, _RECOVERS_S)
    verdicts = {stage: _named_alone(stage, found) for stage, found in slowed.items()}
    told = live.told_of(slowing.stage)
    passed = (
        again["exit"] == 0
        and all(verdict["passed"] for verdict in verdicts.values())
        and told["passed"]
        and told["told_after_s"] <= MOST_TOLD_S
        and live.recovered_after_s is not None
    )
    return {
        "passed": passed,
        "expected": f"exit 0 unslowed; slowed by {EXTRA_US:g} us exit 1, with the p50 line of that stage broken, and "
        "that of all that contain it, and no line of another stage; live in the telemetry within "
        f"{MOST_TOLD_S:g} s, not before, and gone later",
        "unslowed": {name: again["budget"][name] for name in ("passed", "broken", "not_judged")},
        "unslowed_exit": again["exit"],
        "slowed": verdicts,
        "live": {**told, "recovered_after_s": live.recovered_after_s},
        "told_after_s": told["told_after_s"],
    }


def limits(row: Mapping[str, Any], margin_us: float) -> str:
    """A file of budgets that a row of results holds with a margin: p50 and p99 of every stage.

    Not from when packets were due: that charges the rig's own lateness, which is the machine's.
    """
    stages = {**row["stages_us"], "sent_to_received": row["sent_to_received_us"]}
    return "\n".join(
        f'[[latency]]\nstage = "{name}"\npercentile = {percent}\nmax_us = {found[f"p{percent}"] + margin_us:.1f}\n'
        for name, found in stages.items()
        for percent in (50, 99)
    )


def _bench(*arguments: str) -> dict[str, Any]:
    """Run `cortexwire bench latency` as anyone would; what it found, and its exit status."""
    command = [sys.executable, "-m", "cortexwire.cli", "bench", "latency", "--json"]
    command += ["--channels", str(CHANNELS), "--seconds", f"{SECONDS:g}", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        raise RunError(f"bench latency: expected JSON, got exit {ran.returncode}: {ran.stderr[-500:]}") from None
    return {**found, "exit": ran.returncode}


def _named_alone(stage: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a run broke the medians of a stage and of all that contains it, and nothing else."""
    broken = [line["line"] for line in found["budget"]["lines"] if line["outcome"] == "broken"]
    stages = {_stage(line) for line in broken}
    medians = {_stage(line) for line in broken if " p50 " in line}
    containing = set(CONTAINING[stage])
    return {
        "passed": found["exit"] == 1 and stages <= containing and medians == containing,
        "exit": found["exit"],
        **{name: found["budget"][name] for name in ("broken", "not_judged")},
    }


@dataclass
class LiveWatch:
    """What the telemetry of a live engine said of its budgets while a stage of it was slow.

    Attributes:
        lines: The lines that the engine watched.
        told_ns: When each line was first seen in breach, CLOCK_MONOTONIC.
        notes: What the engine noted of its budgets.
        cleared_ns: When no line was in breach any more after the slowed stage's had been; 0 if that did not happen.
        slow_from_ns: When the slowing began.
        slow_until_ns: When it ended.
        counters: The engine's counters at its end.
    """

    lines: tuple[str, ...] = ()
    told_ns: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cleared_ns: int = 0
    slow_from_ns: int = 0
    slow_until_ns: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def told_after_s(self) -> dict[str, float]:
        """From the beginning of the slowing until a line was seen in breach, by line; negative for one before."""
        return {line: (told - self.slow_from_ns) / 1e9 for line, told in self.told_ns.items()}

    @property
    def recovered_after_s(self) -> float | None:
        """From the end of the slowing until no line was in breach; None if that did not happen."""
        return (self.cleared_ns - self.slow_until_ns) / 1e9 if self.cleared_ns else None

    def told_of(self, stage: str) -> dict[str, Any]:
        """Whether the engine told of the stage in time and by name, and of no stage that does not contain it.

        A line that contains the stage may be in breach before: a machine that stalls for 0.1 s delays several bins.
        """
        after_s = self.told_after_s
        own = [after for line, after in after_s.items() if _stage(line) == stage]
        others = {_stage(line) for line in after_s} - set(CONTAINING[stage])
        noted = any(f"{stage} " in note and "over by" in note for note in self.notes)
        return {
            "passed": bool(own) and min(own) > 0 and not others and noted,
            "told_after_s": min(own, default=None),
            "by_line_s": after_s,
            "notes": self.notes,
            "counters": {name: self.counters[name] for name in ("budget_breaches", "over_budget_bins")},
        }


def watch_live(budgets: Path, slowing: Slowing, recovers_s: float) -> LiveWatch:
    """Run an engine that grows slow, and read its telemetry all the while.

    Args:
        budgets: File of budgets for the engine.
        slowing: What is slowed, from when on and for how long.
        recovers_s: How long to wait for the end of the breach.

    Raises:
        RunError: A process failed.
    """
    assert slowing.for_s is not None
    settings = SimulatorSettings(channels=CHANNELS, seed=7)
    seconds = _LEAD_S + slowing.after_s + slowing.for_s + recovers_s
    with short_folder() as folder, ExitStack() as opened:
        config = EngineConfig(
            ingest=IngestSettings(endpoint=f"ipc://{folder}/in", bind=True),
            output=OutputSocketSettings(endpoint=f"ipc://{folder}/out"),
            bundle=reference_bundle(),
            budgets=budgets,
            run_dir=folder / "run",
            tap=TapSettings(enabled=False),
            front_end={"threshold": {"calibration_s": _CALIBRATION_S}},
        )
        slow = {"slow": slowing.model_dump(mode="json")}
        engine = opened.enter_context(Child("engine", config.model_dump(mode="json") | slow))
        rig = opened.enter_context(
            Child(
                "rig",
                {
                    "endpoint": engine.ready["ingest"],
                    "simulator": settings.model_dump(mode="json"),
                    "packet_samples": 30,
                    "socket": "pub",
                    "bind": False,
                    "seconds": seconds,
                },
            )
        )
        with TelemetryReader(folder / "run" / "telemetry.map") as telemetry:
            found = _read_along(telemetry, engine, slowing.stage, seconds)
        rig.stop()
        summary = engine.stop()
    found.counters = summary["counters"]
    found.slow_from_ns = summary["slow_from_ns"]
    found.slow_until_ns = found.slow_from_ns + int(slowing.for_s * 1e9)
    return found


def _read_along(telemetry: TelemetryReader, engine: Child, stage: str, seconds: float) -> LiveWatch:
    """Look until the breach of a stage is over, or time is up."""
    found = LiveWatch()
    until_ns = time.monotonic_ns() + int(seconds * 1e9)
    looks = 0
    while time.monotonic_ns() < until_ns:
        snapshot = telemetry.read()
        now = time.monotonic_ns()
        found.lines = tuple(snapshot.budgets)
        over = [line for line, breached in snapshot.budgets.items() if breached]
        for line in over:
            found.told_ns.setdefault(line, now)
        note = snapshot.status.last_note
        if note.startswith("budget: ") and note not in found.notes:
            found.notes.append(note)
        if not over and any(_stage(line) == stage for line in found.told_ns):
            found.cleared_ns = now
            break
        looks += 1
        if looks % _LOOKS_PER_CHECK == 0:
            engine.check()
        time.sleep(_LOOK_S)
    return found


def _stage(line: str) -> str:
    return line.partition(" ")[0]

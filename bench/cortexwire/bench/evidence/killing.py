"""kill -9 of the recorder, of the engine, and of both at once, at drawn moments and in the midst of what is delicate.

After each kill everything below the index that the dead recorder had published as durable must be there and whole;
the recorder that comes next goes on in the same recording. Whether a kill met a rotation or an `fdatasync` is not
assumed but read: the status map outlives its writer, and says what it was doing. At the end `log verify` has to name
the torn tails, and the recording is decoded again and compared with itself.
"""

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Literal

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.recorded_log import Checked, check_log
from cortexwire.bench.evidence.recorded_service import RecordedService, against_recorded, verified
from cortexwire.bench.live import short_folder
from cortexwire.bench.loads import Load
from cortexwire.runtime.recorder import RecorderStatus, read_status
from cortexwire.wire import segment_path

KILLS: Final = 20
LEAST_AIMED: Final = 5
CHANNELS: Final = 96
SEED: Final = 20_260
TAP_MEGABYTES: Final = 128
_LONGEST_S: Final = 1.0
_AIM_S: Final = 5.0
_LEAST_RECORDS: Final = 2500
"""An engine that is killed has calibrated, and decoded for a while."""
_BACKLOG_S: Final = 0.5
_TEAR_S: Final = 0.012
_RECORDER: Final = {"segment_megabytes": 1, "sync_ms": 40.0}
"""A segment every 0.2 s and a sync every 40 ms, so that there is something to meet."""

Target = Literal["recorder", "engine", "service"]
Moment = Literal["any", "rotating", "syncing"]


def kill_runs(*, kills: int = KILLS, channels: int = CHANNELS, seed: int = SEED) -> dict[str, Any]:
    """Must-show 2: kills, and what is left after each.

    Args:
        kills: Of each target.
        channels: Channels of the rig.
        seed: Draws the moments.

    Returns:
        `passed`, `expected`, and for each target its kills, what they met, and what was wrong.

    Raises:
        RunError: A process failed that nobody had killed.
    """
    progress(f"kill: seed {seed}")
    targets: tuple[Target, ...] = ("recorder", "engine", "service")
    runs = {target: _run(target, kills, channels, random.Random(f"{seed} {target}")) for target in targets}
    return {
        "passed": all(run["passed"] for run in runs.values()),
        "expected": f"after each of {kills} kills of each target all below the durable index is there and whole, at "
        f"least {LEAST_AIMED} of them while a segment began and {LEAST_AIMED} during fdatasync; nothing is lost; log "
        "verify names every torn tail; decode --against recorded agrees",
        "seed": seed,
        "kills": {target: run["kills"] for target, run in runs.items()},
        "met": {target: run["met"] for target, run in runs.items()},
        "problems": [f"{target}: {problem}" for target, run in runs.items() for problem in run["problems"]],
        "runs": runs,
    }


def _run(target: Target, kills: int, channels: int, rng: random.Random) -> dict[str, Any]:
    load = Load(channels, transport="ipc", tap_megabytes=TAP_MEGABYTES)
    met = {"any": 0, "rotating": 0, "syncing": 0}
    problems: list[str] = []
    done = 0
    with short_folder() as folder, tempfile.TemporaryDirectory(prefix="cxw-killed-") as out:
        service = RecordedService(load, folder, Path(out), **_RECORDER)
        try:
            service.start_engine()
            service.start_recorder()
            service.start_rig()
            while done < kills or min(met["rotating"], met["syncing"]) < LEAST_AIMED:
                if done >= 4 * kills:
                    problems.append(f"expected {LEAST_AIMED} kills in each delicate moment within {done}, got {met}")
                    break
                moment = _moment(met, kills - done)
                status, meeting = _kill(service, target, moment, rng)
                met[meeting] += 1
                done += 1
                problems += [f"kill {done} ({meeting}): {problem}" for problem in _problems(status)]
                _start_again(service, target)
                if done % 5 == 0:
                    progress(f"kill: {target} {done} times, {met['rotating']} rotating, {met['syncing']} syncing")
            status = _finish(service)
            found = check_log(Path(status.folder))
            problems += found.problems + [f"lost {loss.records} records: {loss.why}" for loss in found.losses]
            recordings = [path for path in Path(out).iterdir() if path.is_dir()]
            if len(recordings) != 1:
                problems.append(f"expected one recording, got {len(recordings)}")
            readers = _readers(Path(status.folder), found, folder / "bundle", problems)
        finally:
            service.close()
    return {
        "passed": not problems,
        "kills": done,
        "met": met,
        "problems": problems,
        "log": found.describe(),
        **readers,
    }


def _moment(met: dict[str, int], left: int) -> Moment:
    """What to aim at: first what is hard to meet, then nothing."""
    for moment in ("rotating", "syncing"):
        if met[moment] < LEAST_AIMED:
            return "rotating" if moment == "rotating" else "syncing"
    return "any"


def _kill(
    service: RecordedService, target: Target, moment: Moment, rng: random.Random
) -> tuple[RecorderStatus, Moment]:
    """Kill at a moment; what the recorder had said by then, and what it was doing."""
    began = service.until(lambda status: status.state == "recording" and status.durable_index > 0, "a recording")
    if target != "recorder":
        enough = began.durable_index + _LEAST_RECORDS
        service.until(lambda status: status.durable_index > enough, "records of the engine that runs")
    time.sleep(rng.uniform(0.05, _LONGEST_S))
    victims = {
        "recorder": (service.recorder,),
        "engine": (service.engine,),
        "service": (service.recorder, service.engine),
    }[target]
    give_up = time.monotonic() + _AIM_S
    path = service.run_dir.recorder
    if moment == "any" and target != "engine":
        _hurry(service, rng)
    while moment != "any" and time.monotonic() < give_up:
        if getattr(read_status(path), moment):
            break
    # An engine dies beside a recorder that lives on, so what that was doing is read before and not after.
    before = read_status(path)
    service.kill(*victims)
    after = read_status(path) if target != "engine" else before
    assert after.pid == began.pid
    if after.rotating:
        return after, "rotating"
    return after, "syncing" if after.syncing else "any"


def _hurry(service: RecordedService, rng: random.Random) -> None:
    """Let a backlog gather, so that the recorder writes long pieces when the kill comes, and may tear one."""
    assert service.recorder is not None
    os.kill(service.recorder.pid, signal.SIGSTOP)
    time.sleep(_BACKLOG_S)
    os.kill(service.recorder.pid, signal.SIGCONT)
    time.sleep(rng.uniform(0.0, _TEAR_S))


def _problems(status: RecorderStatus) -> list[str]:
    """What is wrong with what a recorder left, beside what it had said is durable."""
    folder = Path(status.folder)
    found = check_log(folder)
    problems = list(found.problems)
    if found.next_index < status.durable_index:
        problems.append(f"expected all records below {status.durable_index}, got those below {found.next_index}")
    if status.durable_segment >= 0:
        size = segment_path(folder, status.durable_segment).stat().st_size
        if size < status.durable_offset:
            problems.append(f"segment {status.durable_segment}: expected {status.durable_offset} bytes, got {size}")
    return problems


def _start_again(service: RecordedService, target: Target) -> None:
    if target != "recorder":
        service.start_engine()
    if target != "engine":
        service.start_recorder()


def _finish(service: RecordedService) -> RecorderStatus:
    """End everything in good order, the recorder last."""
    at = service.until(lambda status: status.state == "recording", "a recording").next_index
    service.until(lambda status: status.durable_index > at, "records after the last kill")
    assert service.rig is not None
    assert service.engine is not None
    assert service.recorder is not None
    service.rig.stop()
    service.engine.stop()
    service.recorder.stop()
    return service.status()


def _readers(folder: Path, found: Checked, bundle: Path, problems: list[str]) -> dict[str, Any]:
    """What the commands for readers say; what they should say and do not is a problem."""
    verdict, decoded = verified(folder), against_recorded(folder, bundle)
    named = str(verdict)
    problems += [f"log verify does not name the torn tail of {name}" for name, _ in found.torn if name not in named]
    if verdict["exit"] != 0:
        problems.append(f"log verify: expected exit status 0, got {verdict['exit']}")
    if decoded["exit"] != 0:
        problems.append(f"decode --against recorded: expected exit status 0, got {decoded['exit']}")
    return {"verify": verdict, "decode": decoded}

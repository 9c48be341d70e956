"""A disk that runs full, a recorder that is stopped, a disk whose `fdatasync` takes seconds, while an engine decodes.

The account is closed over the whole way: samples that the engine took, up to the last that the rig sent = samples in
the log's packets + samples that the log says are lost, with nothing lost by the engine. The full disk is a tmpfs of
64 MiB, half of it taken by a file that is removed when the loss has been seen. The slow `fdatasync` is one put before
libc's by the loader.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.recorded_log import check_log
from cortexwire.bench.evidence.recorded_service import RecordedService
from cortexwire.bench.live import RunError, short_folder
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import LOSSES
from cortexwire.runtime.recorder import RecorderStatus

CHANNELS: Final = 256
TAP_MEGABYTES: Final = 16
"""A second of 256 channels, so that two seconds of a stopped recorder overrun it."""
DISK_MEGABYTES: Final = 64
STOPPED_S: Final = 2.0
SLOW_S: Final = 1.5
_SETTLE_S: Final = 3.0
_AFTER_S: Final = 1.5
_THROWN_AWAY: Final = 3000
_SHIM: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fdatasync(int file) {
    usleep(%d);
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(file);
}
"""

Ordeal = Callable[[RecordedService], dict[str, Any]]


def full_runs(*, channels: int = CHANNELS) -> dict[str, Any]:
    """Must-show 3: a full disk, a stopped recorder, a slow disk.

    Args:
        channels: Channels of the rig.

    Returns:
        `passed`, `expected`, and each run with its account.

    Raises:
        RunError: A process failed.
    """
    runs = {"undisturbed": _run(channels, _wait), "full": _full(channels)}
    runs["stopped"] = _run(channels, _stopped)
    runs["slow"] = _slow(channels)
    problems = [f"{name}: {problem}" for name, run in runs.items() for problem in run["problems"]]
    return {
        "passed": not problems,
        "expected": "the engine loses nothing; samples taken = samples recorded + samples said to be lost; the loss is "
        "in the status, the engine's state and the recorder's log at once, and in the recording once there is room; a "
        "slow fdatasync loses nothing",
        "channels": channels,
        "problems": problems,
        "lost_samples": {name: run.get("lost_samples") for name, run in runs.items()},
        "p99_us": {name: run.get("p99_us") for name, run in runs.items()},
        "runs": runs,
    }


def _run(
    channels: int, ordeal: Ordeal, out: Path | None = None, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Let a recorder go through something while an engine decodes, and close the account."""
    load = Load(channels, transport="ipc", tap_megabytes=TAP_MEGABYTES)
    with short_folder() as folder, tempfile.TemporaryDirectory(prefix="cxw-full-") as scratch:
        service = RecordedService(load, folder, out or Path(scratch), segment_megabytes=8)
        try:
            service.start_engine()
            service.start_recorder(**(environment or {}))
            service.start_rig()
            service.until(lambda status: status.durable_bytes > 0, "a recording")
            time.sleep(_SETTLE_S)
            found = ordeal(service)
            time.sleep(_AFTER_S)
            assert service.rig is not None
            assert service.engine is not None
            assert service.recorder is not None
            sent = service.rig.stop()
            time.sleep(_AFTER_S)
            engine = service.engine.stop()
            said = service.recorder.said()
            status = service.recorder.stop()
        finally:
            service.close()
        return {**found, **_account(sent, engine, status, said)}


def _account(sent: dict[str, Any], engine: dict[str, Any], status: dict[str, Any], said: str) -> dict[str, Any]:
    log = check_log(Path(status["folder"]))
    counters = engine["counters"]
    lost_samples = sum(loss.samples or 0 for loss in log.losses)
    problems = [f"engine: {name} {counters[name]}" for name in LOSSES if counters[name]] + log.problems
    # Of the last packets that it sent a rig that is told to stop throws some away, which nobody ever took.
    taken = log.stop_sample - (log.start_sample or 0)
    if log.samples + lost_samples != taken or not 0 <= sent["samples"] - log.stop_sample <= _THROWN_AWAY:
        expected = f"{taken} samples of {sent['samples']} sent"
        problems.append(f"expected {expected}, got {log.samples} and {lost_samples} said to be lost")
    if any(loss.samples is None or loss.packets is None for loss in log.losses):
        problems.append("a loss whose samples or packets are not known")
    counted = (sum(loss.records for loss in log.losses), lost_samples)
    if counted != (status["lost_records"], status["lost_samples"]):
        problems.append(f"expected the status to say {counted}, got {status['lost_records'], status['lost_samples']}")
    if log.losses and "lost" not in said and "interrupted" not in said:
        problems.append("the recorder's own log does not speak of the loss")
    return {
        "samples_sent": sent["samples"],
        "samples_taken": taken,
        "samples_recorded": log.samples,
        "lost_samples": lost_samples,
        "losses": [
            {"records": loss.records, "why": loss.why, "packets": loss.packets, "samples": loss.samples}
            for loss in log.losses
        ],
        "late_bins": counters["late_bins"],
        "decoded_bins": counters["decoded_bins"],
        "p99_us": engine["latency"]["binned_to_decoded"]["p99_ns"] / 1e3,
        "longest_sync_ms": status["longest_sync_ns"] / 1e6,
        "stalls": status["stalls"],
        "most_queued_mb": status["most_queued_bytes"] / 1e6,
        "problems": problems,
    }


def _full(channels: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cxw-disk-") as place:
        try:
            with _small_disk(Path(place)):
                filler = Path(place) / "filler"
                filler.write_bytes(bytes(DISK_MEGABYTES // 2 * 2**20))
                return _run(channels, lambda service: _until_full(service, filler), Path(place))
        except PermissionError as error:
            return {"problems": [f"cannot mount a tmpfs here: {error}"]}


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    options = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(place)]
    mounted = subprocess.run(options, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _until_full(service: RecordedService, filler: Path) -> dict[str, Any]:
    full = service.until(lambda status: status.state == "full", "a full disk")
    time.sleep(1.0)
    state = service.state()
    assert service.recorder is not None
    found = {
        "state_when_full": state["state"],
        "lost_samples_when_full": state["lost_samples"],
        "said_when_full": "disk full" in service.recorder.said(),
    }
    filler.unlink()
    service.until(lambda status: status.state == "recording" and status.durable_index > full.next_index, "room again")
    if not (state["state"] == "full" and state["lost_samples"] > 0 and found["said_when_full"]):
        raise RunError(f"full disk: expected it to be seen at once, got {found}")
    progress(f"full: seen at once, {state['lost_samples']} samples lost after a second")
    return found


def _stopped(service: RecordedService) -> dict[str, Any]:
    assert service.recorder is not None
    os.kill(service.recorder.pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    state = service.state()
    os.kill(service.recorder.pid, signal.SIGCONT)
    status: RecorderStatus = service.until(lambda status: status.losses > 0, "the loss")
    progress(f"stopped: {status.lost_samples} samples lost")
    return {"health_when_stopped": state["health"]}


def _wait(_service: RecordedService) -> dict[str, Any]:
    time.sleep(3 * SLOW_S)
    return {}


def _slow(channels: int) -> dict[str, Any]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {"problems": ["expected a C compiler, for an fdatasync that is slow; got none"]}
    with tempfile.TemporaryDirectory(prefix="cxw-shim-") as place:
        source, library = Path(place) / "slow.c", Path(place) / "slow.so"
        source.write_text(_SHIM % int(SLOW_S * 1e6))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        run = _run(channels, _wait, environment={"LD_PRELOAD": str(library)})
    if run["lost_samples"] or run["longest_sync_ms"] < SLOW_S * 1e3:
        run["problems"].append(f"expected no loss and a sync of {SLOW_S} s, got {run['longest_sync_ms']} ms")
    progress(f"slow: longest sync {run['longest_sync_ms']:.0f} ms, at most {run['most_queued_mb']:.1f} MB waited")
    return run

"""A real engine under a supervisor is killed in mid-stream: what is in force afterwards, and what a subscriber sees."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cortexwire.clients import Subscriber
from cortexwire.config import SupervisorSettings
from cortexwire.decoders import StreamSpec, load_bundle, write_overlay
from cortexwire.runtime.children import Child
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.supervisor import EnginePart
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot
from cortexwire.signal.binning import MASKED
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, OutKind, Start, Validity
from cortexwire.wire.journal import decode_journal
from tests.runtime.standins import Service, served, until

STREAM = StreamSpec(kind="wideband", rate_num=10000, uv_per_bit=0.25, n_channels=4, bin_ms=20.0)
HISTORY = 3


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Child]:
    command = ["simulate", "--endpoint", f"ipc://{tmp_path}/rig", "--channels", "4", "--set", "rate_hz=10000", "--json"]
    with Child("rig", command) as child:
        until(child.lines)
        yield child


def engine_options(folder: Path) -> list[str]:
    chain = FilterSettings(high_hz=3000.0)
    chain = chain.model_copy(update={"design": design_filter(chain, Rate(10_000))})
    front_end = {"filter": chain.model_dump(mode="json"), "threshold": {"calibration_s": 0.5}}
    seeded_bundle(folder / "bundle", seed=1, stream=STREAM, history=HISTORY, front_end=front_end)
    return [
        "--bundle", str(folder / "bundle"), "--ingest", f"ipc://{folder}/rig", "--output", f"ipc://{folder}/out",
        "--run-dir", str(folder / "run"), "--armed",
        "--set", "pipeline.deadline.deadline_ms=500", "--set", "output.high_water_bins=1000",
        "--set", "tap.megabytes=8",
    ]  # fmt: skip


def telemetry(folder: Path) -> TelemetrySnapshot:
    with TelemetryReader(RunDir(folder / "run").telemetry) as reader:
        return reader.read()


def decoding(folder: Path, pid: int) -> TelemetrySnapshot | None:
    """What the engine with this process id says of itself, once it decodes."""
    snapshot = telemetry(folder)
    usable = snapshot.pid == pid and snapshot.counters["decoded_bins"] > HISTORY + 2
    return snapshot if usable else None


def killed(service: Service, folder: Path, pid: int) -> int:
    """Kill the engine; gives the process id of the one that decodes after it."""
    before = len(service.happened("started again"))
    os.kill(pid, signal.SIGKILL)
    again = until(lambda: service.happened("started again")[before:])[0]["pid"]
    until(lambda: decoding(folder, int(again)))
    return int(again)


@pytest.mark.parametrize("standby", [True, False])
def test_a_killed_engine_goes_on_with_what_was_in_force(tmp_path: Path, rig: Child, standby: bool) -> None:
    run_dir = RunDir(tmp_path / "run")
    part = EnginePart(engine_options(tmp_path), run_dir, standby=standby)
    with served([part], SupervisorSettings(settled_s=0.1)) as service:
        pid = service.said["engine"]["pid"]
        before = until(lambda: decoding(tmp_path, pid))
        day = tmp_path / "day.overlay"
        overlay = write_overlay(day, load_bundle(tmp_path / "bundle"), {"bias": np.ones(2, np.float32)})
        with ControlClient(run_dir.control_endpoint) as client:
            for command in (
                {"command": "confirm_identity"},
                {"command": "set_gain", "gain": 0.25},
                {"command": "mask", "channels": [2]},
                {"command": "apply_overlay", "path": str(day), "hash": f"{overlay.hash:016x}"},
            ):
                assert client.send(command).problem is None
        # What was in force goes on to be, whatever becomes of its file.
        until(lambda: telemetry(tmp_path).status.overlay_hash == overlay.hash)
        until(lambda: (run_dir.overlays / f"{overlay.hash:016x}").exists())
        day.unlink()
        until(lambda: telemetry(tmp_path).status.status[2] & MASKED)
        assert telemetry(tmp_path).status.armed
        for _ in range(2):
            if standby:
                until(lambda: service.happened("standing by"))
            pid = killed(service, tmp_path, pid)
            after = telemetry(tmp_path)
            assert not after.status.armed
            np.testing.assert_array_equal(after.status.threshold_uv, before.status.threshold_uv)
            assert after.status.overlay_hash == overlay.hash
            assert after.status.epoch == before.status.epoch
            assert after.status.bin > before.status.bin
            assert np.flatnonzero(after.status.status & MASKED).tolist() == [2]
            start = decode_journal(run_dir.start.read_bytes(), Start)
            assert start.config["pipeline"]["output"]["gain"] == 0.25
            assert start.pid == pid
            service.log.clear()
        assert service.end().restarts == {"engine": 2}
    assert not run_dir.last_good.exists()


def test_a_bundle_that_took_over_is_still_in_command_after_the_second_death(tmp_path: Path, rig: Child) -> None:
    run_dir = RunDir(tmp_path / "run")
    options = engine_options(tmp_path)
    old = load_bundle(tmp_path / "bundle")
    new = seeded_bundle(
        tmp_path / "new", seed=2, stream=STREAM, history=HISTORY, front_end=dict(old.manifest.front_end)
    )
    overlay = write_overlay(tmp_path / "day", new, {"bias": np.ones(2, np.float32)})
    with served([EnginePart(options, run_dir)], SupervisorSettings(settled_s=0.1)) as service:
        pid = service.said["engine"]["pid"]
        until(lambda: decoding(tmp_path, pid))
        with ControlClient(run_dir.control_endpoint, timeout_s=30) as client:

            def candidate() -> object:
                return ((client.state().state or {}).get("candidate") or {}).get("phase")

            stage = {"command": "stage_bundle", "path": str(new.path), "overlay": str(tmp_path / "day")}
            assert client.send(stage).problem is None
            until(lambda: candidate() in ("shadow", "ready"))
            # One that is asked for and taken back is none.
            far = telemetry(tmp_path).status.bin + 100_000
            for command in (
                {"command": "confirm_identity"},
                {"command": "activate_bundle", "at_bin": far},
                {"command": "rollback_bundle"},
            ):
                assert client.send(command).problem is None
            assert telemetry(tmp_path).status.bundle_hash == old.hash
            assert client.send({"command": "activate_bundle"}).problem is None
            assert client.send({"command": "neutral", "on": True}).problem is None
        # Known at once, before any bin: an engine that is killed now goes on with it.
        shown = telemetry(tmp_path).status
        assert (shown.bundle_hash, shown.overlay_hash) == (new.hash, overlay.hash)
        until(lambda: (run_dir.bundles / f"{new.hash:016x}" / "manifest.json").exists())
        shutil.rmtree(new.path)
        for _ in range(2):
            pid = killed(service, tmp_path, pid)
            after = telemetry(tmp_path)
            assert (after.status.bundle_hash, after.status.overlay_hash) == (new.hash, overlay.hash)
            assert after.facts["neutral"] is True
            assert decode_journal(run_dir.start.read_bytes(), Start).bundle_sha256 == new.sha256
            service.log.clear()
        assert service.end().restarts == {"engine": 2}
    assert not run_dir.bundles.exists()


def usable(flags: OutFlag, validity: Validity) -> bool:
    return validity is Validity.VALID and not flags & (OutFlag.WARMING | OutFlag.UNOBSERVED)


def test_outputs_behind_a_kill_are_marked_until_history_is_full_and_no_command_outlives_its_validity(
    tmp_path: Path, rig: Child
) -> None:
    run_dir = RunDir(tmp_path / "run")
    part = EnginePart(engine_options(tmp_path), run_dir, rearm=True, standby=True)
    with served([part]) as service, Subscriber(f"ipc://{tmp_path}/out", latest=False) as subscriber:
        pid = service.said["engine"]["pid"]
        until(lambda: decoding(tmp_path, pid))
        with ControlClient(run_dir.control_endpoint) as client:
            assert client.send({"command": "confirm_identity"}).problem is None
        until(lambda: subscriber.receive(1000) and subscriber.velocity().any())
        assert subscriber.last is not None
        until(lambda: service.happened("standing by"))
        while subscriber.receive(0) is not None:
            pass
        assert subscriber.last is not None
        last, valid_for_ms = subscriber.last, subscriber.last.valid_for_ms
        os.kill(pid, signal.SIGKILL)
        until(lambda: service.happened("died"))
        while (output := subscriber.receive(0)) is not None:
            last = output
        # The first look past the validity sees neutral, whoever is late.
        until(lambda: time.monotonic_ns() > last.times.published_ns + valid_for_ms * 1e6)
        assert subscriber.last.epoch == last.epoch
        if subscriber.receive(0) is None:
            assert not subscriber.velocity().any()
        outputs = [until(lambda: subscriber.receive(100)) for _ in range(20)]
        decoded = [output for output in outputs if output.kind is OutKind.DECODED and output.bin > last.bin]
        assert [output.bin for output in decoded] == list(range(decoded[0].bin, decoded[-1].bin + 1))
        good = [usable(output.flags, output.validity) for output in decoded]
        assert not any(good[:HISTORY])
        assert good[-1]
        assert OutFlag.COMMAND not in decoded[0].flags
        assert decoded[0].epoch == last.epoch


def test_an_engine_that_hangs_is_killed_and_replaced(tmp_path: Path, rig: Child) -> None:
    part = EnginePart(engine_options(tmp_path), RunDir(tmp_path / "run"))
    with served([part], SupervisorSettings(hung_after_ms=1000)) as service:
        pid = service.said["engine"]["pid"]
        until(lambda: decoding(tmp_path, pid))
        os.kill(pid, signal.SIGSTOP)
        again = until(lambda: service.happened("started again"))[0]["pid"]
        assert service.happened("died")[0]["why"].startswith("signal SIGKILL: hung")
        until(lambda: decoding(tmp_path, again))

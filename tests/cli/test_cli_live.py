import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cortexwire.clients import Subscriber
from cortexwire.decoders import StreamSpec
from cortexwire.runtime.children import Child, ChildError, command_line
from cortexwire.runtime.rundir import RunDir
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, OutKind
from tests.cli.running import Command

STREAM = StreamSpec(kind="wideband", rate_num=10000, uv_per_bit=0.25, n_channels=4, bin_ms=20.0)
SOURCE = "sim:channels=4,rate_hz=10000,seconds=3"
PATIENCE_S = 60.0


def until(happens: Callable[[], Any]) -> Any:
    """Wait for something to become true, and give it."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := happens()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return found


def first_line(child: Child) -> dict[str, Any]:
    """The line that says that a child is ready."""

    def line() -> list[str]:
        child.check()
        return child.lines()

    found: dict[str, Any] = json.loads(until(line)[0])["ready"]
    return found


def engine_arguments(folder: Path) -> list[str]:
    chain = FilterSettings(high_hz=3000.0)
    chain = chain.model_copy(update={"design": design_filter(chain, Rate(10_000))})
    front_end = {"filter": chain.model_dump(mode="json"), "threshold": {"calibration_s": 0.5}}
    seeded_bundle(folder / "bundle", seed=1, stream=STREAM, history=3, front_end=front_end)
    return [
        "engine", "--json", "--bundle", str(folder / "bundle"), "--socket", "pull", "--bind",
        "--ingest", f"ipc://{folder}/in", "--output", f"ipc://{folder}/out", "--run-dir", str(folder / "run"),
        "--set", "output.high_water_bins=100", "--set", "pipeline.deadline.deadline_ms=200",
    ]  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Child]:
    with Child("engine", engine_arguments(tmp_path)) as child:
        yield child


def test_a_recording_goes_through_an_engine_and_its_state_is_told(
    command: Command, engine: Child, tmp_path: Path
) -> None:
    ready = first_line(engine)
    assert ready["pid"] == engine.pid
    with Subscriber(f"ipc://{tmp_path}/out", latest=False) as subscriber:
        to = ("--endpoint", f"ipc://{tmp_path}/in", "--socket", "push", "--connect")
        sent = command("replay", SOURCE, *to, "--packet-ms", "5", "--json")
        assert sent.code == 0, sent.err
        assert json.loads(sent.out)["samples"] == 30_000
        outputs = [until(lambda: subscriber.receive(1000))]
        while OutFlag.ENDED not in outputs[-1].flags:
            outputs.append(until(lambda: subscriber.receive(1000)))
    run_dir = ("--run-dir", tmp_path / "run")
    state = json.loads(command("control", "state", *run_dir, "--json").out)["state"]
    assert (state["state"], state["armed"], state["pid"]) == ("ended", False, engine.pid)
    assert state["counters"]["decoded_bins"] > 100
    assert "decoded_bins" in command("inspect", tmp_path / "run").out
    for words in (("gain", "0.5"), ("mask", "1,2"), ("neutral",), ("release",), ("confirm",), ("arm",)):
        assert command("control", *words, *run_dir).out.startswith("from bin ")
    refused = command("control", "overlay", tmp_path / "bundle" / "manifest.json", *run_dir)
    assert (refused.code, "expected an overlay" in refused.err) == (1, True)
    assert sum(output.kind is OutKind.DECODED for output in outputs) == state["counters"]["decoded_bins"]
    assert engine.stop() == 0
    summary = json.loads(engine.lines()[0])["summary"]
    assert summary["counters"]["commands"] == 6
    assert summary["counters"]["lost_packets"] == 0


def test_a_service_says_where_its_parts_are_and_ends_them_at_ctrl_c(tmp_path: Path) -> None:
    with Child("supervisor", ["serve", *engine_arguments(tmp_path)[1:]]) as supervisor:
        ready = first_line(supervisor)
        assert ready["pid"] == supervisor.pid
        assert ready["engine"]["output"] == f"ipc://{tmp_path}/out"
        assert is_running(ready["engine"]["pid"])
        assert supervisor.stop(30) == 0
        assert not is_running(ready["engine"]["pid"])
        summary = json.loads(supervisor.lines()[0])["summary"]
        assert summary["restarts"] == {"engine": 0}
        assert summary["counters"]["frames"] == 0
        log = [json.loads(line) for line in supervisor.last_words().splitlines()]
        assert {line["part"] for line in log} >= {"engine"}


def test_a_service_that_cannot_start_says_all_that_is_wrong(tmp_path: Path) -> None:
    nothing = ["--bundle", str(tmp_path / "nothing"), "--thresholds", str(tmp_path / "none")]
    nothing += ["--output", "tcp://127.0.0.1:*"]
    with Child("supervisor", ["serve", *nothing, "--run-dir", str(tmp_path / "r"), "--log", "json"]) as supervisor:
        until(lambda: supervisor.poll() is not None)
        assert supervisor.stop() == 2
        (said,) = [json.loads(line) for line in supervisor.last_words().splitlines()]
        assert (said["event"], said["level"]) == ("not started", "error")
        first, second = said["problems"]
        assert first.startswith(f"engine: {tmp_path}/nothing")
        assert second.startswith("engine: thresholds: cannot read")


def test_a_service_that_cannot_start_says_so_once_in_words(command: Command, tmp_path: Path) -> None:
    ran = command("serve", "--bundle", tmp_path / "nothing", "--run-dir", tmp_path / "r", "--log", "words")
    assert ran.code == 2
    assert ran.err.count(f"{tmp_path}/nothing") == 1
    assert "1 problem(s) at start-up" in ran.err


def test_a_service_goes_on_where_a_killed_supervisor_had_to_leave_off(tmp_path: Path) -> None:
    arguments = [*engine_arguments(tmp_path)[1:], "--no-standby"]
    rig = ["replay", SOURCE, "--endpoint", f"ipc://{tmp_path}/in", "--socket", "push", "--connect", "--json"]
    run_dir = RunDir(tmp_path / "run")
    with Child("supervisor", ["serve", *arguments]) as supervisor:
        engine = first_line(supervisor)["engine"]["pid"]
        with Child("rig", rig) as sender:
            until(lambda: sender.poll() is not None)
        until(lambda: run_dir.last_good.exists() and "thresholds" in json.loads(run_dir.last_good.read_bytes()))
        thresholds = run_dir.thresholds.read_bytes()
        os.kill(supervisor.pid, signal.SIGKILL)
        until(lambda: not is_running(engine))
    with Child("supervisor", ["serve", *arguments, "--resume"]) as supervisor:
        first_line(supervisor)
        start = json.loads(run_dir.start.read_bytes())
        assert start["thresholds_uv"] == json.loads(thresholds)["thresholds_uv"]
        assert supervisor.stop(30) == 0
    assert not run_dir.last_good.exists()


def test_a_service_is_told_what_the_engine_would_not_take(command: Command) -> None:
    ran = command("serve", "--ingst", "tcp://x:1")
    assert (ran.code, "No such option: --ingst" in ran.err) == (2, True)
    ran = command("serve", "--set", "supervisor.rearmed=true")
    assert (ran.code, "supervisor.rearmed (from --set): there is no such setting" in ran.err) == (2, True)


def test_a_standby_engine_ends_when_nobody_will_tell_it_anything(tmp_path: Path) -> None:
    # A child's standard input is empty.
    with Child("standby", [*engine_arguments(tmp_path), "--standby"]) as standby:
        until(lambda: standby.poll() is not None)
        assert standby.stop() == 0
        assert not standby.lines()
    assert not (tmp_path / "run").exists()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from cortexwire.runtime.children import Child
child = Child("simulator", ["simulate", "--endpoint", "ipc://{tmp_path}/rig", "--channels", "2"])
while not child.lines():
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_child_that_ended_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Child("engine", ["engine", "--run-dir", str(tmp_path)]) as child:
        until(lambda: child.poll() is not None)
        with pytest.raises(
            ChildError, match=r"the engine ended by itself \(exit code 2\)(?s:.*)bundle: expected the folder"
        ):
            child.check()


def test_a_child_started_after_its_parent_ended_does_not_begin() -> None:
    env = os.environ | {"CORTEXWIRE_PARENT": "1"}
    ran = subprocess.run(command_line(["--version"]), env=env, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (128 + signal.SIGTERM, b"")


def test_watching_nothing_ends_in_time_and_says_so(command: Command, tmp_path: Path) -> None:
    ran = command("subscribe", f"ipc://{tmp_path}/nobody", "--seconds", "0.1")
    assert ran.code == 0
    assert "0: 0 decoded, 0 safe; 0 commands" in ran.out


def test_a_simulated_rig_says_when_it_is_ready_and_what_it_sent(command: Command, tmp_path: Path) -> None:
    ran = command("simulate", "--endpoint", f"ipc://{tmp_path}/rig", "--channels", "2", "--seconds", "0.2", "--json")
    ready, summary = map(json.loads, ran.out.splitlines())
    assert ready["ready"]["endpoint"] == f"ipc://{tmp_path}/rig"
    assert summary["summary"]["samples"] == 6000
    ran = command(
        "simulate", "--endpoint", f"ipc://{tmp_path}/rig", "--channels", "2", "--seconds", "0.1", "--set", "lfp=no"
    )
    assert ran.out.startswith("ready  endpoint=ipc://")
    assert "late packets" in ran.out

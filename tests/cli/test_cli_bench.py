import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cortexwire.bench import everything, latency, peering, scale, soak, transport
from cortexwire.bench.live import RunError
from tests.cli.running import Command

RESULT: dict[str, Any] = {
    "what": "something",
    "results": [{"channels": 96, "p99_us": 12345.6, "losses": {"gaps": 0}}, {"channels": 256, "losses": {"gaps": 0}}],
}


def test_kernels_are_measured_by_the_bench_room(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = ModuleType("cortexwire.bench.kernels")
    monkeypatch.setattr(module, "run_kernels", lambda: RESULT, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    ran = command("bench", "kernels", "--out", tmp_path / "kernels.json")
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["what", "something"], ["96", "256"], ["p99_us", "12346", "-"], ["losses", "gaps", "0", "0"]
    ]  # fmt: skip
    assert json.loads((tmp_path / "kernels.json").read_bytes()) == RESULT
    assert json.loads(command("bench", "kernels", "--json").out) == RESULT


def test_a_latency_with_losses_fails(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(channels: list[int], seconds: float, **settings: Any) -> dict[str, Any]:
        asked.extend((channels, seconds, settings["transport"]))
        return {"results": [{"channels": 8, "losses": {"gaps": len(asked) // 4}}]}

    monkeypatch.setattr(latency, "run_latency", run)
    assert command("bench", "latency", "--channels", "8,16", "--seconds", "2").code == 0
    assert asked == [[8, 16], 2.0, "tcp"]
    assert command("bench", "latency").code == 1
    assert command("bench", "latency", "--channels", "some").code == 2


def test_a_measurement_that_could_not_be_made_fails(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> dict[str, Any]:
        raise RunError("engine: ended")

    monkeypatch.setattr(latency, "run_latency", run)
    ran = command("bench", "latency")
    assert (ran.code, ran.err.splitlines()[-1]) == (1, "cortexwire: engine: ended")


def test_several_loads_are_asked_for_as_they_are_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(_channels: list[int], _seconds: float, **settings: Any) -> dict[str, Any]:
        asked.update(settings)
        return {"results": []}

    monkeypatch.setattr(latency, "run_latency", run)
    arguments = (
        "--executor onnx,incremental --units 64 --deadline-ms 15 --repeats 3 --lock-memory --fifo 9 --no-rehearse"
    )
    assert command("bench", "latency", *arguments.split()).code == 0
    assert asked.pop("told") is not None
    assert asked == {
        "packet_ms": 1.0, "transport": "tcp", "tap": True, "fifo_priority": 9, "decoder": "gru", "units": 64,
        "executors": ["onnx", "incremental"], "deadline_ms": 15.0, "lock_memory": True, "cpu": None,
        "rehearse": False, "repeats": 3, "slow": None,
    }  # fmt: skip


def test_a_soak_that_did_not_pass_fails(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[dict[str, Any]] = []
    monkeypatch.setattr(soak, "run_soak", lambda load, **_: {"passed": load.seconds < 60, "results": results})
    assert command("bench", "soak", "--minutes", "0.5").code == 0
    assert command("bench", "soak", "--minutes", "2").code == 1


def test_tails_that_cannot_be_judged_are_shown_as_such(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "p99_9": 4.0, "max": 1234.5}
    row = {"channels": 8, "judged": False, "sent_to_received_us": times, "losses": {}, "histograms": {"a": "HIST"}}
    monkeypatch.setattr(latency, "run_latency", lambda *_, **__: {"results": [row]})
    lines = [line.split() for line in command("bench", "latency").out.splitlines()]
    assert ["tails", "not", "judged"] in lines
    assert ["sent_to_received_us", *times, "1", "2", "3", "4", "1234"] in lines
    assert not any("HIST" in word for line in lines for word in line)


def test_everything_fails_when_a_part_does(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"parts": {}, "failed": {}}
    monkeypatch.setattr(everything, "run_all", lambda **_: found)
    ran = command("bench", "all", "--quick")
    assert ran.code == 0
    assert "minutes" in ran.err
    found["failed"]["scale"] = "no room"
    ran = command("bench", "all")
    assert (ran.code, ran.err.splitlines()[-1]) == (1, "cortexwire: bench scale: no room")


def test_decoders_and_axes_are_named_rightly_or_refused(command: Command) -> None:
    assert "expected some of gru 96/128" in command("bench", "decoders", "--only", "gru 1/1").err
    assert command("bench", "decoders", "--executors", "nothing").code == 2
    assert command("bench", "scale", "--packet-ms", "one").code == 2


def test_a_regression_fails_and_a_page_is_written(command: Command, tmp_path: Path) -> None:
    def write(name: str, us: float) -> Path:
        row = {"channels": 8, "samples": {"step_us": [[us + k % 7 for k in range(200)] for _ in range(2)]}}
        (tmp_path / name).write_text(json.dumps({"benchmark": "steps", "environment": {}, "results": [row]}))
        return tmp_path / name

    old, new = write("old", 100.0), write("new", 150.0)
    ran = command("bench", "compare", old, new)
    assert ran.code == 1
    assert "regression" in ran.out
    assert json.loads(command("bench", "compare", old, new, "--json").out)["regressions"]
    assert command("bench", "compare", old, new, "--tolerance", "0.8").code == 0
    assert command("bench", "compare", new, old).code == 0
    assert command("bench", "compare", old, tmp_path / "none").code == 2


@pytest.mark.parametrize(
    "name", ["kernels", "latency", "decoders", "scale", "soak", "all", "compare", "peers", "transport"]
)
def test_every_benchmark_tells_how_it_is_used(command: Command, name: str) -> None:
    ran = command("bench", name, "--help")
    assert ran.code == 0
    assert f"cortexwire bench {name}" in ran.out
    assert "--json" in ran.out


def test_peers_fail_when_the_engine_missed_a_bin(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(channels: list[int], seconds: float, **settings: Any) -> dict[str, Any]:
        asked.append((channels, seconds, settings["services"], settings["executor"]))
        return {"results": [{"channels": 8, "services": {"engine": {"bins_missed": len(asked) - 1}}}]}

    monkeypatch.setattr(peering, "run_peers", run)
    given = ("--channels", "8", "--services", "echo,torch_chain", "--executor", "incremental")
    assert command("bench", "peers", "--seconds", "2", *given).code == 0
    assert asked == [([8], 2.0, ["echo", "torch_chain"], "incremental")]
    assert command("bench", "peers").code == 1
    assert command("bench", "peers", "--channels", "some").code == 2


def test_transport_is_measured_by_the_bench_room(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(channels: list[int], seconds: float, **settings: Any) -> dict[str, Any]:
        asked.append((channels, seconds, settings))
        return RESULT

    monkeypatch.setattr(transport, "run_transport", run)
    assert json.loads(command("bench", "transport", "--channels", "8", "--turns", "1", "--json").out) == RESULT
    assert asked == [([8], 5.0, {"turns": 1})]


@pytest.mark.parametrize(("name", "module"), [("run_peers", peering), ("run_transport", transport)])
def test_a_comparison_that_could_not_be_made_fails(
    name: str, module: ModuleType, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> dict[str, Any]:
        raise RunError("rig: ended")

    monkeypatch.setattr(module, name, run)
    ran = command("bench", name.removeprefix("run_"))
    assert (ran.code, ran.err.splitlines()[-1]) == (1, "cortexwire: rig: ended")


def test_a_broken_budget_fails_and_is_said(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stages = {"binned_to_decoded": {"p50": 812.0, "max": 900.0}}
    found = {"results": [{"channels": 8, "losses": {"gaps": 0}, "stages_us": stages}]}
    monkeypatch.setattr(latency, "run_latency", lambda *_, **__: dict(found))
    file = tmp_path / "budgets.toml"

    def limited(max_us: int, stage: str = "binned_to_decoded") -> None:
        file.write_text(f'[[latency]]\nstage = "{stage}"\npercentile = 50\nmax_us = {max_us}\n')

    limited(600)
    ran = command("bench", "latency", "--budget", file)
    said = "binned_to_decoded p50 at 8 channels: 812 us, budget 600 us: over by 212 us (35 %)"
    assert ran.code == 1
    assert f"over budget: {said}" in ran.out
    ran = command("bench", "latency", "--budget", file, "--json")
    assert (ran.code, json.loads(ran.out)["budget"]["broken"]) == (1, [said])
    limited(900)
    assert command("bench", "latency", "--budget", file).code == 0
    limited(900, "sent_to_published")
    assert command("bench", "latency", "--budget", file).code == 0
    assert command("bench", "latency", "--budget", file, "--strict").code == 1
    limited(-1)
    ran = command("bench", "latency", "--budget", file)
    assert ran.code != 0
    assert "latency 1 max_us: input should be greater than 0, got -1" in ran.err


SERVED = {"sent_to_received_us": {"p50": 812.0}, "bins_missed": 0}


@pytest.mark.parametrize(
    ("name", "module", "run", "row"),
    [
        ("soak", soak, "run_soak", SERVED),
        ("scale", scale, "run_scale", SERVED),
        ("peers", peering, "run_peers", {"services": {"engine": SERVED}}),
    ],
)
def test_every_run_of_the_whole_service_can_be_judged(
    name: str, module: ModuleType, run: str, row: dict[str, Any],
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    result = {"passed": True, "results": [{"channels": 8, **row}]}
    monkeypatch.setattr(module, run, lambda *_, **__: dict(result))
    file, out = tmp_path / "budgets.toml", tmp_path / "found.json"
    file.write_text('[[latency]]\nstage = "sent_to_received"\npercentile = 50\nmax_us = 600\n')
    ran = command("bench", name, "--budget", file, "--out", out)
    assert ran.code == 1
    assert "over budget: sent_to_received p50 at 8 channels: 812 us, budget 600 us: over by 212 us (35 %)" in ran.out
    assert json.loads(out.read_bytes())["budget"]["passed"] is False
    file.write_text(file.read_text().replace("600", "900"))
    assert command("bench", name, "--budget", file, "--strict").code == 0
    assert command("bench", name).code == 0


def test_a_stage_is_slowed_by_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(*_: Any, **settings: Any) -> dict[str, Any]:
        asked.append(settings["slow"])
        return {"results": []}

    monkeypatch.setattr(latency, "run_latency", run)
    assert command("bench", "latency", "--slow", "binned_to_decoded=800").code == 0
    assert (asked[0].stage, asked[0].extra_us) == ("binned_to_decoded", 800.0)
    assert "expected STAGE=MICROSECONDS" in command("bench", "latency", "--slow", "decoder=800").err

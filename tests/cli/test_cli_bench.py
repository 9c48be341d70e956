import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cortexwire.bench import latency
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


def test_a_stage_is_slowed_by_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(*_: Any, **settings: Any) -> dict[str, Any]:
        asked.append(settings["slow"])
        return {"results": []}

    monkeypatch.setattr(latency, "run_latency", run)
    assert command("bench", "latency", "--slow", "binned_to_decoded=800").code == 0
    assert (asked[0].stage, asked[0].extra_us) == ("binned_to_decoded", 800.0)
    assert "expected STAGE=MICROSECONDS" in command("bench", "latency", "--slow", "decoder=800").err

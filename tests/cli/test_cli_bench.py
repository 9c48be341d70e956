import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cortexwire.bench import latency, peering, transport
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

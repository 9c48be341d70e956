"""The evidence command: it runs what it is told, writes what was found, and says by its status whether all passed."""

import json
from pathlib import Path

import pytest

from cortexwire.bench import evidence
from cortexwire.bench.evidence import RUNS, load_run
from cortexwire.bench.evidence.__main__ import main


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {name: f"tests.bench.runs:{name}" for name in ("good", "bad", "fallen")}
    monkeypatch.setitem(evidence.RUNS, 99, fakes)


def test_every_run_in_the_register_exists() -> None:
    for runs in RUNS.values():
        for place in runs.values():
            assert callable(load_run(place))


def test_a_run_that_passes_is_written_with_its_environment(
    runs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["99", "--only", "good", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "99-good.json").read_text())
    assert (written["run"], written["passed"], written["figure"]) == ("99-good", True, 1.5)
    assert written["environment"]["libraries"]["numpy"]
    assert "99-good passed" in capsys.readouterr().err
    assert not (tmp_path / "99-bad.json").exists()


def test_one_that_fails_or_falls_fails_the_whole_and_stops_no_other(
    runs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["99", "--json", "--out", str(tmp_path)]) == 1
    results = json.loads(capsys.readouterr().out)
    assert {name: result["passed"] for name, result in results.items()} == {"good": True, "bad": False, "fallen": False}
    assert results["fallen"]["error"] == "RuntimeError: the run fell"
    assert len(list(tmp_path.iterdir())) == 3


def test_an_unknown_run_is_a_fault_of_usage(runs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["99", "--only", "other", "--out", str(tmp_path)]) == 2
    assert "expected runs of issue 99 among ['bad', 'fallen', 'good'], got 'other'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""What became worse is found, what is only noise is not, and unlike things are not compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.bench.compare import change_of, compare_files, read_result, verdict_of
from cortexwire.bench.distribution import encoded_all
from cortexwire.errors import ConfigError

MACHINE = {"processor": "one", "cpus_usable": 2, "governor": None, "kernel": "6", "libraries": {"numpy": "2"}}


def result(seed: int, factor: float = 1.0, runs: int = 3, judged: bool = True, **row: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    values = [(factor * rng.gamma(20, 20, 1000)).round(1).tolist() for _ in range(runs)]
    found = {
        "channels": 96,
        "decoder": "gru",
        "judged": judged,
        "engine_core_share": 0.05 * factor,
        "samples": {"sent_to_received_us": values},
        **row,
    }
    return {"benchmark": "latency", "environment": MACHINE, "results": [found]}


def compare(tmp_path: Path, old: dict[str, Any], new: dict[str, Any], **settings: Any) -> dict[str, Any]:
    for name, content in (("old", old), ("new", new)):
        (tmp_path / name).write_text(json.dumps(content))
    return compare_files(tmp_path / "old", tmp_path / "new", **settings)


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {one["metric"]: one["verdict"] for one in found["changes"]}


def test_the_same_distribution_is_no_regression(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1), result(2))
    assert found["passed"]
    assert verdicts(found)["sent_to_received_us p50"] == "same"
    assert found["notes"] == []


def test_a_slower_one_is_a_regression_and_the_other_way_round_an_improvement(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1), result(2, 1.3))
    assert not found["passed"]
    assert "latency channels 96 gru: sent_to_received_us p50" in found["regressions"]
    (p50,) = (one for one in found["changes"] if one["metric"] == "sent_to_received_us p50")
    assert p50["low"] < p50["change"] < p50["high"]
    assert p50["change"] == pytest.approx(0.3, abs=0.05)
    assert p50["runs"] == 3
    assert verdicts(compare(tmp_path, result(2, 1.3), result(1)))["sent_to_received_us p50"] == "improvement"


def test_within_the_tolerance_nothing_fails(tmp_path: Path) -> None:
    assert compare(tmp_path, result(1), result(2, 1.3), tolerance=0.5)["passed"]


def test_a_noisy_machine_gets_no_verdict(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1, judged=False), result(2, 1.5))
    assert found["passed"]
    assert verdicts(found)["sent_to_received_us p50"] == "not judged"


def test_single_runs_are_said_to_be_so(tmp_path: Path) -> None:
    (note,) = compare(tmp_path, result(1, runs=1), result(2, runs=1))["notes"]
    assert "run to run" in note


def test_figures_without_samples_have_no_interval(tmp_path: Path) -> None:
    found = compare(tmp_path, result(1), result(2, 3.0))
    assert verdicts(found)["engine_core_share"] == "no interval"


def test_histograms_do_where_there_are_no_samples(tmp_path: Path) -> None:
    def only_histogram(seed: int, factor: float) -> dict[str, Any]:
        values = factor * np.random.default_rng(seed).gamma(20, 20, 3000)
        return result(seed, samples={}, histograms=encoded_all({"transport_in": values, "sleeper": values}))

    found = compare(tmp_path, only_histogram(1, 1.0), only_histogram(2, 1.5))
    assert found["regressions"] == [
        "latency channels 96 gru: transport_in_us p50", "latency channels 96 gru: transport_in_us p99"
    ]  # fmt: skip


def test_rows_are_matched_by_what_was_measured_whatever_their_order(tmp_path: Path) -> None:
    a, b = result(1)["results"], result(2, 2.0, channels=1024)["results"]
    whole = {"environment": MACHINE, "parts": {"latency": {"benchmark": "latency", "results": [*a, *b]}}}
    turned = {"environment": MACHINE, "parts": {"latency": {"benchmark": "latency", "results": [*b, *a]}}}
    assert all(one["change"] == 0 for one in compare(tmp_path, whole, turned)["changes"])
    found = compare(tmp_path, whole, result(1))
    assert found["only_old"] == ["latency channels 1024 gru"]


def test_other_machines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    other = result(1) | {"environment": MACHINE | {"processor": "two"}}
    with pytest.raises(ConfigError, match=r"expected results of one machine.*'one' and 'two'"):
        compare(tmp_path, result(1), other)
    found = compare(tmp_path, result(1), other, across=True)
    assert found["environment_differences"] == {"processor": ["one", "two"]}


def test_other_libraries_are_told(tmp_path: Path) -> None:
    other = result(1) | {"environment": MACHINE | {"libraries": {"numpy": "3"}}}
    assert compare(tmp_path, result(1), other)["environment_differences"].keys() == {"libraries"}


@pytest.mark.parametrize(
    ("content", "said"), [("[1]", "with results or parts"), ("no", "expected the JSON"), (None, "cannot read")]
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "some"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_result(path)


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found none"):
        compare(tmp_path, result(1), result(1, channels=8))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        old, new = ([rng.normal(100, 10, 400)] for _ in range(2))
        *_, low, high = change_of(old, new, 0.5, rng, block=10)
        covered += low <= 0 <= high
    assert covered >= 50


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    slow = np.repeat(rng.normal(100, 10, 40), 50)
    widths = []
    for block in (1, 50):
        *_, low, high = change_of([slow], [slow + 0.0], 0.5, rng, block=block)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    ("change", "low", "high", "want"),
    [
        (0.2, 0.1, 0.3, "regression"),
        (0.2, -0.1, 0.5, "unclear"),
        (0.05, 0.04, 0.06, "same"),
        (0.08, 0.04, 0.2, "unclear"),
        (-0.2, -0.3, -0.1, "improvement"),
    ],
)
def test_a_verdict_needs_size_and_certainty(change: float, low: float, high: float, want: str) -> None:
    assert verdict_of(change, low, high, 0.1) == want

"""A verdict names the line that broke, by how much, and what could not be judged; a slowed engine is told live."""

import json
from pathlib import Path
from typing import Any

import pytest

from cortexwire.bench.budgeting import Verdict, judge
from cortexwire.bench.child import _slowed
from cortexwire.bench.evidence.budget import limits, watch_live
from cortexwire.bench.latency import Load, describe, measure
from cortexwire.bench.report import report_html
from cortexwire.bench.slowing import CONTAINING, SLOWED, Slowing, parse_slowing
from cortexwire.errors import ConfigError
from cortexwire.runtime.budgets import Budgets, LatencyBudget, OverReference, ResourceBudget, read_budgets


def row(channels: int = 1024, **changes: Any) -> dict[str, Any]:
    """A result as `bench latency` describes it."""
    return {
        "channels": channels,
        "sent_to_received_us": {"p50": 300.0, "p90": 600.0, "p99": 1500.0, "p99_9": 2000.0, "max": 2500.0},
        "sleeper_us": {"p50": 80.0, "p90": 100.0, "p99": 400.0, "p99_9": 900.0, "max": 1000.0},
        "stages_us": {"binned_to_decoded": {"p50": 200.0, "p99": 812.0, "max": 900.0}},
        "engine_core_share": 0.12,
        "engine_resident_mib": 250.0,
    } | changes


def verdict(*lines: LatencyBudget | ResourceBudget, rows: list[dict[str, Any]] | None = None) -> Verdict:
    latency = tuple(line for line in lines if isinstance(line, LatencyBudget))
    resource = tuple(line for line in lines if isinstance(line, ResourceBudget))
    return judge({"results": [row()] if rows is None else rows}, Budgets(latency=latency, resource=resource))


DECODED = LatencyBudget(stage="binned_to_decoded", percentile=99, max_us=600)
TAIL = LatencyBudget(stage="sent_to_received", percentile=99, over_sleeper_us=1000)
ECHO = LatencyBudget(stage="sent_to_received", percentile=50, over_reference=OverReference(name="echo", plus_us=120))
LOUD: dict[str, Any] = {"sleeper_us": {"p50": 80.0, "p99": 501.0}}


def test_a_broken_line_is_named_with_what_it_is_over_by() -> None:
    found = verdict(DECODED)
    assert [line.sentence for line in found.of("broken")] == [
        "binned_to_decoded p99 at 1024 channels: 812 us, budget 600 us: over by 212 us (35 %)"
    ]
    assert not found.passed()
    assert found.sentences[-1] == "budgets: 0 held, 1 broken, 0 not judged"


def test_a_line_at_its_limit_holds() -> None:
    assert verdict(DECODED.model_copy(update={"max_us": 812.0})).passed(strict=True)


def test_a_line_above_the_sleeper_is_judged_by_the_sleepers_same_percentile() -> None:
    (line,) = verdict(TAIL).lines
    assert (line.outcome, line.value, line.limit) == ("broken", 1500.0, 1400.0)
    assert line.sentence == (
        "sent_to_received p99 at 1024 channels: 1500 us, budget 1400 us (sleeper 400 us + 1000 us): "
        "over by 100 us (7 %)"
    )


@pytest.mark.parametrize(("echo", "outcome"), [(180.0, "held"), (179.0, "broken")])
def test_a_line_above_a_reference_chain_is_judged_by_the_same_run(echo: float, outcome: str) -> None:
    chain = {"sent_to_received_us": {"p50": echo}}
    (line,) = verdict(ECHO, rows=[row(references={"echo": chain})]).lines
    assert line.outcome == outcome
    half = OverReference(name="echo", factor=0.5)
    (line,) = verdict(ECHO.model_copy(update={"over_reference": half}), rows=[row(references={"echo": chain})]).lines
    assert line.limit == echo / 2


@pytest.mark.parametrize(
    ("line", "changes", "why"),
    [
        (DECODED, LOUD, "the bare sleeper's p99 is 501 us, above 500 us"),
        (TAIL, LOUD, "the bare sleeper's p99 is 501 us, above 500 us"),
        (TAIL, {"sleeper_us": {}}, "no sleeper ran beside it"),
        (DECODED, {"stages_us": {}}, "binned_to_decoded p99 was not measured"),
        (DECODED, {"stages_us": {"binned_to_decoded": {"p50": 0, "p99": 0, "max": 0}}}, "p99 was not measured"),
        (ECHO, {}, "the run has no sent_to_received p50 of a reference chain 'echo'"),
        (DECODED.model_copy(update={"channels": (96, 256)}), {}, "no result at 96 or 256 channels"),
        (ResourceBudget(name="memory_growth_mib", max=2), {}, "memory_growth_mib was not measured"),
    ],
)
def test_what_cannot_be_judged_fails_only_where_that_was_asked_for(
    line: LatencyBudget | ResourceBudget, changes: dict[str, Any], why: str
) -> None:
    found = verdict(line, rows=[row(**changes)])
    (unjudged,) = found.of("not judged")
    assert unjudged.sentence.endswith(why)
    assert ": not judged: " in unjudged.sentence
    assert found.passed()
    assert not found.passed(strict=True)


def test_medians_are_judged_on_a_loud_machine_too() -> None:
    line = LatencyBudget(stage="binned_to_decoded", percentile=50, max_us=199)
    assert not verdict(line, rows=[row(**LOUD)]).passed()


def test_a_line_is_judged_at_each_number_of_channels_that_it_is_for() -> None:
    rows = [row(96), row(256), row(1024)]
    assert [line.channels for line in verdict(DECODED, rows=rows).lines] == [96, 256, 1024]
    some = DECODED.model_copy(update={"channels": (96, 1024)})
    assert [line.channels for line in verdict(some, rows=rows).lines] == [96, 1024]
    (none,) = verdict(DECODED, rows=[]).lines
    assert none.sentence == "binned_to_decoded p99: not judged: no results"


def test_rows_that_differ_in_more_than_channels_are_told_apart() -> None:
    rows = [row(executor="onnx"), row(executor="incremental"), row(packet_ms=5.0)]
    assert [line.load for line in verdict(DECODED, rows=rows).lines] == [
        "1024 channels", "1024 channels, incremental", "1024 channels, 5 ms packets"
    ]  # fmt: skip


def test_what_is_no_run_of_a_service_is_not_judged() -> None:
    assert len(verdict(DECODED, rows=[row(), {"axis": "sessions", "sessions": 8, "step_us": {"p50": 1.0}}]).lines) == 1
    failed = {"axis": "channels", "channels": 4096, "kept_up": False, "failed": "engine: ended"}
    (line,) = verdict(DECODED, rows=[failed]).lines
    assert line.sentence == "binned_to_decoded p99 at 4096 channels: not judged: binned_to_decoded p99 was not measured"


@pytest.mark.parametrize(("ours", "outcome"), [(270.0, "held"), (271.0, "broken")])
def test_in_a_comparison_of_services_the_others_are_the_reference_chains(ours: float, outcome: str) -> None:
    def service(p50: float, compute: float, **shares: float) -> dict[str, Any]:
        return {
            "sent_to_received_us": {"p50": p50, "p99": 1300.0}, "compute_us": {"p50": compute},
            "sleeper_us": {"p50": 80.0, "p99": 400.0}, "core_share": shares, "resident_mib": shares,
        }  # fmt: skip

    services = {
        "engine": service(ours, 100.0, engine=0.07), "echo": service(150.0, 5.0, echo=0.02),
        "torch_chain": service(900.0, 800.0), "redis_chain": {"absent": "redis-server is not installed"},
    }  # fmt: skip
    compute = LatencyBudget(
        stage="received_to_published", percentile=50, over_reference=OverReference(name="torch_chain", factor=0.125)
    )
    redis = ECHO.model_copy(update={"over_reference": OverReference(name="redis_chain")})
    share = ResourceBudget(name="engine_core_share", max=0.08)
    rows = [{"channels": 96, "sleeper_us": {"p99": 9e9}, "services": services}]
    found = verdict(ECHO, compute, TAIL, redis, share, rows=rows)
    assert [line.outcome for line in found.lines] == [outcome, "held", "held", "not judged", "held"]
    assert found.lines[0].limit == 270.0
    assert found.lines[1].limit == found.lines[1].value == 100.0


def test_a_page_tells_the_verdict_too() -> None:
    found = {"benchmark": "latency", "environment": {}, "results": [], "budget": verdict(DECODED, ECHO).as_json()}
    page = report_html(found)
    assert "binned_to_decoded p99 &lt;= 600 us" in page
    assert "812" in page
    assert "the run has no sent_to_received p50" in page


def test_resources_have_limits_too() -> None:
    found = verdict(
        ResourceBudget(name="engine_core_share", max=0.08), ResourceBudget(name="engine_resident_mib", max=200)
    )
    assert [line.sentence for line in found.of("broken")] == [
        "engine_core_share at 1024 channels: 0.12, budget 0.08: over by 0.04 (50 %)",
        "engine_resident_mib at 1024 channels: 250 MiB, budget 200 MiB: over by 50 MiB (25 %)",
    ]


def test_a_verdict_is_plain_values() -> None:
    found = json.loads(json.dumps(verdict(DECODED, ECHO).as_json()))
    assert found["passed"] is False
    assert [line["outcome"] for line in found["lines"]] == ["broken", "not judged"]
    assert found["lines"][0]["line"] == "binned_to_decoded p99 <= 600 us"
    assert (len(found["broken"]), len(found["not_judged"])) == (1, 1)


def test_what_is_slowed_is_said_in_one_word() -> None:
    assert parse_slowing("binned_to_decoded=800") == Slowing(stage="binned_to_decoded", extra_us=800)
    assert Load(slow=parse_slowing("binned_to_decoded=800")).describe()["slowed"] == "binned_to_decoded by 800 us"
    for text in ("decoding=800", "binned_to_decoded", "binned_to_decoded=-1", "binned_to_decoded=some"):
        with pytest.raises(ConfigError, match="expected STAGE=MICROSECONDS with one of received_to_binned"):
            parse_slowing(text)
    assert _slowed(None) is None


@pytest.mark.parametrize("executor", ["onnx", "incremental"])
@pytest.mark.parametrize("stage", SLOWED)
def test_a_slowed_stage_breaks_its_own_lines(stage: Any, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run, against limits that only the slowing can exceed."""
    monkeypatch.setattr("cortexwire.bench.latency.CALIBRATION_S", 0.3)
    monkeypatch.setattr("cortexwire.bench.latency.SETTLE_S", 0.7)
    slow = Slowing(stage=stage, extra_us=12_000)
    load = Load(8, 1.0, transport="ipc", decoder="gru", units=12, executor=executor, slow=slow)
    result = describe(load, measure(load))
    lines = tuple(
        LatencyBudget(stage=name, percentile=50, max_us=10_000) for name in (*result["stages_us"], "sent_to_received")
    )
    broken = {line.stage for line in verdict(*lines, rows=[result]).of("broken")}
    assert broken >= set(CONTAINING[stage])
    # On a busy machine packets wait for a thread that is slow.
    assert broken - set(CONTAINING[stage]) <= {"transport_in"}
    assert result["engine_resident_mib"] > 0


def test_a_live_engine_tells_of_a_stage_that_grows_slow_and_of_its_recovery(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[[latency]]\nstage = "binned_to_decoded"\npercentile = 99\nmax_us = 15000\n')
    slowing = Slowing(stage="binned_to_decoded", extra_us=18_000, after_s=1.0, for_s=0.5)
    found = watch_live(file, slowing, recovers_s=20.0)
    assert found.lines == ("binned_to_decoded p99 <= 15000 us",)
    assert found.told_of("binned_to_decoded")["passed"], found
    assert "back within" in found.notes[-1]
    assert found.recovered_after_s is not None
    assert found.counters["over_budget_bins"] > 0


def test_limits_are_those_of_a_row_with_a_margin(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    percents = {"p50": 1.0, "p99": 2.0}
    file.write_text(
        limits(
            {"stages_us": {"binned_to_decoded": percents}}
            | dict.fromkeys(("sent_to_received_us", "due_to_received_us"), percents),
            5.0,
        )
    )
    assert [str(line) for line in read_budgets(file).latency][:2] == [
        "binned_to_decoded p50 <= 6 us",
        "binned_to_decoded p99 <= 7 us",
    ]

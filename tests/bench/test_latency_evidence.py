"""The must-show runs of the latency budgets, in the small: they run from end to end, and judge as they say."""

import json
from typing import Any

import pytest

from cortexwire.bench import latency
from cortexwire.bench.drawn_decoders import Drawn
from cortexwire.bench.evidence import against_peers
from cortexwire.bench.evidence.against_peers import peer_runs
from cortexwire.bench.evidence.engine_load import engine_cpu
from cortexwire.bench.evidence.executors import RUNNING_KALMAN, executors
from cortexwire.bench.evidence.long_run import soak_run
from cortexwire.bench.evidence.most_channels import most_channels, reason
from cortexwire.bench.evidence.steps import decoder_steps


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CALIBRATION_S", 0.3)
    monkeypatch.setattr(latency, "SETTLE_S", 0.5)


def service(p50: float, compute: float, **more: Any) -> dict[str, Any]:
    """What a service did; its ratios are those to an engine of 100 us, 10 of them compute."""
    return {
        "sent_to_received_us": {"p50": p50, "p99": 2 * p50},
        "compute_us": {"p50": compute},
        "sleeper_us": {"p99": 300.0},
        "times_engine": {"p50": p50 / 100, "compute_p50": compute / 10},
        "bins_due": 100,
        "bins_missed": 0,
        "drift_us_per_s": [0.0],
        "losses": {"lost_packets": 0, "late_bins": 2},
        "outputs_damaged": 0,
    } | more


def a_case(channels: int, **changes: dict[str, Any]) -> dict[str, Any]:
    services = {
        "engine": service(100, 10),
        "echo": service(60, 1),
        "torch_chain": service(600, 90),
        "redis_chain": service(500, 90),
    }
    return {"channels": channels, "services": services | changes}


def judged(monkeypatch: pytest.MonkeyPatch, **changes: dict[str, Any]) -> dict[str, Any]:
    """The lines of a run in which the services at 1024 channels did something else."""

    def run(channels: tuple[int, ...], *_: Any, **__: Any) -> dict[str, Any]:
        return {"results": [a_case(n, **(changes if n == 1024 else {})) for n in channels]}

    monkeypatch.setattr(against_peers, "run_peers", run)
    return peer_runs()


def failed(found: dict[str, Any]) -> list[str]:
    return [line["what"] for line in found["lines"] if line["passed"] is False]


def test_each_line_of_the_peers_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch)
    assert found["passed"]
    assert [line["line"] for line in found["lines"]] == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3]
    assert failed(judged(monkeypatch, torch_chain=service(499, 79))) == [
        "p50 of the torch chain at 1024 channels",
        "compute p50 of the torch chain at 1024 channels",
    ]
    assert failed(judged(monkeypatch, echo=service(-21, 1))) == ["p50 less the echo's at 1024 channels, us"]
    assert failed(judged(monkeypatch, engine=service(100, 16))) == ["compute p50 at 1024 channels over that at 96"]
    for lost in ({"bins_missed": 1}, {"losses": {"lost_packets": 1}}, {"outputs_damaged": 1}):
        assert failed(judged(monkeypatch, engine=service(100, 10, **lost))) == ["1024 channels for 60 s"]


def test_a_peer_that_is_absent_has_not_been_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch, torch_chain={"absent": "torch is not installed"}, redis_chain={"failed": "it fell"})
    assert len(failed(found)) == 2
    (line,) = [line for line in found["lines"] if line["what"] == "1024 channels for 60 s"]
    assert line["came"]["redis_chain"] == {"failed": "it fell"}


def test_a_tail_is_not_judged_where_the_sleeper_was_late(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"sent_to_received_us": {"p50": 100, "p99": 1301.0}}
    assert failed(judged(monkeypatch, engine=service(100, 10, **slow))) == [
        "p99 at 1024 channels less the sleeper's, us"
    ]
    found = judged(monkeypatch, engine=service(100, 10, **slow, sleeper_us={"p99": 501.0}))
    assert found["passed"]
    assert found["not_judged"] == ["p99 at 1024 channels less the sleeper's, us"]


def test_steps_of_a_small_decoder() -> None:
    found = json.loads(json.dumps(decoder_steps(decoders=[Drawn("gru", 8, 12)], seconds=0.2)))
    (row,) = found["rows"]
    assert row["incremental_apart"] < 1e-5
    assert row["incremental_ahead_p50_us"] > 0
    assert row["int8_paced_p50_us"].keys() == {"onnx int8", "onnx int8 dynamic"}
    assert "torch_over_incremental" in row or "torch" in row["absent"]


def test_executors_agree_and_cuts_change_nothing() -> None:
    found = executors(
        families=("kalman", "snn"), bins=50, channels=(3,), simulated_s=1.0, sizes=(30,), recordings=False
    )
    assert found["passed"]
    assert "use executor onnx" in found[RUNNING_KALMAN]["refused"]
    assert found["identity"]["simulated, 3 channels"]["runs"] == 2
    assert json.loads(json.dumps(found))["families"]["snn"]["passed"]


@pytest.mark.usefixtures("short")
def test_processor_shares_most_channels_and_a_long_run_in_the_small() -> None:
    cpu = json.loads(json.dumps(engine_cpu(channels=8, seconds=1.0)))
    assert [way["rehearse"] for way in cpu["ways"].values()] == [True, False]
    assert "hot loop" in cpu["engine_threads_core_share"]
    most = json.loads(json.dumps(most_channels(channels=8, seconds=1.0, fewer=())))
    assert most["sustained_channels"] in (8, None)
    assert most["tries"][0]["core_shares"]["engine"] > 0
    soaked = json.loads(json.dumps(soak_run(channels=8, seconds=1.0)))
    assert soaked["telemetry_reader"]["polls"] > 0
    assert soaked["losses"]["lost_packets"] == 0


def test_the_reason_names_who_is_at_the_limit() -> None:
    found = {
        "engine_threads_core_share": {"hot loop": 0.95, "ZMQbg/IO/0": 0.2},
        "losses": {"lost_packets": 3, "gaps": 0},
        "rig_max_lag_ms": 44.0,
        "deadline_misses": 2,
    }
    said = reason(found, {"rig": 0.9, "engine": 1.15, "subscriber": 0.0}, 20.0)
    assert "the rig was up to 44 ms late with 0.90 of a core" in said
    assert "the engine's thread hot loop took 0.95 of a core" in said
    assert "of which transport 0.20" in said
    assert "lost {'lost_packets': 3}, 2 deadlines missed" in said

"""Latency runs are whole and account for every bin; how fast they are is measured elsewhere."""

import json

import numpy as np
import pytest

from cortexwire.bench import latency
from cortexwire.bench.environment import environment_record
from cortexwire.bench.evidence import load
from cortexwire.bench.evidence.load import memory_growth_mib, tap_share
from cortexwire.bench.latency import Load, Measured, percentiles, run_latency


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CALIBRATION_S", 0.3)
    monkeypatch.setattr(latency, "SETTLE_S", 0.7)


@pytest.mark.usefixtures("short")
def test_a_latency_run_tells_what_was_measured_beside_a_sleeper() -> None:
    found = run_latency(channels=(8,), seconds=1.0, transport="ipc")
    json.dumps(found)
    (result,) = found["results"]
    assert result["channels"] == 8
    assert result["bins"] > 0
    for name in ("sent_to_received_us", "due_to_received_us"):
        assert 0 < result[name]["p50"] <= result[name]["p99"] <= result[name]["max"]
    assert result["sleeper_us"]["max"] >= 0
    assert result["stages_us"].keys() >= {"received_to_binned", "binned_to_decoded", "sent_to_published"}
    assert result["losses"]["malformed"] == 0
    assert result["engine_core_share"] > 0
    assert "hot loop" in result["engine_threads_core_share"]


def test_percentiles_of_nothing_are_zero() -> None:
    assert set(percentiles([]).values()) == {0.0}
    assert percentiles(np.arange(1001))["p99"] == 990.0


def measured(bins: list[int], resident: list[float], **counters: int) -> Measured:
    zero = dict.fromkeys((*latency.LOSSES, "malformed_magic"), 0)
    return Measured(
        sent_to_received_us=np.zeros(len(bins)),
        due_to_received_us=np.zeros(len(bins)),
        bins=np.array(bins, np.int64),
        sleeper_us=np.zeros(1),
        engine={"counters": zero | {"late_bins": 0} | counters, "latency": {}, "scheduling": {}},
        rig={"max_lag_ms": 0.0, "cpu_share": 0.0},
        damaged=0,
        ended=True,
        threads_s={"hot loop": 1.0, "ZMQbg/IO/0": 0.5},
        window_s=10.0,
        resident_mib=resident,
    )


def test_what_is_lost_anywhere_is_told_by_name() -> None:
    assert not any(measured([5, 6, 7], [1.0]).losses.values())
    assert measured([5, 7], [1.0]).losses["outputs_not_received"] == 1
    assert measured([], [1.0]).losses["outputs_not_received"] == -1
    lost = measured([5], [1.0], lost_packets=2, malformed_magic=3).losses
    assert (lost["lost_packets"], lost["malformed"]) == (2, 3)


def test_the_engines_share_counts_all_its_threads() -> None:
    assert measured([5], [1.0]).core_share == pytest.approx(0.15)


def test_memory_is_compared_with_the_tenth_second() -> None:
    assert memory_growth_mib(measured([5], [9.0] * 10 + [20.0, 20.5])) == pytest.approx(0.5)
    assert memory_growth_mib(measured([5], [9.0, 20.0])) == 0.0


@pytest.mark.parametrize(
    ("resident", "lost", "passes"), [([1.0, 1.5], 0, True), ([1.0] * 11 + [4.0], 0, False), ([1.0, 1.5], 1, False)]
)
def test_a_load_run_passes_without_loss_or_growth(
    resident: list[float], lost: int, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "measure", lambda _: measured(list(range(50)), resident, lost_packets=lost))
    monkeypatch.setattr(load, "tap_share", lambda _: 0.001)
    found = load.load_run(channels=8, seconds=1.0)
    json.dumps(found)
    assert found["passed"] is passes
    assert found["engine_core_share"] == 0.15


def test_the_tap_costs_something() -> None:
    assert tap_share(8, packets=100) > 0


def test_a_load_is_by_default_a_millisecond_over_tcp() -> None:
    assert (Load().packet_ms, Load().transport, Load().tap) == (1.0, "tcp", True)


def test_the_environment_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(environment_record()))["libraries"]["numpy"]

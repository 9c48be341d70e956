"""Stages add up, a bin waits for its packet, and a timeline loses no maximum."""

import numpy as np
import pytest

from cortexwire.bench.child import ROW
from cortexwire.bench.stages import STAGES, Rows, data_age_ms, timeline

TIMES = {
    "bin": 7, "flags": 0, "acquired_ns": 900, "sent_ns": 1_000, "heard_ns": 90_000, "received_ns": 21_000,
    "binned_ns": 33_000, "decoded_ns": 64_000, "published_ns": 70_000, "end_sample": 4800,
}  # fmt: skip


def rows(**changes: int) -> Rows:
    return Rows([[({**TIMES, **changes})[name] for name in ROW]])


def test_the_stages_of_a_bin_add_up_to_its_service_latency() -> None:
    stages = rows().stages_us()
    assert sum(float(stages[name][0]) for name in STAGES) == pytest.approx(89.0)
    assert rows().span_us("sent_ns", "heard_ns")[0] == pytest.approx(89.0)
    assert stages["received_to_published"][0] == pytest.approx(49.0)


@pytest.mark.parametrize(("packet", "wait_ms"), [(30, 0.0), (600, 0.0), (7, 2 / 30), (900, 600 / 30)])
def test_the_last_sample_of_a_bin_waits_for_its_packet(packet: int, wait_ms: float) -> None:
    assert rows().packet_wait_ms(packet, 30_000.0)[0] == pytest.approx(wait_ms)


def test_only_what_came_in_time_counts() -> None:
    assert len(rows().heard_between(90_000, 90_000).table) == 1
    assert len(rows().heard_between(0, 89_999).table) == 0
    assert Rows([]).stages_us().keys() >= STAGES.keys()


def test_data_age_is_half_a_bin_the_packet_and_the_service() -> None:
    age = data_age_ms(20.0, np.array([0.0, 1.0]), np.array([400.0, 600.0]))
    assert age == {"mean": 11.0, "half_bin": 10.0, "packet_wait": 0.5, "service": 0.5}
    assert data_age_ms(20.0, np.zeros(0), np.zeros(0))["mean"] == 10.0


def test_a_timeline_is_short_and_keeps_the_largest() -> None:
    values = np.ones(1000)
    values[777] = 5000.0
    series = timeline(np.arange(1000) * 20_000_000, {"whole": values}, buckets=50)
    assert len(series["at_s"]) == 50
    assert series["at_s"][0] == 0
    assert max(series["max_us"]["whole"]) == 5000.0
    assert max(series["median_us"]["whole"]) == 1.0
    assert timeline(np.zeros(0, np.int64), {})["at_s"] == []

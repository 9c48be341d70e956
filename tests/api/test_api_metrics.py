"""Metrics are those of the telemetry, in the form that Prometheus reads, with labels of few values."""

from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from cortexwire.api.metrics import BUCKETS_S, _buckets
from cortexwire.runtime.histogram import Histogram
from tests.api.serving import engine_and_api


def told(state: dict[str, Any]) -> int:
    total: int = state["latency"]["decoded_to_published"]["total"]
    return total


def test_what_is_scraped_is_what_the_engine_counted(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        for _ in range(9):
            api.rig.push.send(b"frame")
        # Percentiles are read a few times a second only.
        state = api.until("/v1/state", lambda state: told(state) == state["counters"]["outputs"] >= 10)
        answer = api.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        values = {name: [sample.value for sample in family.samples] for name, family in families.items()}
        assert values["cortexwire_up"] == [1.0]
        assert values["cortexwire_outputs"] == [state["counters"]["outputs"]]
        assert values["cortexwire_bins"] == [state["counters"]["decoded_bins"]]
        assert sum(values["cortexwire_engine_state"]) == 1.0
        counts = {
            sample.labels["stage"]: sample.value
            for sample in families["cortexwire_stage_latency_seconds"].samples
            if sample.name.endswith("_count")
        }
        assert counts == {stage: found["total"] for stage, found in state["latency"].items()}
        labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
        assert labels <= {"state", "status", "reason", "stage", "le", "line", "name", "hash"}


def test_buckets_are_cumulative_and_never_flatter() -> None:
    histogram = Histogram()
    durations = np.random.default_rng(1).lognormal(np.log(3e5), 1.0, 5000).astype(int)
    for duration in durations.tolist():
        histogram.record(duration)
    buckets, total = _buckets(histogram)
    for (edge, count), limit in zip(buckets, (*BUCKETS_S, np.inf), strict=True):
        exact = np.count_nonzero(durations <= limit * 1e9)
        assert count <= exact, edge
        assert count >= np.count_nonzero(durations <= limit * 1e9 / 1.04), edge
    assert abs(total * 1e9 / durations.sum() - 1) < 0.02

"""Finer output on a real recording changes nothing at the ends of bins, and lives as it decodes."""

import pytest

from cortexwire.bench.evidence.hop import hop_run

pytestmark = [pytest.mark.realdata, pytest.mark.usefixtures("recordings")]


def test_hops_of_a_recording_are_scored_compared_and_timed() -> None:
    esn = {"units": 60, "input_scalings": [0.3], "direct": 1}
    wiener = {"history": 5, "lambdas": [1.0]}
    found = hop_run(seconds=60.0, hops_ms=(20.0, 10.0), wiener=wiener, esn=esn, paced_s=1.0, compared_s=10.0)
    assert found["same_at_bins"]
    assert all(entry["bins_compared"] == 3000 for entry in found["ways"]["wiener in turn"].values())
    assert all(entry["cost"]["step_us_p50"] > 0 for ways in found["ways"].values() for entry in ways.values())
    assert all(run["messages"] > 0 and not run["differing"] for run in found["live"].values())

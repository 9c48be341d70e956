"""The live front end finds on real wideband what an independent float64 chain finds."""

import pytest

from cortexwire.bench.evidence.recordings import front_end_on_recordings

pytestmark = [pytest.mark.realdata, pytest.mark.usefixtures("recordings")]


def test_live_counts_and_band_power_are_those_of_scipy_in_every_reference_mode() -> None:
    found = front_end_on_recordings(speed="fast")
    assert set(found["modes"]) == {"none", "mean", "median"}
    for mode, result in found["modes"].items():
        figures = {name: value for name, value in result.items() if not isinstance(value, list)}
        assert result["differ_otherwise"] == [], mode
        assert result["crossings_live"] >= 1000, mode
        assert result["passed"], (mode, figures)

"""A decoder trained on a real recording decodes it live; trained on shifted targets it decodes nothing."""

import pytest

from cortexwire.bench.evidence.wiener import wiener_live

pytestmark = [pytest.mark.realdata, pytest.mark.usefixtures("recordings")]


def test_the_live_wiener_filter_decodes_what_offline_does_and_nothing_of_shifted_targets() -> None:
    found = wiener_live(seconds=400.0, n_shifts=1, least_r2=(0.45, 0.40), lambdas=(1.0, 10.0, 100.0))
    assert found["live_from_offline_max_mm_s"] < 0.01
    assert found["passed"], {name: found[name] for name in ("r2_live", "r2_offline", "shifted", "every_bin_once")}

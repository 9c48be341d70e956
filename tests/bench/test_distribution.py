"""Percentiles, drift, histograms that can be added and read again, and when a tail may be judged."""

import numpy as np
import pytest

from cortexwire.bench.distribution import (
    counted_us,
    decoded,
    drift_us_per_min,
    encoded,
    encoded_all,
    histogram_of,
    judged,
    merged,
    percentiles,
    percentiles_of,
)


def test_a_histogram_survives_being_written_and_read() -> None:
    values = np.random.default_rng(1).lognormal(6, 1, 5000)
    payload = encoded(histogram_of(values))
    assert payload.startswith("HIST")
    again = decoded(payload)
    assert again.get_total_count() == 5000
    for name, value in percentiles(values).items():
        assert percentiles_of(payload)[name] == pytest.approx(value, rel=3e-3, abs=0.1)


def test_histograms_add_up() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.uniform(10, 1000, 300), rng.uniform(500, 5000, 700)
    whole = merged([encoded(histogram_of(one)), encoded(histogram_of(other))])
    assert percentiles_of(whole) == percentiles_of(encoded(histogram_of(np.concatenate([one, other]))))
    values, counts = counted_us(whole)
    assert counts.sum() == 1000
    assert np.all(np.diff(values) > 0)
    assert np.average(values, weights=counts) == pytest.approx(np.concatenate([one, other]).mean(), rel=1e-3)


def test_a_histogram_takes_what_lies_outside_it() -> None:
    values, counts = counted_us(encoded(histogram_of([-5.0, 1e13])))
    assert values[0] == 0
    assert counts.tolist() == [1, 1]


def test_nothing_is_told_of_stages_without_values() -> None:
    assert encoded_all({"here": [1.0], "nothing": []}).keys() == {"here"}
    assert set(percentiles_of(merged([])).values()) == {0.0}


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an encoded HdrHistogram, got 'nonsense'"):
        decoded("nonsense")


def test_drift_finds_a_backlog_under_noise_and_outliers() -> None:
    rng = np.random.default_rng(3)
    n, seconds = 3000, 60.0
    noise = 300 + rng.exponential(50, n)
    noise[::100] = 50_000
    growing = noise + np.linspace(0, 600, n)
    assert drift_us_per_min(noise, seconds) == pytest.approx(0, abs=10)
    assert drift_us_per_min(growing, seconds) == pytest.approx(600, abs=20)
    assert drift_us_per_min(growing, seconds / 2) == pytest.approx(1200, abs=40)


@pytest.mark.parametrize(("values", "seconds"), [([], 10.0), ([1.0, 2.0, 3.0], 10.0), ([1.0] * 9, 0.0)])
def test_too_little_has_no_drift(values: list[float], seconds: float) -> None:
    assert drift_us_per_min(values, seconds) == 0.0


def test_tails_are_judged_on_quiet_machines_only() -> None:
    quiet = np.full(1000, 80.0)
    quiet[:5] = 9000
    loud = quiet.copy()
    loud[:20] = 501
    assert judged(quiet)
    assert not judged(loud)
    assert not judged([])

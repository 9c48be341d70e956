"""Laws of the scores beyond R2 of each column."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.training.metrics import (
    lag_bins,
    normalised_latency,
    pearson,
    r2,
    r2_interval,
    rmse,
    weighted_r2,
)


def _walk(n: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    y = np.zeros((n, 2))
    for k in range(1, n):
        y[k] = 0.9 * y[k - 1] + rng.normal(size=2) * [1, 3]
    return y


def _noisy(y: NDArray[np.float64], amount: float = 1.0, seed: int = 1) -> NDArray[np.float64]:
    return y + amount * np.random.default_rng(seed).normal(size=y.shape)


def test_the_weighted_score_is_the_mean_of_the_columns_weighted_by_variance() -> None:
    y = _walk()
    p = _noisy(y)
    np.testing.assert_allclose(weighted_r2(y, p), np.average(r2(y, p), weights=y.var(axis=0)))
    assert np.isnan(weighted_r2(np.ones((5, 2)), np.zeros((5, 2))))


def test_correlation_forgives_gain_and_offset_and_r2_does_not() -> None:
    y = _walk()
    np.testing.assert_allclose(pearson(y, 3 * y + 5), 1)
    assert (r2(y, 3 * y + 5) < 0).all()
    want = [np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, _noisy(y).T, strict=True)]
    np.testing.assert_allclose(pearson(y, _noisy(y)), want)
    assert np.isnan(pearson(y, np.full_like(y, 0.1))).all()


def test_the_error_has_the_unit_of_the_columns() -> None:
    y = _walk()
    np.testing.assert_allclose(rmse(y, y + np.array([3.0, -4.0])), [3, 4])


def test_unknown_rows_count_for_nothing_in_any_score() -> None:
    y = _walk()
    p, holed = _noisy(y), y.copy()
    holed[10:20, 0] = np.nan
    kept = np.r_[0:10, 20 : len(y)]
    np.testing.assert_allclose(weighted_r2(holed, p), weighted_r2(y[kept], p[kept]))
    np.testing.assert_allclose(pearson(holed, p), pearson(y[kept], p[kept]))
    np.testing.assert_allclose(rmse(holed, p), rmse(y[kept], p[kept]))
    assert lag_bins(holed, p, 5) == 0


def test_the_interval_holds_the_score_and_widens_with_the_length_of_the_blocks() -> None:
    y = _walk()
    slow = _walk(seed=9) * 0.5  # errors that last, as those of decoders do
    low, high = r2_interval(y, y + slow, block_bins=50)
    assert low < weighted_r2(y, y + slow) < high
    narrow = r2_interval(y, y + slow, block_bins=1)
    assert high - low > narrow[1] - narrow[0]


def test_the_interval_equals_that_of_a_plain_loop_over_blocks() -> None:
    y = _walk(200)
    p = _noisy(y)
    blocks = [slice(k, k + 20) for k in range(0, 200, 20)]
    drawn = np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 300)
    scores = []
    for counts in drawn:
        rows = np.concatenate([np.r_[block] for block, n in zip(blocks, counts, strict=True) for _ in range(n)])
        scores.append(weighted_r2(y[rows], p[rows]))
    want = np.quantile(scores, [0.025, 0.975])
    np.testing.assert_allclose(r2_interval(y, p, block_bins=20, resamples=300, seed=0), want)


def test_too_little_has_no_interval() -> None:
    assert np.isnan(r2_interval(_walk(10), _walk(10), block_bins=10)).all()
    assert np.isnan(r2_interval(np.ones((10, 1)), np.ones((10, 1)), block_bins=2)).all()
    with pytest.raises(ValueError, match="block_bins"):
        r2_interval(_walk(10), _walk(10), block_bins=0)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_the_lag_is_found_and_positive_when_the_prediction_is_late(late: int) -> None:
    y = _walk()
    assert lag_bins(y, _noisy(np.roll(y, late, axis=0)), 6) == late


def test_a_constant_prediction_has_no_lag() -> None:
    y = _walk(100)
    assert lag_bins(y, np.full_like(y, 0.3), 5) == 0
    with pytest.raises(ValueError, match="more than 5 bins"):
        lag_bins(y[:5], y[:5], 5)


def test_the_normalised_latency_is_the_share_of_a_bin() -> None:
    assert normalised_latency(0.002, 20) == pytest.approx(0.1)

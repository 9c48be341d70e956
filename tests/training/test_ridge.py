"""The sums give what the rows themselves would give."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.metrics import r2
from cortexwire.training.ridge import Moments, choose_lambda, r2_from, solve


def _data(n: int = 200) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 6)) + 3
    return x, x @ rng.normal(size=(6, 2)) + rng.normal(size=(n, 2)) + 10


def _moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> Moments:
    moments = Moments.zero(x.shape[1], y.shape[1])
    moments.add(x, y)
    return moments


def test_a_fit_equals_ridge_by_augmented_least_squares() -> None:
    x, y = _data()
    fit = solve(_moments(x, y), 0.3)
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    penalty = 0.3 * np.square(xc).sum() / 6
    rows = np.concatenate([xc, np.sqrt(penalty) * np.eye(6)])
    want = np.linalg.lstsq(rows, np.concatenate([yc, np.zeros((6, 2))]), rcond=None)[0]
    np.testing.assert_allclose(fit.weights, want.T, rtol=1e-9)
    np.testing.assert_allclose(fit.bias, y.mean(axis=0) - want.T @ x.mean(axis=0), rtol=1e-9)


def test_the_score_from_sums_equals_the_score_from_rows() -> None:
    x, y = _data()
    fit = solve(_moments(x[:150], y[:150]), 0.1)
    np.testing.assert_allclose(
        r2_from(_moments(x[150:], y[150:]), fit), r2(y[150:], x[150:] @ fit.weights.T + fit.bias), rtol=1e-9
    )


def test_sums_of_parts_are_sums_of_the_whole() -> None:
    x, y = _data()
    whole, parts = _moments(x, y), _moments(x[:70], y[:70]) + _moments(x[70:], y[70:])
    np.testing.assert_allclose(solve(parts, 0.1).weights, solve(whole, 0.1).weights, rtol=1e-9)


def test_the_chosen_penalty_scores_best_on_the_validation_part() -> None:
    x, y = _data(60)
    fit, validation = _moments(x[:40], y[:40]), _moments(x[40:], y[40:])
    candidates = (1e-3, 1e-1, 10.0, 1e3)
    chosen, score = choose_lambda(fit, validation, candidates)
    scores = [r2_from(validation, solve(fit, value)).mean() for value in candidates]
    assert chosen == candidates[int(np.argmax(scores))]
    assert score.mean() == max(scores)


def test_what_cannot_be_fitted_is_refused() -> None:
    x, y = _data()
    good = _moments(x, y)
    with pytest.raises(ConfigError, match="at least two bins"):
        solve(_moments(x[:1], y[:1]), 0.1)
    with pytest.raises(ConfigError, match="features that vary"):
        solve(_moments(np.zeros_like(x), y), 0.1)
    with pytest.raises(ConfigError, match="penalties to choose from"):
        choose_lambda(good, good, ())
    with pytest.raises(ConfigError, match="bins to validate on"):
        choose_lambda(good, _moments(x[:1], y[:1]), (0.1,))
    with pytest.raises(ConfigError, match="validation targets that vary"):
        choose_lambda(good, _moments(x, np.ones_like(y)), (0.1,))

import numpy as np
import pytest

from cortexwire.training import r2


def test_a_perfect_prediction_scores_one_and_the_mean_scores_zero() -> None:
    y = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(r2(y, y), 1)
    np.testing.assert_allclose(r2(y, np.tile(y.mean(axis=0), (50, 1))), 0, atol=1e-12)


def test_each_column_has_its_own_score() -> None:
    y = np.random.default_rng(0).normal(size=(50, 2))
    p = y + np.array([0.0, 1.0])
    expected = 1 - 50 / np.square(y[:, 1] - y[:, 1].mean()).sum()
    np.testing.assert_allclose(r2(y, p), [1, expected])


def test_unknown_rows_count_for_nothing() -> None:
    y = np.random.default_rng(0).normal(size=(50, 2))
    p = y * 0.9
    masked = y.copy()
    masked[7, 0] = np.nan
    keep = np.arange(50) != 7
    np.testing.assert_allclose(r2(masked, p), r2(y[keep], p[keep]))


def test_a_constant_truth_has_no_score() -> None:
    assert np.isnan(r2(np.ones((5, 1)), np.zeros((5, 1)))).all()


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), "one shape"),
        (np.zeros(3), np.zeros(3), "one shape"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "at least one row"),
    ],
)
def test_what_cannot_be_scored_is_refused(true: object, predicted: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r2(np.asarray(true), np.asarray(predicted))

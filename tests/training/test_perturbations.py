"""What is done to features on purpose does what it says, and nothing else."""

import numpy as np
import pytest

from cortexwire.decoders.manifest import FeatureKind
from cortexwire.training.perturbations import ROBUSTNESS, bins_missing, channels_lost, count_noise, masked

RNG = np.random.default_rng(0)
FEATURES = RNG.poisson(3.0, (4000, 10)).astype(np.float32)
MEAN = FEATURES.mean(axis=0)
COUNTS: tuple[FeatureKind, ...] = ("counts",)
BOTH: tuple[FeatureKind, ...] = ("counts", "band_power")


def _rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_lost_channel_enters_at_its_mean_throughout() -> None:
    lost = channels_lost(FEATURES, 0.3, MEAN, COUNTS, _rng())
    constant = (lost == MEAN).all(axis=0)
    assert constant.sum() == 3
    np.testing.assert_array_equal(lost[:, ~constant], FEATURES[:, ~constant])


def test_losing_more_channels_loses_the_same_ones_too() -> None:
    few, many = (channels_lost(FEATURES, share, MEAN, COUNTS, _rng()) for share in (0.2, 0.5))
    assert set(np.flatnonzero((few == MEAN).all(axis=0))) < set(np.flatnonzero((many == MEAN).all(axis=0)))


def test_a_channel_is_masked_in_every_kind_of_feature() -> None:
    without = masked(FEATURES, np.array([1]), MEAN, BOTH)
    np.testing.assert_array_equal(np.flatnonzero((without == MEAN).all(axis=0)), [1, 6])


def test_noise_replaces_crossings_and_keeps_the_rates() -> None:
    noisy = count_noise(FEATURES, 0.5, MEAN, COUNTS, _rng())
    np.testing.assert_allclose(noisy.mean(axis=0), MEAN, rtol=0.05)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(FEATURES.T, noisy.T, strict=True)]
    np.testing.assert_allclose(correlation, 0.5, atol=0.06)
    assert (noisy == np.rint(noisy)).all()


def test_noise_mixes_other_features_with_another_time() -> None:
    noisy = count_noise(FEATURES, 0.2, MEAN, BOTH, _rng())
    np.testing.assert_allclose(noisy[:, 5:].mean(axis=0), MEAN[5:], rtol=1e-3)


def test_a_missing_bin_enters_at_the_mean() -> None:
    gone = bins_missing(FEATURES, 0.05, MEAN, COUNTS, _rng())
    rows = (gone == MEAN).all(axis=1)
    assert rows.sum() == 200
    np.testing.assert_array_equal(gone[~rows], FEATURES[~rows])


@pytest.mark.parametrize("name", ROBUSTNESS)
def test_nothing_given_is_written_to_and_chance_repeats(name: str) -> None:
    perturb, levels = ROBUSTNESS[name]
    before = FEATURES.copy()
    one, again = (perturb(FEATURES, levels[-1], MEAN, COUNTS, _rng(7)) for _ in range(2))
    np.testing.assert_array_equal(FEATURES, before)
    np.testing.assert_array_equal(one, again)
    assert (one != FEATURES).any()

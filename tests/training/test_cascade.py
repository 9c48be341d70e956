"""Laws of the Wiener cascade and of the static nonlinearities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat

from cortexwire.decoders import OnnxDecoder
from cortexwire.errors import ConfigError
from cortexwire.training import TrainingData, export_bundle, family, last_fraction_of_trials, r2
from cortexwire.training.families.cascade import FittedCascade
from cortexwire.training.families.wiener import fit_wiener
from cortexwire.training.static_nonlinearity import Monotone, Polynomial
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording

KINDS = (Monotone, Polynomial)


def _bent(n_bins: int = 3000) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make counts, and a velocity that rests unless the drive behind them is strong."""
    features, drive = recording(n_bins)
    return features, np.sign(drive) * np.maximum(np.abs(drive) - 20, 0) * 3


def _fit(data: TrainingData, **settings: Any) -> FittedCascade:
    cascade = family("cascade")
    fitted = cascade.fit(data, cascade.check({"history": 4, **settings}))
    assert isinstance(fitted, FittedCascade)
    return fitted


@pytest.mark.parametrize("kind", KINDS)
def test_a_nonlinearity_follows_the_curve_that_it_was_fitted_to(kind: type[Monotone] | type[Polynomial]) -> None:
    x = np.random.default_rng(0).normal(size=(4000, 2))
    y = np.stack([np.tanh(2 * x[:, 0]) + 5, 0.1 * x[:, 1] ** 3 - 2], axis=1)
    fit = kind.fit(x, y, 9)
    assert (r2(y, fit.apply(x)) > 0.98).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_nonlinearity_is_flat_beyond_what_it_has_seen(kind: type[Monotone] | type[Polynomial]) -> None:
    x = np.random.default_rng(0).normal(size=(2000, 2))
    fit = kind.fit(x, x**3, 5)
    far = fit.apply(np.array([[1e6, -1e6], [50.0, -50.0], [10.0, -10.0]]))
    np.testing.assert_allclose(far, np.tile(far[:1], (3, 1)), rtol=1e-6)
    assert np.abs(far).max() < 100


def test_a_monotone_nonlinearity_never_falls() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 1))
    fit = Monotone.fit(x, np.sin(3 * x), 12)
    along = fit.apply(np.linspace(-4, 4, 500)[:, None])
    assert (np.diff(along, axis=0) >= -1e-6).all()
    assert (fit.rises >= 0).all()


@pytest.mark.parametrize("nonlinearity", ["monotone", "polynomial"])
def test_a_cascade_learns_what_a_line_cannot(nonlinearity: str) -> None:
    features, velocity = _bent()
    fit = _fit(TrainingData(features[:2400], velocity[:2400]), nonlinearity=nonlinearity)
    line = fit_wiener(features[:2400], velocity[:2400], history=4)
    bent, straight = (r2(velocity[2400:], f.predict(features)["velocity"][2400:]) for f in (fit, line))
    assert (bent > straight + 0.02).all()
    assert fit.memory_bins == 4
    assert fit.warm_up_bins == 3
    assert fit.contracting


def test_the_size_is_chosen_on_the_last_fold() -> None:
    features, velocity = _bent()
    fit = _fit(TrainingData(features, velocity), pieces=(1, 8))
    assert fit.summary["size"] == 8
    assert (np.array(fit.summary["validation_r2"]) > fit.summary["linear_validation_r2"]).all()


def test_the_nonlinearity_sees_no_prediction_of_a_bin_that_its_filter_was_fitted_to() -> None:
    rng = np.random.default_rng(0)
    features = rng.poisson(1.0, (200, 8)).astype(np.float32)
    nonsense = rng.normal(size=(200, 2))
    fit = _fit(TrainingData(features, nonsense), history=20, lambdas=(1e-4,), pieces=(1,))
    assert isinstance(fit.static, Monotone)
    assert fit.static.rises.max() < 2
    assert np.var(fit.predict(features)["velocity"]) < 0.5


@pytest.mark.parametrize("nonlinearity", ["monotone", "polynomial"])
def test_the_exported_cascades_obey_the_battery(tmp_path: Path, nonlinearity: str) -> None:
    features, velocity = _bent(1000)
    fit = _fit(TrainingData(features, velocity), nonlinearity=nonlinearity)
    bundle = export_bundle(
        fit,
        tmp_path / "b",
        name="n",
        family="cascade",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features,
    )
    check_decoder(lambda: OnnxDecoder(bundle), fit.predict)
    assert bundle.manifest.parity["random_own_state"] <= 1e-5


def test_bins_that_do_not_teach_change_nothing() -> None:
    features, velocity = _bent(800)
    keep = np.arange(800) % 4 != 0
    other = np.where(keep[:, None], velocity, 1e6)
    a, b = (_fit(TrainingData(features, targets, keep)) for targets in (velocity, other))
    np.testing.assert_array_equal(a.predict(features)["velocity"], b.predict(features)["velocity"])
    assert a.summary["bins"] == keep[3:].sum()


def test_too_few_bins_for_the_folds_are_refused() -> None:
    features, velocity = _bent(300)
    with pytest.raises(ConfigError, match="cascade: expected at least 10 bins with targets and 295 bins of history"):
        _fit(TrainingData(features, velocity), history=295)


@pytest.mark.realdata
def test_cascade_on_contdata95_at_100_ms(recordings: Path) -> None:
    raw = loadmat(recordings / "contdata95" / "contdata95.mat")
    velocity, counts = raw["X"][:, 2:4].astype(np.float64), raw["Y"].astype(np.float32)
    train, test = last_fraction_of_trials(np.flatnonzero((velocity == 0).all(axis=1)), len(counts))
    fit = _fit(TrainingData(counts[train], velocity[train]), history=10)
    score = r2(velocity[test], fit.predict(counts[test])["velocity"])
    assert (score >= [0.87, 0.85]).all(), score

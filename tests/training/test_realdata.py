"""The Wiener filter on a real recording reaches what a careful ridge regression reaches there."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from cortexwire.training import last_fraction_of_trials, r2
from cortexwire.training.families.wiener import fit_wiener

pytestmark = pytest.mark.realdata


def test_wiener_on_contdata95_at_100_ms(recordings: Path) -> None:
    raw = loadmat(recordings / "contdata95" / "contdata95.mat")
    velocity, counts = raw["X"][:, 2:4].astype(np.float64), raw["Y"].astype(np.float32)
    starts = np.flatnonzero((velocity == 0).all(axis=1))
    train, test = last_fraction_of_trials(starts, len(counts))
    fit = fit_wiener(counts[train], velocity[train], history=10)
    score = r2(velocity[test], fit.predict(counts)["velocity"][test])
    assert (score.round(2) >= [0.76, 0.71]).all(), score
    shifted = np.roll(velocity, 3000, axis=0)
    null = fit_wiener(counts[train], shifted[train], history=10, lambdas=(0.1, 10.0, 1000.0))
    assert (r2(shifted[test], null.predict(counts)["velocity"][test]) <= 0.02).all()

"""The Kalman filters on real recordings: an experiment's own decoder, and a centre-out session."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from cortexwire.decoders import StreamSpec
from cortexwire.training import TrainingData, export_bundle, family, last_fraction_of_trials, r2
from cortexwire.training.export import decode_steps
from cortexwire.training.families.kalman import from_matrices

pytestmark = pytest.mark.realdata

STREAM = StreamSpec(kind="counts", rate_num=200, rate_den=9, uv_per_bit=1.0, n_channels=86, bin_ms=45.0)


@pytest.mark.parametrize("mapping", ["intuitive", "perturbed"])
def test_an_experiments_own_matrices_give_its_recorded_velocities(
    recordings: Path, tmp_path: Path, mapping: str
) -> None:
    """What was recorded is each step's own share, `M2 u + m0`: a step from rest, which a segment of one bin is."""
    raw = loadmat(recordings / "golub_bci" / "exampleData.mat", squeeze_me=True, struct_as_record=False)
    own = getattr(raw["expParams"], f"{mapping}Mapping")
    fit = from_matrices(own.M1, own.M2, own.m0, feature_mean=own.mu_u)
    clouds = [raw[name].clouds for name in ("beforeLearning", "afterLearning")]
    counts = np.concatenate([u.T for cloud in clouds for u in cloud.spikes]).astype(np.float32)
    recorded = np.concatenate([v.T for cloud in clouds for v in getattr(cloud, f"vraw_{mapping}")])
    largest = np.abs(recorded).max()

    reference = fit.predict(counts, segments=tuple(range(len(counts))))["velocity"]
    assert np.abs(reference - recorded).max() < 1e-6

    bundle = export_bundle(
        fit,
        tmp_path / "b",
        name="n",
        family="kalman",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=counts,
    )
    rest = {"state": np.zeros((len(counts), 2))}
    assert np.abs(decode_steps(bundle, counts, rest)["velocity"] - recorded).max() < 1e-6 * largest

    running = fit.predict(counts)["velocity"]
    shares = recorded + np.concatenate([np.zeros((1, 2)), running[:-1]]) @ own.M1.T
    assert np.abs(running - shares).max() < 1e-6
    assert np.abs(decode_steps(bundle, counts)["velocity"] - running).max() < 1e-6 * np.abs(running).max()


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"history": 1, "position": True}, (0.43, 0.48)),
        ({"history": 1, "position": True, "covariance": "running"}, (0.43, 0.48)),
        ({}, (0.74, 0.69)),
    ],
)
def test_kalman_on_contdata95_at_100_ms(recordings: Path, settings: dict[str, Any], least: tuple[float, float]) -> None:
    raw = loadmat(recordings / "contdata95" / "contdata95.mat")
    position, velocity = raw["X"][:, :2].astype(np.float64), raw["X"][:, 2:4].astype(np.float64)
    counts = raw["Y"].astype(np.float32)
    starts = np.flatnonzero((velocity == 0).all(axis=1))
    train, test = last_fraction_of_trials(starts, len(counts))
    joins = tuple(starts[starts < train.stop].tolist())
    kalman = family("kalman")
    data = TrainingData(counts[train], velocity[train], joins=joins, positions=position[train])
    fit = kalman.fit(data, kalman.check(settings))
    score = r2(velocity[test], fit.predict(counts[test])["velocity"])
    assert (score >= least).all(), score

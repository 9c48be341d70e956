"""Laws of the Kalman filters and of the model that they follow from."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.errors import ConfigError
from cortexwire.training import TrainingData, export_bundle, family, r2
from cortexwire.training.families.kalman import from_matrices
from cortexwire.training.kalman_filters import Kalman, RunningKalman, SteadyKalman
from cortexwire.types import Features
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM

Matrix = NDArray[np.float64]

TRANSITION = np.array([[0.9, 0.1], [-0.1, 0.8]])
NOISE = np.array([[2.0, 0.5], [0.5, 1.0]])
VARIANTS = [
    {"covariance": covariance, "position": position, "history": history}
    for covariance in ("steady", "running")
    for position, history in ((False, 1), (True, 3))
]


class World(NamedTuple):
    """A linear-Gaussian world that does what the model says."""

    features: Features
    velocity: Matrix
    position: Matrix


def _world(n_bins: int = 3000, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    velocity = np.zeros((n_bins, 2))
    for k in range(1, n_bins):
        velocity[k] = TRANSITION @ velocity[k - 1] + rng.multivariate_normal(np.zeros(2), NOISE)
    mixing = rng.normal(size=(8, 8))
    tuning = rng.normal(size=(8, 2))
    features = velocity @ tuning.T + 2 * rng.normal(size=(n_bins, 8)) @ mixing.T + 5
    position = np.cumsum(np.concatenate([np.zeros((1, 2)), 0.1 * velocity[:-1]]), axis=0)
    return World(features.astype(np.float32), velocity + np.array([3.0, -2.0]), position)


def _fit(data: TrainingData, **settings: Any) -> Kalman:
    kalman = family("kalman")
    fitted = kalman.fit(data, kalman.check({"shrinkage": 0, "history": 1, **settings}))
    assert isinstance(fitted, Kalman)
    return fitted


def _exported(fit: Kalman, folder: Path, features: Features) -> Bundle:
    return export_bundle(
        fit,
        folder / "b",
        name="n",
        family="kalman",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features[:500],
    )


def _textbook(world: World, a: Matrix, w: Matrix) -> Matrix:
    """Filter as Wu et al. write it, with the whole noise of the observation inverted at every step."""
    z, mean = world.features.astype(np.float64), world.velocity.mean(axis=0)
    z = z - z.mean(axis=0)
    x = world.velocity - mean
    c = np.linalg.lstsq(x, z, rcond=None)[0].T
    q = np.cov((z - x @ c.T).T, bias=True)
    state, covariance, out = -mean, np.zeros((2, 2)), []
    for seen in z:
        state, covariance = a @ state, a @ covariance @ a.T + w
        gain = covariance @ c.T @ np.linalg.inv(c @ covariance @ c.T + q)
        state, covariance = state + gain @ (seen - c @ state), (np.eye(2) - gain @ c) @ covariance
        out.append(state + mean)
    return np.array(out)


def test_the_transition_of_a_world_is_found() -> None:
    world = _world(20_000)
    fit = _fit(TrainingData(world.features, world.velocity), covariance="running")
    assert isinstance(fit, RunningKalman)
    np.testing.assert_allclose(fit.transition, TRANSITION, atol=0.02)
    np.testing.assert_allclose(fit.noise, NOISE, atol=0.06)
    np.testing.assert_allclose(fit.drift, (np.eye(2) - TRANSITION) @ world.velocity.mean(axis=0), atol=0.1)


def test_the_running_filter_is_the_textbook_filter() -> None:
    world = _world()
    fit = _fit(TrainingData(world.features, world.velocity), covariance="running")
    assert isinstance(fit, RunningKalman)
    want = _textbook(world, fit.transition, fit.noise)
    np.testing.assert_allclose(fit.predict(world.features)["velocity"], want, rtol=0, atol=1e-4 * np.abs(want).max())


def test_the_steady_filter_is_where_the_running_one_settles() -> None:
    world = _world()
    data = TrainingData(world.features, world.velocity, positions=world.position)
    variants: tuple[tuple[dict[str, Any], float], ...] = (
        ({}, 1e-6),
        ({"history": 3}, 1e-6),
        ({"position": True}, 0.01),
    )
    for settings, apart in variants:
        steady, running = (_fit(data, covariance=name, **settings) for name in ("steady", "running"))
        a, b = (fit.predict(world.features)["velocity"] for fit in (steady, running))
        np.testing.assert_allclose(a[500:], b[500:], rtol=0, atol=apart)
        assert steady.memory_bins == running.memory_bins
        assert (r2(world.velocity, a) > 0.3).all()


def test_memory_lasts_until_an_observation_is_forgotten() -> None:
    world = _world(600)
    fit = _fit(TrainingData(world.features, world.velocity), history=2)
    other = world.features.copy()
    other[300] += 10
    gap = np.linalg.norm(fit.predict(other)["velocity"] - fit.predict(world.features)["velocity"], axis=1)
    assert gap[:300].max() == 0
    assert gap[300 + fit.memory_bins :].max() <= 0.02 * gap.max()
    assert fit.warm_up_bins == fit.memory_bins - 1 >= 1


def test_steps_across_joins_and_segments_teach_no_transition() -> None:
    world = _world(9000)
    order = np.random.default_rng(1).permutation(450)
    shuffled = (np.arange(9000).reshape(450, 20)[order]).ravel()
    features, velocity = world.features[shuffled], world.velocity[shuffled]
    joins = tuple(range(20, 9000, 20))

    def error(data: TrainingData) -> float:
        fit = _fit(data, covariance="running")
        return float(np.abs(fit.transition - TRANSITION).max())

    assert error(TrainingData(features, velocity, joins=joins)) < 0.02
    assert error(TrainingData(features, velocity, segments=(0, *joins))) < 0.02
    assert error(TrainingData(features, velocity)) > 0.03
    fit = _fit(TrainingData(features, velocity, joins=joins))
    assert fit.summary["bins"] == 9000
    assert fit.summary["steps"] == 9000 - 450


def test_bins_that_do_not_teach_are_left_out_of_the_observation() -> None:
    world = _world(2000)
    keep = np.arange(2000) % 3 != 0
    spoiled = np.where(keep[:, None], world.features, 1e3).astype(np.float32)
    clean = _fit(TrainingData(world.features, world.velocity, keep))
    dirty = _fit(TrainingData(spoiled, world.velocity, keep))
    np.testing.assert_array_equal(clean.weights, dirty.weights)
    unknown = np.where(keep[:, None], world.velocity, np.nan)
    assert _fit(TrainingData(world.features, unknown)).summary["steps"] == np.sum(keep[1:] & keep[:-1])


def test_a_position_is_the_integral_of_velocity_unless_it_is_free() -> None:
    world = _world()
    data = TrainingData(world.features, world.velocity, positions=world.position)
    kinematic = _fit(data, covariance="running", position=True)
    np.testing.assert_allclose(kinematic.transition[:2, :2], np.eye(2))
    np.testing.assert_allclose(kinematic.transition[:2, 2:], 0.1 * np.eye(2), rtol=1e-4)
    np.testing.assert_allclose(kinematic.transition[2:, :2], 0)
    free = _fit(data, covariance="running", position=True, transition="free")
    assert (free.transition[2:, :2] != 0).all()
    outputs = free.predict(world.features)
    assert {name: values.shape for name, values in outputs.items()} == {"velocity": (3000, 2), "position": (3000, 2)}


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(map(str, s.values())))
def test_the_exported_filters_obey_the_battery(tmp_path: Path, settings: dict[str, Any]) -> None:
    world = _world(1500)
    fit = _fit(TrainingData(world.features, world.velocity, positions=world.position), **settings)
    bundle = _exported(fit, tmp_path, world.features)
    check_decoder(lambda: OnnxDecoder(bundle), fit.predict)
    assert bundle.manifest.parity["recorded_own_state"] <= 1e-5
    units = {spec.name: spec.unit for spec in bundle.manifest.outputs if spec.role != "state"}
    assert units == {"velocity": "mm/s", **({"position": "mm"} if settings["position"] else {})}


def test_a_segment_starts_from_rest() -> None:
    world = _world(400)
    for covariance in ("steady", "running"):
        fit = _fit(TrainingData(world.features, world.velocity), covariance=covariance, history=2)
        whole = fit.predict(world.features, segments=(0, 200))["velocity"]
        np.testing.assert_allclose(whole[200:], fit.predict(world.features[200:])["velocity"])
    assert fit.predict(world.features[:0])["velocity"].shape == (0, 2)


def test_a_dead_channel_has_no_say() -> None:
    world = _world()
    features = world.features.copy()
    features[:, 3] = 2
    fit = _fit(TrainingData(features, world.velocity), shrinkage=0.05)
    assert np.abs(fit.weights[:, 3]).max() < 1e-3 * np.abs(fit.weights).max()


def test_known_matrices_make_the_filter_that_they_define(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    m1, m2, m0 = TRANSITION, rng.normal(size=(2, 8)), np.array([4.0, -1.0])
    counts = rng.poisson(3, (200, 8)).astype(np.float32)
    velocity, want = np.zeros(2), []
    for u in counts:
        velocity = m1 @ velocity + m2 @ u + m0
        want.append(velocity)
    for mean in (None, counts.mean(axis=0)):
        fit = from_matrices(m1, m2, m0, feature_mean=mean)
        np.testing.assert_allclose(fit.predict(counts)["velocity"], want, atol=1e-4)
    bundle = _exported(fit, tmp_path, counts)
    check_decoder(lambda: OnnxDecoder(bundle), fit.predict)


def test_matrices_that_make_no_filter_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected M1 \(d, d\), M2 \(d, n\), m0 \(d,\)"):
        from_matrices(np.eye(3), np.zeros((2, 8)), np.zeros(2))
    with pytest.raises(ConfigError, match="expected a filter that forgets, got a spectral radius of 1"):
        from_matrices(np.eye(2), np.zeros((2, 8)), np.zeros(2))


def _closed_loop(world: World) -> TrainingData:
    goals = np.where(np.arange(len(world.velocity))[:, None] % 5 == 4, np.nan, 40.0)
    goals = np.broadcast_to(goals, world.position.shape)
    return TrainingData(world.features, world.velocity, positions=world.position, goals=goals, closed_loop=True)


def test_a_refit_learns_from_what_was_intended() -> None:
    world = _world()
    data = _closed_loop(world)
    toward = 40 - world.position
    unit = toward / np.linalg.norm(toward, axis=1, keepdims=True)
    meant = unit * np.linalg.norm(world.velocity, axis=1, keepdims=True)
    meant[np.linalg.norm(toward, axis=1) <= 10] = 0
    meant[4::5] = np.nan
    by_hand = _fit(TrainingData(world.features, meant))
    refit = _fit(data, refit=True, hold_radius=10)
    np.testing.assert_allclose(refit.weights, by_hand.weights)
    assert refit.summary["bins"] == 2400


def test_a_refit_of_anything_but_closed_loop_trials_with_targets_is_refused() -> None:
    world = _world(300)
    open_loop = TrainingData(world.features, world.velocity, positions=world.position, goals=world.position)
    with pytest.raises(ConfigError, match="refit: expected closed-loop trials"):
        _fit(open_loop, refit=True)
    aimless = TrainingData(world.features, world.velocity, positions=world.position, closed_loop=True)
    with pytest.raises(ConfigError, match=r"refit: expected columns of the cursor's position and its target.*goals"):
        _fit(aimless, refit=True)
    nowhere = np.full_like(world.position, np.nan)
    with pytest.raises(ConfigError, match="refit: expected bins with a velocity, a position and a target"):
        _fit(
            TrainingData(world.features, world.velocity, positions=world.position, goals=nowhere, closed_loop=True),
            refit=True,
        )


def test_data_that_cannot_make_a_filter_are_refused() -> None:
    world = _world(300)
    with pytest.raises(ConfigError, match="expected positions to put them into the state"):
        _fit(TrainingData(world.features, world.velocity), position=True)
    with pytest.raises(ConfigError, match="bins of history, got none"):
        _fit(TrainingData(world.features, world.velocity), history=400)
    with pytest.raises(ConfigError, match="steps from bin to bin, got 0"):
        _fit(TrainingData(world.features, world.velocity, joins=tuple(range(300))))
    with pytest.raises(ConfigError, match="joins: expected ascending bins"):
        TrainingData(world.features, world.velocity, joins=(3, 3))
    with pytest.raises(ConfigError, match="joins: expected ascending bins"):
        TrainingData(world.features, world.velocity, joins=(300,))
    with pytest.raises(ConfigError, match="goals: expected the shape of the targets"):
        TrainingData(world.features, world.velocity, goals=world.position[1:])


def test_a_filter_of_given_matrices_is_steady() -> None:
    assert isinstance(from_matrices(TRANSITION, np.ones((2, 8)), np.zeros(2)), SteadyKalman)

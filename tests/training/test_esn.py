"""Laws of the reservoir, its read-outs, and the echo-state network that they make."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training import TrainingData, export_bundle, family, last_fraction_of_trials, r2
from cortexwire.training.contract import Trace
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.recursive_least_squares import RecursiveLeastSquares
from cortexwire.training.reservoir import Reservoir
from cortexwire.types import Features
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording

SMALL: dict[str, Any] = {"units": 60, "leaks": (0.5,), "input_scalings": (0.3,), "direct": 3}
FORCE: dict[str, Any] = {**SMALL, "training": "force"}


def _fit(data: TrainingData, **settings: Any) -> FittedEsn:
    esn = family("esn")
    fitted = esn.fit(data, esn.check({**SMALL, **settings}))
    assert isinstance(fitted, FittedEsn)
    return fitted


def _exported(fit: FittedEsn, folder: Path, features: Features) -> Bundle:
    return export_bundle(
        fit,
        folder / "b",
        name="n",
        family="esn",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features[:500],
    )


def test_a_reservoir_has_the_radius_and_the_drives_asked_for() -> None:
    drawn = Reservoir.draw(150, 10, 40, seed=2).scaled(radius=0.8, inputs=0.3, offset=0.5, leak=0.4)
    dense = np.zeros((150, 150))
    for unit in range(150):
        assert len(set(drawn.sources[:, unit])) == 10
        dense[unit, drawn.sources[:, unit]] = drawn.recurrent[:, unit]
    assert np.abs(np.linalg.eigvals(dense)).max() == pytest.approx(0.8, rel=1e-4)
    z = np.random.default_rng(0).normal(size=(500, 40)).astype(np.float32)
    assert (drawn.drive(z) - drawn.offset).std() == pytest.approx(0.3, rel=0.1)
    assert drawn.offset.std() == pytest.approx(0.5, rel=0.2)

    state = np.random.default_rng(1).normal(size=150)
    want = 0.6 * state + 0.4 * np.tanh(dense @ state + drawn.drive(z[:1])[0])
    np.testing.assert_allclose(drawn.advance(state, drawn.drive(z[:1])[0]), want)
    np.testing.assert_allclose(drawn.run(state, drawn.drive(z[:1]))[0], want)


def test_recursive_least_squares_is_ridge() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 12)), rng.normal(size=(300, 2))
    rule = RecursiveLeastSquares(12, 2, penalty=3.0)
    for row, target in zip(x, y, strict=True):
        rule.learn(row, row @ rule.weights - target)
    np.testing.assert_allclose(rule.weights, np.linalg.solve(x.T @ x + 3 * np.eye(12), x.T @ y), atol=1e-9)


@pytest.mark.parametrize("settings", [SMALL, {**SMALL, "direct": 0}, FORCE], ids=["ridge", "reservoir", "force"])
def test_a_network_decodes_what_was_held_out(settings: dict[str, Any]) -> None:
    features, velocity = recording(2000)
    fit = _fit(TrainingData(features[:1600], velocity[:1600]), **settings)
    assert (r2(velocity[1600:], fit.predict(features)["velocity"][1600:]) > 0.5).all()
    assert fit.contracting
    assert fit.warm_up_bins == fit.memory_bins - 1
    shifted = np.roll(velocity, 900, axis=0)
    null = _fit(TrainingData(features[:1600], shifted[:1600]), **settings)
    assert (r2(shifted[1600:], null.predict(features)["velocity"][1600:]) < 0.05).all()


@pytest.mark.parametrize("settings", [SMALL, {**SMALL, "direct": 0}, FORCE], ids=["ridge", "reservoir", "force"])
def test_the_exported_networks_obey_the_battery(tmp_path: Path, settings: dict[str, Any]) -> None:
    features, velocity = recording(800)
    fit = _fit(TrainingData(features, velocity), **settings)
    bundle = _exported(fit, tmp_path, features)
    check_decoder(lambda: OnnxDecoder(bundle), fit.predict)
    assert bundle.manifest.parity["recorded_own_state"] <= 1e-5
    read_out = {"feature_mean", "feature_scale", "weights", "bias"}
    assert {spec.name for spec in bundle.manifest.inputs_of("parameter")} == read_out


def test_a_seed_makes_one_network() -> None:
    features, velocity = recording(500)
    first, again, other = (_fit(TrainingData(features, velocity), seed=seed) for seed in (1, 1, 2))
    assert first.weights.tobytes() == again.weights.tobytes() != other.weights.tobytes()


def test_the_strengths_are_chosen_on_the_last_part() -> None:
    features, velocity = recording(1500)
    data = TrainingData(features, velocity)
    leaks, inputs = (0.02, 0.6), (0.3, 30.0)
    fit = _fit(data, leaks=leaks, input_scalings=inputs, direct=0)
    assert (fit.summary["leak"], fit.summary["input_scaling"]) == (0.6, 0.3)
    rivals = [_fit(data, leaks=(a,), input_scalings=(b,), direct=0) for a in leaks for b in inputs]
    scores = [np.mean(rival.summary["validation_r2"]) for rival in rivals]
    assert np.mean(fit.summary["validation_r2"]) == max(scores)


def test_bins_that_do_not_teach_change_nothing() -> None:
    features, velocity = recording(600)
    keep = np.arange(600) % 4 != 0
    other = np.where(keep[:, None], velocity, 1e6)
    for settings in (SMALL, FORCE):
        a, b = (_fit(TrainingData(features, targets, keep), **settings) for targets in (velocity, other))
        assert a.weights.tobytes() == b.weights.tobytes()
        assert a.summary["bins"] == keep[2:].sum()


def test_a_segment_starts_from_rest_and_a_prediction_is_causal() -> None:
    features, velocity = recording(600)
    for settings in (SMALL, FORCE):
        fit = _fit(TrainingData(features, velocity, segments=(0, 250)), **settings)
        whole = fit.predict(features, segments=(0, 250))["velocity"]
        np.testing.assert_allclose(whole[250:], fit.predict(features[250:])["velocity"], rtol=1e-9)
        changed = features.copy()
        changed[400:] = 9
        np.testing.assert_array_equal(fit.predict(changed, segments=(0, 250))["velocity"][:400], whole[:400])
        assert fit.predict(features[:0])["velocity"].shape == (0, 2)


def test_memory_lasts_until_the_start_is_forgotten() -> None:
    features, velocity = recording(1500)
    data = TrainingData(features, velocity)
    brief, long = (_fit(data, leaks=(leak,), spectral_radii=(0.5,), direct=0) for leak in (0.9, 0.05))
    assert brief.memory_bins < long.memory_bins
    late = features[300:]
    gap = np.abs(long.predict(late)["velocity"] - long.predict(features)["velocity"][300:])
    assert gap[long.memory_bins :].max() < 0.05 * velocity.std()


class Drifting:
    """A chaotic network whose reference may tell wrong states."""

    def __init__(self, fit: FittedEsn, error: float) -> None:
        self._fit, self._error = fit, error
        self.memory_bins, self.warm_up_bins, self.contracting = fit.memory_bins, fit.warm_up_bins, False
        self.summary, self.predict, self.graph = fit.summary, fit.predict, fit.graph

    def trace(self, features: Features) -> Trace:
        """Tell the states with an error."""
        outputs, states = self._fit.trace(features)
        return Trace(outputs, {name: values * (1 + self._error) for name, values in states.items()})


def test_a_chaotic_network_is_held_to_its_reference_from_the_references_own_state(tmp_path: Path) -> None:
    features, velocity = recording(800)
    fit = _fit(TrainingData(features, velocity), spectral_radii=(4.0,), input_scalings=(0.05,), leaks=(1.0,))
    assert not fit.contracting
    assert fit.memory_bins < 800
    parity = _exported(fit, tmp_path, features).manifest.parity
    assert parity["recorded"] > 1e-3
    assert parity["recorded_own_state"] <= 1e-5
    with pytest.raises(BundleError, match="agree within 1e-05 over the random sequence"):
        export_bundle(
            Drifting(fit, 1e-3),
            tmp_path / "c",
            name="n",
            family="esn",
            stream=STREAM,
            front_end={},
            unit="mm/s",
            recorded=features[:100],
        )
    assert not (tmp_path / "c").exists()


def test_data_that_cannot_make_a_network_are_refused() -> None:
    features, velocity = recording(300)
    unknown = np.full_like(velocity, np.nan)
    with pytest.raises(ConfigError, match="esn: expected bins with targets and history, got none"):
        _fit(TrainingData(features, unknown))
    with pytest.raises(ConfigError, match="esn: expected targets that vary"):
        _fit(TrainingData(features, np.zeros_like(velocity)), **FORCE)
    with pytest.raises(ConfigError, match="<= 1"):
        _fit(TrainingData(features, velocity), leaks=(1.5,))


@pytest.mark.realdata
@pytest.mark.parametrize("settings", [{}, {"training": "force", "direct": 2, "every": 2}], ids=["ridge", "force"])
def test_esn_on_contdata95_at_100_ms(recordings: Path, settings: dict[str, Any]) -> None:
    raw = loadmat(recordings / "contdata95" / "contdata95.mat")
    velocity, counts = raw["X"][:, 2:4].astype(np.float64), raw["Y"].astype(np.float32)
    train, test = last_fraction_of_trials(np.flatnonzero((velocity == 0).all(axis=1)), len(counts))
    chosen = {"units": 300, "leaks": (0.7,), "input_scalings": (0.2,), "direct": 5, **settings}
    fit = _fit(TrainingData(counts[train], velocity[train]), **chosen)
    score = r2(velocity[test], fit.predict(counts[test])["velocity"])
    assert (score >= [0.78, 0.75]).all(), score

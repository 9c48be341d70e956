"""Laws of the export: what is served is what was fitted, or nothing is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import OnnxDecoder, load_bundle
from cortexwire.decoders.manifest import InputSpec, Timing, TrainingSpec
from cortexwire.errors import BundleError
from cortexwire.training import export_bundle, r2, seeded_bundle, shuffled_bundle
from cortexwire.training.contract import StepGraph
from cortexwire.training.export import TOLERANCE, decode_steps, relative_difference
from cortexwire.training.families.wiener import FittedWiener, fit_wiener
from cortexwire.types import Features
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording


def _fit() -> tuple[FittedWiener, Features]:
    features, velocity = recording(600)
    return fit_wiener(features, velocity, history=5), features


def test_the_exported_filter_obeys_the_battery(tmp_path: Path) -> None:
    fit, features = _fit()
    bundle = export_bundle(
        fit,
        tmp_path / "b",
        name="n",
        family="wiener",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features,
    )
    check_decoder(lambda: OnnxDecoder(bundle), fit.predict)


def test_the_manifest_says_what_was_fitted(tmp_path: Path) -> None:
    fit, features = _fit()
    export_bundle(
        fit,
        tmp_path / "b",
        name="reaching",
        family="wiener",
        stream=STREAM,
        front_end={"threshold": -4.5},
        unit="mm/s",
        recorded=features,
        training=TrainingSpec(
            channel_rates_hz=(4.0,) * 8,
            seed=7,
            sessions=("monday",),
            scores={"velocity R²": [0.7, 0.6], "moving": {"x": 0.5}},
        ),
    )
    manifest = load_bundle(tmp_path / "b").manifest
    assert manifest.front_end == {"threshold": -4.5}
    assert (manifest.memory_bins, manifest.warm_up_bins, manifest.n_features) == (5, 4, 8)
    assert manifest.features.timing == Timing(stream="bins", rate_num=50)
    assert (manifest.velocity.unit, manifest.velocity.safe_action) == ("mm/s", "zero")
    assert manifest.training.settings["lambda"] == fit.summary["lambda"]
    assert manifest.parity["random"] <= TOLERANCE
    assert manifest.parity["recorded"] <= TOLERANCE
    assert {"numpy", "onnx", "onnxruntime", "cortexwire"} <= manifest.created_by.keys()
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    for said in (
        "# reaching",
        "`wiener`",
        "monday",
        "| velocity R² | 0.7, 0.6 |",
        "| moving | x: 0.5 |",
        "30000 Hz",
        "mm/s",
    ):
        assert said in card


class Unfaithful:
    """A fit whose graph is another filter than its reference."""

    def __init__(self, fit: FittedWiener, error: float) -> None:
        self._fit, self._error = fit, error
        self.memory_bins, self.warm_up_bins = fit.memory_bins, fit.warm_up_bins
        self.summary: Mapping[str, Any] = {}

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode with an error."""
        velocity = self._fit.predict(features, segments)["velocity"]
        return {"velocity": velocity + self._error * np.abs(velocity).max()}

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export without one."""
        return self._fit.graph(features, unit)


@pytest.mark.parametrize("error", [3e-5, np.nan])
def test_a_graph_that_differs_from_its_reference_is_never_written(tmp_path: Path, error: float) -> None:
    fit, features = _fit()
    with pytest.raises(BundleError, match="agree within 1e-05 over the random sequence, got"):
        export_bundle(
            Unfaithful(fit, error),
            tmp_path / "b",
            name="n",
            family="wiener",
            stream=STREAM,
            front_end={},
            unit="mm/s",
            recorded=features,
        )
    assert not (tmp_path / "b").exists()


def test_a_missing_output_is_an_infinite_difference() -> None:
    assert relative_difference({}, {"velocity": np.ones((2, 2))}) == np.inf


def test_stepping_through_nothing_gives_nothing(tmp_path: Path) -> None:
    bundle = seeded_bundle(tmp_path / "b", seed=1, stream=STREAM)
    assert decode_steps(bundle, np.zeros((0, 8), np.float32)) == {}


def test_a_seed_makes_one_bundle(tmp_path: Path) -> None:
    first, again, other = (
        seeded_bundle(tmp_path / name, seed=seed, stream=STREAM) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.hash == again.hash != other.hash
    assert (first.parameters["weights"] != 0).all()
    assert (first.parameters["bias"] != 0).all()


def test_shuffling_keeps_the_weights_and_loses_the_decoder(tmp_path: Path) -> None:
    features, velocity = recording()
    fit = fit_wiener(features[:1200], velocity[:1200], history=5)
    bundle = export_bundle(
        fit,
        tmp_path / "b",
        name="n",
        family="wiener",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features,
    )
    shuffled = shuffled_bundle(bundle, tmp_path / "s", seed=4)
    assert shuffled.hash == load_bundle(tmp_path / "s").hash != bundle.hash
    before, after = (np.sort(b.parameters["weights"].ravel()) for b in (bundle, shuffled))
    np.testing.assert_array_equal(before, after)
    scores = [r2(velocity[1200:], decode_steps(b, features)["velocity"][1200:]).min() for b in (bundle, shuffled)]
    assert scores[0] > 0.5
    assert scores[1] < 0.1


def test_a_bundle_without_weights_cannot_be_shuffled(tmp_path: Path) -> None:
    bundle = seeded_bundle(tmp_path / "b", seed=1, stream=STREAM)
    nameless = type(bundle)(
        path=bundle.path,
        manifest=bundle.manifest,
        model=bundle.model,
        card=bundle.card,
        parameters={"bias": bundle.parameters["bias"]},
        sha256=bundle.sha256,
    )
    with pytest.raises(BundleError, match=r"expected a parameter weights, got \['bias'\]"):
        shuffled_bundle(nameless, tmp_path / "s", seed=1)


def test_a_bin_of_any_length_has_an_exact_rate(tmp_path: Path) -> None:
    stream = msgspec.structs.replace(STREAM, bin_ms=12.5)
    timing = seeded_bundle(tmp_path / "b", seed=1, stream=stream).manifest.features.timing
    assert timing == Timing(stream="bins", rate_num=80)

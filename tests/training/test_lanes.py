"""Decoding side by side gives what decoding one by one gives, whatever the graph."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.decoders import Bundle, make_overlay, write_bundle
from cortexwire.decoders.manifest import Manifest
from cortexwire.training import seeded_bundle
from cortexwire.training.lanes import LANES, Lanes
from cortexwire.training.step_graph import StepBuilder
from tests.training.examples import STREAM
from tests.training.test_complexity import FEATURES
from tests.training.test_complexity import STREAM as FOUR


def _features(n_bins: int = 30) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.poisson(1.0, (n_bins, 8)).astype(np.float32) for _ in range(LANES + 3)]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return seeded_bundle(tmp_path / "b", seed=2, stream=STREAM, history=4)


def test_many_variants_decode_as_each_does_alone(bundle: Bundle) -> None:
    lanes, variants = Lanes(bundle), _features()
    assert lanes.side_by_side
    _, state = lanes.run(variants[0])
    together = list(lanes.run_all(variants, state))
    assert len(together) == len(variants)
    for variant, decoded in zip(variants, together, strict=True):
        np.testing.assert_allclose(decoded, lanes.run(variant, state)[0], rtol=1e-4, atol=1e-3)


def test_a_run_can_be_cut_anywhere(bundle: Bundle) -> None:
    lanes, (variant, *_) = Lanes(bundle), _features()
    whole, _ = lanes.run(variant)
    before, state = lanes.run(variant[:13])
    np.testing.assert_array_equal(np.concatenate([before, lanes.run(variant[13:], state)[0]]), whole)


def test_an_overlay_is_in_force_side_by_side_too(bundle: Bundle) -> None:
    overlay = make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + 1})
    lanes, variants = Lanes(bundle, overlay), _features()
    np.testing.assert_array_equal(lanes.feature_mean, overlay.parameters["feature_mean"])
    shifted = [variant + 1 for variant in variants[:2]]
    for decoded, plain in zip(lanes.run_all(shifted), Lanes(bundle).run_all(variants[:2]), strict=True):
        np.testing.assert_allclose(decoded, plain, rtol=1e-4, atol=1e-3)


def test_a_graph_that_cannot_be_widened_is_stepped_through(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    step.node("Reshape", [z, step.constant("one", [1, 4])], "fixed")
    step.output(step.piece("fixed", 0, 2, "velocity"), "velocity", 2, "")
    built = step.build()
    manifest = Manifest(
        name="n",
        family="f",
        stream=FOUR,
        front_end={},
        inputs=built.inputs,
        outputs=built.outputs,
        memory_bins=1,
        warm_up_bins=0,
    )
    lanes = Lanes(write_bundle(tmp_path / "b", built.model, manifest, ""))
    assert not lanes.side_by_side
    variants = [np.full((3, 4), k, np.float32) for k in range(3)]
    for k, decoded in enumerate(lanes.run_all(variants)):
        np.testing.assert_array_equal(decoded, np.full((3, 2), k))

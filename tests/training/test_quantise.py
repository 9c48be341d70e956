"""Laws of int8 weights: the graph is the reference still, it is smaller, and its cost is told."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cortexwire.decoders import OnnxDecoder
from cortexwire.errors import ConfigError
from cortexwire.training import export_bundle, family
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from cortexwire.training.lanes import Lanes
from cortexwire.training.outputs import plan
from cortexwire.training.quantise import MOST, quantised, steps_and_scales
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording
from tests.training.networks import random_network

FEATURES, TARGETS = recording(300)
CELLS = ("rnn", "gru", "lstm")


def _export(fitted: Fitted, folder: Path) -> Any:
    return export_bundle(
        fitted,
        folder,
        name="n",
        family="gru",
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=FEATURES,
        outputs=plan(("vx", "vy"), None),
    )


def test_no_weight_is_off_by_more_than_half_a_step() -> None:
    weights = np.random.default_rng(0).normal(size=(7, 50)).astype(np.float32)
    weights[3] = 0
    steps, scales = steps_and_scales(weights)
    assert steps.dtype == np.int8
    assert (np.abs(steps).max(axis=1) == np.where(np.arange(7) == 3, 0, MOST)).all()
    assert (np.abs(steps * scales[:, None] - weights) <= scales[:, None] * 0.5001).all()


@pytest.mark.parametrize("name", CELLS)
def test_an_int8_graph_obeys_the_battery_of_decoders(name: str, tmp_path: Path) -> None:
    fitted, _ = quantised(random_network(name), TrainingData(FEATURES, TARGETS))
    bundle = _export(fitted, tmp_path / "b")
    check_decoder(lambda: OnnxDecoder(bundle), lambda features: fitted.predict(features))
    assert bundle.manifest.parity["recorded_own_state"] < 1e-6
    assert Lanes(bundle).side_by_side


@pytest.mark.parametrize("name", CELLS)
def test_int8_weights_are_kept_as_int8_and_their_cost_is_told(name: str, tmp_path: Path) -> None:
    whole = random_network(name)
    small, cost = quantised(whole, TrainingData(FEATURES, whole.predict(FEATURES)["velocity"]))
    sizes = [len(_export(fitted, tmp_path / kind).model) for fitted, kind in ((whole, "f"), (small, "i"))]
    kept = onnx.load_model_from_string(_export(small, tmp_path / "j").model).graph.initializer
    n_bytes = sum(len(tensor.raw_data) for tensor in kept if tensor.data_type == onnx.TensorProto.INT8)
    assert n_bytes * 4 == cost["weight_bytes_float32"]
    assert sizes[1] < sizes[0]
    assert cost["validation_r2_float32"] == 1.0
    assert 0 < cost["validation_r2_lost"] < 0.05
    np.testing.assert_allclose(
        small.predict(FEATURES)["velocity"], whole.predict(FEATURES)["velocity"], rtol=0, atol=10
    )


def test_what_has_no_recurrent_layers_is_refused() -> None:
    data = TrainingData(FEATURES, TARGETS)
    wiener = family("wiener")
    for fitted in (wiener.fit(data, wiener.check({"history": 2})), random_network("tcn"), random_network("snn")):
        with pytest.raises(ConfigError, match="recurrent layers"):
            quantised(fitted, data)

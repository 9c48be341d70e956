"""Laws of a step for several streams: each is decoded as if it were alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from cortexwire.decoders.bundle import Bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training import export_bundle, family
from cortexwire.training.batched import NAMED, write_batched
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from tests.training.examples import STREAM, recording
from tests.training.networks import TINY, random_network

FEATURES, TARGETS = recording(400)
FREE: dict[str, dict[str, Any]] = {
    "wiener": {"history": 3},
    "cascade": {"history": 3},
    "kalman": {"covariance": "running"},
    "esn": {"units": 40, "search_units": 20},
}


def _bundle(name: str, folder: Path) -> Bundle:
    fitted: Fitted
    if name in FREE:
        fam = family(name)
        fitted = fam.fit(TrainingData(FEATURES, TARGETS), fam.check(FREE[name]))
    else:
        fitted = random_network(name)
    return export_bundle(
        fitted, folder, name="n", family=name, stream=STREAM, front_end={}, unit="mm/s", recorded=FEATURES[:50]
    )


@pytest.mark.parametrize("name", [*FREE, *TINY])
def test_every_family_is_exported_with_a_batch_of_any_length(name: str, tmp_path: Path) -> None:
    bundle = _bundle(name, tmp_path / "b")
    session = onnxruntime.InferenceSession(write_batched(bundle, tmp_path / "any.onnx").read_bytes())
    for size in (1, 5):
        feeds = {spec.name: np.zeros((size, *spec.shape), spec.dtype) for spec in bundle.manifest.inputs_of("state")}
        (velocity,) = session.run(["velocity"], {"features": np.repeat(FEATURES[:1], size, axis=0), **feeds})
        assert velocity.shape == (size, 2)


def test_a_fixed_batch_is_in_the_file(tmp_path: Path) -> None:
    bundle = _bundle("gru", tmp_path / "b")
    fixed = onnx.load(write_batched(bundle, tmp_path / "four.onnx", 4)).graph.input[0]
    free = onnx.load(write_batched(bundle, tmp_path / "any.onnx")).graph.input[0]
    assert fixed.type.tensor_type.shape.dim[0].dim_value == 4
    assert free.type.tensor_type.shape.dim[0].dim_param == NAMED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any.onnx", "b", "four.onnx"]
    with pytest.raises(ConfigError, match="batch: expected 1 or more"):
        write_batched(bundle, tmp_path / "none.onnx", 0)


def test_a_graph_that_mixes_its_streams_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = _bundle("wiener", tmp_path / "b")
    from cortexwire.training import batched

    together = batched._together
    monkeypatch.setattr(
        batched,
        "_together",
        lambda *given: {name: rows[:, ::-1] for name, rows in together(*given).items()},
    )
    with pytest.raises(BundleError, match="expected stream 0 of 3 to be within"):
        write_batched(bundle, tmp_path / "mixed.onnx")
    assert not (tmp_path / "mixed.onnx").exists()

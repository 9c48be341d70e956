"""Laws of the bundle: it proves itself, or is refused with a message that says why."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cortexwire.decoders import Bundle, load_bundle, write_bundle
from cortexwire.decoders.bundle import FILES
from cortexwire.decoders.manifest import InputSpec, Manifest
from cortexwire.errors import BundleError
from tests.decoders.examples import changed, opened, small_bundle


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = small_bundle(tmp_path)
    read = load_bundle(written.path)
    assert (read.manifest, read.model, read.card, read.sha256) == (
        written.manifest,
        written.model,
        written.card,
        written.sha256,
    )
    assert read.hash == int.from_bytes(bytes.fromhex(read.sha256)[:8], "little")
    assert read.parameters["weights"].dtype == np.float32
    assert not read.parameters["weights"].flags.writeable


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    first = small_bundle(tmp_path)
    model, manifest = opened(first)
    again = write_bundle(tmp_path / "again", model, manifest, first.card)
    assert again.hash == first.hash
    assert [(again.path / f).read_bytes() for f in FILES] == [(first.path / f).read_bytes() for f in FILES]


def test_bundles_of_other_weights_have_other_hashes(tmp_path: Path) -> None:
    assert small_bundle(tmp_path, seed=1).hash != small_bundle(tmp_path, seed=2).hash


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    bundle = small_bundle(tmp_path)
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"missing: {name}"):
        load_bundle(bundle.path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: expected a bundle"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["decoder.onnx", "MODEL_CARD.md"])
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    bundle = small_bundle(tmp_path)
    data = bytearray((bundle.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.path / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name}: expected sha256 [0-9a-f]{{64}}, got [0-9a-f]{{64}}"):
        load_bundle(bundle.path)


def _edit(bundle: Bundle, edit: Callable[[dict[str, Any]], None]) -> None:
    path = bundle.path / "manifest.json"
    content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    edit(content)
    path.write_bytes(msgspec.json.encode(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(format=2), "expected manifest format 1, got 2"),
        (lambda m: m.update(surprise=1), "unknown field `surprise`"),
        (lambda m: m.pop("family"), "missing required field `family`"),
        (lambda m: m.update(memory_bins="many"), r"Expected `int`, got `str` - at `\$.memory_bins`"),
        (lambda m: m.update(memory_bins=0, warm_up_bins=-1), "memory_bins >= 1, got 0; .* got -1"),
        (lambda m: m["stream"].update(n_channels=8), "electrodes: expected none or 8 entries, got 7"),
        (lambda m: m["stream"].update(rate_num=0), "expected positive channels and rate, got 7 and 0/1"),
        (lambda m: m["stream"].update(bin_ms=0), "expected positive bin_ms"),
        (lambda m: m["inputs"].pop(0), "exactly one features input, got 0"),
        (lambda m: m["inputs"][0].update(content=["band_power", "counts"]), "both in this order"),
        (lambda m: m["inputs"][0].update(timing=None), "features: expected a timing"),
        (lambda m: m["inputs"][1].update(name="features"), "distinct input names"),
        (lambda m: m["inputs"].pop(2), r"parameter feature_mean of shape \(7,\), got none"),
        (lambda m: m["inputs"][2].update(dtype="float64"), "expected a float32 parameter, got float64"),
        (lambda m: m["outputs"][0].update(name="next_history"), "distinct output names"),
        (lambda m: m["outputs"].pop(1), "one state output for each state input"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    bundle = small_bundle(tmp_path)
    _edit(bundle, edit)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle.path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    (bundle.path / "manifest.json").write_bytes(b"{")
    with pytest.raises(BundleError, match=r"manifest\.json: Input data was truncated"):
        load_bundle(bundle.path)


def test_a_default_that_is_not_the_listed_one_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    _edit(bundle, lambda m: m["inputs"][4].update(sha256="0" * 64))
    with pytest.raises(BundleError, match=f"parameter weights: expected a default of sha256 {'0' * 64}"):
        load_bundle(bundle.path)


def _without_default(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    kept = [t for t in model.graph.initializer if t.name != "bias"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return manifest


def _default_for_a_state(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 35), np.float32), "history"))
    return manifest


def _unlisted_input(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    return changed(manifest, inputs=tuple(spec for spec in manifest.inputs if spec.name != "bias"))


def _absent_input(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    return changed(manifest, inputs=(*manifest.inputs, InputSpec(name="cursor", role="aux", shape=(2,))))


def _other_shape(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    velocity, state = manifest.outputs
    return changed(manifest, outputs=(msgspec.structs.replace(velocity, shape=(3,)), state))


def _infinite(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    (bias,) = (t for t in model.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.array([0, np.inf], np.float32), "bias"))
    return manifest


def _zero_scale(model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    (scale,) = (t for t in model.graph.initializer if t.name == "feature_scale")
    scale.CopyFrom(numpy_helper.from_array(np.zeros(7, np.float32), "feature_scale"))
    return manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_default, "parameter bias: expected a default value in the graph, got none"),
        (_default_for_a_state, "input history: expected no default value, got one"),
        (_unlisted_input, r"input bias: expected none, got float32 \[2\]"),
        (_absent_input, r"input cursor: expected float32 \[1, 2\], got none"),
        (_other_shape, r"output velocity: expected float32 \[1, 3\], got float32 \[1, 2\]"),
        (_infinite, "parameter bias: expected finite values"),
        (_zero_scale, "parameter feature_scale: expected values above zero"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_never_written(
    tmp_path: Path, change: Callable[[onnx.ModelProto, Manifest], Manifest], message: str
) -> None:
    model, manifest = opened(small_bundle(tmp_path))
    manifest = change(model, manifest)
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "new", model, manifest, "card")
    assert not (tmp_path / "new").exists()


def _elsewhere(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")
    return tensor


def _parameter_elsewhere(model: onnx.ModelProto) -> None:
    _elsewhere(next(t for t in model.graph.initializer if t.name == "bias"))


def _constant_elsewhere(model: onnx.ModelProto) -> None:
    value = _elsewhere(numpy_helper.from_array(np.zeros(2, np.float32), "hidden"))
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=value))


def _constant_of_a_branch_elsewhere(model: onnx.ModelProto) -> None:
    _constant_elsewhere(model)
    node = model.graph.node.pop()
    out = onnx.helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, [2])
    branch = onnx.helper.make_graph([node], "branch", [], [out])
    model.graph.node.append(
        onnx.helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
    )


@pytest.mark.parametrize("change", [_parameter_elsewhere, _constant_elsewhere, _constant_of_a_branch_elsewhere])
def test_a_graph_with_tensors_in_other_files_is_neither_written_nor_read(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    bundle = small_bundle(tmp_path)
    model, manifest = opened(bundle)
    change(model)
    with pytest.raises(BundleError, match="expected every tensor inside the file, got external data for"):
        write_bundle(tmp_path / "new", model, manifest, "card")
    _plant(bundle, model.SerializeToString())
    with pytest.raises(BundleError, match="expected every tensor inside the file, got external data for"):
        load_bundle(bundle.path)


def _plant(bundle: Bundle, data: bytes) -> None:
    """Put other bytes in the place of the model, and their hash in the manifest."""
    (bundle.path / "decoder.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    _edit(bundle, lambda m: m["files"].update({"decoder.onnx": digest}))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    _plant(bundle, b"not a model")
    with pytest.raises(BundleError, match=r"decoder\.onnx: expected an ONNX model"):
        load_bundle(bundle.path)


def test_a_model_that_breaks_the_rules_of_onnx_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    model, _ = opened(bundle)
    model.graph.node[0].input[0] = "from nowhere"
    _plant(bundle, model.SerializeToString())
    with pytest.raises(BundleError, match=r"decoder\.onnx: expected a valid ONNX model"):
        load_bundle(bundle.path)


def test_a_bundle_is_replaced_only_when_asked_and_nothing_else_ever(tmp_path: Path) -> None:
    first, other = small_bundle(tmp_path, seed=1), small_bundle(tmp_path, seed=2)
    model, manifest = opened(other)
    with pytest.raises(BundleError, match="expected no bundle yet"):
        write_bundle(first.path, model, manifest, other.card)
    assert write_bundle(first.path, model, manifest, other.card, replace=True).hash == other.hash
    assert load_bundle(first.path).hash == other.hash
    (first.path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"nothing but a bundle, got \['notes.txt'\]"):
        write_bundle(first.path, model, manifest, other.card, replace=True)
    with pytest.raises(BundleError, match="got a file"):
        write_bundle(first.path / "notes.txt", model, manifest, other.card, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle-1-5", "bundle-2-5"]

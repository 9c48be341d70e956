"""The figures of a step, against small graphs whose operations can be counted by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cortexwire.decoders import Bundle, write_bundle
from cortexwire.decoders.manifest import InputSpec, Manifest, OutputSpec, StreamSpec
from cortexwire.training import seeded_bundle
from cortexwire.training.complexity import complexity
from cortexwire.training.contract import StepGraph
from cortexwire.training.export import features_input
from cortexwire.training.step_graph import StepBuilder

STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=4, bin_ms=20.0)
FEATURES = features_input(STREAM, ("counts",))


def _bundle(folder: Path, step: StepGraph) -> Bundle:
    manifest = Manifest(
        name="n",
        family="f",
        stream=STREAM,
        front_end={},
        inputs=step.inputs,
        outputs=step.outputs,
        memory_bins=1,
        warm_up_bins=0,
    )
    return write_bundle(folder / "b", step.model, manifest, "")


def _f32(values: list[list[float]]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_a_dense_layer_counts_its_zeros(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    weights = _f32([[1, 0, 2, 3], [0, 0, 4, 5], [1, 1, 1, 1]])
    step.node("Relu", [step.node("Gemm", [z, step.parameter("hidden", weights)], "drive", transB=1)], "active")
    read = _f32([[1, 1, 1], [1, 0, 1]])
    step.output(step.node("Gemm", ["active", step.parameter("weights", read)], "velocity", transB=1), "velocity", 2, "")
    bundle = _bundle(tmp_path, step.build())
    # By hand, of the first layer: columns 0 and 3 are heard, with 2 + 3 weights that are not zero.
    found = complexity(bundle, _f32([[2.5, 0, 0, 1.5]]))
    assert (found.connections, found.dense_macs) == (12 + 6, 12 + 6)
    assert found.connection_sparsity == pytest.approx(4 / 18)
    assert found.effective_macs == 5 + 5
    assert found.activation_sparsity == 0
    silent = complexity(bundle, _f32([[-2.5, 0, 0, -0.1]]))
    assert silent.activation_sparsity == 1
    assert silent.effective_macs == 5
    assert found.dense_acs == found.effective_acs == 0
    assert found.model_rate_hz == 50
    assert found.footprint_bytes == 4 * (4 + 4 + 12 + 6)


def test_spikes_are_accumulated_and_not_multiplied(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    step.node("Greater", [z, step.constant("threshold", np.array(1, np.float32))], "fired")
    step.node("Cast", ["fired"], "spikes", to=TensorProto.FLOAT)
    weights = step.parameter("weights", np.ones((2, 4), np.float32))
    step.output(step.node("Gemm", ["spikes", weights], "velocity", transB=1), "velocity", 2, "")
    found = complexity(_bundle(tmp_path, step.build()), _f32([[2, 0, 0, 0], [2, 2, 2, 0]]))
    assert (found.dense_macs, found.effective_macs) == (0, 0)
    assert (found.dense_acs, found.effective_acs) == (8, (2 + 6) / 2)
    assert found.activation_sparsity == pytest.approx(4 / 8)


def test_connections_listed_one_by_one_count_too(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    step.node("Gather", [z, step.constant("sources", np.array([[0, 1], [2, 3]]))], "heard", axis=1)
    step.node("Mul", ["heard", step.constant("strengths", _f32([[1, 2], [0, 4]]))], "weighted")
    step.node("ReduceSum", ["weighted", step.constant("axis", [1])], "velocity", keepdims=0)
    step.output("velocity", "velocity", 2, "")
    found = complexity(_bundle(tmp_path, step.build()), _f32([[0.5, 0.5, 0.5, 0]]))
    assert (found.connections, found.dense_macs, found.effective_macs) == (4, 4, 2)
    assert found.connection_sparsity == 1 / 4


def test_a_convolution_and_a_recurrent_operation_are_counted(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    step.node("Unsqueeze", [z, step.constant("axis", [1])], "image")
    kernel = step.constant("kernel", np.ones((1, 1, 3), np.float32))
    step.node("Conv", ["image", kernel], "seen")
    step.node("Transpose", ["seen"], "ordered", perm=[1, 0, 2])
    gates, again = (step.constant(n, np.ones((1, 6, k), np.float32)) for n, k in (("w", 2), ("r", 2)))
    hidden = step.state("hidden", (2,))
    step.node("Unsqueeze", [hidden, step.constant("first", [0])], "before")
    step.node("GRU", ["ordered", gates, again, "", "", "before"], "steps", hidden_size=2)
    step.node("Reshape", ["steps", step.constant("flat", [1, 2])], "after")
    step.carry("hidden", step.node("Identity", ["after"], "next_hidden"))
    step.output(step.node("Identity", ["after"], "velocity"), "velocity", 2, "")
    found = complexity(_bundle(tmp_path, step.build()), _f32([[1.5, 1.5, 0, 0]]))
    # The kernel meets its 4 inputs 2 x 3 times, of which 2 + 1 are heard; the state is still zero.
    assert found.dense_macs + found.dense_acs == 6 + 12 + 12
    assert found.effective_macs == 3 + 12
    assert found.connections == 3 + 12 + 12
    assert found.footprint_bytes >= 4 * (27 + 2)


def test_products_of_two_computed_tensors_are_operations_without_connections(tmp_path: Path) -> None:
    step = StepBuilder("g", FEATURES)
    z = step.normalised(np.zeros(4, np.float32), np.ones(4, np.float32))
    step.node("Transpose", [z], "column", perm=[1, 0])
    step.node("MatMul", ["column", z], "outer")
    step.output(step.piece(step.node("MatMul", [z, "outer"], "row"), 0, 2, "velocity"), "velocity", 2, "")
    found = complexity(_bundle(tmp_path, step.build()), _f32([[1, 1, 0, 0]]))
    assert found.connections == 0
    assert (found.dense_macs, found.effective_macs) == (16 + 16, 4 + 4)


def test_weights_that_are_only_moved_about_are_still_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["features", "feature_mean"], ["z"]),
        helper.make_node("Transpose", ["stored"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["z", "turned"], ["velocity"]),
    ]
    stored = {"stored": np.ones((2, 4), np.float32), "feature_mean": np.zeros(4, np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, (1, 4)),
            helper.make_tensor_value_info("feature_mean", TensorProto.FLOAT, (4,)),
        ],
        [helper.make_tensor_value_info("velocity", TensorProto.FLOAT, (1, 2))],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    step = StepGraph(
        model,
        (FEATURES, InputSpec(name="feature_mean", role="parameter", shape=(4,))),
        (OutputSpec(name="velocity", role="velocity", shape=(2,), safe_action="zero"),),
    )
    found = complexity(_bundle(tmp_path, step), _f32([[0.5, 0, 0, 0]]))
    assert (found.connections, found.effective_macs) == (8, 2)


def test_a_wiener_bundle_multiplies_each_weight_once(tmp_path: Path) -> None:
    bundle = seeded_bundle(tmp_path / "w", seed=1, stream=STREAM, history=5)
    features = np.random.default_rng(0).poisson(1.0, (50, 4)).astype(np.float32)
    found = complexity(bundle, features)
    assert found.dense_macs == found.connections == 2 * 5 * 4
    assert found.activation_sparsity is None
    with pytest.raises(ValueError, match="expected recorded features"):
        complexity(bundle, features[:0])

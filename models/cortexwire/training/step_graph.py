"""Building a single-step graph: nodes in order, and for every tensor at its border the role that it plays.

Graph and manifest are written down in the same call, so that they cannot disagree. Parameters are graph inputs
with a default, which an overlay may replace; constants stay inside the file.
"""

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cortexwire.decoders.manifest import InputSpec, OutputRole, OutputSpec, SafeAction
from cortexwire.training.contract import StepGraph
from cortexwire.training.history import history_rows

OPSET: Final = 20
IR_VERSION: Final = 10


class StepBuilder:
    """Collects the parts of one step; every method that makes a tensor returns its name.

    Args:
        name: Name of the graph.
        features: The input that carries the features.
    """

    def __init__(self, name: str, features: InputSpec) -> None:
        self.features: Final = features.name
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._values: list[onnx.TensorProto] = []
        self._inputs = [features]
        self._outputs: list[OutputSpec] = []

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add one operation that makes the tensor `output`."""
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any] | list[int]) -> str:
        """Add a value that nothing replaces; a list becomes int64."""
        array = np.array(value, np.int64 if isinstance(value, list) else value.dtype, order="C")
        self._values.append(numpy_helper.from_array(array, name))
        return name

    def parameter(self, name: str, value: NDArray[Any]) -> str:
        """Add a float32 value that an overlay may replace."""
        default = np.asarray(value, np.float32)
        self._inputs.append(InputSpec(name=name, role="parameter", shape=default.shape))
        return self.constant(name, default)

    def state(self, name: str, shape: tuple[int, ...]) -> str:
        """Add a float32 state, zero in the beginning; `carry` says what becomes of it."""
        self._inputs.append(InputSpec(name=name, role="state", shape=shape))
        return name

    def carry(self, state: str, tensor: str) -> None:
        """Let the next step find `tensor` in `state`."""
        shape = next(spec.shape for spec in self._inputs if spec.name == state)
        self._outputs.append(OutputSpec(name=tensor, role="state", shape=shape, feeds=state))

    def output(self, name: str, role: OutputRole, size: int, unit: str) -> None:
        """Name a vector that the decoder gives; the safe value of a velocity is zero, of all else the last one."""
        action: SafeAction = "zero" if role == "velocity" else "hold"
        self._outputs.append(OutputSpec(name=name, role=role, shape=(size,), unit=unit, safe_action=action))

    def piece(self, tensor: str, start: int, stop: int, output: str, axis: int = 1) -> str:
        """Add the entries from `start` to `stop` along an axis."""
        edges = {"start": start, "stop": stop, "axis": axis}
        bounds = [self.constant(f"{output}_{edge}", [value]) for edge, value in edges.items()]
        return self.node("Slice", [tensor, *bounds], output)

    def normalised(self, mean: NDArray[np.float32], scale: NDArray[np.float32]) -> str:
        """Add `(features - feature_mean) / feature_scale`, with both as parameters."""
        self.node("Sub", [self.features, self.parameter("feature_mean", mean)], "centred")
        return self.node("Div", ["centred", self.parameter("feature_scale", scale)], "normalised")

    def window(self, newest: str, n_features: int, history: int) -> str:
        """Add the last `history` rows end to end, the newest last, remembering all but the oldest of them."""
        if history == 1:
            return newest
        kept = (history - 1) * n_features
        self.node("Concat", [self.state("history", (kept,)), newest], "window", axis=1)
        self.carry("history", self.piece("window", n_features, history * n_features, "next_history"))
        return "window"

    def build(self) -> StepGraph:
        """Return the finished step."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_info(spec) for spec in self._inputs],
            [_info(spec) for spec in self._outputs],
            self._values,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return StepGraph(model, tuple(self._inputs), tuple(self._outputs))


def window_states(z: NDArray[np.floating[Any]], history: int) -> dict[str, NDArray[np.float64]]:
    """Return what `StepBuilder.window` remembers before each bin, by the name of its state.

    Args:
        z: `(n_bins, n_features)`, normalised, of one segment.
        history: Bins in the window.
    """
    if history == 1:
        return {}
    rows = [rows[:, : -z.shape[1]] for _, rows in history_rows(z, history, (0,))]
    return {"history": np.concatenate(rows)}


def _info(spec: InputSpec | OutputSpec) -> onnx.ValueInfoProto:
    shape = spec.shape if spec.role == "parameter" else (1, *spec.shape)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, shape)

"""What a step of a decoder costs, by the algorithm-track figures of NeuroBench.

The definitions are those of Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms
and systems", Nature Communications 2025: *footprint* (bytes of parameters and of state), *connection sparsity* (share
of zero weights), *activation sparsity* (share of zero outputs of activation functions), and *synaptic operations* per
step: *dense* ones count every connection, *effective* ones only those where neither weight nor input is zero. An
operation is a multiply-accumulate (MAC), or an accumulate (AC) where a layer's inputs are never anything but -1, 0, 1,
as spikes are. Element-wise arithmetic and biases are no synaptic operations.

Everything is read from the graph and from running it over recorded features with its inner tensors exposed, so a
family need not know of it. Operations between two computed tensors (such as the covariances of a running Kalman
filter) have no connections, yet count as operations.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.runtime_session import open_session
from cortexwire.types import Features

_PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Conv", "MatMulInteger"})
"""Operations that multiply their first two inputs and add up."""
_RECURRENT: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""Recurrent operations and their number of gates."""
_ACTIVATIONS: Final = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Mish", "HardSwish"}
    | {"Tanh", "Sigmoid", "HardSigmoid", "Softplus", "Softsign", "Sign", "Greater", "GreaterOrEqual"}
)
_UNCOUNTED: Final = frozenset(
    {"Einsum", "ConvTranspose", "ConvInteger", "QLinearConv", "QLinearMatMul", "Scan", "Loop", "If"}
)
_MOVES: Final = frozenset(
    {"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast", "DequantizeLinear"}
)
"""Operations whose result is as constant as their first input."""


class Complexity(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one decoder; operations are means per step.

    `activation_sparsity` is None where the graph has no activation function, `not_counted` names operations of the
    graph that these figures know nothing of.
    """

    footprint_bytes: int
    connections: int
    connection_sparsity: float
    activation_sparsity: float | None
    dense_macs: float
    effective_macs: float
    dense_acs: float
    effective_acs: float
    model_rate_hz: float
    not_counted: tuple[str, ...] = ()


@dataclass
class _Layer:
    """One operation that multiplies, over all steps."""

    dense: float = 0.0
    effective: float = 0.0
    spikes_only: bool = True

    def take(self, dense: float, effective: float, inputs: NDArray[Any]) -> None:
        self.dense += dense
        self.effective += effective
        self.spikes_only = self.spikes_only and bool(np.isin(inputs, (-1, 0, 1)).all())


@dataclass
class _Tally:
    """What was seen while the graph ran."""

    layers: dict[str, _Layer] = field(default_factory=dict)
    zeros: int = 0
    activations: int = 0


def complexity(bundle: Bundle, features: Features, steps: int = 300) -> Complexity:
    """Measure what a step costs.

    Args:
        bundle: The decoder.
        features: float32 `(n_bins, n_features)`, recorded; the first `steps` are run through, from a fresh state.
        steps: Steps to run.

    Raises:
        ValueError: There are no features.
    """
    if not len(features[:steps]):
        raise ValueError("complexity: expected recorded features, got none")
    model = onnx.load_model_from_string(bundle.model)
    graph = _Opened(model, bundle)
    tally = _Tally()
    n_steps = 0
    for tensors in graph.run(features[:steps]):
        n_steps += 1
        graph.count(tensors, tally)
    weights = [graph.fixed[name] for name in graph.weight_names]
    n_weights = sum(weight.size for weight in weights)
    layers = tally.layers.values()
    ops = {
        kind: tuple(
            sum(getattr(layer, which) for layer in layers if layer.spikes_only is spikes) / n_steps
            for which in ("dense", "effective")
        )
        for kind, spikes in (("macs", False), ("acs", True))
    }
    timing = bundle.manifest.features.timing
    return Complexity(
        footprint_bytes=graph.footprint(bundle),
        connections=n_weights,
        connection_sparsity=sum(int((weight == 0).sum()) for weight in weights) / n_weights if n_weights else 0.0,
        activation_sparsity=tally.zeros / tally.activations if tally.activations else None,
        dense_macs=ops["macs"][0],
        effective_macs=ops["macs"][1],
        dense_acs=ops["acs"][0],
        effective_acs=ops["acs"][1],
        model_rate_hz=0.0 if timing is None else timing.rate_num / timing.rate_den,
        not_counted=tuple(sorted({node.op_type for node in model.graph.node} & _UNCOUNTED)),
    )


class _Opened:
    """A graph whose inner tensors can be read at each step.

    Attributes:
        fixed: Every tensor that is the same at each step, by name.
        weight_names: Those of them that are connections.
    """

    def __init__(self, model: onnx.ModelProto, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self.fixed = _constants(model)
        self._products = [node for node in model.graph.node if node.op_type in _PRODUCTS or self._sparse(node, model)]
        self._recurrent = [node for node in model.graph.node if node.op_type in _RECURRENT]
        self._activations = [node.output[0] for node in model.graph.node if node.op_type in _ACTIVATIONS]
        self._ones = {node.output[0]: _Mask(node) for node in self._products}
        self.weight_names = sorted(
            {name for node in self._products for name in node.input[:2] if name in self.fixed}
            | {name for node in self._recurrent for name in node.input[1:3] if name in self.fixed}
        )
        wanted = dict.fromkeys(
            [name for node in self._products for name in node.input[:2] if name not in self.fixed]
            + [node.input[k] for node in self._recurrent for k in (0, 5) if k < len(node.input) and node.input[k]]
            + [name for name in self._activations if name not in self.fixed]
        )
        given = {info.name for info in model.graph.input}
        self._read = [name for name in wanted if name and name not in given and name not in self.fixed]
        self._session = _exposing(model, self._read)

    def _sparse(self, node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
        """Whether a product with stored weights goes only into a sum: connections that are listed one by one."""
        readers = [other.op_type for other in model.graph.node if node.output[0] in other.input]
        return node.op_type == "Mul" and readers == ["ReduceSum"] and any(name in self.fixed for name in node.input)

    def footprint(self, bundle: Bundle) -> int:
        """Bytes of everything that the graph stores, and of its state."""
        model = onnx.load_model_from_string(bundle.model)
        stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
        states = self._manifest.inputs_of("state")
        return int(stored + sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in states))

    def run(self, features: Features) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Run step by step and give the tensors that counting needs."""
        states = {spec.name: np.zeros((1, *spec.shape), spec.dtype) for spec in self._manifest.inputs_of("state")}
        carried = {spec.name: spec.feeds for spec in self._manifest.outputs_of("state")}
        for row in features:
            feeds = {self._manifest.features.name: row[None].astype(np.float32), **states}
            came = dict(zip([*carried, *self._read], self._session.run([*carried, *self._read], feeds), strict=True))
            yield {**self.fixed, **feeds, **came}
            states = {state: came[name] for name, state in carried.items()}

    def count(self, tensors: Mapping[str, NDArray[Any]], tally: _Tally) -> None:
        """Add what one step did."""
        for node in self._products:
            a, b = tensors[node.input[0]], tensors[node.input[1]]
            dense, effective = self._ones[node.output[0]].operations(a, b)
            inputs = a if node.input[1] in self.fixed else b if node.input[0] in self.fixed else np.array([0.5])
            tally.layers.setdefault(node.output[0], _Layer()).take(dense, effective, inputs)
        for node in self._recurrent:
            self._count_recurrent(node, tensors, tally)
        for name in self._activations:
            if name in tensors:
                tally.activations += tensors[name].size
                tally.zeros += int((tensors[name] == 0).sum())

    def _count_recurrent(self, node: onnx.NodeProto, tensors: Mapping[str, NDArray[Any]], tally: _Tally) -> None:
        """Count a recurrent operation's products with its input and, of its first instant, with its state."""
        pairs = [(tensors[node.input[0]], tensors[node.input[1]])]
        if len(node.input) > 5 and node.input[5]:
            pairs.append((tensors[node.input[5]], tensors[node.input[2]]))
        name = next(output for output in node.output if output)
        for k, (x, w) in enumerate(pairs):
            vector = x.reshape(-1, x.shape[-1])
            effective = float(((vector != 0).astype(np.float64) @ (w[0] != 0).T.astype(np.float64)).sum())
            tally.layers.setdefault(f"{name}/{k}", _Layer()).take(float(len(vector) * w[0].size), effective, x)


class _Mask:
    """Counts the products of one operation by running it on ones where its operands are not zero."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._kind = node.op_type
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._dense: dict[tuple[tuple[int, ...], ...], float] = {}
        self._session: Any = None

    def operations(self, a: NDArray[Any], b: NDArray[Any]) -> tuple[float, float]:
        """Products of two operands: all of them, and those without a zero in them."""
        shapes = (a.shape, b.shape)
        if shapes not in self._dense:
            self._dense[shapes] = self._products(np.ones_like(a, bool), np.ones_like(b, bool))
        return self._dense[shapes], self._products(a != 0, b != 0)

    def _products(self, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
        left, right = a.astype(np.float32), b.astype(np.float32)
        if self._kind == "Mul":
            return float((left * right).sum(dtype=np.float64))
        if self._kind == "Conv":
            return self._convolved(left, right)
        if self._kind == "Gemm":
            left = left.T if self._attributes.get("transA", 0) else left
            right = right.T if self._attributes.get("transB", 0) else right
        # The sum over a product's entries needs only the sums over the rows and columns that meet in it.
        if left.ndim == right.ndim == 2:
            return float(left.sum(axis=0, dtype=np.float64) @ right.sum(axis=1, dtype=np.float64))
        return float((left @ right).sum(dtype=np.float64))

    def _convolved(self, x: NDArray[np.float32], w: NDArray[np.float32]) -> float:
        if self._session is None:
            node = helper.make_node("Conv", ["x", "w"], ["y"], **self._attributes)
            infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xwy"]
            graph = helper.make_graph([node], "mask", infos[:2], infos[2:])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
            self._session, _ = open_session(model.SerializeToString(), "cpu")
        return float(self._session.run(None, {"x": x, "w": w})[0].sum(dtype=np.float64))


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Every tensor that no input changes: stored ones, and those that are only moved about."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    derived = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = next((a for a in node.attribute if a.name == "value"), None)
            if value is not None:
                found[node.output[0]] = numpy_helper.to_array(value.t)
        elif node.op_type in _MOVES and all(name in found for name in node.input if name):
            found[node.output[0]] = np.zeros(0)
            derived.append(node)
    if derived:
        names = [node.output[0] for node in derived]
        found.update(_evaluated(model, derived, found, names))
    return found


def _evaluated(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: Mapping[str, NDArray[Any]], names: list[str]
) -> dict[str, NDArray[Any]]:
    made = set(names)
    stored = [
        numpy_helper.from_array(value, name)
        for name, value in known.items()
        if name not in made and any(name in node.input for node in nodes)
    ]
    graph = helper.make_graph(nodes, "constants", [], [onnx.ValueInfoProto(name=name) for name in names], stored)
    inner = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    session, _ = open_session(inner.SerializeToString(), "cpu")
    return dict(zip(names, session.run(names, {}), strict=True))


def _exposing(model: onnx.ModelProto, names: list[str]) -> Any:
    """A session that also gives the named inner tensors."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    present = {info.name for info in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return open_session(opened.SerializeToString(), "cpu")[0]

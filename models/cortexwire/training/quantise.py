"""Weights of recurrent layers as int8: a quarter of the bytes, at a cost that is measured where settings are chosen.

Each row of a matrix (the weights of one gate of one unit) has a scale of its own, symmetric about zero, so that its
largest weight is 127 steps. The graph keeps the steps and multiplies them by the scales (`DequantizeLinear`); states,
biases and the read-out stay float32. The reference has the very weights that come out of that.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cortexwire.decoders.manifest import InputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import Fitted, StepGraph
from cortexwire.training.data import TrainingData
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.network import FittedNetwork
from cortexwire.training.outputs import VECTOR
from cortexwire.training.recurrent_layers import Recurrent

MOST: Final = 127
"""Steps of the largest weight of a row."""
FAMILIES: Final = ("rnn", "gru", "lstm")
"""Families that have recurrent layers."""
MATRICES: Final = ("inputs", "recurrent")
"""Which weights of a layer are kept as int8."""
VALIDATION: Final = 0.15
"""Share of the teaching bins, at the end, on which the cost is measured, unless the fit says which it chose on."""


@dataclass(frozen=True, eq=False)
class QuantisedNetwork(FittedNetwork):
    """A network whose recurrent layers hold weights that are whole steps."""

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step, with the steps in place of the weights."""
        step = super().graph(features, unit)
        names = {f"{layer.name}_{part}" for layer in self.layers if isinstance(layer, Recurrent) for part in MATRICES}
        model = onnx.ModelProto()
        model.CopyFrom(step.model)
        _store_steps(model.graph, names)
        return StepGraph(model, step.inputs, step.outputs)


def quantised(fitted: Fitted, data: TrainingData) -> tuple[Fitted, dict[str, Any]]:
    """Round the weights of a network's recurrent layers to int8, and measure what that costs.

    Args:
        fitted: The network.
        data: What it was fitted to. The cost is measured on the last, contiguous part of the teaching bins, on which
            the fit chose when to stop; no held-out bin is looked at.

    Returns:
        The network, and for the manifest: R2 (all columns, weighted by their variance) before and after, the
        difference, and the bytes of these weights.

    Raises:
        ConfigError: It has no recurrent layers.
    """
    if not isinstance(fitted, FittedNetwork) or not any(isinstance(layer, Recurrent) for layer in fitted.layers):
        raise ConfigError("int8: expected a network with recurrent layers (rnn, gru, lstm), got another decoder")
    layers = tuple(_rounded(layer) if isinstance(layer, Recurrent) else layer for layer in fitted.layers)
    given = {field.name: getattr(fitted, field.name) for field in fields(fitted)}
    network = QuantisedNetwork(**{**given, "layers": layers})
    share = float(fitted.summary.get("validation_fraction", VALIDATION))
    before, after = (_score(one, data, share) for one in (fitted, network))
    weights = sum(getattr(layer, part).size for layer in layers if isinstance(layer, Recurrent) for part in MATRICES)
    rows = sum(len(getattr(layer, part)) for layer in layers if isinstance(layer, Recurrent) for part in MATRICES)
    return network, {
        "validation_r2_float32": round(before, 5),
        "validation_r2_int8": round(after, 5),
        "validation_r2_lost": round(before - after, 5),
        "weight_bytes_float32": 4 * weights,
        "weight_bytes_int8": weights + 4 * rows,
    }


def steps_and_scales(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return steps `(n_rows, n)` and the scale of each row `(n_rows,)`; their product is the weights, rounded."""
    largest = np.abs(weights).max(axis=1)
    scales = np.where(largest > 0, largest / np.float32(MOST), np.float32(1)).astype(np.float32)
    return np.clip(np.rint(weights / scales[:, None]), -MOST, MOST).astype(np.int8), scales


def _rounded(layer: Recurrent) -> Recurrent:
    made: dict[str, Any] = {}
    for part in MATRICES:
        steps, scales = steps_and_scales(getattr(layer, part))
        made[part] = steps.astype(np.float32) * scales[:, None]
    return replace(layer, **made)


def _score(fitted: Fitted, data: TrainingData, share: float) -> float:
    usable = np.flatnonzero(data.usable(0))
    late = usable[-max(2, round(len(usable) * share)) :]
    decoded = np.asarray(fitted.predict(data.features, data.segments)[VECTOR], np.float64)
    return weighted_r2(data.targets[late], decoded[late])


def _store_steps(graph: onnx.GraphProto, names: set[str]) -> None:
    """Replace constants by their steps and scales, and make the constants from these first of all."""
    kept, nodes = [], []
    for tensor in graph.initializer:
        if tensor.name not in names:
            kept.append(tensor)
            continue
        steps, scales = steps_and_scales(numpy_helper.to_array(tensor))
        sources = [f"{tensor.name}_steps", f"{tensor.name}_scales"]
        kept += [numpy_helper.from_array(steps, sources[0]), numpy_helper.from_array(scales, sources[1])]
        nodes.append(helper.make_node("DequantizeLinear", sources, [tensor.name], axis=0))
    rest = list(graph.node)
    for field, content in (("initializer", kept), ("node", [*nodes, *rest])):
        repeated = getattr(graph, field)
        del repeated[:]
        repeated.extend(content)

"""The weights of a bundle's GRU, read from its graph, for an implementation that is not ours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from cortexwire.decoders import Bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.errors import BundleError


class GruWeights(NamedTuple):
    """All that a GRU of one layer holds, float32; gates in the order r, z, n.

    Attributes:
        feature_mean: `(n_features,)`.
        feature_scale: `(n_features,)`.
        inputs: `(3 * n_units, n_features)`.
        bias: `(3 * n_units,)`, of the input half.
        recurrent: `(3 * n_units, n_units)`.
        echo_bias: `(3 * n_units,)`, of the recurrent half.
        readout: `(2, n_units)`.
        readout_bias: `(2,)`.
    """

    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    inputs: NDArray[np.float32]
    bias: NDArray[np.float32]
    recurrent: NDArray[np.float32]
    echo_bias: NDArray[np.float32]
    readout: NDArray[np.float32]
    readout_bias: NDArray[np.float32]


def gru_weights(bundle: Bundle) -> GruWeights:
    """Read the weights of a bundle of the GRU family.

    Raises:
        BundleError: It is no GRU of one layer.
    """
    graph = parse_graph(bundle.model, str(bundle.path)).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    layers = [name.removesuffix("_echo_bias") for name in held if name.endswith("_echo_bias")]
    if len(layers) != 1:
        raise BundleError(f"{bundle.path}: expected a GRU of one layer, got {len(layers)} of them")
    named = (f"{layers[0]}_{part}" for part in ("inputs", "bias", "recurrent", "echo_bias"))
    names = ("feature_mean", "feature_scale", *named, "weights", "bias")
    return GruWeights(*(np.array(numpy_helper.to_array(held[name]), np.float32) for name in names))

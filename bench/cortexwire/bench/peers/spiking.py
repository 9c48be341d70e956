"""Our leaky integrate-and-fire layers in snntorch: its `Leaky` units with our weights."""

import numpy as np
import snntorch
import torch

from cortexwire.training.contract import Trace
from cortexwire.training.network import FittedNetwork
from cortexwire.training.spiking_layers import Leaky, Lif, Rounded
from cortexwire.types import Features


def run(fitted: FittedNetwork, features: Features) -> Trace:
    """Decode a sequence in snntorch, in float32, from rest.

    A layer's units are `Leaky` ones that are reset to zero in the step in which they spike; the leaky read-out is one
    that is never reset. What the units are given is a product with our weights, by torch.

    Args:
        fitted: A spiking network whose units start again from zero.
        features: float32 `(n_bins, n_features)`.

    Returns:
        The outputs, and the states that each step started from, by their names in our graph.
    """
    layers = [layer for layer in fitted.layers if isinstance(layer, Lif)]
    (leak,) = (layer for layer in fitted.layers if isinstance(layer, Leaky))
    if any(layer.v_reset for layer in layers):
        raise ValueError(f"expected units that start again from 0, got {[layer.v_reset for layer in layers]}")
    units = [
        snntorch.Leaky(torch.from_numpy(layer.decay), layer.v_th, reset_mechanism="zero", reset_delay=False)
        for layer in layers
    ]
    reader = snntorch.Leaky(torch.from_numpy(leak.decay), reset_mechanism="none")
    normalised = (features - fitted.feature_mean) / fitted.feature_scale
    rounded, _ = Rounded().run(normalised[:, None], {})
    potentials = [torch.zeros(1, len(layer.bias)) for layer in layers]
    spikes = [torch.zeros(1, len(layer.bias)) for layer in layers]
    trace = torch.zeros(1, len(leak.decay))
    weights, bias = torch.from_numpy(fitted.weights), torch.from_numpy(fitted.bias)
    states: dict[str, list[np.ndarray]] = {}
    decoded = []
    with torch.no_grad():
        for row in torch.from_numpy(np.asarray(rounded, np.float32)):
            _keep(states, "trace", trace)
            values = row
            for k, layer in enumerate(layers):
                _keep(states, f"{layer.name}_potential", potentials[k])
                current = values @ torch.from_numpy(layer.inputs).T + torch.from_numpy(layer.bias)
                if layer.recurrent is not None:
                    _keep(states, f"{layer.name}_spikes", spikes[k])
                    current = current + spikes[k] @ torch.from_numpy(layer.recurrent).T
                values, potentials[k] = units[k](current, potentials[k])
                spikes[k] = values
            _, trace = reader(values * (1 - torch.from_numpy(leak.decay)), trace)
            decoded.append((trace @ weights.T + bias)[0].numpy())
    return Trace({"velocity": np.stack(decoded)}, {name: np.concatenate(rows) for name, rows in states.items()})


def _keep(states: dict[str, list[np.ndarray]], name: str, value: torch.Tensor) -> None:
    states.setdefault(name, []).append(value.numpy().copy())

"""One step of a recurrent network in torch eager, as a careful lab would serve it: its own cell, one thread."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cortexwire.training.network import FittedNetwork
from cortexwire.training.recurrent_layers import Gru, Lstm
from cortexwire.types import Features


class TorchStep:
    """Decodes one stream with `torch.nn.GRU` or `LSTM` and our weights, in inference mode.

    Args:
        fitted: A network of one layer of GRU or LSTM.

    Raises:
        ValueError: It is another.
    """

    def __init__(self, fitted: FittedNetwork) -> None:
        if len(fitted.layers) != 1 or not isinstance(fitted.layers[0], Gru | Lstm):
            raise ValueError(f"expected one layer of GRU or LSTM, got {[type(one).__name__ for one in fitted.layers]}")
        torch.set_num_threads(1)
        layer = fitted.layers[0]
        core = nn.GRU if isinstance(layer, Gru) else nn.LSTM
        self._core: Any = core(len(fitted.feature_mean), layer.n_units)
        self._readout: Any = nn.Linear(layer.n_units, len(fitted.bias))
        order = _torch_order(layer)
        echo = np.zeros(len(layer.bias), np.float32)
        if isinstance(layer, Gru):
            echo[2 * layer.n_units :] = layer.candidate_bias
        with torch.no_grad():
            for name, value in (
                ("weight_ih_l0", layer.inputs[order]),
                ("weight_hh_l0", layer.recurrent[order]),
                ("bias_ih_l0", layer.bias[order]),
                ("bias_hh_l0", echo),
            ):
                getattr(self._core, name).copy_(torch.from_numpy(value))
            self._readout.weight.copy_(torch.from_numpy(fitted.weights))
            self._readout.bias.copy_(torch.from_numpy(fitted.bias))
        self._mean, self._scale = torch.from_numpy(fitted.feature_mean), torch.from_numpy(fitted.feature_scale)
        self._state: Any = None

    def step(self, features: Features) -> NDArray[np.float32]:
        """Decode one bin, float32 `(n_features,)`; the velocity `(2,)`."""
        with torch.inference_mode():
            normal = (torch.from_numpy(features) - self._mean) / self._scale
            values, self._state = self._core(normal[None, None], self._state)
            decoded: NDArray[np.float32] = self._readout(values)[0, 0].numpy()
        return decoded


def _torch_order(layer: Gru | Lstm) -> NDArray[np.intp]:
    """Rows of our gates in torch's order: an LSTM's candidate comes third there and last here."""
    n = layer.n_units
    if isinstance(layer, Gru):
        return np.arange(3 * n)
    return np.concatenate([np.arange(2 * n), np.arange(3 * n, 4 * n), np.arange(2 * n, 3 * n)])

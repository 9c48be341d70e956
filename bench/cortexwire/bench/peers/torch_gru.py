"""A GRU step in eager torch, as a lab writes it: `GRUCell`, a linear read-out, one thread, no gradients."""

import numpy as np
import torch
from numpy.typing import NDArray

from cortexwire.bench.peers.weights import GruWeights
from cortexwire.types import Counts, Velocity

_WARM_UP_STEPS = 20


class TorchGru:
    """Decodes one bin after the other, with its state.

    Make it on the thread that steps it: torch keeps its number of threads for each.

    Args:
        weights: What it computes with.
    """

    def __init__(self, weights: GruWeights) -> None:
        torch.set_num_threads(1)
        n_units, n_features = weights.recurrent.shape[1], weights.inputs.shape[1]
        self._cell = torch.nn.GRUCell(n_features, n_units)
        self._readout = torch.nn.Linear(n_units, len(weights.readout_bias))
        with torch.no_grad():
            for parameter, value in (
                (self._cell.weight_ih, weights.inputs),
                (self._cell.weight_hh, weights.recurrent),
                (self._cell.bias_ih, weights.bias),
                (self._cell.bias_hh, weights.echo_bias),
                (self._readout.weight, weights.readout),
                (self._readout.bias, weights.readout_bias),
            ):
                parameter.copy_(torch.from_numpy(value))
        self._cell.eval()
        self._readout.eval()
        self._mean = torch.from_numpy(weights.feature_mean)
        self._scale = torch.from_numpy(weights.feature_scale)
        self._fresh = torch.zeros(1, n_units)
        self._hidden = self._fresh
        for _ in range(_WARM_UP_STEPS):
            self.step(np.zeros(n_features, np.int64))
        self.reset()

    def reset(self) -> None:
        """Set the state to zero."""
        self._hidden = self._fresh

    def step(self, counts: Counts | NDArray[np.int64]) -> Velocity:
        """Decode the counts `(n_channels,)` of one bin; float32 `(2,)`."""
        with torch.inference_mode():
            features = (torch.from_numpy(counts).float() - self._mean) / self._scale
            self._hidden = self._cell(features[None], self._hidden)
            velocity: Velocity = self._readout(self._hidden)[0].numpy()
        return velocity

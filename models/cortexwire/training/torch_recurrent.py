"""Recurrent networks in torch: plain, GRU, LSTM."""

from typing import Final, Literal

import numpy as np
from torch import Tensor, nn

from cortexwire.training.recurrent_layers import Gru, Lstm, Recurrent, Rnn
from cortexwire.training.torch_network import Learned, States, array, hidden

Cell = Literal["rnn", "gru", "lstm"]

_CORES: Final = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentNetwork:
    """Layers of one cell and a linear read-out.

    Args:
        cell: The cell.
        n_features: Length of a feature vector.
        n_outputs: Length of the output.
        units: Units of each layer.
        layers: Layers.
        dropout: Share of the units that are hidden behind each layer while training.
    """

    def __init__(self, cell: Cell, n_features: int, n_outputs: int, units: int, layers: int, dropout: float) -> None:
        self._cell: Final = cell
        self._dropout: Final = dropout
        self._core: Final = _CORES[cell](n_features, units, layers, dropout=dropout if layers > 1 else 0.0)
        self._readout: Final = nn.Linear(units, n_outputs)
        self.module: nn.Module = nn.ModuleList([self._core, self._readout])
        for layer in range(layers):
            if cell == "rnn":
                nn.init.orthogonal_(getattr(self._core, f"weight_hh_l{layer}"))
            elif cell == "lstm":  # remember at first (Gers et al. 2000)
                nn.init.ones_(getattr(self._core, f"bias_ih_l{layer}")[units : 2 * units])

    def run(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Run through a piece of a sequence."""
        if self._cell == "lstm":
            values, after = self._core(inputs, states or None)
        else:
            values, last = self._core(inputs, *states)
            after = (last,)
        return self._readout(hidden(values, self._dropout, self.module)), after

    def learned(self) -> Learned:
        """Return a copy of what was learned."""
        layers = tuple(self._layer(k) for k in range(self._core.num_layers))
        return Learned(layers, array(self._readout.weight), array(self._readout.bias))

    def _layer(self, k: int) -> Recurrent:
        name = f"{self._cell}{k}"
        inputs, recurrent, input_bias, recurrent_bias = (
            array(getattr(self._core, f"{part}_l{k}")) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if self._cell == "rnn":
            return Rnn(name, inputs, recurrent, input_bias + recurrent_bias)
        n = recurrent.shape[1]
        if self._cell == "gru":
            candidate = recurrent_bias[2 * n :].copy()
            recurrent_bias[2 * n :] = 0
            return Gru(name, inputs, recurrent, input_bias + recurrent_bias, candidate)
        order = np.concatenate([np.arange(2 * n), np.arange(3 * n, 4 * n), np.arange(2 * n, 3 * n)])
        return Lstm(name, inputs[order], recurrent[order], (input_bias + recurrent_bias)[order])

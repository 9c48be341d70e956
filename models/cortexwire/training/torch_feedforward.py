"""Networks in torch that see a stretch of the past: dense layers on a window, and causal convolutions."""

from itertools import pairwise
from typing import Final

from torch import Tensor, cat, nn, relu

from cortexwire.training.feedforward_layers import Convolution, Dense, Window
from cortexwire.training.torch_network import Learned, States, array, hidden


class WindowNetwork:
    """Rectified dense layers on the last bins, and a linear read-out.

    Args:
        n_features: Length of a feature vector.
        n_outputs: Length of the output.
        history: Bins in the window.
        units: Units of each layer.
        layers: Layers.
        dropout: Share of the units that are hidden while training.
    """

    def __init__(self, n_features: int, n_outputs: int, history: int, units: int, layers: int, dropout: float) -> None:
        self._history: Final = history
        self._dropout: Final = dropout
        sizes = [history * n_features] + [units] * layers
        self._dense: Final = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self._readout: Final = nn.Linear(units, n_outputs)
        self.module: nn.Module = nn.ModuleList([*self._dense, self._readout])

    def run(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Run through a piece of a sequence."""
        n_bins, n_streams, n_features = inputs.shape
        past = states[0] if states else inputs.new_zeros(self._history - 1, n_streams, n_features)
        longer = cat([past, inputs])
        values = longer.unfold(0, self._history, 1).transpose(2, 3).reshape(n_bins, n_streams, -1)
        for dense in self._dense:
            values = hidden(relu(dense(values)), self._dropout, self.module)
        return self._readout(values), (longer[n_bins:],)

    def learned(self) -> Learned:
        """Return a copy of what was learned."""
        dense = [Dense(f"dense{k}", array(d.weight), array(d.bias)) for k, d in enumerate(self._dense)]
        return Learned((Window(self._history), *dense), array(self._readout.weight), array(self._readout.bias))


class ConvolutionNetwork:
    """A dense layer, residual causal convolutions whose dilation doubles from one to the next, a linear read-out.

    Args:
        n_features: Length of a feature vector.
        n_outputs: Length of the output.
        units: Units of each layer.
        layers: Convolutions.
        kernel: Taps of each.
        dropout: Share of the units that are hidden while training.
    """

    def __init__(self, n_features: int, n_outputs: int, units: int, layers: int, kernel: int, dropout: float) -> None:
        self._dropout: Final = dropout
        self._entry: Final = nn.Linear(n_features, units)
        self._convolutions: Final = [nn.Conv1d(units, units, kernel, dilation=2**k) for k in range(layers)]
        self._reaches: Final = [(kernel - 1) * 2**k for k in range(layers)]
        self._readout: Final = nn.Linear(units, n_outputs)
        self.module: nn.Module = nn.ModuleList([self._entry, *self._convolutions, self._readout])

    def run(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Run through a piece of a sequence."""
        values = self._entry(inputs).permute(1, 2, 0)
        n_bins, after = values.shape[2], []
        for k, (convolution, reach) in enumerate(zip(self._convolutions, self._reaches, strict=True)):
            past = states[k] if states else values.new_zeros(*values.shape[:2], reach)
            longer = cat([past, values], dim=2)
            after.append(longer[:, :, n_bins:])
            values = values + hidden(relu(convolution(longer)), self._dropout, self.module)
        return self._readout(values.permute(2, 0, 1)), tuple(after)

    def learned(self) -> Learned:
        """Return a copy of what was learned."""
        layers = [
            # torch has (outputs, inputs, taps); here the taps of a bin lie together
            Convolution(f"convolution{k}", array(c.weight.transpose(1, 2).flatten(1)), array(c.bias), 2**k)
            for k, c in enumerate(self._convolutions)
        ]
        entry = Dense("entry", array(self._entry.weight), array(self._entry.bias), rectified=False)
        return Learned((entry, *layers), array(self._readout.weight), array(self._readout.bias))

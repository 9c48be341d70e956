"""Spiking networks in torch: leaky integrate-and-fire layers trained through a surrogate gradient.

A spike has no useful derivative; the backward pass takes that of `u / (1 + slope |u|)` instead, u being the distance
to the threshold (Zenke & Ganguli, "SuperSpike", 2018). Units start with time constants spread over a range, which
are learned too (Perez-Nieves et al., "Neural heterogeneity promotes robust learning", 2021).
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

from cortexwire.training.spiking_layers import BOUND, GRID, Leaky, Lif, Rounded, on_grid
from cortexwire.training.torch_network import Learned, States, array, device_of, hidden

DRIVE: Final = 2.0
"""Thresholds that a steady input of one charges a unit to."""
ECHO: Final = 0.5
"""Standard deviation of what a unit hears of the others if all of them spike, at first."""


class SpikingNetwork:
    """Layers of LIF units, and leaky read-out units.

    Args:
        n_features: Length of a feature vector.
        n_outputs: Length of the output.
        units: Units of each layer.
        layers: Layers.
        dropout: Share of the spikes that are hidden behind each layer while training.
        tau: Bins; time constants start spread between 1 and 4 times this, those of the read-out up to twice this.
        v_th: Threshold.
        v_reset: Where a unit starts again.
        slope: Of the surrogate gradient.
        recurrent: Whether units of a layer hear each other.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        units: int,
        layers: int,
        dropout: float,
        tau: float,
        v_th: float,
        v_reset: float,
        slope: float,
        recurrent: bool,
    ) -> None:
        self._dropout: Final = dropout
        self._v_th: Final = v_th
        self._v_reset: Final = v_reset
        self._slope: Final = slope
        self._inputs: Final = [nn.Linear(n_features if k == 0 else units, units) for k in range(layers)]
        self._decays: Final = nn.ParameterList(_spread(units, 4 * tau) for _ in range(layers))
        self._recurrent: Final = nn.ParameterList(
            nn.Parameter(torch.randn(units, units) * (ECHO / math.sqrt(units)))
            for _ in range(layers if recurrent else 0)
        )
        self._leak: Final = nn.ParameterList([_spread(units, 2 * tau)])
        self._readout: Final = nn.Linear(units, n_outputs)
        parts = [*self._inputs, self._decays, self._recurrent, self._leak, self._readout]
        self.module: nn.Module = nn.ModuleList(parts)

    def run(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Run through a piece of a sequence."""
        values, after = torch.round(inputs.clamp(-BOUND, BOUND) * GRID) / GRID, []
        for k in range(len(self._inputs)):
            before = states[2 * k : 2 * k + 2] if states else self._rested(inputs.shape[1], 2)
            values, last = self._layer(k, values, before)
            after += last
            values = hidden(values, self._dropout, self.module)
        (trace,) = states[-1:] if states else self._rested(inputs.shape[1], 1)
        decay, traces = torch.sigmoid(self._leak[0]), []
        for new in ((1 - decay) * values).unbind(0):
            trace = decay * trace + new
            traces.append(trace)
        return self._readout(torch.stack(traces)), (*after, trace)

    def learned(self) -> Learned:
        """Return a copy of what was learned, its weights on the grid that makes its sums exact."""
        lifs = [self._lif(k) for k in range(len(self._inputs))]
        leaky = Leaky(array(torch.sigmoid(self._leak[0])))
        return Learned((Rounded(), *lifs, leaky), array(self._readout.weight), array(self._readout.bias))

    def _layer(self, k: int, inputs: Tensor, before: States) -> tuple[Tensor, list[Tensor]]:
        decay, gain = self._decay_and_gain(k)
        currents = self._inputs[k](inputs) * gain
        recurrent = self._recurrent[k].T * gain if len(self._recurrent) else None
        potential, spikes = before
        train = []
        for current in currents.unbind(0):
            charge = current if recurrent is None else torch.addmm(current, spikes, recurrent)
            potential = decay * potential + charge
            spikes = self._fired(potential - self._v_th)
            potential = potential + spikes * (self._v_reset - potential)
            train.append(spikes)
        return torch.stack(train), [potential, spikes]

    def _fired(self, above: Tensor) -> Tensor:
        smooth = above / (1 + self._slope * above.abs())
        return smooth + ((above >= 0).to(above.dtype) - smooth).detach()

    def _decay_and_gain(self, k: int) -> tuple[Tensor, Tensor]:
        decay = torch.sigmoid(self._decays[k])
        return decay, (1 - decay) * (DRIVE * self._v_th)

    def _lif(self, k: int) -> Lif:
        decay, gain = self._decay_and_gain(k)
        echo = array(self._recurrent[k] * gain[:, None]) if len(self._recurrent) else None
        weights, bias = array(self._inputs[k].weight * gain[:, None]), array(self._inputs[k].bias * gain)
        return Lif(f"lif{k}", *on_grid(weights, echo, bias, rounded=k == 0), array(decay), self._v_th, self._v_reset)

    def _rested(self, n_streams: int, n: int) -> States:
        shape = (n_streams, self._readout.in_features)
        return tuple(torch.zeros(shape, device=device_of(self.module)) for _ in range(n))


def _spread(units: int, longest: float) -> nn.Parameter:
    """Return parameters whose sigmoid is a decay, with time constants from 1 to `longest` bins."""
    tau = torch.exp(torch.rand(units) * math.log(max(longest, 1.0)))
    return nn.Parameter(torch.logit(torch.exp(-1 / tau)))

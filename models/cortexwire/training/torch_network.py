"""What the training loop asks of a network, and what comes out of it."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortexwire.training.network import Layer

States = tuple[Tensor, ...]
"""What a network carries from one piece of a sequence to the next, each with the batch at some axis."""


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network in numpy.

    Attributes:
        layers: All but the read-out.
        weights: float32 `(n_outputs, n_hidden)`, of the read-out.
        bias: float32 `(n_outputs,)`.
    """

    layers: tuple[Layer, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


class TorchNetwork(Protocol):
    """A network that can be trained.

    Attributes:
        module: Holds every parameter, and knows whether dropout is on.
    """

    module: nn.Module

    def run(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Run through a piece of a sequence.

        Args:
            inputs: `(n_bins, n_streams, n_features)`, normalised.
            states: What the piece before gave; empty for a fresh start.

        Returns:
            Outputs `(n_bins, n_streams, n_outputs)`, and the states after the last bin.
        """

    def learned(self) -> Learned:
        """Return a copy of what was learned."""


def array(tensor: Any) -> NDArray[np.float32]:
    """Return a copy of a tensor's values."""
    return np.array(tensor.detach().cpu().numpy(), np.float32)


def hidden(values: Tensor, share: float, module: nn.Module) -> Tensor:
    """Hide a share of the values where the module is being trained."""
    return nn.functional.dropout(values, share, bool(module.training))


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's parameters lie."""
    return next(module.parameters()).device

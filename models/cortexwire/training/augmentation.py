"""Making the features of a training stream worse in the ways in which live ones get worse."""

import torch
from torch import Tensor, nn

from cortexwire.training.torch_settings import TorchSettings

PERSISTENCE = 0.9
"""How much of a gain's deviation is left from one piece of a sequence to the next."""


class Augmentation:
    """What happens to the streams of one epoch: lost channels stay lost, gains drift from piece to piece.

    Args:
        settings: How much of it.
        n_streams: Streams.
        rest: `(n_features,)`, a feature of zero, normalised and with the sign changed: what a gain acts on.
    """

    def __init__(self, settings: TorchSettings, n_streams: int, rest: Tensor) -> None:
        self._settings = settings
        self._rest = rest
        shape = (n_streams, len(rest))
        self._alive = torch.rand(shape, device=rest.device) >= settings.channel_dropout
        self._gain = settings.gain_drift * torch.randn(shape, device=rest.device)

    def apply(self, inputs: Tensor) -> Tensor:
        """Return the next piece of the streams, `(n_bins, n_streams, n_features)`, as it may have come."""
        settings = self._settings
        if settings.gain_drift:
            fresh = settings.gain_drift * torch.randn_like(self._gain)
            self._gain = PERSISTENCE * self._gain + (1 - PERSISTENCE**2) ** 0.5 * fresh
            inputs = inputs + self._gain * (inputs + self._rest)
        if settings.count_noise:
            inputs = inputs + settings.count_noise * torch.randn_like(inputs)
        if settings.channel_dropout:
            inputs = inputs * self._alive
        return nn.functional.dropout(inputs, settings.input_dropout)

"""The temporal convolutional network: residual causal convolutions of growing dilation (Bai et al. 2018)."""

from typing import Final

from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_feedforward import ConvolutionNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_settings import Count, Positive, Share, TorchSettings


class TcnSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `layers` convolutions of `kernel` taps between `hidden` channels.

    The dilation doubles from one to the next, so the network sees `1 + (kernel - 1) * (2**layers - 1)` bins.
    """

    hidden: Count = 64
    layers: Count = 5
    kernel: Count = 3
    learning_rate: Positive = 2e-3
    dropout: Share = 0.2


def _fit(data: TrainingData, settings: TcnSettings) -> FittedNetwork:
    def build(n_features: int, n_outputs: int) -> ConvolutionNetwork:
        return ConvolutionNetwork(
            n_features, n_outputs, settings.hidden, settings.layers, settings.kernel, settings.dropout
        )

    return fit_network("tcn", data, settings, build)


FAMILY: Final = Family("tcn", TcnSettings, _fit)

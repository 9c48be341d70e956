"""The gated recurrent unit: a recurrent network that learns when to keep and when to renew (Cho et al. 2014)."""

from typing import Final

from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_recurrent import RecurrentNetwork
from cortexwire.training.torch_settings import Count, TorchSettings


class GruSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `hidden` units in each of `layers` layers."""

    hidden: Count = 128
    layers: Count = 1


def _fit(data: TrainingData, settings: GruSettings) -> FittedNetwork:
    def build(n_features: int, n_outputs: int) -> RecurrentNetwork:
        return RecurrentNetwork("gru", n_features, n_outputs, settings.hidden, settings.layers, settings.dropout)

    return fit_network("gru", data, settings, build)


FAMILY: Final = Family("gru", GruSettings, _fit)

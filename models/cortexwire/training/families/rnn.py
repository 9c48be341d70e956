"""The plain recurrent network: units that see the features and each other's last outputs (Elman 1990)."""

from typing import Final

from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_recurrent import RecurrentNetwork
from cortexwire.training.torch_settings import Count, Positive, TorchSettings


class RnnSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `hidden` units in each of `layers` layers."""

    hidden: Count = 128
    layers: Count = 1
    learning_rate: Positive = 1e-3


def _fit(data: TrainingData, settings: RnnSettings) -> FittedNetwork:
    def build(n_features: int, n_outputs: int) -> RecurrentNetwork:
        return RecurrentNetwork("rnn", n_features, n_outputs, settings.hidden, settings.layers, settings.dropout)

    return fit_network("rnn", data, settings, build)


FAMILY: Final = Family("rnn", RnnSettings, _fit)

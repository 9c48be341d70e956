"""Long short-term memory: a recurrent network with cells that only gates write to (Hochreiter & Schmidhuber 1997)."""

from typing import Final

from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_recurrent import RecurrentNetwork
from cortexwire.training.torch_settings import Count, TorchSettings


class LstmSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `hidden` units in each of `layers` layers."""

    hidden: Count = 128
    layers: Count = 1


def _fit(data: TrainingData, settings: LstmSettings) -> FittedNetwork:
    def build(n_features: int, n_outputs: int) -> RecurrentNetwork:
        return RecurrentNetwork("lstm", n_features, n_outputs, settings.hidden, settings.layers, settings.dropout)

    return fit_network("lstm", data, settings, build)


FAMILY: Final = Family("lstm", LstmSettings, _fit)

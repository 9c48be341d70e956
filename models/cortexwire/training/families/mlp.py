"""The multilayer perceptron: rectified dense layers on a window of the last bins."""

from typing import Final

from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_feedforward import WindowNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_settings import Count, Positive, TorchSettings


class MlpSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `history` bins in the window and `hidden` units in each of `layers` layers."""

    history: Count = 20
    hidden: Count = 128
    layers: Count = 2
    learning_rate: Positive = 1e-3


def _fit(data: TrainingData, settings: MlpSettings) -> FittedNetwork:
    def build(n_features: int, n_outputs: int) -> WindowNetwork:
        return WindowNetwork(
            n_features, n_outputs, settings.history, settings.hidden, settings.layers, settings.dropout
        )

    return fit_network("mlp", data, settings, build)


FAMILY: Final = Family("mlp", MlpSettings, _fit)

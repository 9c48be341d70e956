"""The spiking network: leaky integrate-and-fire layers behind leaky read-out units."""

from typing import Final

from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family
from cortexwire.training.data import TrainingData
from cortexwire.training.network import FittedNetwork
from cortexwire.training.torch_loop import fit_network
from cortexwire.training.torch_settings import Count, Positive, Share, TorchSettings
from cortexwire.training.torch_spiking import SpikingNetwork


class SnnSettings(TorchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train, with `hidden` units in each of `layers` layers.

    Attributes:
        hidden: Units of a layer.
        layers: Layers.
        tau: Bins; time constants start spread between 1 and 4 times this, and are learned.
        v_th: Potential at which a unit spikes.
        v_reset: Potential from which it then starts again, below `v_th`.
        slope: Of the surrogate gradient: how fast it falls off on either side of the threshold.
        recurrent: Whether the units of a layer hear each other's last spikes.
    """

    hidden: Count = 128
    layers: Count = 1
    tau: Positive = 5.0
    v_th: Positive = 1.0
    v_reset: float = 0.0
    slope: Positive = 5.0
    recurrent: bool = True
    streams: Count = 32
    input_dropout: Share = 0.2
    dropout: Share = 0.2


def _fit(data: TrainingData, settings: SnnSettings) -> FittedNetwork:
    if not settings.v_reset < settings.v_th:
        raise ConfigError(f"snn: expected v_reset below v_th, got {settings.v_reset} and {settings.v_th}")

    def build(n_features: int, n_outputs: int) -> SpikingNetwork:
        return SpikingNetwork(
            n_features,
            n_outputs,
            units=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
            tau=settings.tau,
            v_th=settings.v_th,
            v_reset=settings.v_reset,
            slope=settings.slope,
            recurrent=settings.recurrent,
        )

    return fit_network("snn", data, settings, build)


FAMILY: Final = Family("snn", SnnSettings, _fit)

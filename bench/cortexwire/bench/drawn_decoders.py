"""Decoders with random weights, of the families and sizes that are measured; they take no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cortexwire.decoders import Bundle
from cortexwire.decoders.manifest import StreamSpec, TrainingSpec
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.export import export_bundle
from cortexwire.training.quantise import quantised
from cortexwire.training.recurrent_layers import Lstm
from cortexwire.training.reservoir import Reservoir
from cortexwire.training.seeded import seeded_bundle
from cortexwire.training.seeded_gru import drawn, drawn_counts, drawn_gru, drawn_network

SEED: Final = 6
HISTORY: Final = 20
_CONNECTIONS: Final = 10


@dataclass(frozen=True)
class Drawn:
    """A decoder to measure.

    Attributes:
        family: The family that it is of.
        inputs: Features.
        units: Units; bins of history of a Wiener filter.
    """

    family: str
    inputs: int
    units: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.family} {self.inputs}/{self.units}"


DECODERS: Final = (
    Drawn("gru", 96, 128),
    Drawn("gru", 256, 256),
    Drawn("gru", 1024, 512),
    Drawn("lstm", 256, 256),
    Drawn("esn", 256, 500),
    Drawn("wiener", 256, HISTORY),
)


def stream_of(inputs: int) -> StreamSpec:
    """A stream of so many channels at 30 kHz."""
    return StreamSpec(kind="wideband", rate_num=30_000, rate_den=1, uv_per_bit=0.25, n_channels=inputs, bin_ms=20.0)


def drawn_fitted(decoder: Drawn) -> Fitted | None:
    """The decoder as its family has it; None for one that is drawn as a bundle only."""
    make = _MAKE.get(decoder.family)
    return None if make is None else make(decoder.inputs, decoder.units)


def drawn_bundle(decoder: Drawn, folder: Path) -> Bundle:
    """Write the bundle of a decoder.

    Raises:
        BundleError: As `export_bundle`.
    """
    fitted = drawn_fitted(decoder)
    if fitted is None:
        return seeded_bundle(folder, seed=SEED, stream=stream_of(decoder.inputs), history=decoder.units)
    return _written(fitted, decoder, folder)


def int8_bundle(decoder: Drawn, folder: Path) -> Bundle | None:
    """Write the bundle of a decoder with its recurrent weights as int8; None where it has none.

    Raises:
        BundleError: As `export_bundle`.
    """
    fitted = drawn_fitted(decoder)
    if fitted is None or decoder.family == "esn":
        return None
    features = drawn_counts(decoder.inputs, SEED)
    whole = np.asarray(fitted.predict(features)["velocity"], np.float64)
    rounded, _ = quantised(fitted, TrainingData(features, whole))
    return _written(rounded, decoder, folder)


def _written(fitted: Fitted, decoder: Drawn, folder: Path) -> Bundle:
    return export_bundle(
        fitted,
        folder,
        name=f"seeded-{decoder.family}",
        family=decoder.family,
        stream=stream_of(decoder.inputs),
        front_end={},
        unit="mm/s",
        recorded=drawn_counts(decoder.inputs, SEED),
        training=TrainingSpec(seed=SEED),
    )


def _gru(inputs: int, units: int) -> Fitted:
    return drawn_gru(inputs, units, SEED)


def _lstm(inputs: int, units: int) -> Fitted:
    rng = np.random.default_rng(SEED)
    shapes = ((4 * units, inputs), (4 * units, units), (4 * units,))
    return drawn_network("lstm", inputs, (Lstm("lstm0", *(drawn(rng, units, *shape) for shape in shapes)),), rng)


def _esn(inputs: int, units: int) -> Fitted:
    rng = np.random.default_rng(SEED)
    reservoir = Reservoir.draw(units, _CONNECTIONS, inputs, SEED).scaled(0.9, 0.4, 0.5, 0.5)
    mean, scale = np.full(inputs, 0.2, np.float32), np.full(inputs, 0.5, np.float32)
    weights, bias = drawn(rng, units, 2, units) * np.float32(50), drawn(rng, units, 2)
    fitted = FittedEsn(mean, scale, reservoir, weights, bias, 1, contracting=True, summary={})
    memory, contracting = fitted.remembered(drawn_counts(inputs, 0))
    return FittedEsn(mean, scale, reservoir, weights, bias, memory, contracting, {"units": units, "weights": "random"})


_MAKE: Final[dict[str, Callable[[int, int], Fitted]]] = {"gru": _gru, "lstm": _lstm, "esn": _esn}

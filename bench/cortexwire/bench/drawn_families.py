"""A decoder of every family at a realistic size: drawn at random, or fitted to drawn data where that needs no torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.drawn_decoders import SEED, Drawn, drawn_fitted, stream_of
from cortexwire.decoders import Bundle
from cortexwire.decoders.manifest import TrainingSpec
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from cortexwire.training.export import export_bundle
from cortexwire.training.families import family
from cortexwire.training.feedforward_layers import Convolution, Dense, Window
from cortexwire.training.network import Layer
from cortexwire.training.recurrent_layers import Rnn
from cortexwire.training.seeded_gru import FEATURE_MEAN, SPEED, drawn, drawn_counts, drawn_network
from cortexwire.training.spiking_layers import Leaky, Lif, Rounded, on_grid

CHANNELS: Final = 96
UNITS: Final = 128
FITTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "wiener": {"history": 10},
    "kalman": {},
    "cascade": {"history": 10},
    "esn": {"units": 500, "leaks": (0.3,), "input_scalings": (0.2,)},
}
"""Families that are fitted, and their settings."""
_BINS: Final = 2000
_SPIKING_DRIVE: Final = np.float32(4)
"""Weights of a spiking layer are so many times as large, so that its units do spike."""


def family_bundle(
    name: str, folder: Path, channels: int = CHANNELS, settings: Mapping[str, Any] | None = None
) -> Bundle:
    """Write the bundle of a family.

    Args:
        name: The family.
        folder: The folder to make.
        channels: Its inputs.
        settings: Settings of a family that is fitted; those of `FITTED` if None.

    Raises:
        BundleError: As `export_bundle`.
        ConfigError: There is no such family, or a setting is wrong.
    """
    fitted = (
        _fit(name, channels, FITTED[name] if settings is None else settings)
        if name in FITTED
        else _draw(name, channels)
    )
    return export_bundle(
        fitted,
        folder,
        name=f"seeded-{name}",
        family=name,
        stream=stream_of(channels),
        front_end={},
        unit="mm/s",
        recorded=drawn_counts(channels, SEED),
        training=TrainingSpec(seed=SEED),
    )


def _fit(name: str, channels: int, settings: Mapping[str, Any]) -> Fitted:
    """Fit to counts, and to what a slow linear read-out of them and some noise make of them."""
    rng = np.random.default_rng(SEED)
    counts = rng.poisson(FEATURE_MEAN, (_BINS, channels)).astype(np.float32)
    weights = rng.standard_normal((channels, 2)) * SPEED / np.sqrt(channels)
    driven, targets = (counts - FEATURE_MEAN) @ weights, np.zeros((_BINS, 2))
    for k in range(1, _BINS):
        targets[k] = 0.8 * targets[k - 1] + driven[k]
    targets += rng.standard_normal(targets.shape)
    chosen = family(name)
    return chosen.fit(TrainingData(counts, targets), chosen.check(settings))


def _draw(name: str, channels: int) -> Fitted:
    if name in _LAYERS:
        rng = np.random.default_rng(SEED)
        return drawn_network(name, channels, _LAYERS[name](rng, channels), rng)
    fitted = drawn_fitted(Drawn(name, channels, UNITS))
    assert fitted is not None
    return fitted


def _rnn(rng: np.random.Generator, channels: int) -> tuple[Layer, ...]:
    shapes = ((UNITS, channels), (UNITS, UNITS), (UNITS,))
    return (Rnn("rnn0", *(drawn(rng, UNITS, *shape) for shape in shapes)),)


def _mlp(rng: np.random.Generator, channels: int) -> tuple[Layer, ...]:
    history = 10
    first = Dense("dense0", drawn(rng, history * channels, 2 * UNITS, history * channels), drawn(rng, UNITS, 2 * UNITS))
    second = Dense("dense1", drawn(rng, 2 * UNITS, 2 * UNITS, 2 * UNITS), drawn(rng, UNITS, 2 * UNITS))
    return Window(history), first, second


def _tcn(rng: np.random.Generator, channels: int) -> tuple[Layer, ...]:
    taps, size = 3, UNITS
    entry = Dense("entry", drawn(rng, channels, size, channels), drawn(rng, size, size), rectified=False)
    blocks = [
        Convolution(f"block{k}", drawn(rng, taps * size, size, taps * size), drawn(rng, size, size), 2**k)
        for k in range(4)
    ]
    return entry, *blocks


def _snn(rng: np.random.Generator, channels: int) -> tuple[Layer, ...]:
    decay, leak = (rng.uniform(0.5, 0.95, UNITS).astype(np.float32) for _ in range(2))
    inputs = _SPIKING_DRIVE * drawn(rng, channels, UNITS, channels)
    grid = on_grid(inputs, drawn(rng, UNITS, UNITS, UNITS), drawn(rng, UNITS, UNITS), rounded=True)
    return Rounded(), Lif("lif0", *grid, decay, 1.0, 0.0), Leaky(leak)


_LAYERS: Final[Mapping[str, Callable[[np.random.Generator, int], tuple[Layer, ...]]]] = {
    "rnn": _rnn,
    "mlp": _mlp,
    "tcn": _tcn,
    "snn": _snn,
}

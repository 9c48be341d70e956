"""A gated recurrent unit with random weights, for tests and measurements: the very network and graph, untrained.

Weights are drawn as torch draws those of a new layer, uniform within one over the root of the units, so that the cell
forgets and a step costs what it costs with learned weights.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.manifest import StreamSpec, TrainingSpec
from cortexwire.training.export import export_bundle
from cortexwire.training.network import FittedNetwork, Layer
from cortexwire.training.recurrent_layers import Gru
from cortexwire.types import Features

FEATURE_MEAN: float = 0.2
FEATURE_SCALE: float = 0.5
SPEED: float = 50.0
"""About the size of a velocity component, in mm/s."""
_BINS: int = 400


def seeded_gru(
    folder: str | os.PathLike[str],
    *,
    seed: int,
    stream: StreamSpec,
    units: int,
    front_end: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle of one layer of GRU and a linear read-out, fed with counts.

    Args:
        folder: The folder to make.
        seed: Draws the weights.
        stream: The stream that it is for.
        units: Units of the layer.
        front_end: How features are made, as plain JSON.

    Raises:
        BundleError: As `export_bundle`.
    """
    fitted = drawn_gru(stream.n_channels, units, seed)
    return write_seeded(fitted, folder, seed=seed, stream=stream, front_end=front_end)


def drawn_gru(n_features: int, units: int, seed: int) -> FittedNetwork:
    """Draw the network itself."""
    rng = np.random.default_rng(seed)
    bias = drawn(rng, units, 3 * units)
    layer = Gru(
        "gru0",
        drawn(rng, units, 3 * units, n_features),
        drawn(rng, units, 3 * units, units),
        bias,
        drawn(rng, units, units),
    )
    return drawn_network("gru", n_features, (layer,), rng)


def drawn_network(name: str, n_features: int, layers: tuple[Layer, ...], rng: np.random.Generator) -> FittedNetwork:
    """Put layers between normalised counts and a read-out that is drawn; measure for how long it remembers."""
    size = n_features
    for layer in layers:
        size = layer.size(size)
    network = FittedNetwork(
        name=name,
        feature_mean=np.full(n_features, FEATURE_MEAN, np.float32),
        feature_scale=np.full(n_features, FEATURE_SCALE, np.float32),
        layers=layers,
        weights=drawn(rng, size, 2, size) * np.float32(SPEED),
        bias=drawn(rng, size, 2) * np.float32(SPEED),
        memory_bins=1,
        warm_up_bins=0,
        contracting=True,
        summary={"units": size, "weights": "random"},
    )
    return replace(network, **network.remembered(drawn_counts(n_features, 0))._asdict())


def drawn(rng: np.random.Generator, units: int, *shape: int) -> NDArray[np.float32]:
    """Draw weights, uniform within one over the root of the units."""
    return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(units))


def drawn_counts(n_features: int, seed: int) -> Features:
    """Draw bins of counts, float32 `(n_bins, n_features)`."""
    return np.random.default_rng(seed).poisson(FEATURE_MEAN, (_BINS, n_features)).astype(np.float32)


def write_seeded(
    fitted: FittedNetwork,
    folder: str | os.PathLike[str],
    *,
    seed: int,
    stream: StreamSpec,
    front_end: Mapping[str, Any] | None = None,
) -> Bundle:
    """Export a network that was drawn.

    Raises:
        BundleError: As `export_bundle`.
    """
    return export_bundle(
        fitted,
        folder,
        name=f"seeded-{fitted.name}-{seed}",
        family=fitted.name,
        stream=stream,
        front_end=front_end or {},
        unit="mm/s",
        recorded=drawn_counts(stream.n_channels, seed),
        training=TrainingSpec(seed=seed),
    )

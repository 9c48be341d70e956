"""A GRU bundle with random weights, for measurements: what a step costs does not depend on what was learnt.

The network and its graph are the family's own; only the numbers are drawn. So it needs no torch, and other
implementations of the cell are given its weights.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.manifest import StreamSpec, TrainingSpec
from cortexwire.training.export import export_bundle
from cortexwire.training.network import FittedNetwork
from cortexwire.training.recurrent_layers import Gru

RECURRENT_GAIN: Final = 0.8
"""Standard deviation of the recurrent weights times the root of their number: below 1, the state forgets."""
MEMORY_BINS: Final = 100
WARM_UP_BINS: Final = 25
"""Both stated, not measured: over so many bins a network of this gain has forgotten what it started from."""
_RECORDED_BINS: Final = 200


def seeded_gru(
    path: str | os.PathLike[str],
    *,
    seed: int,
    stream: StreamSpec,
    units: int,
    front_end: Mapping[str, Any] | None = None,
    feature_mean: ArrayLike = 0.2,
    feature_scale: ArrayLike = 0.5,
    speed: float = 50.0,
    replace: bool = False,
) -> Bundle:
    """Write a bundle of the GRU family whose weights are random.

    Args:
        path: The folder to make.
        seed: Draws the weights and biases.
        stream: The stream that it is for; its features are the counts.
        units: Units of the one layer.
        front_end: How features are made, as plain JSON.
        feature_mean: One value or `(n_channels,)`.
        feature_scale: One value or `(n_channels,)`, above zero.
        speed: Standard deviation of each velocity component, in mm/s, with every unit at full swing.
        replace: Whether an existing bundle may be replaced.

    Raises:
        BundleError: As `export_bundle`.
    """
    n = stream.n_channels
    rng = np.random.default_rng(seed)
    mean, scale = (np.broadcast_to(np.asarray(given, np.float32), n).copy() for given in (feature_mean, feature_scale))
    layer = Gru(
        "gru0",
        inputs=_normal(rng, 1 / np.sqrt(n), 3 * units, n),
        recurrent=_normal(rng, RECURRENT_GAIN / np.sqrt(units), 3 * units, units),
        bias=_normal(rng, 0.1, 3 * units),
        candidate_bias=_normal(rng, 0.1, units),
    )
    fitted = FittedNetwork(
        "gru",
        mean,
        scale,
        (layer,),
        _normal(rng, speed / np.sqrt(units), 2, units),
        _normal(rng, 0.1 * speed, 2),
        MEMORY_BINS,
        WARM_UP_BINS,
        contracting=True,
        summary={"hidden": units, "layers": 1, "weights": "random"},
    )
    return export_bundle(
        fitted,
        path,
        name=f"seeded-gru-{seed}",
        family="gru",
        stream=stream,
        front_end=front_end or {},
        unit="mm/s",
        recorded=rng.poisson(np.maximum(mean, 0), (_RECORDED_BINS, n)).astype(np.float32),
        training=TrainingSpec(seed=seed),
        replace=replace,
    )


def _normal(rng: np.random.Generator, deviation: float, *shape: int) -> NDArray[np.float32]:
    return np.asarray(rng.normal(0, deviation, shape), np.float32)

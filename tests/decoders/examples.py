"""Small bundles to test with."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cortexwire.decoders import Bundle, StreamSpec
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.manifest import Electrode, Manifest
from cortexwire.training import seeded_bundle
from cortexwire.training.families.wiener import FittedWiener

STREAM = StreamSpec(
    kind="wideband",
    rate_num=30000,
    uv_per_bit=0.25,
    n_channels=7,
    electrodes=tuple(Electrode(id=f"e{k}", bank="A" if k < 4 else "B") for k in range(7)),
    bin_ms=20.0,
)


def small_bundle(folder: Path, seed: int = 3, history: int = 5) -> Bundle:
    """Write a seeded bundle of seven channels."""
    return seeded_bundle(folder / f"bundle-{seed}-{history}", seed=seed, stream=STREAM, history=history)


def opened(bundle: Bundle) -> tuple[onnx.ModelProto, Manifest]:
    """Return a bundle's model and manifest, to change one of them."""
    return parse_graph(bundle.model, "test"), bundle.manifest


def as_filter(bundle: Bundle) -> FittedWiener:
    """Return the reference of a Wiener bundle."""
    return FittedWiener(**{name: value.copy() for name, value in bundle.parameters.items()}, summary={})


def plain_wiener(bundle: Bundle, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decode with plain loops over bins and lags: the slow reference of the reference."""
    p = {name: value.astype(np.float64) for name, value in bundle.parameters.items()}
    n_features = len(p["feature_mean"])
    lags = p["weights"].reshape(2, -1, n_features)
    velocity = np.tile(p["bias"], (len(features), 1))
    for k in range(len(features)):
        for back in range(min(lags.shape[1], k + 1)):
            row = (features[k - back] - p["feature_mean"]) / p["feature_scale"]
            velocity[k] += lags[:, lags.shape[1] - 1 - back] @ row
    return velocity


def changed(manifest: Manifest, **fields: object) -> Manifest:
    """Return a manifest with some fields replaced."""
    return msgspec.structs.replace(manifest, **fields)

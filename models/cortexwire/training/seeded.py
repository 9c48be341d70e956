"""Bundles for tests and evidence: one with random weights, and one with another's weights shuffled."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from onnx import numpy_helper

from cortexwire.decoders.bundle import Bundle, write_bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.manifest import FeatureKind, StreamSpec, TrainingSpec
from cortexwire.errors import BundleError
from cortexwire.training.card import model_card
from cortexwire.training.export import export_bundle
from cortexwire.training.families.wiener import FittedWiener


def seeded_bundle(
    path: str | os.PathLike[str],
    *,
    seed: int,
    stream: StreamSpec,
    content: tuple[FeatureKind, ...] = ("counts",),
    history: int = 20,
    front_end: Mapping[str, Any] | None = None,
    feature_mean: ArrayLike = 0.2,
    feature_scale: ArrayLike = 0.5,
    speed: float = 50.0,
    training: TrainingSpec | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a Wiener bundle whose weights are random and none of them zero.

    Args:
        path: The folder to make.
        seed: Draws the weights and the bias.
        stream: The stream that it is for.
        content: What a feature vector holds, in order.
        history: Bins in the window.
        front_end: How features are made, as plain JSON.
        feature_mean: One value or `(n_features,)`.
        feature_scale: One value or `(n_features,)`, above zero.
        speed: Standard deviation of each velocity component, in mm/s, under features of mean and scale as
            given.
        training: What the manifest says of training; nothing by default.
        replace: Whether an existing bundle may be replaced.

    Raises:
        BundleError: As `export_bundle`.
    """
    n_features = stream.n_channels * len(content)
    rng = np.random.default_rng(seed)
    size = (2, history * n_features)
    weights = rng.choice([-1.0, 1.0], size) * rng.uniform(0.5, 1.5, size) * speed / np.sqrt(size[1])
    fitted = FittedWiener(
        feature_mean=np.broadcast_to(np.asarray(feature_mean, np.float32), n_features).copy(),
        feature_scale=np.broadcast_to(np.asarray(feature_scale, np.float32), n_features).copy(),
        weights=weights.astype(np.float32),
        bias=rng.uniform(-0.1 * speed, 0.1 * speed, 2).astype(np.float32),
        summary={"history": history, "weights": "random"},
    )
    recorded = rng.poisson(np.maximum(fitted.feature_mean, 0), (200, n_features)).astype(np.float32)
    return export_bundle(
        fitted,
        path,
        name=f"seeded-{seed}",
        family="wiener",
        stream=stream,
        front_end=front_end or {},
        content=content,
        unit="mm/s",
        recorded=recorded,
        training=msgspec.structs.replace(training or TrainingSpec(), seed=seed),
        replace=replace,
    )


def shuffled_bundle(bundle: Bundle, path: str | os.PathLike[str], *, seed: int, replace: bool = False) -> Bundle:
    """Write a copy of a bundle whose `weights` are permuted: what is left of a score is no decoding.

    Raises:
        BundleError: The bundle has no parameter `weights`, or the folder is taken.
    """
    model = parse_graph(bundle.model, str(bundle.path))
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    if "weights" not in bundle.parameters:
        raise BundleError(f"{bundle.path}: expected a parameter weights, got {sorted(bundle.parameters)}")
    values = np.random.default_rng(seed).permutation(bundle.parameters["weights"].ravel())
    shuffled = values.reshape(bundle.parameters["weights"].shape)
    held["weights"].CopyFrom(numpy_helper.from_array(shuffled, "weights"))
    settings = {**bundle.manifest.training.settings, "weights": f"shuffled with seed {seed}"}
    manifest = msgspec.structs.replace(
        bundle.manifest,
        name=f"{bundle.manifest.name}-shuffled",
        training=msgspec.structs.replace(bundle.manifest.training, scores={}, settings=settings),
        parity={},
    )
    return write_bundle(path, model, manifest, model_card(manifest), replace=replace)

"""The step of a bundle for several streams at once: the same graph with another length of its batch axis.

A bundle is served with a batch of one. What decodes many streams side by side, or runs elsewhere, takes the same step
with a fixed batch, or with one that is named and so of any length. It is written only if it says, stream by stream,
what the bundle says.
"""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.decoders.runtime_session import open_session
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training.export import TOLERANCE, random_features, relative_difference

NAMED: Final = "batch"
"""Name of a batch axis of any length."""
_TRIED: Final = 3
_STEPS: Final = 8


def write_batched(bundle: Bundle, path: str | os.PathLike[str], batch: int | None = None) -> Path:
    """Write the step of a bundle as an ONNX file of its own.

    Args:
        bundle: The decoder.
        path: The file.
        batch: Streams that a step decodes; any number when None.

    Raises:
        ConfigError: The batch is below one.
        BundleError: The graph cannot be widened, or then decodes something else.
    """
    if batch is not None and batch < 1:
        raise ConfigError(f"batch: expected 1 or more, or None for any, got {batch}")
    model = with_batch(bundle, batch)
    for size in (1, _TRIED) if batch is None else (batch,):
        _prove(bundle, model, size)
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    partial.replace(target)
    return target


def with_batch(bundle: Bundle, batch: int | None) -> onnx.ModelProto:
    """The graph of a bundle with a batch of a length, or of any."""
    model = parse_graph(bundle.model, str(bundle.path))
    parameters = {spec.name for spec in bundle.manifest.inputs_of("parameter")}
    for info in (*model.graph.input, *model.graph.output):
        if info.name not in parameters:
            axis = info.type.tensor_type.shape.dim[0]
            axis.Clear()
            if batch is None:
                axis.dim_param = NAMED
            else:
                axis.dim_value = batch
    del model.graph.value_info[:]
    return model


def _prove(bundle: Bundle, model: onnx.ModelProto, size: int) -> None:
    """Compare streams that are decoded together with each of them alone."""
    features = np.stack([random_features(bundle, seed)[:_STEPS] for seed in range(size)], axis=1)
    try:
        together = _together(bundle, model, features)
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise BundleError(f"{bundle.path}: expected a step that takes a batch of {size}: {error}") from error
    for stream in range(size):
        decoder = OnnxDecoder(bundle, "cpu")
        steps = [decoder.step(np.ascontiguousarray(row)) for row in features[:, stream]]
        alone = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
        apart = relative_difference({name: rows[:, stream] for name, rows in together.items()}, alone)
        if not apart <= TOLERANCE:
            raise BundleError(
                f"{bundle.path}: expected stream {stream} of {size} to be within {TOLERANCE:g} of itself alone, "
                f"got {apart:.3g}"
            )


def _together(bundle: Bundle, model: onnx.ModelProto, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Decode `(n_bins, n_streams, n_features)`; return each output, `(n_bins, n_streams, *shape)`."""
    session, _ = open_session(model.SerializeToString(), "cpu")
    manifest = bundle.manifest
    size = features.shape[1]
    states = {spec.name: np.zeros((size, *spec.shape), spec.dtype) for spec in manifest.inputs_of("state")}
    carried = {spec.name: spec.feeds for spec in manifest.outputs_of("state")}
    names = [spec.name for spec in manifest.outputs]
    decoded: dict[str, list[NDArray[Any]]] = {name: [] for name in names if name not in carried}
    for rows in features:
        came = dict(zip(names, session.run(names, {manifest.features.name: rows, **states}), strict=True))
        states = {feeds: came[name] for name, feeds in carried.items()}
        for name, steps in decoded.items():
            steps.append(came[name])
    return {name: np.stack(steps) for name, steps in decoded.items()}

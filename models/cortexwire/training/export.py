"""From a fitted decoder to a bundle, refused unless the graph computes what the reference computes."""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle, assemble, verify, write_bundle
from cortexwire.decoders.hop import EVERY_BIN, HOPS, Hop
from cortexwire.decoders.manifest import FeatureKind, InputSpec, Manifest, StreamSpec, Timing, TrainingSpec
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.errors import BundleError
from cortexwire.training.card import model_card
from cortexwire.training.contract import Fitted, Traceable
from cortexwire.training.outputs import NamedOutput, labelled, named
from cortexwire.types import Features

TOLERANCE: Final = 1e-5
"""Largest difference between graph and reference that is exported, relative to the largest output."""
RANDOM_BINS: Final = 1000
RECORDED_BINS: Final = 10_000

_LIBRARIES = ("cortexwire", "numpy", "scipy", "onnx", "onnxruntime")


def export_bundle(
    fitted: Fitted,
    path: str | os.PathLike[str],
    *,
    name: str,
    family: str,
    stream: StreamSpec,
    front_end: Mapping[str, Any],
    content: tuple[FeatureKind, ...] = ("counts",),
    unit: str,
    recorded: Features,
    training: TrainingSpec | None = None,
    outputs: Sequence[NamedOutput] = (),
    hop: Hop = EVERY_BIN,
    replace: bool = False,
) -> Bundle:
    """Write a bundle after comparing its graph with the reference, step by step in ONNX Runtime.

    Args:
        fitted: The decoder.
        path: The folder to make.
        name: What people call it.
        family: The family that it is of.
        stream: The stream that it is for.
        front_end: How its features were made, as plain JSON; the pipeline validates it.
        content: What a feature vector holds, in order.
        unit: Unit of the targets.
        recorded: float32 `(n_bins, n_features)`, real features; the first 10,000 are compared.
        training: Where it came from; the fit's summary is put into its `settings`.
        outputs: What the columns that were fitted are; one nameless velocity if there are none.
        hop: How often it speaks.
        replace: Whether an existing bundle may be replaced.

    Raises:
        BundleError: Graph and reference differ by more than `TOLERANCE`, the parts do not fit each other, or
            the folder is taken.
    """
    features = features_input(stream, content, hop)
    step = labelled(fitted.graph(features, unit), outputs)
    given = training or TrainingSpec()
    manifest = Manifest(
        name=name,
        family=family,
        stream=stream,
        front_end=dict(front_end),
        inputs=step.inputs,
        outputs=step.outputs,
        memory_bins=fitted.memory_bins,
        warm_up_bins=fitted.warm_up_bins,
        training=msgspec.structs.replace(given, settings={**given.settings, **fitted.summary}),
        created_by={library: version(library) for library in _LIBRARIES},
    )
    unproven = verify(assemble(step.model, manifest, ""), Path(path))
    proven = msgspec.structs.replace(manifest, parity=check_parity(fitted, unproven, recorded, given.seed, outputs))
    return write_bundle(path, step.model, proven, model_card(proven), replace=replace)


def features_input(stream: StreamSpec, content: tuple[FeatureKind, ...], hop: Hop = EVERY_BIN) -> InputSpec:
    """Describe the feature vector of a stream: one row a bin or a hop, `n_channels` for each kind of feature."""
    rate = 1000 * hop.parts / Fraction(str(stream.bin_ms))
    timing = Timing(stream="bins", rate_num=rate.numerator, rate_den=rate.denominator)
    if hop.parts > 1:
        timing = msgspec.structs.replace(timing, stream=HOPS, window=hop.parts, hop=hop.states)
    shape = (stream.n_channels * len(content),)
    return InputSpec(name="features", role="features", shape=shape, timing=timing, content=content)


def check_parity(
    fitted: Fitted, bundle: Bundle, recorded: Features, seed: int, outputs: Sequence[NamedOutput] = ()
) -> dict[str, float]:
    """Compare a bundle with the reference over a random and a recorded sequence, each from a fresh state.

    A reference that tells its states is compared a second time, each step from the reference's own state. Only
    that comparison binds a decoder that is not contracting: left alone, it and its graph drift apart by nature.

    Returns:
        The differences found for each sequence, rounded to two digits, and the tolerance.

    Raises:
        BundleError: A difference that binds exceeds the tolerance, or is not a number.
    """
    sequences = {"random": random_features(bundle, seed), "recorded": recorded[:RECORDED_BINS]}
    found = {}
    for name, sequence in sequences.items():
        differences, contracting = _compared(fitted, bundle, sequence, outputs)
        binding = differences if contracting else {"own_state": differences["own_state"]}
        worst = float(np.max(list(binding.values())))
        if not worst <= TOLERANCE:
            raise BundleError(
                f"{bundle.path}: expected graph and reference to agree within {TOLERANCE:g} over the {name} "
                f"sequence, got {worst:.3g}"
            )
        found.update({f"{name}_{way}".removesuffix("_free"): float(f"{d:.1e}") for way, d in differences.items()})
    return {**found, "tolerance": TOLERANCE}


def _compared(
    fitted: Fitted, bundle: Bundle, features: Features, outputs: Sequence[NamedOutput]
) -> tuple[dict[str, float], bool]:
    if not isinstance(fitted, Traceable):
        want = named(fitted.predict(features), outputs)
        return {"free": relative_difference(decode_steps(bundle, features), want)}, True
    trace = fitted.trace(features)
    want = named(trace.outputs, outputs)
    return {
        "free": relative_difference(decode_steps(bundle, features), want),
        "own_state": relative_difference(decode_steps(bundle, features, trace.states), want),
    }, fitted.contracting


def random_features(bundle: Bundle, seed: int) -> Features:
    """Draw normal features around the training mean, float32 `(RANDOM_BINS, n_features)`."""
    mean = bundle.parameters["feature_mean"]
    scale = bundle.parameters.get("feature_scale", np.ones_like(mean))
    noise = np.random.default_rng(seed).standard_normal((RANDOM_BINS, len(mean)), dtype=np.float32)
    return mean + scale * noise


def decode_steps(
    bundle: Bundle, features: Features, states: Mapping[str, NDArray[Any]] | None = None
) -> dict[str, NDArray[Any]]:
    """Decode a sequence step by step on the CPU, as the engine does.

    Args:
        bundle: The decoder.
        features: float32 `(n_bins, n_features)`.
        states: What each step starts from, `(n_bins, *shape)` by name; None lets each step go on from the last.

    Returns:
        Each output that is not a state, `(n_bins, *shape)`.
    """
    decoder = OnnxDecoder(bundle, "cpu")
    steps = []
    for k, row in enumerate(features):
        if states is not None:
            decoder.set_state({name: values[k] for name, values in states.items()})
        steps.append(decoder.step(row))
    return {name: np.stack([step[name] for step in steps]) for name in (steps[0] if steps else {})}


def relative_difference(came: Mapping[str, NDArray[Any]], want: Mapping[str, NDArray[Any]]) -> float:
    """Return the largest absolute difference of any output over the largest magnitude of that output.

    A missing output makes it infinite, and a NaN anywhere makes it NaN.
    """
    found = [0.0]
    for name, value in want.items():
        largest = float(np.abs(value).max(initial=0))
        difference = float(np.abs(came[name] - value).max(initial=0)) if name in came else float("inf")
        found.append(difference / largest if largest else difference)
    return float(np.max(found))

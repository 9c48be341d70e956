"""The exported graph of every family against its reference, over ten thousand bins of a real recording.

Each step once from the reference's own state, where a difference is what one step makes of rounding, and once left
alone. A decoder that forgets must stay with its reference when left alone, too; a chaotic one, and one that spikes,
drifts apart from it by nature: there spikes may disagree only so rarely, and the scores must not differ.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.reaches import SETTINGS, reaches
from cortexwire.bench.live import short_folder
from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.training.contract import Fitted, Trace, Traceable
from cortexwire.training.export import decode_steps, relative_difference
from cortexwire.training.families import family, family_names
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.procedure import Maker
from cortexwire.training.recording import Source
from cortexwire.types import Features

STEPS: Final = 10_000
MOST: Final = 1e-5
"""Relative to the largest output."""
MOST_SPIKES: Final = 1e-4
MOST_R2: Final = 0.005
EPOCHS: Final = 6
"""Enough for weights that are no longer random; how well a decoder decodes is asked elsewhere."""


def parity(*, families: Sequence[str] | None = None, steps: int = STEPS, epochs: int = EPOCHS) -> dict[str, Any]:
    """Must-show 5: every family's graph against its reference.

    Args:
        families: Which families; all by default.
        steps: How many of the last bins of the recording to compare over.
        epochs: Passes through the training part, for families that count them.

    Raises:
        RunError: There are no recordings.
        ConfigError: A family takes torch, and there is none.
    """
    source = reaches()
    found = {}
    with short_folder() as folder:
        for name in families or family_names():
            found[name] = _family(source, name, steps, epochs, folder)
            progress(f"{name}: {found[name]}")
    return {
        "passed": all(result["passed"] for result in found.values()),
        "expected": expectations(),
        "steps": steps,
        "families": found,
    }


def expectations() -> dict[str, str]:
    """What is asked, in words."""
    return {
        "own_state": f"at most {MOST:g} of the largest output, each step from the reference's own state",
        "free": f"at most {MOST:g} for decoders that forget",
        "drifting": f"otherwise spike disagreement at most {MOST_SPIKES:g}, R2 within {MOST_R2:g}",
    }


def _family(source: Source, name: str, steps: int, epochs: int, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    settings = dict(SETTINGS[name])
    if "epochs" in family(name).settings.__struct_fields__:
        settings["epochs"] = epochs
    recording = source.recording
    fitted, bundle = Maker(source, name, folder).make(name, settings, recording.split.train)
    rows = slice(recording.n_bins - steps, recording.n_bins)
    found = compared(fitted, bundle, recording.features[rows], recording.targets[rows])
    return {**found, "minutes": round((time.monotonic() - began) / 60, 2)}


def compared(fitted: Fitted, bundle: Bundle, features: Features, targets: NDArray[np.float64]) -> dict[str, Any]:
    """Compare a bundle with its reference."""
    if isinstance(fitted, Traceable):
        return against(fitted.trace(features), bundle, features, targets, fitted.contracting)
    free = relative_difference(decode_steps(bundle, features), fitted.predict(features))
    return {"passed": free <= MOST, "free": free, "contracting": True}


def against(
    trace: Trace, bundle: Bundle, features: Features, targets: NDArray[np.float64], contracting: bool
) -> dict[str, Any]:
    """Compare a bundle with a run of whatever is to be its equal.

    Args:
        trace: What the other one decoded, and the states that each of its steps started from, by their names in the
            graph.
        bundle: The decoder.
        features: float32 `(n_bins, n_features)` that both are given.
        targets: True values, `(n_bins, n_columns)`.
        contracting: Whether they have to stay together when left alone.
    """
    own = relative_difference(decode_steps(bundle, features, trace.states), trace.outputs)
    outputs, spikes = _alone(bundle, features)
    free = relative_difference(outputs, trace.outputs)
    scores = [weighted_r2(targets, values["velocity"]) for values in (trace.outputs, outputs)]
    apart = abs(scores[0] - scores[1])
    wrong = spike_disagreement(trace.states, spikes)
    passed = own <= MOST and (free <= MOST or not contracting) and apart <= MOST_R2 and (wrong or 0.0) <= MOST_SPIKES
    return {
        "passed": bool(passed),
        "own_state": own,
        "free": free,
        "contracting": contracting,
        "r2_apart": apart,
        "spike_disagreement": wrong,
    }


def spike_disagreement(want: Mapping[str, NDArray[Any]], came: Mapping[str, NDArray[Any]]) -> float | None:
    """Share of the unit-bins in which one spiked and the other did not; None where nothing spikes."""
    names = [name for name in want if name.endswith("_spikes")]
    if not names:
        return None
    return float(np.mean([np.mean(want[name] != came[name]) for name in names]))


def _alone(bundle: Bundle, features: Features) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Decode step by step; return the outputs, and the spikes that each step started from."""
    decoder = OnnxDecoder(bundle, "cpu")
    watched = [spec.name for spec in bundle.manifest.inputs_of("state") if spec.name.endswith("_spikes")]
    steps, spikes = [], list[dict[str, NDArray[Any]]]()
    for row in features:
        if watched:
            spikes.append(decoder.state())
        steps.append(decoder.step(row))
    outputs = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
    return outputs, {name: np.stack([state[name] for state in spikes]) for name in watched}

"""Putting what an evaluation found into a bundle, so that its manifest and model card say it beside the baselines."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortexwire.decoders.bundle import Bundle, write_bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.training.card import model_card
from cortexwire.training.results import Entry


def card_scores(entry: Entry, baselines: Sequence[Entry]) -> dict[str, Any]:
    """What a model card says of a decoder: its scores, what no spikes would have scored, and what a step costs."""
    if entry.scores is None:
        return {}
    scores = entry.scores
    found: dict[str, Any] = {
        "r2_held_out": scores.r2_of,
        "r2_held_out_weighted": scores.r2,
        "r2_held_out_interval_95": [scores.r2_low, scores.r2_high],
        "r2_moving_bins": scores.r2_moving_of,
        "r2_new_directions": entry.generalisation,
        "pearson": scores.pearson_of,
        "rmse": scores.rmse_of,
        "lag_ms": scores.lag_ms,
    }
    for baseline in baselines:
        if baseline.scores is not None:
            new = baseline.generalisation
            found[f"r2_without_spikes_{baseline.name}"] = {"held_out": baseline.scores.r2, "new_directions": new}
    if entry.drift is not None:
        found["r2_fitted_to_first_two_fifths"] = {"next_fifth": entry.drift.near, "last_fifth": entry.drift.far}
    if entry.complexity is not None:
        found["complexity"] = msgspec.to_builtins(entry.complexity)
    return found


def scored_bundle(bundle: Bundle, entry: Entry, baselines: Sequence[Entry]) -> Bundle:
    """Write a bundle again, in its place, with its scores in it; the graph stays what it was.

    Raises:
        BundleError: The folder holds something else than a bundle.
    """
    manifest = bundle.manifest
    training = msgspec.structs.replace(manifest.training, scores=card_scores(entry, baselines))
    told = msgspec.structs.replace(manifest, training=training)
    model = parse_graph(bundle.model, str(bundle.path))
    return write_bundle(bundle.path, model, told, model_card(told), replace=True)

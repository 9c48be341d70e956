"""The laws of finer output: bins that overlap change none that do not, and each state is a decoder of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.bench.faults.rig import FaultyRig
from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle, load_overlay, write_bundle, write_overlay
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.hop import Hop
from cortexwire.pipeline.commands import ApplyOverlay, Mask, RollbackOverlay, SetThresholds
from cortexwire.training.export import features_input
from cortexwire.wire import OutFlag, OutKind, Output, Validity, encode_output, strip_times
from tests.pipeline.streams import (
    BIN,
    MS,
    QUIET,
    Feed,
    N,
    Sender,
    Spy,
    bundle_for,
    event_bundle,
    events,
    frames_of,
    velocity,
    wideband,
    with_settings,
)
from tests.pipeline.test_pipeline import random_sizes

import msgspec


def hopping(bundle: Bundle, hop: Hop, family: str | None = None) -> Bundle:
    """The same decoder with finer output."""
    path = bundle.path.with_name(f"{bundle.path.name}-{hop.parts}-{hop.states}")
    if path.exists():
        return load_bundle(path)
    manifest = bundle.manifest
    features = features_input(manifest.stream, manifest.features.content, hop)
    inputs = tuple(features if spec.role == "features" else spec for spec in manifest.inputs)
    family = family or ("esn" if not hop.interleaved else manifest.family)
    manifest = msgspec.structs.replace(manifest, inputs=inputs, family=family)
    return write_bundle(path, parse_graph(bundle.model, "test"), manifest, bundle.card)


def phase(outputs: Sequence[Output], parts: int, number: int = 0) -> list[Output]:
    """Decoded outputs of one state, their bins numbered as without hops."""
    mine = [o for o in outputs if o.kind is OutKind.DECODED and (o.bin + 1) % parts == number]
    return [msgspec.structs.replace(o, bin=(o.bin + 1) // parts - 1, bundle_hash=0, overlay_hash=0) for o in mine]


def frames(outputs: Sequence[Output]) -> list[bytes]:
    return [strip_times(encode_output(o)) for o in outputs]


def same_at_bins(without: Feed, with_hops: Feed, parts: int) -> None:
    want = [msgspec.structs.replace(o, bundle_hash=0, overlay_hash=0) for o in without.decoded]
    assert frames(phase(with_hops.outputs, parts)) == frames(want)


@pytest.mark.parametrize("parts", [2, 4, 20])
@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_outputs_at_the_ends_of_bins_are_those_without_hops(folder: Path, kind: str, parts: int) -> None:
    rig = events() if kind == "events" else wideband()
    made = bundle_for(folder, rig, "events" if kind == "events" else "wideband")
    plain, fine = Feed(made), Feed(hopping(made, Hop(parts, True)))
    for feed in (plain, fine):
        feed.packets(frames_of(rig, seconds=1.0))
    same_at_bins(plain, fine, parts)
    assert len(plain.decoded) == 50
    assert [o.bin for o in fine.decoded] == list(range(50 * parts))

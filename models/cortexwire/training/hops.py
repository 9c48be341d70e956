"""Finer output of decoders: one made to speak every hop by states that take turns, and recordings it can speak of."""

import os

import msgspec
import numpy as np

from cortexwire.decoders.bundle import Bundle, write_bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.hop import Hop, hop_of, plan_hop
from cortexwire.errors import BundleError, ConfigError
from cortexwire.sessions.session import Session
from cortexwire.signal.bins import BinClock
from cortexwire.training.card import model_card
from cortexwire.training.export import features_input


def interleaved_bundle(bundle: Bundle, path: str | os.PathLike[str], hop_ms: float, *, replace: bool = False) -> Bundle:
    """Write a bundle again with an output every `hop_ms`; nothing is trained, since each state sees bins as before.

    Args:
        bundle: A decoder with an output once a bin, of any family.
        path: The folder to make.
        hop_ms: Time from one output to the next.
        replace: Whether an existing bundle may be replaced.

    Raises:
        BundleError: It has finer output already, or the folder is taken.
        ConfigError: The hop does not divide the bin.
    """
    manifest = bundle.manifest
    if hop_of(manifest).parts > 1:
        came = hop_of(manifest).ms(manifest.stream.bin_ms)
        raise BundleError(f"{bundle.path}: expected an output once a bin, got one every {came:g} ms")
    hop = plan_hop(manifest.family, manifest.stream, hop_ms, interleaved=True)
    features = features_input(manifest.stream, manifest.features.content, hop)
    inputs = tuple(features if spec.role == "features" else spec for spec in manifest.inputs)
    changed = msgspec.structs.replace(manifest, inputs=inputs)
    return write_bundle(
        path, parse_graph(bundle.model, str(bundle.path)), changed, model_card(changed), replace=replace
    )


def check_hops(session: Session, bin_ms: float, hop: Hop) -> None:
    """See that a recording can be cut into hops, which counts that were binned longer cannot be.

    Raises:
        ConfigError: A recorded bin of counts lies in two hops.
    """
    if session.kind != "counts" or hop.parts == 1:
        return
    hops = BinClock(session.rate, bin_ms).divided(hop.parts)
    edges, _ = session.counts(0, session.n_samples)
    first, last = (((samples + 1) * hops.den - 1) // hops.num for samples in (edges[:-1], edges[1:] - 1))
    across = np.flatnonzero(first != last)
    if len(across):
        start, stop = edges[across[0]], edges[across[0] + 1]
        raise ConfigError(
            f"hop: expected recorded bins of {session.name} that lie within a hop of {hop.ms(bin_ms):g} ms each, got "
            f"one of samples {start} to {stop}"
        )

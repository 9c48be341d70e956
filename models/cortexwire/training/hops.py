"""The same decoder, more often: a bundle made to speak every hop, by states that take turns."""

import os

import msgspec

from cortexwire.decoders.bundle import Bundle, write_bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.hop import hop_of, plan_hop
from cortexwire.errors import BundleError
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

"""Bundles with finer output, and what their pipelines gave in the terms of one without."""

from collections.abc import Sequence

import msgspec

from cortexwire.decoders import Bundle, load_bundle, write_bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.hop import Hop
from cortexwire.training.export import features_input
from cortexwire.wire import OutKind, Output, encode_output, strip_times
from tests.pipeline.streams import Feed


def hopping(bundle: Bundle, parts: int, *, interleaved: bool = True) -> Bundle:
    """The same decoder with finer output; stepped every hop, it passes for a recurrent one."""
    hop = Hop(parts, interleaved)
    path = bundle.path.with_name(f"{bundle.path.name}-{hop.parts}-{hop.states}")
    if path.exists():
        return load_bundle(path)
    manifest = bundle.manifest
    features = features_input(manifest.stream, manifest.features.content, hop)
    changed = msgspec.structs.replace(
        manifest,
        inputs=tuple(features if spec.role == "features" else spec for spec in manifest.inputs),
        family=manifest.family if interleaved else "esn",
    )
    return write_bundle(path, parse_graph(bundle.model, "test"), changed, bundle.card)


def of_state(outputs: Sequence[Output], parts: int, state: int = 0, hop_samples: int = 0) -> list[bytes]:
    """Decoded outputs of one state as bytes, as if its bins were those of a clock without hops.

    State 0 decodes the bins that end where a bin ends without hops; that clock is ahead of the one of any other state
    by what is left of a bin. Times and hashes are left out.
    """
    ahead = -state % parts
    mine = [o for o in outputs if o.kind is OutKind.DECODED and (o.bin + 1) % parts == state]
    numbered = [
        msgspec.structs.replace(
            o,
            bin=(o.bin + 1 + ahead) // parts - 1,
            end_sample=o.end_sample + ahead * hop_samples,
            bundle_hash=0,
            overlay_hash=0,
        )
        for o in mine
    ]
    return [strip_times(encode_output(output)) for output in numbered]


def same_at_bins(plain: Feed, fine: Feed, parts: int) -> None:
    """See that outputs at the ends of bins are, byte for byte, those without hops."""
    want = of_state(plain.outputs, 1)
    assert want
    assert of_state(fine.outputs, parts) == want

"""The model card: what a bundle is, in words and tables, made from its manifest alone."""

from collections.abc import Mapping
from typing import Any, Final

from cortexwire.decoders.hop import hop_of
from cortexwire.decoders.manifest import InputSpec, Manifest, OutputSpec

_CARD: Final = """\
# {name}

A `{family}` decoder: {content} of {channels} channels in bins of {bin_ms:g} ms to {outputs}{hop}.

## Stream

{stream}

## Tensors

{tensors}

Parameters may be replaced by an overlay of the day; the file itself never changes.

## Training

{training}

## Scores

{scores}

## Parity

Largest difference between the graph and its reference, relative to the largest output.

{parity}

## Limits

Made for the stream above, and for the person and the days of its training data; serving refuses another rate,
scale, bin or order of electrodes. For research; not a medical device.
"""


def model_card(manifest: Manifest) -> str:
    """Return the text of `MODEL_CARD.md`."""
    return _CARD.format(
        name=manifest.name,
        family=manifest.family,
        content=" and ".join(manifest.features.content).replace("_", " "),
        channels=manifest.stream.n_channels,
        bin_ms=manifest.stream.bin_ms,
        hop=_hop(manifest),
        outputs=" and ".join(_output(spec) for spec in manifest.outputs if spec.role != "state"),
        stream=_table(_stream_rows(manifest)),
        tensors=_tensors(manifest),
        training=_table(_training_rows(manifest)),
        scores=_table(manifest.training.scores or {"none": "this bundle was not scored"}),
        parity=_table(manifest.parity or {"none": "not measured"}),
    )


def _hop(manifest: Manifest) -> str:
    """What is to be said of outputs that come more often than bins."""
    hop = hop_of(manifest)
    if hop.parts == 1:
        return ""
    how = f"{hop.states} states take turns" if hop.interleaved else "the state is stepped as often"
    return f", every {hop.ms(manifest.stream.bin_ms):g} ms ({how})"


def _output(spec: OutputSpec) -> str:
    columns = f" ({', '.join(spec.columns)})" if spec.columns else ""
    return f"`{spec.name}`{columns} in {spec.unit or 'units not stated'}"


def _stream_rows(manifest: Manifest) -> dict[str, Any]:
    stream = manifest.stream
    return {
        "kind": stream.kind,
        "sample rate": f"{stream.rate_num / stream.rate_den:g} Hz",
        "µV per bit": stream.uv_per_bit,
        "electrode identities": "listed in the manifest" if stream.electrodes else "not known",
        "reference": stream.reference or "not stated",
        "bins that an output depends on": manifest.memory_bins,
        "outputs after a reset that are no command": manifest.warm_up_bins,
    }


def _training_rows(manifest: Manifest) -> dict[str, Any]:
    training = manifest.training
    return {
        "sessions": ", ".join(training.sessions) or "none",
        "seed": training.seed,
        **{f"split: {key}": value for key, value in training.split.items()},
        **training.settings,
    }


def _tensors(manifest: Manifest) -> str:
    specs: list[InputSpec | OutputSpec] = [*manifest.inputs, *manifest.outputs]
    rows = (f"| `{spec.name}` | {spec.role} | {spec.dtype} {list(spec.shape)} |" for spec in specs)
    return "\n".join(["| tensor | role | shape |", "| --- | --- | --- |", *rows])


def _table(rows: Mapping[str, Any]) -> str:
    body = (f"| {_text(name)} | {_text(value)} |" for name, value in rows.items())
    return "\n".join(["| | |", "| --- | --- |", *body])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return str(value).replace("|", "\\|").replace("\n", " ")

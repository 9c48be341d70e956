"""The manifest: everything about a bundle that is not weights, in one strict, versioned JSON file.

Shapes here are those of one stream at one step. In the graph every tensor except a parameter has a batch axis
in front of them (1 in a served bundle); a parameter has exactly the shape given here.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec
import numpy as np

from cortexwire.decoders.hop import HOPS, timing_faults
from cortexwire.errors import BundleError

FORMAT: Final = 1
"""The manifest version that this code reads and writes."""

InputRole = Literal["features", "samples", "band_power", "aux", "state", "parameter"]
OutputRole = Literal["velocity", "position", "columns", "class", "frame", "state"]
DType = Literal["float32", "float64", "int32", "int64", "uint8"]
FeatureKind = Literal["counts", "band_power"]
SafeAction = Literal["zero", "hold", "abstain", "blank", "none"]
StreamKind = Literal["wideband", "events", "counts"]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strict part of the manifest: an unknown or missing field is an error."""


class Timing(_Record, frozen=True, kw_only=True):
    """When rows of an input arrive and how many of them one step sees.

    `window`, `hop` and `lookahead` count rows of the named stream: a step sees `window` rows, the next step
    starts `hop` rows later, and the newest row lies `lookahead` rows after the instant that is decoded.
    """

    stream: str
    rate_num: int
    rate_den: int = 1
    window: int = 1
    hop: int = 1
    lookahead: int = 0


class InputSpec(_Record, frozen=True, kw_only=True):
    """One input of the graph.

    `timing` belongs to signals (not to states and parameters), `content` to `features` (the kinds of feature
    in the order in which they are concatenated, each `n_channels` long), `sha256` to parameters (hash of the
    default's little-endian bytes).
    """

    name: str
    role: InputRole
    shape: tuple[int, ...]
    dtype: DType = "float32"
    timing: Timing | None = None
    content: tuple[FeatureKind, ...] = ()
    sha256: str = ""


class OutputSpec(_Record, frozen=True, kw_only=True):
    """One output of the graph.

    `cadence` is the number of steps between two outputs, `safe_action` what stands in for it when no decoded
    value may be used, `feeds` (only of a `state`) the state input that it becomes at the next step. `columns` are the
    names of the entries of a vector, in order; an output of role `columns` (force, EMG, whatever was recorded) is
    nothing without them.
    """

    name: str
    role: OutputRole
    shape: tuple[int, ...]
    dtype: DType = "float32"
    unit: str = ""
    cadence: int = 1
    safe_action: SafeAction = "none"
    feeds: str = ""
    columns: tuple[str, ...] = ()


class Electrode(_Record, frozen=True, kw_only=True):
    """The identity of the electrode behind one channel."""

    id: str
    bank: str = ""


class StreamSpec(_Record, frozen=True, kw_only=True):
    """The stream that a bundle was trained on and may be served on."""

    kind: StreamKind
    rate_num: int
    rate_den: int = 1
    uv_per_bit: float
    n_channels: int
    electrodes: tuple[Electrode, ...] = ()
    reference: str = ""
    bin_ms: float


class TrainingSpec(_Record, frozen=True, kw_only=True):
    """Where the weights came from; `channel_rates_hz` and `thresholds_uv` are empty where unknown."""

    channel_rates_hz: tuple[float, ...] = ()
    thresholds_uv: tuple[float, ...] = ()
    seed: int = 0
    sessions: tuple[str, ...] = ()
    split: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    settings: dict[str, Any] = {}


class Manifest(_Record, frozen=True, kw_only=True):
    """The contract between training and serving.

    An output depends on `memory_bins` bins, its own included. The first `warm_up_bins` outputs after a reset
    lack history and are no commands. `front_end` is opaque here: the pipeline validates it. `files` maps the
    name of every other file of the bundle to its SHA-256.
    """

    format: int = FORMAT
    name: str
    family: str
    stream: StreamSpec
    front_end: dict[str, Any]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    memory_bins: int
    warm_up_bins: int
    training: TrainingSpec = TrainingSpec()
    parity: dict[str, float] = {}
    created_by: dict[str, str] = {}
    files: dict[str, str] = {}

    def inputs_of(self, role: InputRole) -> tuple[InputSpec, ...]:
        """Return the inputs of one role, in the order listed."""
        return tuple(spec for spec in self.inputs if spec.role == role)

    def outputs_of(self, role: OutputRole) -> tuple[OutputSpec, ...]:
        """Return the outputs of one role, in the order listed."""
        return tuple(spec for spec in self.outputs if spec.role == role)

    @property
    def features(self) -> InputSpec:
        """The one `features` input."""
        return self.inputs_of("features")[0]

    @property
    def n_features(self) -> int:
        """Length of the feature vector: `n_channels` for each kind of feature."""
        return self.features.shape[0]

    @property
    def velocity(self) -> OutputSpec:
        """The one `velocity` output."""
        return self.outputs_of("velocity")[0]


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: The JSON bytes.
        where: Named in messages.

    Raises:
        BundleError: The JSON is malformed, of another version, or contradicts itself; every contradiction is
            named.
    """
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise BundleError(f"{where}: expected manifest format {FORMAT}, got {version!r}")
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{where}: {error}") from error
    problems = list(contradictions(manifest))
    if problems:
        raise BundleError(f"{where}: " + "; ".join(problems))
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON whose bytes depend on its values only."""
    packed = msgspec.json.encode(manifest, enc_hook=_plain, order="deterministic")
    return msgspec.json.format(packed, indent=2) + b"\n"


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield one sentence for everything in a manifest that cannot be true together with the rest."""
    yield from _stream_faults(manifest.stream, manifest.training)
    yield from _input_faults(manifest)
    yield from _output_faults(manifest)
    if manifest.memory_bins < 1:
        yield f"expected memory_bins >= 1, got {manifest.memory_bins}"
    if manifest.warm_up_bins < 0:
        yield f"expected warm_up_bins >= 0, got {manifest.warm_up_bins}"


def stream_mismatches(bundle: StreamSpec, live: StreamSpec) -> tuple[str, ...]:
    """Say how a live stream differs from the one that a bundle was made for; empty when they agree.

    Electrodes are compared only where both sides name them, and the scale only for wideband.
    """
    pairs = {
        "stream kind": (bundle.kind, live.kind),
        "sample rate in Hz": (_rate(bundle), _rate(live)),
        "channels": (bundle.n_channels, live.n_channels),
        "bin in ms": (bundle.bin_ms, live.bin_ms),
    }
    if bundle.kind == live.kind == "wideband":
        pairs["µV per bit"] = (bundle.uv_per_bit, live.uv_per_bit)
    found = [f"{what}: expected {want}, got {came}" for what, (want, came) in pairs.items() if want != came]
    if bundle.electrodes and live.electrodes and bundle.electrodes != live.electrodes:
        found.append(_electrode_difference(bundle.electrodes, live.electrodes))
    return tuple(found)


def _stream_faults(stream: StreamSpec, training: TrainingSpec) -> Iterator[str]:
    if stream.n_channels < 1 or stream.rate_num < 1 or stream.rate_den < 1:
        yield (
            "stream: expected positive channels and rate, got "
            f"{stream.n_channels} and {stream.rate_num}/{stream.rate_den}"
        )
    if not (0 < stream.bin_ms < float("inf") and 0 < stream.uv_per_bit < float("inf")):
        yield f"stream: expected positive bin_ms and uv_per_bit, got {stream.bin_ms} and {stream.uv_per_bit}"
    lists = {
        "electrodes": len(stream.electrodes),
        "channel_rates_hz": len(training.channel_rates_hz),
        "thresholds_uv": len(training.thresholds_uv),
    }
    for name, length in lists.items():
        if length not in (0, stream.n_channels):
            yield f"{name}: expected none or {stream.n_channels} entries, got {length}"


def _input_faults(manifest: Manifest) -> Iterator[str]:
    names = [spec.name for spec in manifest.inputs]
    if len(set(names)) != len(names):
        yield f"expected distinct input names, got {names}"
    features = manifest.inputs_of("features")
    if len(features) != 1:
        yield f"expected exactly one features input, got {len(features)}"
        return
    (spec,) = features
    if spec.content not in (("counts",), ("band_power",), ("counts", "band_power")):
        yield f"{spec.name}: expected counts, band_power or both in this order, got {list(spec.content)}"
    shape = (manifest.stream.n_channels * len(spec.content),)
    if spec.shape != shape or spec.dtype != "float32":
        yield f"{spec.name}: expected float32 of shape {shape}, got {spec.dtype} of shape {spec.shape}"
    if spec.timing is None:
        yield f"{spec.name}: expected a timing, got none"
    elif spec.timing.stream == HOPS:
        yield from timing_faults(manifest.family, manifest.stream, spec.timing)
    for parameter in manifest.inputs_of("parameter"):
        if parameter.dtype != "float32":
            yield f"{parameter.name}: expected a float32 parameter, got {parameter.dtype}"
    means = [p.shape for p in manifest.inputs_of("parameter") if p.name == "feature_mean"]
    if means != [spec.shape]:
        yield f"expected a parameter feature_mean of shape {spec.shape}, got {means or 'none'}"


def _output_faults(manifest: Manifest) -> Iterator[str]:
    names = [spec.name for spec in manifest.outputs]
    if len(set(names)) != len(names):
        yield f"expected distinct output names, got {names}"
    fed = {spec.feeds: (spec.shape, spec.dtype) for spec in manifest.outputs_of("state")}
    states = {spec.name: (spec.shape, spec.dtype) for spec in manifest.inputs_of("state")}
    if fed != states or len(fed) != len(manifest.outputs_of("state")):
        yield f"expected one state output for each state input {states}, got {fed}"
    for spec in manifest.outputs:
        if (spec.columns or spec.role == "columns") and spec.shape != (len(spec.columns),):
            yield f"output {spec.name}: expected a name for each entry of shape {spec.shape}, got {list(spec.columns)}"


def _rate(stream: StreamSpec) -> Fraction:
    return Fraction(stream.rate_num, stream.rate_den)


def _electrode_difference(want: tuple[Electrode, ...], came: tuple[Electrode, ...]) -> str:
    differing = [k for k, (a, b) in enumerate(zip(want, came, strict=False)) if a != b]
    if not differing:
        return f"electrodes: expected {len(want)}, got {len(came)}"
    k = differing[0]
    return (
        f"electrodes: {len(differing)} of {len(want)} differ, first at channel {k}: "
        f"expected {want[k].bank}/{want[k].id}, got {came[k].bank}/{came[k].id}"
    )


def _plain(value: object) -> object:
    """Turn a numpy scalar or array into what JSON has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"expected a JSON value in the manifest, got {type(value).__name__}")

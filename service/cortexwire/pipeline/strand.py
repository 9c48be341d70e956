"""A strand: one bundle with all that it takes to decode a stream by it, from bins to decoded values.

A pipeline has one that is in command. Others may run beside it on the same stream (`cortexwire.pipeline.swap`), so
whatever belongs to a bundle is here, and whatever belongs to the stream or to the operator is not: order of packets,
deadlines, safe values, gain and limits.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.hop import hop_of
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.pipeline.channels import ChannelWatch
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.decode_stage import DecodeStage
from cortexwire.pipeline.hop_stage import HopStage, HopWatch
from cortexwire.pipeline.identity import Identity
from cortexwire.pipeline.interleaved import InterleavedStage
from cortexwire.pipeline.output_stage import THROUGH
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.wire import Executor, OutKind, Output, encode_output

if TYPE_CHECKING:
    from cortexwire.pipeline.rehearsal import Rehearsal

EXECUTORS: Final = {"onnx": Executor.ONNX, "incremental": Executor.INCREMENTAL}
OWN_TENSORS: Final = ("velocity", "counts", "band_power")
"""Tensors of a message that do not come from the decoder as they are."""


class Strand:
    """One bundle at work.

    Args:
        settings: Everything around the bundle.
        decoder: The executor of the bundle.
        thresholds_uv: Thresholds of a file; they go before the bundle's.
        front_end: Changes of the bundle's signal chain.
        counters: Where its bins are counted.

    Attributes:
        chain: The signal chain.
        bins: From frames to bins; strands with the same chain may share them.
        watch: What is known of the channels of these bins.
        stage: From bins to decoded values; nothing is commanded before it is given an output stage.
        decoding: Whether the last bin was decoded.
        rehearsal: Rehearses the end of its bins, if anything does.

    Raises:
        BundleError: The bundle cannot be served, or its front end is not valid.
        ConfigError: Settings do not fit the stream that the bundle is for.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        decoder: Decoder,
        thresholds_uv: tuple[float, ...] | None = None,
        front_end: dict[str, Any] | None = None,
        counters: Counters | None = None,
    ) -> None:
        bundle = decoder.bundle
        manifest = bundle.manifest
        stream = manifest.stream
        self.bundle, self.decoder, self.hop = bundle, decoder, hop_of(manifest)
        self.chain = _chain_of(bundle, front_end)
        _check_outputs(bundle)
        parts = self.hop.parts
        intake = settings.intake
        if parts > 1:
            self.bins: BinStage = HopStage(stream, self.chain, parts, intake, thresholds_uv, counters)
        else:
            self.bins = BinStage(stream, self.chain, intake, thresholds_uv, counters)
        watched = stream.n_channels, stream.bin_ms / 1000, settings.identity.window_s
        self.watch = HopWatch(*watched, parts) if parts > 1 else ChannelWatch(*watched)
        self.identity = Identity(settings.identity, stream.electrodes, manifest.training.channel_rates_hz)
        self.executor = EXECUTORS[decoder.executor]
        self.gives_power = "band_power" in self.chain.features
        self.stage: DecodeStage | InterleavedStage
        if self.hop.interleaved:
            self.stage = InterleavedStage(decoder, THROUGH, parts)
            self.settle = self.stage.settle
        else:
            self.stage = DecodeStage(decoder, THROUGH)
            self.settle = decoder.settle
        self.decoding = False
        self.rehearsal: Rehearsal | None = None
        self._made = self.bins
        self.follow()

    def follow(self) -> None:
        """Let a decoder that can do so add up the crossings of its bins as they come, in place of any other."""
        self.bins.listen(None)
        if self.hop.parts == 1:
            # The crossings of the open bin are not those of a bin that overlaps it.
            self.stage.follow(self.bins)

    def share(self, other: "Strand") -> None:
        """Take the bins of a strand with the same chain; its decoder goes on adding up their crossings."""
        self.stage.unfollow()
        self.bins.listen(None)
        # The decoder still knows addresses in them.
        self._made = self.bins
        self.bins, self.watch = other.bins, other.watch

    def close(self) -> None:
        """It is used no more; what refers to itself is taken apart, since nothing collects it in a running engine."""
        if self.rehearsal is not None:
            self.rehearsal.close()
            self.rehearsal = None

    @property
    def remembers(self) -> int:
        """Outputs after which nothing is left of how it began."""
        manifest = self.bundle.manifest
        return max(manifest.memory_bins, manifest.warm_up_bins) * self.hop.states


def differences(bundle: Bundle, other: Bundle) -> list[str]:
    """Say why another bundle cannot run beside one on its stream; empty when it can."""
    want, came = bundle.manifest, other.manifest
    pairs = {
        "stream kind": (want.stream.kind, came.stream.kind),
        "sample rate in Hz": (_rate(want.stream), _rate(came.stream)),
        "channels": (want.stream.n_channels, came.stream.n_channels),
        "bin in ms": (want.stream.bin_ms, came.stream.bin_ms),
        "outputs in a bin": (hop_of(want).parts, hop_of(came).parts),
    }
    if want.stream.kind == "wideband":
        pairs["uV per bit"] = (want.stream.uv_per_bit, came.stream.uv_per_bit)
    units = [spec[0].unit if (spec := manifest.outputs_of("velocity")) else "" for manifest in (want, came)]
    pairs["unit of velocity"] = (units[0], units[1])
    return [f"{what}: expected {one}, got {two}" for what, (one, two) in pairs.items() if one != two]


def _rate(stream: Any) -> str:
    return f"{stream.rate_num / stream.rate_den:.10g}"


def front_end_of(bundle: Bundle, overrides: dict[str, Any] | None = None) -> FrontEndSettings:
    """The bundle's signal chain, with an operator's changes laid over it.

    Raises:
        BundleError: The bundle's front end, or what the changes make of it, is not a valid chain.
    """
    try:
        return FrontEndSettings.model_validate(_merged(bundle.manifest.front_end, overrides or {}))
    except ValidationError as error:
        faults = "; ".join(
            f"front_end.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        )
        raise BundleError(f"{bundle.path}: {faults}") from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _chain_of(bundle: Bundle, overrides: dict[str, Any] | None) -> FrontEndSettings:
    """The signal chain, if it makes the bins that the decoder takes."""
    manifest = bundle.manifest
    stream, chain = manifest.stream, front_end_of(bundle, overrides)
    if chain.bin_ms != stream.bin_ms or chain.features != manifest.features.content:
        raise BundleError(
            f"{bundle.path}: expected {stream.bin_ms} ms bins of {list(manifest.features.content)}, "
            f"the front end makes {chain.bin_ms} ms bins of {list(chain.features)}"
        )
    if stream.kind != "wideband" and chain.features != ("counts",):
        raise BundleError(f"{bundle.path}: a stream of {stream.kind} has counts only, got {chain.features}")
    return chain


def _check_outputs(bundle: Bundle) -> None:
    """Refuse a bundle whose outputs no message could carry, or that would stand for something else there."""
    served = [spec.name for spec in bundle.manifest.outputs_of("velocity")]
    others = [spec for spec in bundle.manifest.outputs if spec.role != "state" and spec.name not in served]
    taken = [spec.name for spec in others if spec.name in OWN_TENSORS]
    if taken:
        raise BundleError(f"{bundle.path}: expected outputs not called {', '.join(OWN_TENSORS)}, got {taken[0]!r}")
    tensors: dict[str, NDArray[Any]] = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in others}
    try:
        encode_output(Output(OutKind.DECODED, 0, 0, 0, tensors=tensors))
    except ConfigError as error:
        raise BundleError(f"{bundle.path}: expected outputs that a message can carry, got {error}") from error

"""From a closed bin to a decoded velocity: features, missing data, history, decoder, output stage.

What a decoder sees of a bin is decided here and nowhere else: counts over the observed fraction where at least half
of the bin was observed, the training mean otherwise; and the training mean for every channel without data.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import CountingDecoder, Decoder
from cortexwire.decoders.manifest import FeatureKind
from cortexwire.errors import BundleError
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.pipeline.output_stage import Commanding
from cortexwire.signal.binning import Bin
from cortexwire.types import Features, Velocity
from cortexwire.wire import OutFlag, Validity

HISTORY, UNOBSERVED, ARTEFACT, CHANNELS, LIMITED, WARMING, NONFINITE = (
    flag.value
    for flag in (
        OutFlag.HISTORY,
        OutFlag.UNOBSERVED,
        OutFlag.ARTEFACT,
        OutFlag.CHANNELS,
        OutFlag.LIMITED,
        OutFlag.WARMING,
        OutFlag.NONFINITE,
    )
)
ENOUGH: Final = 0.5
"""Observed fraction of a bin from which its counts say something."""


class Decoded(NamedTuple):
    """What became of one bin.

    Attributes:
        velocity: After the output stage, `(2,)`; the raw one where the output stage had to refuse it.
        tensors: Every output of the decoder but the velocity, by name.
        flags: What has to be said about it, bits of `OutFlag`.
        usable: Whether it may be a command.
        raw: The velocity as decoded, `(2,)`.
    """

    velocity: Velocity
    tensors: dict[str, NDArray[Any]]
    flags: int
    usable: bool
    raw: Velocity


def validity_of(closed: Bin) -> Validity:
    """Valid: every sample observed; partial: at least half of them; stale: less."""
    if closed.observed == closed.end - closed.start:
        return Validity.VALID
    return Validity.PARTIAL if closed.observed_fraction >= ENOUGH else Validity.STALE


def decoder_features(closed: Bin, content: tuple[FeatureKind, ...], mean: Features) -> Features:
    """The feature vector of a bin, `(n_features,)`.

    Args:
        closed: The bin.
        content: Kinds of feature, concatenated in this order.
        mean: What a channel without data enters at, `(n_features,)`.
    """
    if closed.observed_fraction < ENOUGH:
        return mean.copy()
    parts = []
    for kind in content:
        if kind == "counts":
            counts = closed.counts.astype(np.float32)
            whole = closed.observed == closed.end - closed.start
            parts.append(counts if whole else counts / np.float32(closed.observed_fraction))
        else:
            assert closed.power is not None
            parts.append(closed.power)
    features = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if closed.flagged:
        without = np.tile(closed.status != 0, len(content))
        features = np.where(without, mean, features)
    return features


class DecodeStage:
    """Decodes bins in order.

    Args:
        decoder: The executor of a bundle.
        output: The output stage, which may be replaced.

    Raises:
        BundleError: The bundle decodes no velocity, so there is nothing to command with.
    """

    def __init__(self, decoder: Decoder, output: Commanding) -> None:
        manifest = decoder.bundle.manifest
        self.decoder = decoder
        self.output = output
        self._content = manifest.features.content
        self._velocity = _served_velocity(decoder.bundle)
        self._counting: CountingDecoder | None = None
        self._memory = manifest.memory_bins
        self._warm_up = manifest.warm_up_bins
        self._warming = 0
        self._tainted = 0
        self.reset()

    def follow(self, stage: BinStage) -> None:
        """Let a decoder that can do so add up crossings as they come."""
        decoder = self.decoder
        if isinstance(decoder, CountingDecoder) and self._content == ("counts",) and stage.stream.kind == "wideband":
            stage.listen(decoder)
            self._counting = decoder

    def unfollow(self) -> None:
        """Another decoder adds up crossings as they come from here on: this one is given whole bins."""
        self._counting = None

    @property
    def warming(self) -> bool:
        """Whether what is decoded now may not be used, since the past that it takes has not been seen."""
        return self._warming > 0

    def settle(self) -> None:
        """Do what was put off until the outputs are out."""
        self.decoder.settle()

    def skip(self) -> None:
        """A bin was closed that is not decoded."""
        if self._counting is not None:
            self._counting.discard()

    def reset(self) -> None:
        """Forget the past: nothing is used until the decoder has warmed up."""
        self.decoder.reset()
        self.output.reset()
        self._warming = self._warm_up
        self._tainted = 0

    def _begin_anew(self) -> None:
        """Leave a state that may never become finite again."""
        self.decoder.reset()
        self._warming = self._warm_up
        self._tainted = max(self._tainted, self._memory - 1)

    def step(self, closed: Bin, validity: Validity) -> Decoded:
        """Decode one bin, of which `validity_of` says how much was observed."""
        # Plain integers: operations on an enumeration's members cost as much as decoding does.
        flags = 0
        if self._tainted:
            flags |= HISTORY
            self._tainted -= 1
        whole = validity is Validity.VALID
        if not whole:
            flags |= UNOBSERVED
            self._tainted = self._memory - 1
        if closed.artefact:
            flags |= ARTEFACT
        if closed.flagged:
            flags |= CHANNELS
        if whole and self._counting is not None:
            results = self._counting.step_counts(closed.counts, closed.status)
        else:
            results = self.decoder.step(decoder_features(closed, self._content, self.decoder.feature_mean))
        raw = results.pop(self._velocity)
        velocity, limited = self.output.process(raw)
        usable = validity is not Validity.STALE
        if limited:
            flags |= LIMITED
        if self._warming:
            flags |= WARMING
            self._warming -= 1
            usable = False
        if velocity is None:
            flags |= NONFINITE
            usable = False
            self._begin_anew()
        return Decoded(raw if velocity is None else velocity, results, flags, usable, raw)


def _served_velocity(bundle: Bundle) -> str:
    """Name the one output that becomes the command."""
    found = bundle.manifest.outputs_of("velocity")
    if len(found) != 1 or found[0].shape != (2,):
        others = ", ".join(
            f"{spec.name} ({spec.role}, {list(spec.shape)})" for spec in bundle.manifest.outputs if spec.role != "state"
        )
        raise BundleError(
            f"{bundle.path}: expected exactly one velocity output of two columns to serve, got {others or 'none'}"
        )
    return found[0].name

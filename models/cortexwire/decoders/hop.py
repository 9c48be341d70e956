"""Finer output: how often a bundle's decoder speaks, and which ways of doing so there are.

A bin is a whole number of hops, and every hop ends with an output about the bin that ends there. So bins overlap, and a
decoder made for bins that follow each other may not simply be stepped once a hop: its state would run as many times too
fast. Two ways are right, and `Timing` of the features says which: its rows are hops, a step sees the `window` of them
that make a bin, and `hop` is from one step of a state to the next.

* `hop` 1, *per hop*: one state, stepped every hop, by a recurrent decoder that was trained so.
* `hop` of a whole bin, *interleaved*: as many states as a bin has hops, taken in turn. Each is stepped once a bin and
  sees bins that follow each other, as any decoder was trained.

The bundle without finer output has bins for rows.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.decoders.manifest import Manifest, StreamSpec, Timing

HOPS: Final = "hops"
"""The stream that rows of a finer output come from."""
RECURRENT: Final = frozenset({"esn", "rnn", "gru", "lstm", "snn"})
"""Families whose state runs at whatever pace they are trained at; in all others a step means a bin."""
LEAST_MS: Final = 1


class Hop(NamedTuple):
    """How often outputs come.

    Attributes:
        parts: Hops in a bin; 1 where an output comes once a bin.
        interleaved: Whether each hop of a bin has a state of its own, rather than one state all hops.
    """

    parts: int = 1
    interleaved: bool = False

    @property
    def states(self) -> int:
        """States that are taken in turn."""
        return self.parts if self.interleaved else 1

    @property
    def rows(self) -> int:
        """Rows of training in a bin: a state that is stepped every hop learns from a row every hop."""
        return 1 if self.interleaved else self.parts

    def ms(self, bin_ms: float) -> float:
        """Time from one output to the next."""
        return bin_ms / self.parts


EVERY_BIN: Final = Hop()
"""An output once a bin."""


def hop_of(manifest: "Manifest") -> Hop:
    """How often a bundle's outputs come."""
    timing = manifest.features.timing
    if timing is None or timing.stream != HOPS:
        return EVERY_BIN
    return Hop(timing.window, timing.hop > 1)


def plan_hop(family: str, stream: "StreamSpec", hop_ms: float | None, interleaved: bool | None = None) -> Hop:
    """Choose how a decoder of a family gives an output every `hop_ms`.

    Args:
        family: Its name.
        stream: What it decodes.
        hop_ms: Time from one output to the next; None, or the bin: once a bin.
        interleaved: Whether states take turns; where None, they do unless the family can be trained at the hop.

    Raises:
        ConfigError: The hop does not divide the bin, or the family cannot be run so.
    """
    bins = Fraction(str(stream.bin_ms))
    hop = bins if hop_ms is None else Fraction(str(hop_ms))
    if hop == bins:
        if interleaved is not None:
            raise ConfigError(
                f"hop: expected one shorter than the bin ({stream.bin_ms:g} ms) for states to take turns or not"
            )
        return EVERY_BIN
    if interleaved is None:
        interleaved = family not in RECURRENT
    problems = list(_faults(family, stream, hop, interleaved))
    if problems:
        raise ConfigError("; ".join(problems))
    return Hop(int(bins / hop), interleaved)


def timing_faults(family: str, stream: "StreamSpec", timing: "Timing") -> Iterator[str]:
    """Yield what cannot be in the timing of features whose rows are hops."""
    if timing.rate_num < 1 or timing.rate_den < 1:
        yield f"features: expected a positive rate of hops, got {timing.rate_num}/{timing.rate_den}"
        return
    hop = Fraction(1000 * timing.rate_den, timing.rate_num)
    parts = Fraction(str(stream.bin_ms)) / hop
    if timing.lookahead or timing.window != parts or timing.hop not in (1, timing.window):
        yield (
            f"features: expected hops of which {parts} make a bin, stepped every one or every {parts} of them, without "
            f"lookahead, got window {timing.window}, hop {timing.hop}, lookahead {timing.lookahead}"
        )
    else:
        yield from _faults(family, stream, hop, timing.hop > 1)


def _faults(family: str, stream: "StreamSpec", hop: Fraction, interleaved: bool) -> Iterator[str]:
    bins = Fraction(str(stream.bin_ms))
    said = f"{float(hop):g} ms"
    if not LEAST_MS <= hop < bins or (bins / hop).denominator != 1:
        yield f"hop: expected from {LEAST_MS} ms to the bin, and to divide it ({stream.bin_ms:g} ms), got {said}"
        return
    if hop * stream.rate_num < 1000 * stream.rate_den:
        yield f"hop: expected at least one sample, got {said} at {stream.rate_num / stream.rate_den:g} Hz"
    blocks = math.ceil(bins)
    if stream.kind == "wideband" and blocks % (bins / hop):
        yield (
            f"hop: expected a whole number of the {blocks} blocks in which a {stream.bin_ms:g} ms bin of wideband is "
            f"judged, got {said}"
        )
    if not interleaved and family not in RECURRENT:
        yield (
            f"hop: a {family} decoder counts time in bins, and cannot be stepped every {said}; expected one of "
            f"{', '.join(sorted(RECURRENT))} trained so, or interleaved states"
        )

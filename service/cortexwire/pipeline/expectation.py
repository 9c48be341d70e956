"""What a signal packet has to look like to belong to the stream.

A stream is what the engine was told to expect, where it was told, and otherwise what its first signal packet
says; within an epoch it does not change. How far a packet may reach is bounded too, because a header with a right
checksum can still be nonsense, and nobody may loop over what it claims to cover.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cortexwire.types import Rate
from cortexwire.wire.codes import Kind
from cortexwire.wire.packets import Packet

LONGEST_PACKET_S: Final = 60
"""Signal that one packet may cover."""
FURTHEST_SAMPLE: Final = 2**53
"""Where streams end: 5,700 years at 50 kHz. Sums of such indices stay far inside 64 bits."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a signal packet that stay the same; None where any value will do.

    Attributes:
        furthest: Sample index that no packet may reach beyond.
        within: Says what is wrong with where a packet lies on the sample axis, or None.
    """

    kind: Kind | None = None
    n_channels: int | None = None
    rate: Rate | None = None
    uv_per_bit: float | None = None
    dtype: np.dtype[np.generic] | None = None
    furthest: int = FURTHEST_SAMPLE
    within: Callable[[Packet], str | None] | None = None


class Expectation:
    """Compares signal packets (wideband, events, counts) with the stream that they claim to belong to.

    Args:
        given: What the engine was told to expect.
    """

    def __init__(self, given: Shape) -> None:
        self._given = given
        self._furthest = min(given.furthest, FURTHEST_SAMPLE)
        self._within = given.within
        self._pinned: Shape | None = None

    def begin(self) -> None:
        """A new epoch begins; it may differ from the last one in whatever was not given."""
        self._pinned = None

    def check_given(self, packet: Packet) -> str | None:
        """Compare a packet with what was given only: may it be the first of a new epoch?"""
        return _fault(packet, self._given) or self._misplaced(packet)

    def check(self, packet: Packet) -> str | None:
        """Compare a packet, and take the first one since `begin` as the model of those that follow.

        Returns:
            What is wrong, as `packet 4120: expected 96 channels, got 95`, or None.
        """
        pinned = self._pinned
        if pinned is None:
            fault = self.check_given(packet)
            if fault is None:
                self._pinned = Shape(packet.kind, packet.n_channels, packet.rate, packet.uv_per_bit, packet.data.dtype)
            return fault
        if (
            packet.n_channels == pinned.n_channels
            and packet.kind == pinned.kind
            and packet.rate == pinned.rate
            and packet.uv_per_bit == pinned.uv_per_bit
            and packet.data.dtype is pinned.dtype
        ):
            return self._misplaced(packet)
        return _fault(packet, pinned) or self._misplaced(packet)

    def _misplaced(self, packet: Packet) -> str | None:
        """Say what is wrong with the samples that a packet claims to cover."""
        rate, n = packet.rate, packet.n_samples
        if n * rate.den > LONGEST_PACKET_S * rate.num:
            seconds = f"{n / rate.hz:.10g} s"
            return f"packet {packet.sequence}: expected at most {LONGEST_PACKET_S} s of signal, got {seconds}"
        if packet.sample_index + n > self._furthest:
            return (
                f"packet {packet.sequence}: expected samples up to {self._furthest}, "
                f"got {packet.sample_index} to {packet.sample_index + n}"
            )
        return None if self._within is None else self._within(packet)


def _fault(packet: Packet, shape: Shape) -> str | None:
    where = f"packet {packet.sequence}: expected"
    if shape.kind is not None and shape.kind != packet.kind:
        return f"{where} {shape.kind.name.lower()}, got {packet.kind.name.lower()}"
    if shape.n_channels is not None and shape.n_channels != packet.n_channels:
        return f"{where} {shape.n_channels} channels, got {packet.n_channels}"
    if shape.rate is not None and shape.rate.fraction != packet.rate.fraction:
        return f"{where} {shape.rate.hz:.10g} Hz, got {packet.rate.hz:.10g} Hz"
    if shape.uv_per_bit is not None and shape.uv_per_bit != packet.uv_per_bit:
        return f"{where} {shape.uv_per_bit:.10g} uV per bit, got {packet.uv_per_bit:.10g}"
    if shape.dtype is not None and shape.dtype != packet.data.dtype:
        return f"{where} {shape.dtype} samples, got {packet.data.dtype}"
    return None

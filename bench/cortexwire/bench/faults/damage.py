"""Frames that are no packets of the stream, made from good ones, each with the class that it must be counted as.

Checksums are made right again where a frame is to fail at something later than its checksum.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from cortexwire.wire import HEADER_BYTES, Kind, decode_packet, encode_packet, make_markers
from cortexwire.wire.header import Header, pack_header, read_header

Rng = np.random.Generator


class Damaged(NamedTuple):
    """A frame, and the reason for which it is malformed."""

    frame: bytes
    reason: str


def cut(frame: bytes, rng: Rng) -> Damaged:
    """The beginning of a frame, at least one byte short."""
    return Damaged(frame[: int(rng.integers(0, len(frame)))], "length")


def wrong_channels(frame: bytes) -> bytes:
    """A well-formed signal packet with one channel less, or of events with one more."""
    packet = decode_packet(frame)
    if packet.kind is Kind.WIDEBAND:
        return encode_packet(
            msgspec.structs.replace(packet, n_channels=packet.n_channels - 1, data=packet.data[:, :-1])
        )
    return encode_packet(msgspec.structs.replace(packet, n_channels=packet.n_channels + 1))


def _noise(_frame: bytes, rng: Rng) -> bytes:
    return b"\xff" + rng.bytes(int(rng.integers(3, 400)))


def _scrap(_frame: bytes, rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(0, 4)))


def _longer(frame: bytes, rng: Rng) -> bytes:
    return frame + rng.bytes(int(rng.integers(1, 64)))


def _flipped(frame: bytes, rng: Rng) -> bytes:
    """One bit of the header behind magic and version."""
    bit = int(rng.integers(8 * 6, 8 * (HEADER_BYTES - 4)))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def _resealed(**changes: Any) -> Callable[[bytes, Rng], bytes]:
    """Other header fields with a right checksum."""

    def make(frame: bytes, _rng: Rng) -> bytes:
        header: Header = read_header(frame)._replace(**changes)
        return pack_header(header) + frame[HEADER_BYTES:]

    return make


def _infinite(frame: bytes, _rng: Rng) -> bytes:
    packet = decode_packet(frame)
    markers = make_markers([0], [300], [np.inf])
    return encode_packet(msgspec.structs.replace(packet, kind=Kind.MARKERS, n_samples=0, data=markers))


class _NoDescriptor:
    """What a rig with a fault might send for its descriptor."""

    def to_bytes(self) -> bytes:
        """JSON of another kind."""
        return b"[1,2,3]"


def _undescribed(frame: bytes, _rng: Rng) -> bytes:
    packet = decode_packet(frame)
    return encode_packet(msgspec.structs.replace(packet, kind=Kind.DESCRIPTOR, n_samples=0, data=_NoDescriptor()))


GARBAGE: Final[tuple[tuple[Callable[[bytes, Rng], bytes], str], ...]] = (
    (_noise, "magic"),
    (_scrap, "length"),
    (_longer, "length"),
    (_resealed(version=2), "version"),
    (_flipped, "checksum"),
    (_resealed(kind=99), "kind"),
    (_resealed(pad=1), "field"),
    (_infinite, "value"),
    (_undescribed, "payload"),
)
"""Ways to send garbage, and the reason that each must be counted under; together they are all reasons."""


def garbage(frame: bytes, which: int, rng: Rng) -> Damaged:
    """Make the garbage number `which`, counted round; parts of it may be those of a good frame."""
    make, reason = GARBAGE[which % len(GARBAGE)]
    return Damaged(make(frame, rng), reason)

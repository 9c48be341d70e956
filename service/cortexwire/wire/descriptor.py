"""Who the channels are: ordered electrode identities, banks, scale, reference, and the names of columns.

The hash of a stream is taken over the descriptor's bytes as they were sent, so a rig may format its numbers
as it likes; what is written here is always sorted keys without spaces.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Final, Self

import msgspec

from cortexwire.errors import ConfigError
from cortexwire.wire.checksums import fnv1a_64

MAX_DESCRIPTOR_BYTES: Final = 4 * 2**20


class Electrode(msgspec.Struct, frozen=True):
    """One electrode: an identity that is unique in its source, and the bank or headstage it belongs to."""

    id: str
    bank: str = ""


class _Body(msgspec.Struct):
    """The JSON object; keys that it does not know are ignored."""

    source: str
    electrodes: tuple[Electrode, ...]
    uv_per_bit: float
    reference: str
    columns: tuple[str, ...]


_DECODER: Final = msgspec.json.Decoder(_Body)
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Identity of a source.

    Attributes:
        source: Name of the rig or recording.
        electrodes: One per channel in channel order, or empty where the rig knows no identities.
        uv_per_bit: Microvolts of one unit of a sample.
        reference: What the voltages were measured against, in words.
        columns: Names of the values of a columns packet, in order.
        sent: The bytes as they came; empty for one made here.

    Raises:
        ConfigError: An identity or column name comes twice, or the scale is not positive.
    """

    source: str
    electrodes: tuple[Electrode, ...] = ()
    uv_per_bit: float = 1.0
    reference: str = ""
    columns: tuple[str, ...] = ()
    sent: bytes = field(default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = [electrode.id for electrode in self.electrodes]
        for what, names in (("electrode ids", ids), ("column names", list(self.columns))):
            if len(set(names)) != len(names):
                twice = [name for name, times in Counter(names).items() if times > 1]
                raise ConfigError(f"descriptor of {self.source!r}: expected unique {what}, got {twice} twice")
        if not 0.0 < self.uv_per_bit < inf:
            raise ConfigError(f"descriptor of {self.source!r}: expected a positive uv_per_bit, got {self.uv_per_bit}")

    def to_bytes(self) -> bytes:
        """Give the payload: the bytes as they came, else UTF-8 JSON with sorted keys and no spaces."""
        if self.sent:
            return self.sent
        return _ENCODER.encode(
            _Body(self.source, self.electrodes, float(self.uv_per_bit), self.reference, self.columns)
        )

    @property
    def hash(self) -> int:
        """FNV-1a 64 over `to_bytes()`."""
        return fnv1a_64(self.to_bytes())

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a descriptor's JSON.

        Raises:
            ConfigError: The JSON is malformed, lacks a key, or breaks a rule of the class.
        """
        if len(payload) > MAX_DESCRIPTOR_BYTES:
            raise ConfigError(f"expected at most {MAX_DESCRIPTOR_BYTES} descriptor bytes, got {len(payload)}")
        try:
            body = _DECODER.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"expected a descriptor in JSON, got: {error}") from error
        return cls(body.source, body.electrodes, body.uv_per_bit, body.reference, body.columns, sent=payload)


@lru_cache(maxsize=8)
def read_descriptor(payload: bytes) -> Descriptor:
    """Read a descriptor that comes again every second, at the cost of one look-up.

    Raises:
        ConfigError: As `Descriptor.from_bytes`.
    """
    return Descriptor.from_bytes(payload)

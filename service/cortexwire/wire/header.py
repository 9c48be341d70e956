"""The 128-byte packet header: its layout, and every rule that it must meet by itself.

Checks run in one order, magic first, so that each damaged frame has exactly one reason. A header that passes
fixes the payload's exact length, so the payload readers never look past the frame.
"""

from math import gcd, inf
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class that its module names in lower case
from typing import Final, NamedTuple
from zlib import crc32

from cortexwire.errors import ConfigError, PacketError
from cortexwire.wire.codes import Clock, DType, Kind, Layout, PacketFlag

MAGIC: Final = b"CXW1"
VERSION: Final = 1
HEADER_BYTES: Final = 128
MAX_SAMPLE_INDEX: Final = 2**62
"""Far beyond any recording, so that index arithmetic never leaves 64 bits."""
MAX_CHANNELS: Final = 65535
"""An event names its channel in 16 bits."""

_BODY_BYTES: Final = 124
RESERVED: Final = bytes(22)
_HEADER: Final = Struct("<4sHBBQQqqqBBBBIIIIIdQIIIH22sI")
_BODY: Final = Struct("<4sHBBQQqqqBBBBIIIIIdQIIIH22s")
_MAX_CLOCK: Final = max(Clock)
_UNBOUNDED: Final = 2**32


class Header(NamedTuple):
    """The header's fields in wire order, as plain numbers."""

    magic: bytes
    version: int
    kind: int
    pad: int
    epoch: int
    sequence: int
    sample_index: int
    acquired_ns: int
    sent_ns: int
    acquired_clock: int
    sent_clock: int
    dtype: int
    layout: int
    n_channels: int
    n_samples: int
    n_items: int
    rate_num: int
    rate_den: int
    uv_per_bit: float
    descriptor_hash: int
    flags: int
    payload_bytes: int
    payload_crc32: int
    source: int
    reserved: bytes
    header_crc32: int


class _Rule(NamedTuple):
    """What one kind of packet allows in its header."""

    dtypes: tuple[int, ...]
    min_samples: int = 0
    max_samples: int = _UNBOUNDED
    max_items: int = 0
    max_layout: int = Layout.TIME_MAJOR


_RULES: Final = {
    int(Kind.WIDEBAND): _Rule((DType.INT16, DType.FLOAT32), min_samples=1, max_layout=Layout.CHANNEL_MAJOR),
    int(Kind.EVENTS): _Rule((DType.EVENT,), min_samples=1, max_items=_UNBOUNDED),
    int(Kind.COUNTS): _Rule((DType.UINT16,), min_samples=1),
    int(Kind.MARKERS): _Rule((DType.MARKER,), max_items=_UNBOUNDED),
    int(Kind.COLUMNS): _Rule((DType.COLUMN,), max_items=_UNBOUNDED),
    int(Kind.DESCRIPTOR): _Rule((DType.JSON,), max_samples=0),
    int(Kind.END): _Rule((DType.NONE,), max_samples=0),
}


def pack_header(header: Header) -> bytes:
    """Write a header's 128 bytes with the checksum that they need, whatever `header_crc32` says.

    Raises:
        ConfigError: A number does not fit its field.
    """
    try:
        body = _BODY.pack(*header[:-1])
    except StructError as error:
        kind = Kind(header.kind).name.lower()
        raise ConfigError(f"{kind} packet: expected numbers that fit their fields, got {error}") from error
    return body + crc32(body).to_bytes(4, "little")


def read_header(frame: bytes | memoryview, frame_bytes: int | None = None) -> Header:
    """Read and check the header of a frame.

    Args:
        frame: The frame, or as much of it as holds the header.
        frame_bytes: Length of the whole frame; that of `frame` when None.

    Raises:
        PacketError: Anything in the header breaks a rule, or the frame is not as long as it says.
    """
    size = len(frame) if frame_bytes is None else frame_bytes
    if len(frame) < HEADER_BYTES:
        raise _short(frame)
    header = Header._make(_HEADER.unpack_from(frame))
    if header.magic != MAGIC:
        raise _wrong_magic(header.magic, size)
    if header.version != VERSION:
        raise fault(header, "version", f"protocol version {VERSION}", header.version)
    if crc32(frame[:_BODY_BYTES]) != header.header_crc32:
        came = crc32(frame[:_BODY_BYTES])
        raise fault(header, "checksum", f"header CRC-32 {header.header_crc32:#010x}", f"{came:#010x}")
    rule = _RULES.get(header.kind)
    if rule is None:
        raise fault(header, "kind", f"a kind from {min(Kind)} to {max(Kind)}", header.kind)
    _check_shape(header, rule)
    _check_scalars(header)
    _check_length(header, size - HEADER_BYTES)
    return header


def fault(header: Header, reason: str, expected: object, came: object) -> PacketError:
    """Make the error that names the packet, what was expected and what came."""
    kind = Kind(header.kind).name.lower() if header.kind in _RULES else f"kind {header.kind}"
    where = f"packet {header.sequence} ({kind}, sample {header.sample_index})"
    return PacketError(f"{where}: expected {expected}, got {came}", reason)


def _short(frame: bytes | memoryview) -> PacketError:
    size = len(frame)
    magic = bytes(frame[: len(MAGIC)])
    if len(magic) == len(MAGIC) and magic != MAGIC:
        return _wrong_magic(magic, size)
    return PacketError(f"packet of {size} bytes: expected a header of {HEADER_BYTES} bytes, got {size}", "length")


def _wrong_magic(magic: bytes, size: int) -> PacketError:
    return PacketError(f"packet of {size} bytes: expected magic {MAGIC!r}, got {magic!r}", "magic")


def _check_shape(header: Header, rule: _Rule) -> None:
    if header.dtype not in rule.dtypes:
        names = " or ".join(DType(value).name.lower() for value in rule.dtypes)
        raise fault(header, "field", f"dtype {names}", header.dtype)
    if header.layout > rule.max_layout:
        raise fault(header, "field", f"layout at most {int(rule.max_layout)}", header.layout)
    if not 1 <= header.n_channels <= MAX_CHANNELS:
        raise fault(header, "field", f"n_channels from 1 to {MAX_CHANNELS}", header.n_channels)
    if header.n_samples < rule.min_samples:
        raise fault(header, "field", f"n_samples of at least {rule.min_samples}", header.n_samples)
    if header.n_samples > rule.max_samples:
        raise fault(header, "field", f"n_samples {rule.max_samples}", header.n_samples)
    if header.n_items > rule.max_items:
        raise fault(header, "field", f"n_items {rule.max_items}", header.n_items)


def _check_scalars(header: Header) -> None:
    if not 0 <= header.sample_index <= MAX_SAMPLE_INDEX:
        raise fault(header, "field", "sample_index from 0 to 2^62", header.sample_index)
    if header.acquired_clock > _MAX_CLOCK or header.sent_clock > _MAX_CLOCK:
        came = f"{header.acquired_clock} and {header.sent_clock}"
        raise fault(header, "field", f"clocks of at most {int(_MAX_CLOCK)}", came)
    if (header.acquired_ns and not header.acquired_clock) or (header.sent_ns and not header.sent_clock):
        raise fault(header, "field", "time 0 where the clock is none", (header.acquired_ns, header.sent_ns))
    if gcd(header.rate_num, header.rate_den) != 1 or not header.rate_num or not header.rate_den:
        came = f"{header.rate_num}/{header.rate_den}"
        raise fault(header, "field", "a positive rate in lowest terms", came)
    if not 0.0 < header.uv_per_bit < inf:
        raise fault(header, "field", "a positive finite uv_per_bit", header.uv_per_bit)
    if header.flags & ~1:
        raise fault(header, "field", "no flag but payload_crc (1)", header.flags)
    if header.payload_crc32 and not header.flags & PacketFlag.PAYLOAD_CRC:
        raise fault(header, "field", "payload_crc32 0 without its flag", f"{header.payload_crc32:#010x}")
    if header.pad or header.reserved != RESERVED:
        raise fault(header, "field", "reserved bytes of zero", (header.pad, header.reserved))


def _check_length(header: Header, size: int) -> None:
    if header.payload_bytes != size:
        raise fault(header, "length", f"a payload of {header.payload_bytes} bytes", size)
    expected = payload_length(header)
    if expected is not None and expected != size:
        raise fault(header, "length", f"{expected} payload bytes for its counts and type", size)
    if header.kind == Kind.DESCRIPTOR and not size:
        raise fault(header, "length", "a descriptor of at least 1 byte", 0)


def payload_length(header: Header) -> int | None:
    """Give the payload's length in bytes that the counts imply; `None` where only JSON can tell."""
    match header.kind:
        case Kind.WIDEBAND:
            return header.n_samples * header.n_channels * (2 if header.dtype == DType.INT16 else 4)
        case Kind.EVENTS:
            return header.n_items * 8
        case Kind.COUNTS:
            return header.n_channels * 2
        case Kind.MARKERS:
            return header.n_items * 16
        case Kind.COLUMNS:
            return header.n_items * (8 + 4 * header.n_channels)
        case Kind.DESCRIPTOR:
            return None
        case _:
            return 0

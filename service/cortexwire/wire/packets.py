"""One packet as an object, and its two directions: `decode_packet` and its exact inverse `encode_packet`.

From one packet of samples to the next only counters, times and the checksum change. What stays is checked once and
known again by its bytes; of a packet like one before only what changes is checked.
"""

from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from cortexwire.errors import ConfigError
from cortexwire.types import Rate
from cortexwire.wire.codes import Clock, DType, Kind, Layout, PacketFlag
from cortexwire.wire.header import (
    HEADER_BYTES,
    MAGIC,
    MAX_SAMPLE_INDEX,
    RESERVED,
    VERSION,
    Header,
    fault,
    pack_header,
    read_header,
)
from cortexwire.wire.payloads import payload_bytes, read_payload

_KINDS: Final = {int(kind): kind for kind in Kind}
_CLOCKS: Final = tuple(Clock)
_LAYOUTS: Final = tuple(Layout)
_FIXED_DTYPES: Final = {
    Kind.EVENTS: DType.EVENT,
    Kind.COUNTS: DType.UINT16,
    Kind.MARKERS: DType.MARKER,
    Kind.COLUMNS: DType.COLUMN,
    Kind.DESCRIPTOR: DType.JSON,
    Kind.END: DType.NONE,
}
_SAMPLE_DTYPES: Final = {np.dtype(np.int16): DType.INT16, np.dtype(np.float32): DType.FLOAT32}
_I64: Final = Struct("<q")
_COUNTERS_AT: Final = 8
_SENT_NS_AT: Final = 40
_CLOCKS_AT: Final = 48
_SENT_CLOCK_AT: Final = 49
_CRC_AT: Final = 124
_CHANGING: Final = Struct("<QQqqq")
"""Epoch, sequence number, sample index and both times, which stand together."""
_CRC: Final = Struct("<I")
_INT16: Final = np.dtype("<i2")
_MOST_RECURRING: Final = 64


class Packet(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One checked packet.

    `data` by kind, arrays read-only and sharing the frame's memory:
    wideband `(n_samples, n_channels)` int16 or float32; events `(n,)` `EVENT_DTYPE`; counts `(n_channels,)`
    uint16; markers `(n,)` `MARKER_DTYPE`; columns `Columns`; descriptor `Descriptor`; end `None`.

    Attributes:
        n_channels: Channels of the source; in a columns packet the number of columns.
        uv_per_bit: Microvolts of one unit of a wideband sample, whatever its type.
        descriptor_hash: Hash of the source's descriptor; 0 where the rig sends no identities.
    """

    kind: Kind
    epoch: int
    sequence: int
    sample_index: int
    n_samples: int
    n_channels: int
    rate: Rate
    uv_per_bit: float
    descriptor_hash: int
    source: int
    flags: int
    acquired_ns: int
    acquired_clock: Clock
    sent_ns: int
    sent_clock: Clock
    data: Any
    layout: Layout = Layout.TIME_MAJOR

    @property
    def end_sample(self) -> int:
        """One past the last sample that the packet covers."""
        return self.sample_index + self.n_samples


class _Recurring(NamedTuple):
    """What packets of int16 samples have in common; none of their values can be wrong."""

    frame_bytes: int
    n_samples: int
    n_channels: int
    rate: Rate
    uv_per_bit: float
    descriptor_hash: int
    source: int
    acquired_clock: Clock
    sent_clock: Clock
    layout: Layout


_recurring: Final[dict[bytes, _Recurring]] = {}
"""By all bytes of the header but those that change; emptied when a sender makes too many of them."""


def decode_packet(frame: bytes | bytearray | memoryview) -> Packet:
    """Check a frame and read it without copying its payload.

    Raises:
        PacketError: The frame breaks a rule of the protocol; `reason` names the class of fault.
    """
    if type(frame) is not bytes:
        return _decode_whole(memoryview(frame).toreadonly())
    staying = frame[:_COUNTERS_AT] + frame[_CLOCKS_AT:_CRC_AT]
    known = _recurring.get(staying)
    if known is not None:
        packet = _decode_like(known, frame)
        if packet is not None:
            return packet
    packet = _decode_whole(frame)
    if packet.kind is Kind.WIDEBAND and packet.data.dtype == _INT16 and not packet.flags:
        if len(_recurring) >= _MOST_RECURRING:
            _recurring.clear()
        _recurring[staying] = _Recurring(
            len(frame),
            packet.n_samples,
            packet.n_channels,
            packet.rate,
            packet.uv_per_bit,
            packet.descriptor_hash,
            packet.source,
            packet.acquired_clock,
            packet.sent_clock,
            packet.layout,
        )
    return packet


def _decode_like(known: _Recurring, frame: bytes) -> Packet | None:
    """Read a packet that has all but what changes in common with one that was good; None where it is not good."""
    epoch, sequence, sample_index, acquired_ns, sent_ns = _CHANGING.unpack_from(frame, _COUNTERS_AT)
    size, n_samples, n_channels, rate, uv_per_bit, descriptor_hash, source, acquired, sent, layout = known
    if (
        len(frame) != size
        or (crc32(frame[:_CRC_AT]),) != _CRC.unpack_from(frame, _CRC_AT)
        or not 0 <= sample_index <= MAX_SAMPLE_INDEX
        or (acquired_ns and not acquired)
        or (sent_ns and not sent)
    ):
        return None
    flat = np.frombuffer(frame, _INT16, -1, HEADER_BYTES)
    in_time = layout is Layout.TIME_MAJOR
    data = flat.reshape(n_samples, n_channels) if in_time else flat.reshape(n_channels, n_samples).T
    return Packet(
        Kind.WIDEBAND,
        epoch,
        sequence,
        sample_index,
        n_samples,
        n_channels,
        rate,
        uv_per_bit,
        descriptor_hash,
        source,
        0,
        acquired_ns,
        acquired,
        sent_ns,
        sent,
        data,
        layout,
    )


def _decode_whole(frame: bytes | memoryview) -> Packet:
    header = read_header(frame)
    if header.flags & 1:
        came = crc32(memoryview(frame)[HEADER_BYTES:])
        if came != header.payload_crc32:
            raise fault(header, "checksum", f"payload CRC-32 {header.payload_crc32:#010x}", f"{came:#010x}")
    return Packet(
        _KINDS[header.kind],
        header.epoch,
        header.sequence,
        header.sample_index,
        header.n_samples,
        header.n_channels,
        Rate(header.rate_num, header.rate_den),
        header.uv_per_bit,
        header.descriptor_hash,
        header.source,
        header.flags,
        header.acquired_ns,
        _CLOCKS[header.acquired_clock],
        header.sent_ns,
        _CLOCKS[header.sent_clock],
        read_payload(header, frame),
        _LAYOUTS[header.layout],
    )


def encode_packet(packet: Packet) -> bytes:
    """Write a packet; for every frame that decodes, `encode_packet(decode_packet(frame)) == frame`.

    Only widths are checked, so that tests can write packets that break a rule.

    Raises:
        ConfigError: A number does not fit its field, or samples are neither int16 nor float32.
    """
    kind, data = packet.kind, packet.data
    payload = payload_bytes(kind, packet.layout, data)
    header = Header(
        magic=MAGIC,
        version=VERSION,
        kind=kind,
        pad=0,
        epoch=packet.epoch,
        sequence=packet.sequence,
        sample_index=packet.sample_index,
        acquired_ns=packet.acquired_ns,
        sent_ns=packet.sent_ns,
        acquired_clock=packet.acquired_clock,
        sent_clock=packet.sent_clock,
        dtype=_element_type(kind, data),
        layout=packet.layout,
        n_channels=packet.n_channels,
        n_samples=packet.n_samples,
        n_items=_row_count(kind, data),
        rate_num=packet.rate.num,
        rate_den=packet.rate.den,
        uv_per_bit=packet.uv_per_bit,
        descriptor_hash=packet.descriptor_hash,
        flags=packet.flags,
        payload_bytes=len(payload),
        payload_crc32=crc32(payload) if packet.flags & PacketFlag.PAYLOAD_CRC else 0,
        source=packet.source,
        reserved=RESERVED,
        header_crc32=0,
    )
    return b"".join((pack_header(header), payload))


def stamp_sent(frame: bytes | bytearray | memoryview, ns: int, clock: Clock = Clock.MONOTONIC) -> bytes:
    """Copy a frame with the time of sending written into it and its header checksum made right again."""
    head = bytearray(frame[:HEADER_BYTES])
    _I64.pack_into(head, _SENT_NS_AT, ns)
    head[_SENT_CLOCK_AT] = clock
    head[_CRC_AT:] = crc32(head[:_CRC_AT]).to_bytes(4, "little")
    return b"".join((head, memoryview(frame)[HEADER_BYTES:]))


def subscription(kind: Kind) -> bytes:
    """Give the prefix by which a ZeroMQ SUB socket takes only packets of one kind."""
    return MAGIC + VERSION.to_bytes(2, "little") + bytes([kind])


def _element_type(kind: Kind, data: Any) -> DType:
    if kind != Kind.WIDEBAND:
        return _FIXED_DTYPES[kind]
    dtype = _SAMPLE_DTYPES.get(data.dtype)
    if dtype is None:
        raise ConfigError(f"wideband packet: expected int16 or float32 samples, got {data.dtype}")
    return dtype


def _row_count(kind: Kind, data: Any) -> int:
    if kind == Kind.COLUMNS:
        return len(data.offsets)
    return len(data) if kind in (Kind.EVENTS, Kind.MARKERS) else 0

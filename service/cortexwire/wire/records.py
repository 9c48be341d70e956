"""Records of the log and the tap: a 32-byte header in front of a payload padded to 8 bytes.

The header has its own checksum, so a reader can tell a torn tail from damage inside, and `index` counts
records, so a missing one shows.
"""

from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from cortexwire.errors import PacketError
from cortexwire.wire.codes import RecordKind

RECORD_MAGIC: Final = b"CXWR"
RECORD_VERSION: Final = 1
RECORD_HEADER_BYTES: Final = 32

_BODY: Final = Struct("<4sHHqIII")
_HEADER: Final = Struct("<4sHHqIIII")
_BODY_BYTES: Final = 28
_ALIGNMENT: Final = 8
_KINDS: Final = {int(kind): kind for kind in RecordKind}


class RecordHeader(msgspec.Struct, frozen=True, gc=False):
    """A checked record header."""

    kind: RecordKind
    t_ns: int
    payload_bytes: int
    payload_crc32: int
    index: int

    @property
    def record_bytes(self) -> int:
        """Length of the whole record: header, payload and padding."""
        return record_length(self.payload_bytes)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: `payload` is a read-only view of the buffer; the next record starts at `end`."""

    kind: RecordKind
    t_ns: int
    index: int
    payload: memoryview
    end: int


def record_length(payload_bytes: int) -> int:
    """Length in bytes of a record with this much payload, padding included."""
    return RECORD_HEADER_BYTES + payload_bytes + -payload_bytes % _ALIGNMENT


def encode_record_header(kind: RecordKind, t_ns: int, payload_bytes: int, payload_crc32: int, index: int) -> bytes:
    """Write the 32 bytes in front of a payload; `index` wraps at 2^32."""
    body = _BODY.pack(RECORD_MAGIC, RECORD_VERSION, kind, t_ns, payload_bytes, payload_crc32, index & 0xFFFFFFFF)
    return body + crc32(body).to_bytes(4, "little")


def encode_record(kind: RecordKind, t_ns: int, payload: bytes | bytearray | memoryview, index: int) -> bytes:
    """Write a whole record with its padding."""
    header = encode_record_header(kind, t_ns, len(payload), crc32(payload), index)
    return b"".join((header, payload, bytes(-len(payload) % _ALIGNMENT)))


def decode_record_header(buffer: bytes | bytearray | memoryview, at: int = 0) -> RecordHeader:
    """Read and check the record header at byte `at`.

    Raises:
        PacketError: The buffer ends inside the header (`length`), or the header breaks a rule.
    """
    came = len(buffer) - at
    if came < RECORD_HEADER_BYTES:
        raise PacketError(f"record at byte {at}: expected {RECORD_HEADER_BYTES} bytes, got {came}", "length")
    magic, version, kind, t_ns, size, payload_crc, index, header_crc = _HEADER.unpack_from(buffer, at)
    if magic != RECORD_MAGIC:
        raise PacketError(f"record at byte {at}: expected magic {RECORD_MAGIC!r}, got {magic!r}", "magic")
    if version != RECORD_VERSION:
        raise PacketError(f"record at byte {at}: expected version {RECORD_VERSION}, got {version}", "version")
    crc = crc32(memoryview(buffer)[at : at + _BODY_BYTES])
    if crc != header_crc:
        raise PacketError(f"record at byte {at}: expected CRC-32 {header_crc:#010x}, got {crc:#010x}", "checksum")
    if kind not in _KINDS:
        raise PacketError(f"record {index}: expected a kind from 1 to {len(_KINDS)}, got {kind}", "kind")
    return RecordHeader(_KINDS[kind], t_ns, size, payload_crc, index)


def decode_record(buffer: bytes | bytearray | memoryview, at: int = 0) -> Record:
    """Read and check the whole record at byte `at`.

    Raises:
        PacketError: The buffer ends inside the record (`length`), or the record breaks a rule.
    """
    header = decode_record_header(buffer, at)
    end = at + header.record_bytes
    if end > len(buffer):
        came = len(buffer) - at
        raise PacketError(f"record {header.index}: expected {header.record_bytes} bytes, got {came}", "length")
    start = at + RECORD_HEADER_BYTES
    payload = memoryview(buffer).toreadonly()[start : start + header.payload_bytes]
    crc = crc32(payload)
    if crc != header.payload_crc32:
        expected = f"payload CRC-32 {header.payload_crc32:#010x}"
        raise PacketError(f"record {header.index}: expected {expected}, got {crc:#010x}", "checksum")
    return Record(header.kind, header.t_ns, header.index, payload, end)

"""Frames that break one rule: a field is overwritten, checksums are made right again."""

import struct
from zlib import crc32

from cortexwire.wire.checksums import crc32_with_hole
from cortexwire.wire.outputs import OUTPUT_CRC_AT


def with_bytes(frame: bytes, at: int, new: bytes) -> bytes:
    """Replace bytes, checksums untouched."""
    return frame[:at] + new + frame[at + len(new) :]


def repaired(frame: bytes) -> bytes:
    """Make the header checksum of a packet right."""
    return with_bytes(frame, 124, struct.pack("<I", crc32(frame[:124])))


def repaired_output(frame: bytes) -> bytes:
    """Make length and checksum of an output right."""
    sized = with_bytes(frame, 128, struct.pack("<I", len(frame)))
    return with_bytes(sized, OUTPUT_CRC_AT, struct.pack("<I", crc32_with_hole(sized, OUTPUT_CRC_AT)))


def forged(frame: bytes, at: int, form: str, value: object) -> bytes:
    """Overwrite a header field of a packet."""
    return repaired(with_bytes(frame, at, struct.pack("<" + form, value)))


def forged_output(frame: bytes, at: int, form: str, value: object) -> bytes:
    """Overwrite a field of an output."""
    return repaired_output(with_bytes(frame, at, struct.pack("<" + form, value)))

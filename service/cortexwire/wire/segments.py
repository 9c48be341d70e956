"""A recording on disk: a folder of segments, `000000.cxlog` and on, and a sidecar, `recording.json`.

A segment is a header of 64 bytes and then records (`cortexwire.wire.records`), each with the checksum of its payload.
Records are numbered without a break from one segment to the next; the number in their own header is its lowest 32
bits. Where records are missing, one of kind `LOSS` stands in their place. A segment is never written again once a later
one exists, and a recorder never appends to one that another process began. So a tail can be torn in the last segment,
and in one at whose end a recorder was killed: there the index of the first record of the next segment says how many
records of this one count, and what lies behind them has been replaced.

====== ===== =====================================================================================
offset bytes field
====== ===== =====================================================================================
0      4     magic `CXWL`
4      2     version u16 = 1
6      2     reserved
8      4     number of the segment u32
12     4     reserved
16     16    the recording's id, random, the same in all of its segments
32     8     index of the first record u64
40     8     when the segment was begun i64, ns, CLOCK_REALTIME
48     12    reserved
60     4     CRC-32 of bytes 0 to 59
====== ===== =====================================================================================
"""

from pathlib import Path
from struct import Struct
from typing import Any, Final
from zlib import crc32

import msgspec

from cortexwire.errors import PacketError

SEGMENT_MAGIC: Final = b"CXWL"
SEGMENT_VERSION: Final = 1
SEGMENT_HEADER_BYTES: Final = 64
SEGMENT_SUFFIX: Final = ".cxlog"
SIDECAR: Final = "recording.json"

_BODY: Final = Struct("<4sHxxIxxxx16sQq12x")


class SegmentHeader(msgspec.Struct, frozen=True, gc=False):
    """A checked segment header.

    Attributes:
        number: Which segment it is, from 0.
        recording: The recording's id, 16 bytes.
        first_index: Index of its first record.
        t_realtime_ns: When it was begun, Unix time.
    """

    number: int
    recording: bytes
    first_index: int
    t_realtime_ns: int


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What `recording.json` holds: what a person or a tool wants to know before reading a segment.

    Attributes:
        recording: The recording's id, hexadecimal.
        name: What it is called.
        started: When it was begun, ISO 8601 in UTC.
        stopped: When it was ended in good order, or none.
        format: Version of this file.
        start: The `Start` of the engine that was running then, as JSON.
        from_start: Whether the log holds that `Start`, so that outputs can be reproduced from its first record on.
        software: Versions of what recorded it.
        bundle: Folder beside the segments with a copy of the bundle, or none.
        tap: Id of the tap's ring, hexadecimal; a recorder that was killed knows by it whether it may go on.
        about: The user's own words.
    """

    recording: str
    name: str
    started: str
    stopped: str | None = None
    format: int = 1
    start: dict[str, Any] | None = None
    from_start: bool = False
    software: dict[str, str] = {}
    bundle: str | None = None
    tap: str | None = None
    about: str = ""


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` of the recording in `folder` is."""
    return folder / f"{number:06d}{SEGMENT_SUFFIX}"


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Write the 64 bytes in front of a segment's records."""
    body = _BODY.pack(
        SEGMENT_MAGIC, SEGMENT_VERSION, header.number, header.recording, header.first_index, header.t_realtime_ns
    )
    return body + crc32(body).to_bytes(4, "little")


def decode_segment_header(buffer: bytes | bytearray | memoryview) -> SegmentHeader:
    """Read and check the header of a segment.

    Raises:
        PacketError: It is too short (`length`), or breaks a rule (`magic`, `version`, `checksum`).
    """
    if len(buffer) < SEGMENT_HEADER_BYTES:
        raise PacketError(f"segment: expected a header of {SEGMENT_HEADER_BYTES} bytes, got {len(buffer)}", "length")
    body = bytes(buffer[: _BODY.size])
    magic, version, number, recording, first_index, t_ns = _BODY.unpack(body)
    if magic != SEGMENT_MAGIC:
        raise PacketError(f"segment: expected magic {SEGMENT_MAGIC!r}, got {magic!r}", "magic")
    if version != SEGMENT_VERSION:
        raise PacketError(f"segment: expected version {SEGMENT_VERSION}, got {version}", "version")
    crc, came = crc32(body), int.from_bytes(buffer[_BODY.size : SEGMENT_HEADER_BYTES], "little")
    if crc != came:
        raise PacketError(f"segment: expected header CRC-32 {crc:#010x}, got {came:#010x}", "checksum")
    return SegmentHeader(number, recording, first_index, t_ns)

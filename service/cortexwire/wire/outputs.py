"""The output message: one frame of a fixed header, a table of named tensors, and their data.

The layout is canonical: tensors lie in the order of their table, each at the next multiple of 8, padding is
zero, so equal outputs are equal bytes.
"""

from math import inf
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class that its module names in lower case
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
from numpy.typing import NDArray

from cortexwire.errors import ConfigError, PacketError
from cortexwire.wire.checksums import crc32_with_hole
from cortexwire.wire.codes import Clock, Executor, OutFlag, OutKind, Validity
from cortexwire.wire.tensors import read_tensors, tensor_parts

OUTPUT_MAGIC: Final = b"CXWO"
OUTPUT_VERSION: Final = 1
OUTPUT_HEADER_BYTES: Final = 144
TIMES_AT: Final = 72
CLOCKS_AT: Final = 120
OUTPUT_CRC_AT: Final = 132

_HEADER: Final = Struct("<4sHBBQqqIffHBBQQII6q6BHIIQ")
_KINDS: Final = {int(kind): kind for kind in OutKind}
_VALIDITIES: Final = tuple(Validity)
_EXECUTORS: Final = tuple(Executor)
_CLOCKS: Final = tuple(Clock)
_KNOWN_FLAGS: Final = 2 * max(OutFlag) - 1
_NO_CRC: Final = bytes(4)
_CRC: Final = Struct("<I")


class Times(NamedTuple):
    """Nanoseconds at each stage of a bin's closing packet; 0 where the clock is none."""

    acquired_ns: int = 0
    sent_ns: int = 0
    received_ns: int = 0
    binned_ns: int = 0
    decoded_ns: int = 0
    published_ns: int = 0


class Clocks(NamedTuple):
    """The clock of each of `Times`."""

    acquired: Clock = Clock.NONE
    sent: Clock = Clock.NONE
    received: Clock = Clock.NONE
    binned: Clock = Clock.NONE
    decoded: Clock = Clock.NONE
    published: Clock = Clock.NONE


class Output(msgspec.Struct, eq=False):
    """One output message.

    Attributes:
        bin: Number of the bin in the epoch, from sample 0.
        end_sample: One past the bin's last sample.
        valid_for_ms: How long after its coming a consumer may hold this value.
        observed_fraction: Share of the bin's samples that were observed, 0 to 1.
        restart: How often the stream started again within the epoch.
        missing_samples: Samples of this bin that never came.
        tensors: Named arrays of int16, float32, uint16, int64 or float64, at most 4 dimensions.
    """

    kind: OutKind
    epoch: int
    bin: int
    end_sample: int
    validity: Validity = Validity.VALID
    flags: OutFlag = OutFlag(0)
    valid_for_ms: float = 0.0
    observed_fraction: float = 1.0
    source: int = 0
    executor: Executor = Executor.NONE
    bundle_hash: int = 0
    overlay_hash: int = 0
    restart: int = 0
    missing_samples: int = 0
    times: Times = Times()
    clocks: Clocks = Clocks()
    tensors: dict[str, NDArray[Any]] = {}


def encode_output(out: Output) -> bytes:
    """Write an output as one frame.

    Raises:
        ConfigError: A number does not fit its field, or a tensor's name, type or shape is not allowed.
    """
    try:
        parts, size = tensor_parts(out.tensors, OUTPUT_HEADER_BYTES)
        header = _HEADER.pack(
            OUTPUT_MAGIC,
            OUTPUT_VERSION,
            out.kind,
            out.validity,
            out.epoch,
            out.bin,
            out.end_sample,
            out.flags,
            out.valid_for_ms,
            out.observed_fraction,
            out.source,
            out.executor,
            len(out.tensors),
            out.bundle_hash,
            out.overlay_hash,
            out.restart,
            out.missing_samples,
            *out.times,
            *out.clocks,
            0,
            size,
            0,
            0,
        )
    except (StructError, OverflowError) as error:
        raise ConfigError(f"output of bin {out.bin}: expected numbers that fit their fields, got {error}") from error
    frame = bytearray().join((header, *parts))
    _CRC.pack_into(frame, OUTPUT_CRC_AT, crc32(frame))  # the checksum's own bytes are zero as yet
    return bytes(frame)


def decode_output(frame: bytes | bytearray | memoryview) -> Output:
    """Check and read an output; its tensors are read-only views of the frame.

    Raises:
        PacketError: The frame breaks a rule of the protocol; `reason` names the class of fault.
    """
    view = memoryview(frame).toreadonly()
    fields = _read_header(view)
    (
        _,
        _,
        kind,
        validity,
        epoch,
        bin_,
        end_sample,
        flags,
        valid_for_ms,
        observed,
        source,
        executor,
        n_tensors,
    ) = fields[:13]
    bundle_hash, overlay_hash, restart, missing = fields[13:17]
    where = f"output of bin {bin_}"
    if kind not in _KINDS:
        raise PacketError(f"{where}: expected kind 1 (decoded) or 2 (safe), got {kind}", "kind")
    if validity >= len(_VALIDITIES) or executor >= len(_EXECUTORS) or flags & ~_KNOWN_FLAGS:
        came = f"{validity}, {executor} and {flags:#x}"
        raise PacketError(f"{where}: expected known validity, executor and flags, got {came}", "field")
    if not (0.0 <= valid_for_ms < inf and 0.0 <= observed <= 1.0):
        came = f"{valid_for_ms} and {observed}"
        raise PacketError(f"{where}: expected valid_for_ms >= 0 and a fraction in [0, 1], got {came}", "field")
    if fields[29] or fields[32]:
        raise PacketError(f"{where}: expected reserved bytes of zero, got {fields[29]} and {fields[32]}", "field")
    times = Times._make(fields[17:23])
    return Output(
        _KINDS[kind],
        epoch,
        bin_,
        end_sample,
        _VALIDITIES[validity],
        OutFlag(flags),
        valid_for_ms,
        observed,
        source,
        _EXECUTORS[executor],
        bundle_hash,
        overlay_hash,
        restart,
        missing,
        times,
        _read_clocks(where, times, fields[23:29]),
        read_tensors(view, n_tensors, OUTPUT_HEADER_BYTES, where),
    )


def seal(frame: bytearray) -> None:
    """Write the checksum of a whole output message into it."""
    frame[OUTPUT_CRC_AT : OUTPUT_CRC_AT + 4] = _NO_CRC
    frame[OUTPUT_CRC_AT : OUTPUT_CRC_AT + 4] = crc32_with_hole(frame, OUTPUT_CRC_AT).to_bytes(4, "little")


def _read_header(view: memoryview) -> tuple[Any, ...]:
    size = len(view)
    magic = bytes(view[: len(OUTPUT_MAGIC)])
    if len(magic) == len(OUTPUT_MAGIC) and magic != OUTPUT_MAGIC:
        raise PacketError(f"output of {size} bytes: expected magic {OUTPUT_MAGIC!r}, got {magic!r}", "magic")
    if size < OUTPUT_HEADER_BYTES:
        raise PacketError(f"output: expected a header of {OUTPUT_HEADER_BYTES} bytes, got {size}", "length")
    fields = _HEADER.unpack_from(view)
    where = f"output of bin {fields[5]}"
    if fields[1] != OUTPUT_VERSION:
        raise PacketError(f"{where}: expected version {OUTPUT_VERSION}, got {fields[1]}", "version")
    if fields[30] != size:
        raise PacketError(f"{where}: expected {fields[30]} bytes, got {size}", "length")
    came = crc32_with_hole(view, OUTPUT_CRC_AT)
    if came != fields[31]:
        raise PacketError(f"{where}: expected CRC-32 {fields[31]:#010x}, got {came:#010x}", "checksum")
    return fields


def _read_clocks(where: str, times: Times, ids: tuple[int, ...]) -> Clocks:
    for ns, clock in zip(times, ids, strict=True):
        if clock >= len(_CLOCKS) or (ns and not clock):
            raise PacketError(f"{where}: expected a known clock for each time, got {ns} ns of {clock}", "field")
    return Clocks._make([_CLOCKS[clock] for clock in ids])

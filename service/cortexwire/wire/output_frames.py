"""What is done to a finished output frame: stamp its publication, strip its times, show it to a person."""

from struct import Struct
from typing import Final

import msgspec

from cortexwire.errors import PacketError
from cortexwire.wire.codes import Clock, OutFlag
from cortexwire.wire.outputs import (
    CLOCKS_AT,
    OUTPUT_HEADER_BYTES,
    OUTPUT_MAGIC,
    OUTPUT_VERSION,
    TIMES_AT,
    Output,
    seal,
)

_I64: Final = Struct("<q")
_PUBLISHED: Final = 5
_TIMES_END: Final = CLOCKS_AT + 6


def stamp_published(frame: bytearray, ns: int, clock: Clock = Clock.MONOTONIC) -> None:
    """Write the time of publication into an output frame, in place, and make its checksum right again."""
    _I64.pack_into(frame, TIMES_AT + 8 * _PUBLISHED, ns)
    frame[CLOCKS_AT + _PUBLISHED] = clock
    seal(frame)


def strip_times(frame: bytes | bytearray | memoryview) -> bytes:
    """Copy an output frame with all times and clocks zero, so that two runs can be compared bit for bit.

    Raises:
        PacketError: The frame is shorter than an output's header.
    """
    if len(frame) < OUTPUT_HEADER_BYTES:
        raise PacketError(f"output: expected a header of {OUTPUT_HEADER_BYTES} bytes, got {len(frame)}", "length")
    stripped = bytearray(frame)
    stripped[TIMES_AT:_TIMES_END] = bytes(_TIMES_END - TIMES_AT)
    seal(stripped)
    return bytes(stripped)


def output_to_json(out: Output) -> bytes:
    """Write an output as one JSON object for people.

    64-bit names are hexadecimal text, because JSON numbers lose bits beyond 2^53; a value that is not finite
    is `null`.
    """
    return msgspec.json.encode(
        {
            "kind": out.kind.name.lower(),
            "epoch": f"{out.epoch:016x}",
            "restart": out.restart,
            "bin": out.bin,
            "end_sample": out.end_sample,
            "validity": out.validity.name.lower(),
            "observed_fraction": out.observed_fraction,
            "missing_samples": out.missing_samples,
            "flags": [str(flag.name).lower() for flag in OutFlag if flag in out.flags],
            "valid_for_ms": out.valid_for_ms,
            "source": out.source,
            "executor": out.executor.name.lower(),
            "bundle_hash": f"{out.bundle_hash:016x}",
            "overlay_hash": f"{out.overlay_hash:016x}",
            "times": out.times._asdict(),
            "clocks": {stage: clock.name.lower() for stage, clock in out.clocks._asdict().items()},
            "tensors": {name: array.tolist() for name, array in out.tensors.items()},
        }
    )


def output_subscription(kind: int | None = None) -> bytes:
    """Give the prefix by which a ZeroMQ SUB socket takes outputs, of one kind or of both."""
    prefix = OUTPUT_MAGIC + OUTPUT_VERSION.to_bytes(2, "little")
    return prefix if kind is None else prefix + bytes([kind])

"""What a log says besides packets and outputs: how a pipeline began, what became of a command, what is missing.

Each is the payload of one record, as JSON. Hashes, epochs and other numbers of 64 bits are hexadecimal text, since
JSON readers lose integers beyond 2^53.
"""

from typing import Any, TypeVar

import msgspec

from cortexwire.errors import PacketError


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline began: with what follows up to the next `Start`, all that its outputs depend on.

    Attributes:
        pid: Process of the engine.
        t_realtime_ns: When, Unix time; the record has the same instant on CLOCK_MONOTONIC.
        config: The engine's configuration, as JSON.
        bundle: Folder of the bundle.
        bundle_sha256: Its hash.
        overlay: File of the overlay, or none.
        overlay_sha256: Its hash.
        thresholds_uv: Thresholds that were given, null for a disabled channel; none if they are to be measured.
        fingerprint: What has to be equal for outputs to be equal bit for bit.
        software: Versions by name.
    """

    pid: int
    t_realtime_ns: int
    config: dict[str, Any]
    bundle: str
    bundle_sha256: str
    fingerprint: str
    overlay: str | None = None
    overlay_sha256: str | None = None
    thresholds_uv: list[float | None] | None = None
    software: dict[str, str] = {}


class Applied(msgspec.Struct, frozen=True):
    """What became of the command before it.

    Attributes:
        bin: The bin at which it took effect, -1 for none.
        problem: Why it was refused, or none.
    """

    bin: int
    problem: str | None = None


class Span(msgspec.Struct, frozen=True):
    """Samples `[start, stop)` of an epoch, given as 16 hexadecimal digits; an end that nobody knows is none."""

    epoch: str
    start: int | None
    stop: int | None


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were taken by the engine and are not in the log.

    The record that holds it has the index of the first that is missing.

    Attributes:
        records: How many.
        why: `overrun` (the recorder was too slow for the ring), `disk full`, or what else.
        packets: How many of them were packets, where that is known.
        samples: Samples in them, where that is known: the spans' sum.
        spans: Which samples.
    """

    records: int
    why: str
    packets: int | None = None
    samples: int | None = None
    spans: tuple[Span, ...] = ()


J = TypeVar("J", Start, Applied, Loss)


def decode_journal(payload: bytes | memoryview, kind: type[J]) -> J:
    """Read the payload of a `START`, `APPLIED` or `LOSS` record; unknown keys are ignored.

    Raises:
        PacketError: It is no JSON of that shape (`payload`).
    """
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise PacketError(f"expected the JSON of record {kind.__name__}: {error}", "payload") from error

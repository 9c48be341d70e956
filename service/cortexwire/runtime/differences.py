"""How two output messages differ, field by field, times aside."""

from enum import IntEnum, IntFlag
from typing import Any

import msgspec
import numpy as np

from cortexwire.errors import PacketError
from cortexwire.wire import Output, decode_output, strip_times

_LEFT_OUT = frozenset({"times", "clocks", "tensors"})


class Difference(msgspec.Struct, frozen=True):
    """One field in which a message that was recorded is not the one that the pipeline gives.

    Attributes:
        index: Number of the record.
        bin: Its bin.
        field: Name of the field or tensor.
        recorded: What was recorded.
        here: What the pipeline gives.
        max_abs: Largest absolute difference, of a tensor; None where there is none.
    """

    index: int
    bin: int
    field: str
    recorded: str
    here: str
    max_abs: float | None = None


def differences(index: int, recorded: bytes | memoryview, here: bytes) -> list[Difference]:
    """Compare two messages bit for bit in everything but times; nothing is found where they are equal."""
    try:
        if strip_times(recorded) == strip_times(here):
            return []
        before = decode_output(recorded)
    except PacketError as error:
        return [Difference(index, -1, "message", f"unreadable: {error}", "a message")]
    after = decode_output(here)
    found = [
        Difference(index, before.bin, name, _word(getattr(before, name)), _word(getattr(after, name)))
        for name in Output.__struct_fields__
        if name not in _LEFT_OUT and not _same(getattr(before, name), getattr(after, name))
    ]
    for name in dict.fromkeys((*before.tensors, *after.tensors)):
        a, b = before.tensors.get(name), after.tensors.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            found.append(Difference(index, before.bin, name, _shape(a), _shape(b)))
        elif a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
            most = float(np.nanmax(apart)) if not np.isnan(apart).all() else float("nan")
            found.append(Difference(index, before.bin, name, _values(a), _values(b), most))
    if not found:
        found.append(Difference(index, before.bin, "bytes", f"{len(recorded)} bytes", f"{len(here)} others"))
    return found


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)


def _word(value: Any) -> str:
    if isinstance(value, IntFlag):
        return " ".join(str(flag.name).lower() for flag in type(value) if flag in value) or "none"
    return value.name.lower() if isinstance(value, IntEnum) else str(value)


def _shape(array: Any) -> str:
    return "none" if array is None else f"{array.dtype} {array.shape}"


def _values(array: Any) -> str:
    return np.array2string(array.ravel(), threshold=6, edgeitems=3, precision=9, separator=" ")

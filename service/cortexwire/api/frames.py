"""A frame of the live stream: JSON and arrays in one message, made once for all viewers that stand at the same rows.

Layout: u32 little-endian, the length n of the JSON; n bytes of JSON, padded with spaces; the arrays, each at a multiple
of 4 bytes from the start of the message. The JSON names each array with its type, shape and offset.
"""

import struct
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.api.monitor import Monitor
from cortexwire.api.picture import Json, Picture

LOOK_BACK_NS: Final = 2_000_000_000
"""Oldest rows that a frame has."""
_MOST_MADE: Final = 32
_LENGTH: Final = struct.Struct("<I")
_ALIGNMENT: Final = 4
_NAMES: Final = {"float32": "f4", "uint16": "u2", "uint8": "u1", "int32": "i4"}
_BIN_MODULUS: Final = 2**31


class Place(NamedTuple):
    """Up to where a viewer has seen: the next bin and the next row of columns; `FIRST` for a new one."""

    bins: int = -1
    rows: int = -1


FIRST: Final = Place()
"""The place of a viewer that has seen nothing; its frame names the electrodes and looks back."""


class Frame(NamedTuple):
    """One message, and the place of whoever has it."""

    message: bytes
    place: Place


class Frames:
    """Makes frames; viewers at one place at one tick share one.

    Args:
        monitor: What is known.
        picture: Describes it.
    """

    def __init__(self, monitor: Monitor, picture: Picture) -> None:
        self._monitor = monitor
        self._picture = picture
        self._made: dict[tuple[int, int, Place], Frame] = {}
        self._sequence = 0

    def frame(self, fps: int, tick: int, place: Place) -> Frame:
        """The frame of a tick for a viewer at a place.

        Args:
            fps: Ticks a second of the viewer's class.
            tick: Number of the tick.
            place: What the viewer has seen.
        """
        key = fps, tick, place
        made = self._made.get(key)
        if made is None:
            while len(self._made) >= _MOST_MADE:
                del self._made[next(iter(self._made))]
            made = self._made[key] = self._make(place)
        return made

    def _make(self, place: Place) -> Frame:
        monitor = self._monitor
        monitor.refresh()
        self._sequence += 1
        bins, rows = monitor.tail.outputs.bins, monitor.tail.columns.rows
        oldest_ns = time.monotonic_ns() - LOOK_BACK_NS
        new_bins = bins.since(place.bins, oldest_ns)
        new_rows = rows.since(place.rows, oldest_ns)
        head: Json = self._picture.head() | {"seq": self._sequence, "columns": list(monitor.tail.columns.names)}
        if place == FIRST:
            head["electrodes"] = self._picture.electrodes()
        arrays: dict[str, NDArray[Any]] = {}
        if monitor.engine is not None:
            status = monitor.engine.status
            arrays |= {
                "rate_hz": status.rate_hz,
                "rms_uv": status.rms_uv,
                "threshold_uv": status.threshold_uv,
                "status": status.status,
            }
        arrays |= {
            "bins": new_bins["bin"],
            "velocity": new_bins["velocity"],
            "validity": new_bins["validity"],
            "flags": new_bins["flags"],
            "latency_us": new_bins["latency_us"],
            "counts": new_bins["counts"],
            "columns": new_rows["values"],
            "column_bins": self._bins_of(new_rows["sample"], float(head["engine"].get("bin_ms", 0))),
        }
        return Frame(pack(head, arrays), Place(bins.written, rows.written))

    def _bins_of(self, samples: NDArray[np.int64], bin_ms: float) -> NDArray[np.int32]:
        """The bins in which samples lie, modulo 2^31; -1 where rate or bin are not known."""
        engine = self._monitor.engine
        width = 0.0 if engine is None else engine.status.rate.hz * bin_ms / 1000
        if not width:
            return np.full(len(samples), -1, np.int32)
        return (np.floor_divide(samples, width).astype(np.int64) % _BIN_MODULUS).astype(np.int32)


def pack(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write a message.

    Args:
        head: What its JSON says besides the arrays.
        arrays: Arrays of float32, uint16, uint8 or int32.
    """
    sizes = {name: array.nbytes for name, array in arrays.items()}
    described = [
        {"name": name, "dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "offset": 0}
        for name, array in arrays.items()
    ]
    # Offsets count from the start of the message, so they depend on the length of the JSON in which they stand.
    length = len(msgspec.json.encode({**head, "arrays": described})) + 10 * len(arrays)
    length += -length % _ALIGNMENT
    at = _LENGTH.size + length
    for entry in described:
        entry["offset"] = at
        at += sizes[str(entry["name"])]
        at += -at % _ALIGNMENT
    text = msgspec.json.encode({**head, "arrays": described}).ljust(length)
    parts = [_LENGTH.pack(length), text]
    for array in arrays.values():
        content = np.ascontiguousarray(array).tobytes()
        parts += (content, bytes(-len(content) % _ALIGNMENT))
    return b"".join(parts)


def unpack(message: bytes) -> tuple[Json, dict[str, NDArray[Any]]]:
    """Read a message: its JSON, and the arrays by name as views of it."""
    (length,) = _LENGTH.unpack_from(message)
    head: Json = msgspec.json.decode(message[_LENGTH.size : _LENGTH.size + length])
    return head, {
        entry["name"]: np.frombuffer(
            message, f"<{entry['dtype']}", int(np.prod(entry["shape"], dtype=np.int64)), entry["offset"]
        ).reshape(entry["shape"])
        for entry in head["arrays"]
    }


def event(head: Json, last: Json | None) -> bytes:
    """One server-sent event: the JSON of a frame, with the newest output in place of arrays."""
    return b"data: " + msgspec.json.encode(head | {"last_output": last}) + b"\n\n"

"""Payload bytes to arrays: zero-copy, read-only views whose values are checked against their header."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cortexwire.errors import ConfigError
from cortexwire.wire.codes import DType, Kind, Layout
from cortexwire.wire.descriptor import Descriptor, read_descriptor
from cortexwire.wire.header import HEADER_BYTES, Header, fault

EVENT_DTYPE: Final = np.dtype([("sample_offset", "<u4"), ("channel", "<u2"), ("unit", "<u2")])
"""A threshold crossing or spike, `sample_offset` samples after the packet's `sample_index`."""
MARKER_DTYPE: Final = np.dtype([("sample_offset", "<u4"), ("code", "<u4"), ("value", "<f8")])
"""Something that happened at one sample; `value` is NaN where there is none."""

_INT16: Final = np.dtype("<i2")
_UINT16: Final = np.dtype("<u2")
_FLOAT32: Final = np.dtype("<f4")


class Columns(NamedTuple):
    """Rows of named floats on the sample clock.

    Attributes:
        offsets: `(n,)` uint32, samples after the packet's `sample_index`.
        values: `(n, n_columns)` float32 in the order of `Descriptor.columns`; NaN where undefined.
    """

    offsets: NDArray[np.uint32]
    values: NDArray[np.float32]


def column_row_dtype(n_columns: int) -> np.dtype[np.void]:
    """Give the layout of one row of a columns packet."""
    return np.dtype([("sample_offset", "<u4"), ("reserved", "<u4"), ("values", "<f4", (n_columns,))])


def make_events(sample_offsets: ArrayLike, channels: ArrayLike, units: ArrayLike = 0) -> NDArray[np.void]:
    """Build `(n,)` rows of `EVENT_DTYPE` from columns."""
    offsets = np.asarray(sample_offsets)
    rows = np.zeros(offsets.shape, EVENT_DTYPE)
    rows["sample_offset"], rows["channel"], rows["unit"] = offsets, channels, units
    return rows


def make_markers(sample_offsets: ArrayLike, codes: ArrayLike, values: ArrayLike = np.nan) -> NDArray[np.void]:
    """Build `(n,)` rows of `MARKER_DTYPE` from columns."""
    offsets = np.asarray(sample_offsets)
    rows = np.zeros(offsets.shape, MARKER_DTYPE)
    rows["sample_offset"], rows["code"], rows["value"] = offsets, codes, values
    return rows


def read_payload(header: Header, frame: bytes | memoryview) -> Any:
    """Read the payload of a frame whose header passed `read_header`.

    Raises:
        PacketError: A value breaks a rule (`value`), or the descriptor is no descriptor (`payload`).
    """
    match header.kind:
        case Kind.WIDEBAND:
            return _wideband(header, frame)
        case Kind.EVENTS:
            return _events(header, frame)
        case Kind.COUNTS:
            return np.frombuffer(frame, _UINT16, header.n_channels, HEADER_BYTES)
        case Kind.MARKERS:
            return _markers(header, frame)
        case Kind.COLUMNS:
            return _columns(header, frame)
        case Kind.DESCRIPTOR:
            return _descriptor(header, bytes(frame[HEADER_BYTES:]))
        case _:
            return None


def payload_bytes(kind: Kind, layout: Layout, data: Any) -> bytes | memoryview:
    """Give the bytes that `read_payload` reads back as `data`, of wideband as a flat view."""
    match kind:
        case Kind.WIDEBAND:
            flat = np.ascontiguousarray(data.T if layout == Layout.CHANNEL_MAJOR else data)
            return flat.reshape(-1).view(np.uint8).data
        case Kind.COLUMNS:
            return column_rows(data.offsets, data.values).tobytes()
        case Kind.DESCRIPTOR:
            payload: bytes = data.to_bytes()
            return payload
        case Kind.END:
            return b""
        case _:
            rows: bytes = data.tobytes()
            return rows


def column_rows(offsets: NDArray[Any], values: NDArray[Any]) -> NDArray[np.void]:
    """Interleave offsets `(n,)` and values `(n, n_columns)` into wire rows."""
    rows = np.zeros(len(offsets), column_row_dtype(values.shape[1]))
    rows["sample_offset"], rows["values"] = offsets, values
    return rows


def _wideband(header: Header, frame: bytes | memoryview) -> NDArray[Any]:
    dtype = _INT16 if header.dtype == DType.INT16 else _FLOAT32
    flat: NDArray[Any] = np.frombuffer(frame, dtype, offset=HEADER_BYTES)
    if dtype is _FLOAT32 and not np.isfinite(flat).all():
        raise fault(header, "value", "finite samples", f"{np.count_nonzero(~np.isfinite(flat))} that are not")
    if header.layout == Layout.CHANNEL_MAJOR:
        return flat.reshape(header.n_channels, header.n_samples).T
    return flat.reshape(header.n_samples, header.n_channels)


def _events(header: Header, frame: bytes | memoryview) -> NDArray[np.void]:
    rows = np.frombuffer(frame, EVENT_DTYPE, header.n_items, HEADER_BYTES)
    if header.n_items:
        _check_offsets(header, rows["sample_offset"])
        if rows["channel"].max() >= header.n_channels:
            raise fault(header, "value", f"channels below {header.n_channels}", rows["channel"].max())
    return rows


def _markers(header: Header, frame: bytes | memoryview) -> NDArray[np.void]:
    rows = np.frombuffer(frame, MARKER_DTYPE, header.n_items, HEADER_BYTES)
    _check_offsets(header, rows["sample_offset"])
    _check_not_infinite(header, rows["value"])
    return rows


def _columns(header: Header, frame: bytes | memoryview) -> Columns:
    rows = np.frombuffer(frame, column_row_dtype(header.n_channels), header.n_items, HEADER_BYTES)
    _check_offsets(header, rows["sample_offset"])
    _check_not_infinite(header, rows["values"])
    if rows["reserved"].any():
        raise fault(header, "value", "reserved words of zero", rows["reserved"].max())
    return Columns(rows["sample_offset"], rows["values"])


def _descriptor(header: Header, payload: bytes) -> Descriptor:
    try:
        descriptor = read_descriptor(payload)
    except ConfigError as error:
        raise fault(header, "payload", "a descriptor", error) from error
    if len(descriptor.electrodes) not in (0, header.n_channels):
        came = len(descriptor.electrodes)
        raise fault(header, "payload", f"0 or {header.n_channels} electrodes", came)
    if descriptor.hash != header.descriptor_hash:
        expected = f"a descriptor with hash {header.descriptor_hash:#018x}"
        raise fault(header, "payload", expected, f"{descriptor.hash:#018x}")
    return descriptor


def _check_offsets(header: Header, offsets: NDArray[Any]) -> None:
    if header.n_samples and offsets.size and offsets.max() >= header.n_samples:
        raise fault(header, "value", f"sample offsets below {header.n_samples}", offsets.max())


def _check_not_infinite(header: Header, values: NDArray[Any]) -> None:
    if np.isinf(values).any():
        raise fault(header, "value", "finite values or NaN", "an infinite one")

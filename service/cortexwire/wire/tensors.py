"""Named tensors inside an output message: a table of 48-byte records, then their data at multiples of 8."""

from math import prod
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError, PacketError
from cortexwire.wire.codes import DType

RECORD_BYTES: Final = 48
MAX_TENSORS: Final = 255
MAX_DIMS: Final = 4
MAX_NAME_BYTES: Final = 24
ALIGNMENT: Final = 8

_RECORD: Final = Struct("<24sBBHIIIII")
_NUMPY: Final[dict[int, np.dtype[Any]]] = {
    int(DType.INT16): np.dtype("<i2"),
    int(DType.FLOAT32): np.dtype("<f4"),
    int(DType.UINT16): np.dtype("<u2"),
    int(DType.INT64): np.dtype("<i8"),
    int(DType.FLOAT64): np.dtype("<f8"),
}
_CODES: Final = {dtype: code for code, dtype in _NUMPY.items()}
_PADDING: Final = tuple(bytes(n) for n in range(ALIGNMENT))


def tensor_parts(tensors: dict[str, NDArray[Any]], start: int) -> tuple[list[bytes], int]:
    """Lay tensors out behind `start` bytes of header.

    Returns:
        The byte strings of table and data in order, and the length of the whole message.

    Raises:
        ConfigError: There are too many tensors, or one has a name, type or shape that is not allowed.
    """
    if len(tensors) > MAX_TENSORS:
        raise ConfigError(f"output: expected at most {MAX_TENSORS} tensors, got {len(tensors)}")
    table: list[bytes] = []
    data: list[bytes] = []
    offset = start + RECORD_BYTES * len(tensors)
    for name, array in tensors.items():
        table.append(_record(name, array, offset))
        raw = array.tobytes()
        padding = -len(raw) % ALIGNMENT
        data.append(raw)
        data.append(_PADDING[padding])
        offset += len(raw) + padding
    return table + data, offset


def read_tensors(view: memoryview, count: int, start: int, where: str) -> dict[str, NDArray[Any]]:
    """Read `count` tensors as views of a message whose length and checksum were checked.

    Raises:
        PacketError: The table leads out of the message, or is not canonical.
    """
    table_end = start + RECORD_BYTES * count
    if table_end > len(view):
        raise PacketError(f"{where}: expected a table of {count} tensors, got {len(view)} bytes", "length")
    tensors: dict[str, NDArray[Any]] = {}
    offset = table_end
    for index in range(count):
        record = _RECORD.unpack_from(view, start + RECORD_BYTES * index)
        name, array, offset = _read_tensor(view, record, offset, f"{where}, tensor {index}")
        if name in tensors:
            raise PacketError(f"{where}: expected unique tensor names, got {name!r} twice", "field")
        tensors[name] = array
    if offset != len(view):
        raise PacketError(f"{where}: expected {offset} message bytes for its tensors, got {len(view)}", "length")
    return tensors


def _read_tensor(view: memoryview, record: tuple[Any, ...], offset: int, where: str) -> tuple[str, NDArray[Any], int]:
    """Read the tensor that begins at `offset`; the last value returned is where the next one begins."""
    raw, code, ndim, reserved, *dims, at = record
    dtype = _NUMPY.get(code)
    shape, unused = dims[:ndim], dims[ndim:]
    if dtype is None or ndim > MAX_DIMS or reserved or any(unused) or 0 in shape or at != offset:
        came = f"dtype {code}, {ndim} dimensions {dims}, reserved {reserved}, offset {at}"
        raise PacketError(f"{where}: expected a canonical record with offset {offset}, got {came}", "field")
    data_end = offset + prod(shape) * dtype.itemsize
    end = data_end + -data_end % ALIGNMENT
    if end > len(view):
        raise PacketError(f"{where}: expected {end} message bytes, got {len(view)}", "length")
    if any(view[data_end:end]):
        raise PacketError(f"{where}: expected padding of zero, got other bytes", "payload")
    return _read_name(raw, where), np.frombuffer(view[offset:data_end], dtype).reshape(shape), end


def _record(name: str, array: NDArray[Any], offset: int) -> bytes:
    raw = name.encode()
    code = _CODES.get(array.dtype)
    if not 1 <= len(raw) <= MAX_NAME_BYTES or 0 in raw:
        raise ConfigError(f"tensor {name!r}: expected a name of 1 to {MAX_NAME_BYTES} bytes, got {len(raw)}")
    if code is None:
        names = ", ".join(dtype.name for dtype in _CODES)
        raise ConfigError(f"tensor {name!r}: expected one of {names}, got {array.dtype}")
    if array.ndim > MAX_DIMS or not array.size:
        raise ConfigError(
            f"tensor {name!r}: expected 1 value or more in at most {MAX_DIMS} dimensions, got {array.shape}"
        )
    dims = array.shape + (0,) * (MAX_DIMS - array.ndim)
    return _RECORD.pack(raw, code, array.ndim, 0, *dims, offset)


def _read_name(raw: bytes, where: str) -> str:
    name = raw.rstrip(b"\0")
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise PacketError(f"{where}: expected a name in UTF-8, got {raw!r}", "field") from error
    if not text or "\0" in text:
        raise PacketError(f"{where}: expected a name padded with zeros, got {raw!r}", "field")
    return text

"""An overlay: other values for some parameters of one bundle, in one small file.

Layout, little-endian: 8 bytes magic, u32 length of the header, the header as JSON (padded with spaces so that
the values start at a multiple of 8), then the values of each parameter in the header's order, float32,
C-ordered. The file holds numbers only, belongs to exactly one bundle, and each value has its own hash. The
defaults of the bundle stand for every parameter that the file does not name; overlays do not add up.
"""

import hashlib
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cortexwire.decoders.bundle import Bundle, short_hash
from cortexwire.decoders.graph import Parameters, digest, value_faults
from cortexwire.errors import BundleError

MAGIC: Final = b"CXWOVL\x01\n"
_PREFIX: Final = struct.Struct("<8sI")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    shape: tuple[int, ...]
    sha256: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundle_sha256: str
    note: str
    parameters: tuple[_Entry, ...]


@dataclass(frozen=True, eq=False)
class Overlay:
    """Verified parameter values for one bundle.

    Attributes:
        bundle_sha256: The bundle that they belong to.
        note: Free text, such as the day.
        parameters: New values by name, float32, read-only.
        sha256: Hash of the file's bytes.
    """

    bundle_sha256: str
    note: str
    parameters: Parameters
    sha256: str

    @property
    def hash(self) -> int:
        """The first 8 bytes, little-endian, of `sha256`: the overlay's number in every output."""
        return short_hash(self.sha256)


def make_overlay(bundle: Bundle, parameters: Mapping[str, ArrayLike], note: str = "") -> Overlay:
    """Make an overlay in memory, identical to one that was written and read again.

    Raises:
        BundleError: A name, shape or value does not fit the bundle.
    """
    return parse_overlay(pack_overlay(bundle, parameters, note), bundle, "new overlay")


def write_overlay(
    path: str | os.PathLike[str], bundle: Bundle, parameters: Mapping[str, ArrayLike], note: str = ""
) -> Overlay:
    """Write an overlay; the file appears whole or not at all.

    Raises:
        BundleError: A name, shape or value does not fit the bundle.
    """
    target = Path(path)
    data = pack_overlay(bundle, parameters, note)
    overlay = parse_overlay(data, bundle, str(target))
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    partial.replace(target)
    return overlay


def load_overlay(path: str | os.PathLike[str], bundle: Bundle) -> Overlay:
    """Read an overlay and verify that it fits the bundle.

    Raises:
        BundleError: The file is missing, damaged, or belongs to another bundle.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: expected an overlay: {error.strerror}") from error
    return parse_overlay(data, bundle, str(path))


def pack_overlay(bundle: Bundle, parameters: Mapping[str, ArrayLike], note: str) -> bytes:
    """Return the bytes of an overlay; the same values give the same bytes."""
    values = {name: np.ascontiguousarray(value, dtype="<f4") for name, value in sorted(parameters.items())}
    entries = tuple(_Entry(name, value.shape, digest(value)) for name, value in values.items())
    header = msgspec.json.encode(_Header(bundle.sha256, note, entries))
    header += b" " * (-(_PREFIX.size + len(header)) % 8)
    return b"".join([_PREFIX.pack(MAGIC, len(header)), header, *(value.tobytes() for value in values.values())])


def parse_overlay(data: bytes, bundle: Bundle, where: str) -> Overlay:
    """Read the bytes of an overlay.

    Raises:
        BundleError: They are damaged, or belong to another bundle.
    """
    header, start = _read_header(data, where)
    if header.bundle_sha256 != bundle.sha256:
        raise BundleError(f"{where}: expected an overlay of bundle {bundle.sha256}, got one of {header.bundle_sha256}")
    _check_names(header.parameters, bundle, where)
    values = {}
    for entry in header.parameters:
        size = 4 * math.prod(entry.shape)
        values[entry.name] = _read_value(data[start : start + size], entry, where)
        start += size
    if start != len(data):
        raise BundleError(f"{where}: expected {start} bytes, got {len(data)}")
    problems = [fault for name, value in values.items() for fault in value_faults(name, value)]
    if problems:
        raise BundleError(f"{where}: " + "; ".join(problems))
    return Overlay(header.bundle_sha256, header.note, MappingProxyType(values), hashlib.sha256(data).hexdigest())


def _read_header(data: bytes, where: str) -> tuple[_Header, int]:
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        raise BundleError(f"{where}: expected an overlay that starts with {MAGIC!r}, got {data[:8]!r}")
    start = _PREFIX.size + _PREFIX.unpack_from(data)[1]
    try:
        return msgspec.json.decode(data[_PREFIX.size : start], type=_Header), start
    except msgspec.MsgspecError as error:
        raise BundleError(f"{where}: damaged header: {error}") from error


def _check_names(entries: tuple[_Entry, ...], bundle: Bundle, where: str) -> None:
    want = {spec.name: spec.shape for spec in bundle.manifest.inputs_of("parameter")}
    names = [entry.name for entry in entries]
    if not names or len(set(names)) != len(names):
        raise BundleError(f"{where}: expected one or more distinct parameters, got {names}")
    for entry in entries:
        if entry.name not in want:
            raise BundleError(f"{where}: expected parameters among {sorted(want)}, got {entry.name}")
        if entry.shape != want[entry.name]:
            raise BundleError(f"{where}: {entry.name}: expected shape {want[entry.name]}, got {entry.shape}")


def _read_value(data: bytes, entry: _Entry, where: str) -> NDArray[np.float32]:
    came = hashlib.sha256(data).hexdigest()
    if came != entry.sha256:
        raise BundleError(f"{where}: {entry.name}: expected sha256 {entry.sha256}, got {came}")
    value = np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(entry.shape)
    value.flags.writeable = False
    return value

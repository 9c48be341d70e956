"""HDF5 objects of one file and of no other: links into other files are named, not followed.

h5py alone is used, not an NWB library: it opens a file of any size at once, reads every version of the format in the
same way, needs no extension's schema, and lets links be looked at before they are followed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cortexwire.errors import SessionError


def open_hdf(path: Path) -> Any:
    """Open a file to read; the caller closes it.

    Raises:
        SessionError: It is no HDF5 file, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise SessionError(f"{path}: HDF5 needs h5py: pip install 'cortexwire[io]'") from error
    if not path.is_file():
        raise SessionError(f"{path}: expected a file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise SessionError(f"{path}: expected an HDF5 file, got: {error}") from error


class Reader:
    """Looks up what an open file holds.

    Args:
        file: The file, as h5py opened it.

    Attributes:
        refused: What was not followed, one sentence each.
    """

    def __init__(self, file: Any) -> None:
        import h5py

        self._h5py = h5py
        self.file = file
        self._refused: dict[str, None] = {}

    @property
    def refused(self) -> tuple[str, ...]:
        """What was not followed, one sentence each."""
        return tuple(self._refused)

    def child(self, group: Any, name: str) -> Any:
        """The group or dataset called `name`, or None where there is none in this file."""
        node = group
        for part in name.strip("/").split("/"):
            if not self.is_group(node):
                return None
            node = self._step(node, part)
        return node

    def children(self, group: Any) -> Iterator[tuple[str, Any]]:
        """Names and objects of a group in order of names, those that it only links to last."""
        hard = self._h5py.HardLink
        for name in sorted(group, key=lambda name: (not isinstance(group.get(name, getlink=True), hard), name)):
            node = self._step(group, name)
            if node is not None:
                yield name, node

    def is_group(self, node: Any) -> bool:
        """Whether it is a group."""
        return isinstance(node, self._h5py.Group)

    def is_dataset(self, node: Any) -> bool:
        """Whether it is a dataset."""
        return isinstance(node, self._h5py.Dataset)

    def address(self, node: Any) -> int:
        """Where an object is in the file: the same for one that is linked twice."""
        return int(self._h5py.h5o.get_info(node.id).addr)

    def _step(self, group: Any, name: str) -> Any:
        link = group.get(name, getlink=True)
        if isinstance(link, self._h5py.ExternalLink):
            return self._refuse(group, name, link.filename)
        try:
            node = group.get(name)
        except OSError:  # a link that leads through another file
            return self._refuse(group, name, "another file")
        if node is None:
            return None
        if node.file.filename != self.file.filename:
            return self._refuse(group, name, node.file.filename)
        if self.is_dataset(node):
            elsewhere = [name for name, *_ in node.external or ()]
            if node.is_virtual:
                elsewhere += [source.file_name for source in node.virtual_sources() if source.file_name != "."]
            if elsewhere:
                return self._refuse(group, name, elsewhere[0])
        return node

    def _refuse(self, group: Any, name: str, where: str) -> None:
        place = f"{group.name.rstrip('/')}/{name}"
        self._refused[f"{place} lies in another file ({where}), which is not followed"] = None


def number(node: Any, name: str, default: float) -> Any:
    """A numeric attribute, a numpy scalar or `default`."""
    if node is None or name not in node.attrs:
        return default
    value = np.asarray(node.attrs[name]).reshape(-1)
    return value[0] if value.size == 1 and value.dtype.kind in "iuf" else default


def text(value: Any) -> str:
    """Text of an attribute or a scalar, however it was written."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def attribute(node: Any, name: str) -> str:
    """Text of an attribute, empty where there is none."""
    return text(node.attrs[name]).strip() if node is not None and name in node.attrs else ""


def texts(values: Any) -> tuple[str, ...]:
    """Texts of a dataset or of an array attribute."""
    array = np.asarray(values[()] if hasattr(values, "asstr") else values)
    return tuple(text(value).strip("\0 ") for value in array.reshape(-1))

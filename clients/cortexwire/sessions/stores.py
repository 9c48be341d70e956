"""Files of named arrays behind one face: MATLAB v5, MATLAB v7.3 and other HDF5, and tables of text.

A store hands out whole arrays for small things and a matrix, lazy where the format allows, for the signal.
"""

import csv
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cortexwire.errors import SessionError
from cortexwire.sessions.description import Orientation
from cortexwire.sessions.matrix import Array, ArrayMatrix, BlockMatrix, Matrix


class Store(Protocol):
    """A file that was opened."""

    def array(self, key: str) -> Array:
        """The array named `key`: any shape, any type.

        Raises:
            SessionError: There is none; the message lists what there is.
        """
        ...

    def matrix(self, key: str, orientation: Orientation) -> Matrix:
        """The numeric array named `key`, one row per instant.

        Raises:
            SessionError: There is none, or it has more than two dimensions.
        """
        ...

    def names(self, key: str) -> tuple[str, ...]:
        """Names of the columns of `key` where the file has them, else nothing."""
        ...


def open_store(path: Path) -> Store:
    """Open a file by its content: HDF5 and MATLAB v5 by signature, anything else as a table of text.

    Raises:
        SessionError: The file is not there, or of no known kind.
    """
    if not path.is_file():
        raise SessionError(f"{path}: expected a file")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith((b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3")):
        return HdfStore(path)
    if head.startswith(b"MATLAB 5.0") or path.suffix.lower() == ".mat":
        return MatStore(path)
    if b"\x00" in head:
        raise SessionError(f"{path}: expected a MATLAB, HDF5 or text table file, got bytes {head!r}")
    return TextStore(path)


def two_dimensional(array: Array, orientation: Orientation, where: str) -> Array:
    """Turn a one- or two-dimensional numeric array time first.

    Raises:
        SessionError: It has another number of dimensions, or is not numeric.
    """
    if array.dtype.kind not in "biuf":
        raise SessionError(f"{where}: expected numbers, got {array.dtype}")
    if array.ndim == 1:
        return array[:, np.newaxis]
    if array.ndim != 2:
        raise SessionError(f"{where}: expected one or two dimensions, got shape {array.shape}")
    return array if orientation == "time_first" else array.T


def time_series(array: Array, orientation: Orientation, where: str) -> Array:
    """As `two_dimensional`, save that a vector is one column, whether it is stored as a row or a column.

    Raises:
        SessionError: As `two_dimensional`.
    """
    vector = array.ndim == 2 and 1 in array.shape
    return two_dimensional(array.reshape(-1) if vector else array, orientation, where)


def _missing(path: Path, key: str, known: Iterable[object]) -> SessionError:
    names = ", ".join(sorted(str(name) for name in known))
    return SessionError(f"{path}: expected an array named {key!r}, the file has {names or 'none'}")


class MatStore:
    """MATLAB v5 (and v4): read whole, one top-level variable at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._variables: dict[str, Any] = {}

    def array(self, key: str) -> Array:
        """As `Store.array`; dots lead into structures, whole numbers into arrays of structures."""
        top, *path = key.split(".")
        value = _unwrapped(self._variable(top))
        for part in path:
            names = getattr(value, "_fieldnames", ())
            if part in names:
                value = _unwrapped(getattr(value, part))
            elif isinstance(value, np.ndarray) and part.isdigit() and int(part) < value.size:
                value = _unwrapped(value.reshape(-1)[int(part)])
            else:
                raise _missing(self._path, key, names)
        if hasattr(value, "_fieldnames"):
            raise _missing(self._path, key, (f"{key}.{name}" for name in value._fieldnames))
        return np.asarray(value.toarray() if hasattr(value, "toarray") else value)

    def matrix(self, key: str, orientation: Orientation) -> Matrix:
        """As `Store.matrix`, in memory."""
        array = two_dimensional(self.array(key), orientation, f"{self._path}: {key}")
        return ArrayMatrix(np.ascontiguousarray(array))

    def names(self, key: str) -> tuple[str, ...]:
        """Nothing: MATLAB's columns have no names."""
        return ()

    def _variable(self, name: str) -> Any:
        # scipy.io costs a second of start-up, which only these files need.
        from scipy.io import loadmat, whosmat

        if name not in self._variables:
            try:
                known = [variable[0] for variable in whosmat(self._path)]
                if name not in known:
                    raise _missing(self._path, name, known)
                loaded = loadmat(self._path, variable_names=[name], struct_as_record=False)
            except (ValueError, TypeError, OSError, NotImplementedError) as error:
                raise SessionError(f"{self._path}: expected a MATLAB file, got: {error}") from error
            self._variables[name] = loaded[name]
        return self._variables[name]


def _unwrapped(value: Any) -> Any:
    """What an object array of one element holds: MATLAB wraps every structure and cell in one."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    return value


class HdfStore:
    """MATLAB v7.3 and other HDF5: the signal is read in blocks, and the file is closed between reads."""

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise SessionError(f"{path}: HDF5 needs h5py: pip install 'cortexwire[io]'") from error
        self._h5py = h5py
        self._path = path

    def array(self, key: str) -> Array:
        """As `Store.array`; dots lead into groups."""
        with self._open() as file:
            dataset = self._dataset(file, key)
            array = np.asarray(dataset[()])
            return array.T if _from_matlab(dataset) else array

    def matrix(self, key: str, orientation: Orientation) -> Matrix:
        """As `Store.matrix`, in blocks."""
        with self._open() as file:
            dataset = self._dataset(file, key)
            if dataset.ndim == 1:
                return ArrayMatrix(two_dimensional(dataset[()], orientation, f"{self._path}: {key}"))
            # MATLAB writes column-major, so what it shows as (time, channels) lies as (channels, time).
            time_last = _from_matlab(dataset) == (orientation == "time_first")
            two_dimensional(np.empty((0,) * dataset.ndim, dataset.dtype), orientation, f"{self._path}: {key}")
            n_rows, n_columns = dataset.shape[::-1] if time_last else dataset.shape

        def read(start: int, stop: int) -> Array:
            with self._open() as file:
                stored = self._dataset(file, key)
                return np.asarray(stored[:, start:stop]).T if time_last else np.asarray(stored[start:stop])

        return BlockMatrix(n_rows, n_columns, read)

    def names(self, key: str) -> tuple[str, ...]:
        """Nothing: the columns have no names."""
        return ()

    def _open(self) -> Any:
        try:
            return self._h5py.File(self._path, "r")
        except OSError as error:
            raise SessionError(f"{self._path}: expected an HDF5 file, got: {error}") from error

    def _dataset(self, file: Any, key: str) -> Any:
        node = file
        for part in key.split("."):
            if not isinstance(node, self._h5py.Group) or part not in node:
                known = node if isinstance(node, self._h5py.Group) else ()
                raise _missing(self._path, key, (name for name in known if not name.startswith("#")))
            node = node[part]
        if isinstance(node, self._h5py.Group):
            raise _missing(self._path, key, (f"{key}.{name}" for name in node))
        return node


def _from_matlab(dataset: Any) -> bool:
    return "MATLAB_class" in dataset.attrs


class TextStore:
    """A table of text: comma, semicolon or tab between columns, and a header line or none (names 0, 1, ...).

    A key is the name of a column, or a pattern such as `unit_*` for all columns that match, in file order.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                line = file.readline()
        except UnicodeDecodeError as error:
            raise SessionError(f"{path}: expected a table of text in UTF-8, got: {error}") from error
        self._delimiter = max(",;\t", key=line.count)
        header = tuple(name.strip() for name in next(csv.reader([line], delimiter=self._delimiter), []))
        self._skip = 0 if header and not any(np.isnan(_number(name)) for name in header) else 1
        self._header = header if self._skip else tuple(str(index) for index in range(len(header)))

    def array(self, key: str) -> Array:
        """As `Store.array`; one column is one-dimensional."""
        columns = self._columns(key)
        table = self._table(columns)
        return table[:, 0] if len(columns) == 1 else table

    def matrix(self, key: str, orientation: Orientation) -> Matrix:
        """As `Store.matrix`, in memory."""
        if orientation != "time_first":
            raise SessionError(f"{self._path}: {key}: a table of text is time first, got {orientation}")
        return ArrayMatrix(self._table(self._columns(key)))

    def names(self, key: str) -> tuple[str, ...]:
        """Header names of the columns that `key` takes."""
        return tuple(self._header[index] for index in self._columns(key))

    def _columns(self, key: str) -> list[int]:
        found = [index for index, name in enumerate(self._header) if name == key or fnmatchcase(name, key)]
        if not found:
            raise _missing(self._path, key, self._header)
        return found

    def _table(self, columns: list[int]) -> Array:
        return np.ascontiguousarray(self._values[:, columns])

    @cached_property
    def _values(self) -> Array:
        try:
            return self._load(None)
        except ValueError:
            # Empty cells and text become NaN, at the cost of a call per cell.
            return self._load(_number)

    def _load(self, convert: Callable[[str], float] | None) -> Array:
        try:
            table = np.loadtxt(
                self._path,
                delimiter=self._delimiter,
                skiprows=self._skip,
                ndmin=2,
                encoding="utf-8-sig",
                comments=None,
                converters=convert,
            )
        except ValueError as error:
            if convert is None:
                raise
            raise SessionError(f"{self._path}: expected {len(self._header)} columns a line, got: {error}") from error
        if table.shape[1:] != (len(self._header),):
            raise SessionError(f"{self._path}: expected {len(self._header)} columns, got {table.shape[1:]}")
        return table


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")

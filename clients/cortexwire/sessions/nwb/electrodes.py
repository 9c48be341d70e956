"""Who the electrodes of an NWB file are: identities, banks and reference, as far as the file says so."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.nwb.hdf import Reader, texts
from cortexwire.sessions.nwb.layout import ELECTRODES
from cortexwire.wire import Electrode

NAME_COLUMNS: Final = ("channel_name", "electrode_name", "label", "electrode_label", "name")
"""Columns of the electrodes table that hold identities, the first of which is taken."""


class ElectrodeTable:
    """The electrodes table of an open file.

    Attributes:
        n_rows: Number of electrodes, 0 where there is no table.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._table = reader.child(reader.file, ELECTRODES)
        ids = None if self._table is None else reader.child(self._table, "id")
        self._ids: NDArray[Any] = np.zeros(0, np.int64) if ids is None else np.asarray(ids[()]).reshape(-1)
        self.n_rows = len(self._ids)

    def electrodes(self, rows: NDArray[np.int64]) -> tuple[Electrode, ...]:
        """Electrodes of these rows, or none where nobody named them.

        Numbers that only count from 0 are no names, and neither are names that two electrodes share.
        """
        names = self._names(rows)
        if not names:
            return ()
        return tuple(Electrode(name, bank) for name, bank in zip(names, self._banks(rows), strict=True))

    def reference(self, rows: NDArray[np.int64]) -> str:
        """What all these rows were measured against, in words; empty where they differ or nobody says."""
        found = set(self._texts("reference", rows) or ("",))
        return found.pop() if len(found) == 1 else ""

    def _names(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        for column in NAME_COLUMNS:
            names = self._texts(column, rows)
            if names and all(names) and len(set(names)) == len(names):
                return names
        if len(rows) and rows.max() < self.n_rows:
            ids = self._ids[rows]
            if not (ids == np.arange(len(ids))).all() and len(set(ids.tolist())) == len(ids):
                return tuple(str(each) for each in ids.tolist())
        return ()

    def _banks(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        banks = self._texts("bank", rows)
        if banks:
            return banks
        groups = self._texts("group_name", rows)
        return groups if len(set(groups)) > 1 else ("",) * len(rows)

    def _texts(self, column: str, rows: NDArray[np.int64]) -> tuple[str, ...]:
        values = None if self._table is None else self._reader.child(self._table, column)
        if values is None or values.dtype.kind not in "OSU" or not len(rows) or rows.max() >= len(values):
            return ()
        every = texts(values)
        return tuple(every[row] for row in rows.tolist())

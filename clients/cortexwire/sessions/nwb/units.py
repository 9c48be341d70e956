"""The units table of an NWB file as events: which channel each unit is on, and which unit of that channel it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.nwb.electrodes import ElectrodeTable
from cortexwire.sessions.nwb.hdf import Reader, number
from cortexwire.sessions.nwb.scale import rate_of_period
from cortexwire.types import Rate

UNITS = "units"
UNIT_COLUMN = "unit_number"
"""Column that says which unit of its channel a row is, 0 for unsorted crossings."""


@dataclass(frozen=True)
class SpikeTimes:
    """Spikes of a units table.

    Attributes:
        times_s: Seconds, `(n,)`.
        channel: Channel of each, `(n,)`.
        unit: Unit of each on its channel, `(n,)`.
        n_channels: Number of channels.
        electrode_rows: Electrode of each channel as row of the electrodes table; empty where units name none.
        rate: Rate of the clock that times were read from, where the file states it.
        n_units: Rows of the table.
    """

    times_s: NDArray[np.float64]
    channel: NDArray[np.int64]
    unit: NDArray[np.int64]
    n_channels: int
    electrode_rows: NDArray[np.int64]
    rate: Rate | None
    n_units: int


def has_units(reader: Reader) -> bool:
    """Whether the file has spike times."""
    return reader.is_dataset(reader.child(reader.file, f"{UNITS}/spike_times"))


def read_units(path: str, reader: Reader) -> SpikeTimes:
    """Read the units table.

    A unit that names electrodes is on the first of them. Without electrodes each row is a channel of its own.

    Raises:
        SessionError: The table contradicts itself.
    """
    table = reader.child(reader.file, UNITS)
    times = reader.child(table, "spike_times")
    times_s = np.asarray(times[()], np.float64).reshape(-1)
    ends = _ends(reader, table, "spike_times")
    if ends is None or (np.diff(ends) < 0).any() or (len(ends) and (ends[0] < 0 or ends[-1] != len(times_s))):
        raise SessionError(f"{path}: {UNITS}: expected spike_times_index to divide {len(times_s)} spike times")
    n_units, lengths = len(ends), np.diff(ends, prepend=0)
    rows = _first_electrodes(reader, table, n_units)
    n_electrodes = ElectrodeTable(reader).n_rows
    if rows is None or n_electrodes == 0 or (n_units and rows.max() >= n_electrodes):
        rows, n_channels, electrode_rows = np.arange(n_units), n_units, np.zeros(0, np.int64)
    else:
        n_channels, electrode_rows = n_electrodes, np.arange(n_electrodes)
    numbers = _numbers(reader, table, rows)
    resolution = float(number(times, "resolution", 0.0))
    rate = rate_of_period(resolution) if 0 < resolution <= 0.01 else None
    good = np.isfinite(times_s)
    return SpikeTimes(
        times_s[good],
        np.repeat(rows, lengths)[good],
        np.repeat(numbers, lengths)[good],
        n_channels,
        electrode_rows,
        rate,
        n_units,
    )


def _ends(reader: Reader, table: Any, column: str) -> NDArray[np.int64] | None:
    index = reader.child(table, f"{column}_index")
    return None if index is None else np.asarray(index[()]).astype(np.int64).reshape(-1)


def _first_electrodes(reader: Reader, table: Any, n_units: int) -> NDArray[np.int64] | None:
    """Electrode of each unit; None where some unit has none."""
    electrodes = reader.child(table, "electrodes")
    if electrodes is None:
        return None
    values = np.asarray(electrodes[()]).astype(np.int64).reshape(-1)
    ends = _ends(reader, table, "electrodes")
    if ends is None:
        return values if len(values) == n_units else None
    starts = np.concatenate(([0], ends[:-1]))
    if len(ends) != n_units or (ends <= starts).any() or (values < 0).any():
        return None
    return values[starts]


def _numbers(reader: Reader, table: Any, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unit of each row on its channel: as the table says, else 0 where it is alone, else counted from 1."""
    column = reader.child(table, UNIT_COLUMN)
    if reader.is_dataset(column) and column.dtype.kind in "iu" and column.shape == rows.shape:
        return np.asarray(column[()]).astype(np.int64)
    order = np.argsort(rows, kind="stable")
    first = np.searchsorted(rows[order], rows[order])
    counted = np.empty(len(rows), np.int64)
    counted[order] = np.arange(len(rows)) - first + 1
    alone = np.bincount(rows, minlength=int(rows.max(initial=0)) + 1)[rows] == 1
    return np.where(alone, 0, counted)

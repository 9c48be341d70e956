"""What is in an NWB file, for whoever wants to know before it is opened as a session."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cortexwire.sessions.nwb.hdf import Reader, open_hdf
from cortexwire.sessions.nwb.layout import Series, clock_of, find_series
from cortexwire.sessions.nwb.opening import split_name
from cortexwire.sessions.nwb.units import UNITS, has_units, read_units


@dataclass(frozen=True)
class NwbStream:
    """One stream of a file.

    Attributes:
        name: What to write behind `#` to open it; for others their own name.
        kind: `wideband` and `events` can be opened; `columns` come along with either; `trials` too; `other` do not.
        rate_hz: Samples per second, None where there is none.
        channels: Channels, columns, or rows of trials.
        unit: Unit of the values.
        duration_s: From the first sample to the end of the last.
        path: Where it is in the file.
    """

    name: str
    kind: Literal["wideband", "events", "columns", "trials", "other"]
    rate_hz: float | None
    channels: int
    unit: str
    duration_s: float
    path: str


def nwb_streams(path: str | Path) -> tuple[NwbStream, ...]:
    """List the streams of an NWB file.

    Raises:
        SessionError: It is no HDF5 file.
    """
    path, _ = split_name(path)
    with open_hdf(path) as file:
        reader = Reader(file)
        found = [_stream(reader, series) for series in find_series(reader)]
        if has_units(reader):
            units = read_units(str(path), reader)
            times = units.times_s
            length = float(np.ptp(times)) if len(times) else 0.0
            rate = None if units.rate is None else units.rate.hz
            found.append(NwbStream(UNITS, "events", rate, units.n_channels, "", length, f"/{UNITS}"))
        starts = reader.child(file, "intervals/trials/start_time")
        if starts is not None and starts.size:
            stops = np.asarray(file["intervals/trials/stop_time"][()])
            length = float(np.nanmax(stops) - np.nanmin(np.asarray(starts[()])))
            found.append(NwbStream("trials", "trials", None, int(starts.size), "", length, "/intervals/trials"))
    return tuple(found)


def _stream(reader: Reader, series: Series) -> NwbStream:
    kind: Literal["wideband", "columns", "other"] = "other"
    if series.electrical:
        kind = "wideband"
    elif series.behaviour:
        kind = "columns"
    try:
        rate: float | None = clock_of(reader, series).rate.hz
    except ValueError:
        rate = None
    length = series.n_rows / rate if rate else 0.0
    return NwbStream(series.full_name, kind, rate, series.n_columns, series.unit, length, series.path)

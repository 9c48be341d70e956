"""Where things are in an NWB file, of version 1 or 2: time series, electrodes, units, trials.

Whatever has data and times is a time series; which kind it is shows in what else is there, since the types of
extensions are known only to those who have their schema.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cortexwire.sessions.nwb.clock import SampleClock, clock_of_timestamps
from cortexwire.sessions.nwb.hdf import Reader, attribute, number, texts
from cortexwire.sessions.nwb.scale import exact_rate, said_rate

ELECTRODES: Final = "general/extracellular_ephys/electrodes"
ELECTRODE_MAP: Final = "general/extracellular_ephys/electrode_map"
_ELECTRICAL: Final = ("ElectricalSeries", "SpikeEventSeries")
_BEHAVIOUR: Final = ("SpatialSeries",)
_BEHAVIOUR_HOLDERS: Final = ("BehavioralTimeSeries", "Position", "CompassDirection", "EyeTracking", "PupilTracking")
_NOT_SAMPLED: Final = ("AnnotationSeries", "IntervalSeries", "ImageSeries", "IndexSeries", "SpikeEventSeries")
MOST_COLUMNS: Final = 64


@dataclass(frozen=True)
class Series:
    """A time series.

    Attributes:
        path: Where it is in the file.
        name: Its own name.
        holder: Name of the container around it, empty where it lies in `acquisition` or in a module itself.
        type: What the file calls it.
        electrical: Whether it is voltages of electrodes.
        behaviour: Whether its values are kinematics or the like.
        n_rows: Number of samples.
        n_columns: Number of channels.
        channels_first: Whether rows of the dataset are channels.
        rate_hz: Its rate where the file states one.
        unit: Its unit.
    """

    path: str
    name: str
    holder: str
    type: str
    electrical: bool
    behaviour: bool
    n_rows: int
    n_columns: int
    channels_first: bool
    rate_hz: float | None
    unit: str

    @property
    def full_name(self) -> str:
        """Its name, behind that of its container."""
        return f"{self.holder}/{self.name}" if self.holder else self.name


def find_series(reader: Reader) -> tuple[Series, ...]:
    """All time series of `acquisition` and `processing`, those of `acquisition` first; one with two links once."""
    found: list[Series] = []
    seen: set[int] = set()
    for place in ("acquisition", "processing"):
        group = reader.child(reader.file, place)
        if group is not None and reader.is_group(group):
            found += _series_below(reader, group, seen)
    return tuple(found)


def clock_of(reader: Reader, series: Series) -> SampleClock:
    """The sample clock of a series.

    Raises:
        ValueError: Its times are no clock.
    """
    group = reader.file[series.path]
    start = reader.child(group, "starting_time")
    if start is not None:
        rate = said_rate(attribute(group, "comments"), exact_rate(float(number(start, "rate", 0.0))))
        return SampleClock(rate, float(np.asarray(start[()]).reshape(-1)[0]))
    return clock_of_timestamps(_flat(reader.child(group, "timestamps")))


def row_times(reader: Reader, series: Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Time of each sample of a series in seconds, `(n_rows,)`."""
    group = reader.file[series.path]
    start = reader.child(group, "starting_time")
    if start is not None:
        first = float(np.asarray(start[()]).reshape(-1)[0])
        return first + np.arange(series.n_rows) / float(number(start, "rate", 0.0))
    return np.asarray(reader.child(group, "timestamps")[()], np.float64).reshape(-1)


def _flat(timestamps: Any) -> Any:
    """Timestamps as a vector; some files have them as a column."""
    return timestamps if timestamps.ndim == 1 else np.asarray(timestamps[()]).reshape(-1)


def _series_below(reader: Reader, group: Any, seen: set[int]) -> Iterator[Series]:
    for name, node in reader.children(group):
        if not reader.is_group(node) or (address := reader.address(node)) in seen:
            continue
        seen.add(address)
        data = reader.child(node, "data")
        timed = [reader.child(node, key) for key in ("timestamps", "starting_time")]
        if reader.is_dataset(data) and any(each is not None for each in timed):
            series = _series(reader, node, name, data, timed[0])
            if series is not None:
                yield series
        else:
            yield from _series_below(reader, node, seen)


def _holder(path: str) -> str:
    """The containers around a series; `acquisition`, modules and NWB 1's `timeseries` are places, not containers."""
    top, *parents, _ = path.strip("/").split("/")
    return "/".join(parents[1:] if top == "processing" or parents[:1] == ["timeseries"] else parents)


def _series(reader: Reader, node: Any, name: str, data: Any, timestamps: Any) -> Series | None:
    kind = attribute(node, "neurodata_type")
    ancestry = texts(node.attrs["ancestry"]) if "ancestry" in node.attrs else ()
    types = {kind, *ancestry}
    if data.ndim not in (1, 2) or data.dtype.kind not in "biuf" or types & set(_NOT_SAMPLED) or not data.size:
        return None
    n_electrodes = _n_electrodes(reader, node)
    electrical = bool(types & set(_ELECTRICAL)) or n_electrodes is not None
    n_times = None if timestamps is None else int(np.prod(timestamps.shape))
    shape = data.shape if data.ndim == 2 else (data.shape[0], 1)
    channels_first = shape[0] != n_times and (
        shape[1] == n_times or (electrical and shape[0] == n_electrodes and shape[1] != n_electrodes)
    )
    n_rows, n_columns = shape[::-1] if channels_first else shape
    start = reader.child(node, "starting_time")
    rate = None if start is None else float(number(start, "rate", 0.0)) or None
    parent = attribute(node.parent, "neurodata_type")
    top = node.name.split("/")[1:3]
    behaviour = (
        not electrical
        and n_columns <= MOST_COLUMNS
        and (top[0] == "acquisition" or top[1:] == ["behavior"] or kind in _BEHAVIOUR or parent in _BEHAVIOUR_HOLDERS)
    )
    unit = attribute(data, "unit")
    holder = _holder(node.name)
    return Series(node.name, name, holder, kind, electrical, behaviour, n_rows, n_columns, channels_first, rate, unit)


def _n_electrodes(reader: Reader, node: Any) -> int | None:
    """How many electrodes a series has, None where it says nothing of electrodes."""
    for key in ("electrodes", "electrode_idx"):
        region = reader.child(node, key)
        if reader.is_dataset(region):
            return int(region.size)
    electrode_map = reader.child(reader.file, ELECTRODE_MAP)
    data = reader.child(node, "data")
    if reader.is_dataset(electrode_map) and data.ndim == 2 and len(electrode_map) in data.shape:
        return len(electrode_map)
    return None

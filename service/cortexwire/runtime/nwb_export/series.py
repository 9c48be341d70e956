"""The time series of an exported file: raw signal, decoded velocity, kinematics."""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.runtime.nwb_export.chunks import sample_chunks
from cortexwire.runtime.nwb_export.recording import Recording
from cortexwire.sessions.nwb.scale import in_words, volts_of
from cortexwire.sessions.session import DEFAULT_COLUMN_MS, Session
from cortexwire.types import Rate
from cortexwire.wire import OutKind

RAW: Final = "ElectricalSeries"
DECODED: Final = "decoded_velocity"
_SPATIAL: Final = {"m": "meters", "cm": "centimeters", "mm": "millimeters", "um": "micrometers"}
_MOST_AXES: Final = 3


class _Rows(NamedTuple):
    """Columns in rows: sample and values."""

    samples: NDArray[np.int64]
    values: NDArray[np.float32]


def add_raw(file: Any, recording: Recording, region: Any, progress: Callable[[float], Any]) -> None:
    """Add the raw signal as it is, to be written in chunks; samples in gaps are zeros."""
    from hdmf.backends.hdf5 import H5DataIO
    from pynwb.ecephys import ElectricalSeries

    session, rate = recording.session, recording.session.rate
    data = H5DataIO(
        sample_chunks(session, recording.gaps, progress), compression="gzip", compression_opts=1, shuffle=True
    )
    file.add_acquisition(
        ElectricalSeries(
            name=RAW,
            data=data,
            electrodes=region,
            starting_time=0.0,
            rate=rate.hz,
            conversion=volts_of(session.uv_per_bit),
            description="Samples as they were acquired; volts = sample x conversion.",
            comments=in_words(rate, session.uv_per_bit),
        )
    )


def add_decoded(file: Any, recording: Recording) -> int:
    """Add the velocity of every decoded bin, at the end of the bin; returns their number."""
    from pynwb.base import TimeSeries

    ends, velocities = [], []
    for output in recording.outputs:
        if output.kind is OutKind.DECODED:
            ends.append(output.end_sample - recording.first_sample)
            velocities.append(output.tensors["velocity"].copy())
    if not ends:
        return 0
    module = _module(file, "misc", "What was decoded from the brain signal.")
    module.add(
        TimeSeries(
            name=DECODED,
            data=_packed(np.stack(velocities)),
            unit=recording.velocity_unit or "a.u.",
            conversion=1.0,
            continuity="step",
            description="Velocity decoded from each bin, whether or not it was a command; its time is the bin's end.",
            comments="columns=[vx, vy]",
            **times_of(np.array(ends, np.int64), recording.session.rate),
        )
    )
    return len(ends)


def add_kinematics(file: Any, session: Session, column_ms: float = DEFAULT_COLUMN_MS) -> None:
    """Add the session's columns at the samples at which they go over the wire.

    Lengths become `SpatialSeries`, at most three axes each; all else becomes plain time series.
    """
    from pynwb.base import TimeSeries
    from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries

    if not session.column_names:
        return
    rows = _Rows(*session.column_rows(0, session.n_samples, column_ms))
    if not len(rows.samples):
        return
    module = _module(file, "behavior", "Kinematics and whatever else was recorded beside the brain.")
    position, others = Position(name="Position"), BehavioralTimeSeries(name="BehavioralTimeSeries")
    taken: set[str] = set()
    for unit, indices in _alike(session):
        names = [session.column_names[index] for index in indices]
        spatial = unit in _SPATIAL
        name = _series_name(names, spatial, taken)
        fields = {
            "name": name,
            "data": _packed(rows.values[:, indices]),
            "unit": _SPATIAL.get(unit, unit) or "n.a.",
            "description": f"{', '.join(names)}, in {unit or 'units that nobody stated'}.",
            "comments": f"columns={_listed(names)}",
            **times_of(rows.samples, session.rate),
        }
        if spatial:
            position.add_spatial_series(SpatialSeries(reference_frame="as the task reported it", **fields))
        else:
            others.add_timeseries(TimeSeries(**fields))
    if len(position.spatial_series):
        module.add(position)
    if len(others.time_series):
        module.add(others)


def times_of(samples: NDArray[np.int64], rate: Rate) -> dict[str, Any]:
    """The times of a series: start and rate where samples are equally far apart, else a timestamp for each."""
    steps = np.diff(samples)
    if len(steps) and (steps == steps[0]).all():
        return {"starting_time": int(samples[0]) / rate.hz, "rate": rate.hz / int(steps[0])}
    return {"timestamps": _packed(samples / rate.hz)}


def _alike(session: Session) -> Iterator[tuple[str, list[int]]]:
    """Neighbouring columns of one unit, as many as a series may have."""
    units = list(getattr(session, "column_units", ())) or [""] * len(session.column_names)
    for unit, group in groupby(range(len(units)), key=lambda index: units[index]):
        indices = list(group)
        for start in range(0, len(indices), _MOST_AXES):
            yield unit, indices[start : start + _MOST_AXES]


def _series_name(names: list[str], spatial: bool, taken: set[str]) -> str:
    """A name of a series, without what HDF5 paths and readers trip over."""
    base = names[0] if len(names) == 1 else "position" if spatial else "velocity" if _moving(names) else "columns"
    base = base.replace("/", "_").replace(":", "_")
    name = next(each for each in (base, *(f"{base}_{n}" for n in range(2, 10_000))) if each not in taken)
    taken.add(name)
    return name


def _moving(names: list[str]) -> bool:
    return all(name.endswith(("vx", "vy", "vz")) or "vel" in name for name in names)


def _listed(names: list[str]) -> str:
    plain = all(name == name.strip(" '\"") and not set(name) & set(",[]") and name for name in names)
    return f"[{', '.join(names)}]" if plain else json.dumps(names)


def _packed(values: NDArray[Any]) -> Any:
    from hdmf.backends.hdf5 import H5DataIO

    return H5DataIO(values, compression="gzip", compression_opts=4, shuffle=True)


def _module(file: Any, name: str, description: str) -> Any:
    return file.processing[name] if name in file.processing else file.create_processing_module(name, description)

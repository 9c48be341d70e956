"""Behaviour in an NWB file as kinematics columns: positions, velocities, masks, whatever was sampled beside the brain.

Columns have the names that the file lists as `columns=[...]` in the comments of a series, or as a comma-separated
description, else x, y, z or numbers behind the name of the series; a name that comes twice stands behind its series'.
Nothing is interpolated where a series has a hole.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.kinematics import Column, JoinedKinematics, Kinematics, Rows
from cortexwire.sessions.nwb.clock import SampleClock
from cortexwire.sessions.nwb.hdf import Reader, attribute, number
from cortexwire.sessions.nwb.layout import Series, row_times

HOLE: Final = 2.5
"""Rows that lie further apart than so many usual distances have nothing between them."""
_GENERIC: Final = ("Position", "BehavioralTimeSeries", "behavior", "kinematics", "CompassDirection")
_SHORT: Final = {"meters": "m", "centimeters": "cm", "millimeters": "mm", "micrometers": "um", "n.a.": "", "n/a": ""}
_SLOPE_UNIT: Final = re.compile(r"/\s*s\b|per second|s\^?-1")
_VELOCITY: Final = re.compile(r"vel|(^|_)v[xyz]$", re.IGNORECASE)
_DAY_S: Final = 86_400.0

Floats = NDArray[np.float64]


class _Part(NamedTuple):
    """The values of one series."""

    series: Series
    names: tuple[str, ...]
    unit: str
    shape: Literal["linear", "step"]
    values: Floats
    times_s: Floats


def read_columns(
    reader: Reader, every: Sequence[Series], clock: SampleClock, last_s: float
) -> tuple[JoinedKinematics | None, tuple[str, ...]]:
    """Read the behaviour of a file.

    Args:
        reader: The open file.
        every: Its time series.
        clock: The session's sample clock.
        last_s: When the signal ends, as far as that is known, else 0.

    Returns:
        The columns, or None, and what had to be assumed.
    """
    problems: list[str] = []
    parts = []
    for series in every:
        if series.behaviour:
            part = _part(reader, series, last_s, problems)
            if part is not None:
                parts.append(part)
    names = _distinct(parts)
    groups = []
    for part, labels in zip(parts, names, strict=True):
        samples = clock.samples_of(part.times_s)
        keep = np.append(np.diff(samples) > 0, True) if len(samples) else np.zeros(0, np.bool_)
        columns = [Column(name, index, part.shape, unit=part.unit) for index, name in enumerate(labels)]
        groups.append(Kinematics(columns, rows_of(samples[keep]), part.values[keep], clock.rate))
    groups += _slopes(parts, names, groups)
    return (JoinedKinematics(groups) if groups else None), tuple(problems)


def rows_of(samples: NDArray[np.int64]) -> Rows:
    """Rows at ascending samples `(n,)`, in stretches that end where there is a hole."""
    steps = np.diff(samples)
    usual = float(np.median(steps)) if len(steps) else 1.0
    stretch = np.concatenate(([0], np.cumsum(steps > HOLE * usual)))[: len(samples)].astype(np.int64)
    furthest = samples + int(np.ceil(HOLE * usual))
    stops = np.append(np.minimum(samples[1:], furthest[:-1]), samples[-1:] + int(usual))
    return Rows(samples, samples, stops[: len(samples)], stretch)


def _part(reader: Reader, series: Series, last_s: float, problems: list[str]) -> _Part | None:
    group = reader.file[series.path]
    data = reader.child(group, "data")
    values = np.asarray(data[()])
    values = values[:, np.newaxis] if values.ndim == 1 else values.T if series.channels_first else values
    flags = values.dtype.kind == "b"
    values = values.astype(np.float64) * float(number(data, "conversion", 1.0)) + float(number(data, "offset", 0.0))
    start = reader.child(group, "starting_time")
    if start is not None and not (series.rate_hz or 0) > 0:
        problems.append(f"{series.full_name} has no rate and is left out")
        return None
    times_s: Floats = row_times(reader, series)
    if start is not None and series.rate_hz is not None and _is_period(series.n_rows, series.rate_hz, last_s):
        times_s = np.asarray(start[()], np.float64).reshape(-1)[0] + np.arange(series.n_rows) * series.rate_hz
        problems.append(f"{series.full_name}: {series.rate_hz:g} is taken as seconds a sample, not as a rate")
    if len(times_s) != len(values):
        problems.append(f"{series.full_name} has {len(values)} rows and {len(times_s)} timestamps, and is left out")
        return None
    good = np.isfinite(times_s)
    if not (np.diff(times_s[good]) >= 0).all():
        order = np.argsort(times_s[good], kind="stable")
        problems.append(f"{series.full_name}: timestamps do not ascend and are put in order")
        values, times_s = values[good][order], times_s[good][order]
    else:
        values, times_s = values[good], times_s[good]
    if not len(times_s):
        return None
    unit = _SHORT.get(series.unit, series.unit)
    shape: Literal["linear", "step"] = "step" if flags or attribute(data, "continuity") == "step" else "linear"
    return _Part(series, _listed(group, series), "" if flags else unit, shape, values, times_s)


def _is_period(n_rows: int, rate_hz: float, last_s: float) -> bool:
    """Whether a rate can only be meant as a period, as in a public set of files that states 0.02 for 50 Hz."""
    if not last_s > 0 or rate_hz >= 1:
        return False
    return n_rows / rate_hz > 5 * last_s and n_rows * rate_hz < 2 * last_s + 60 and n_rows / rate_hz < 1e4 * _DAY_S


def _listed(group: Any, series: Series) -> tuple[str, ...]:
    """Names of the columns of one series; empty names where it says none."""
    if found := re.search(r"columns\s*=\s*(\[.*\])", attribute(group, "comments")):
        names = _read_list(found[1])
        if len(names) == series.n_columns:
            return names
    described = tuple(word.strip() for word in attribute(group, "description").split(","))
    if series.n_columns > 1 and len(described) == series.n_columns and all(re.fullmatch(r"\S+", w) for w in described):
        return described
    if series.n_columns == 1:
        return ("",)
    spatial = series.type == "SpatialSeries" and series.n_columns <= 3
    return tuple("xyz"[: series.n_columns]) if spatial else tuple(str(index) for index in range(series.n_columns))


def _read_list(listed: str) -> tuple[str, ...]:
    try:
        names = json.loads(listed)
    except json.JSONDecodeError:
        names = [name.strip(" '\"") for name in listed.strip("[]").split(",")]
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _distinct(parts: Iterable[_Part]) -> list[tuple[str, ...]]:
    """Names of all columns, no two alike: short where that tells them apart, else behind the name of their series."""
    parts = list(parts)
    short = [tuple(name or part.series.name for name in part.names) for part in parts]
    levels = [
        short,
        [tuple(_joined(part.series.name, name) for name in part.names) for part in parts],
        [tuple(_joined(_holder(part.series), part.series.name, name) for name in part.names) for part in parts],
        [tuple(_joined(part.series.path.strip("/"), name) for name in part.names) for part in parts],
    ]
    vague = Counter(name for names in short for name in names if name.isdigit() or name in "xyz")
    chosen = [list(names) for names in short]
    for level in levels[1:]:
        times = Counter(name for names in chosen for name in names)
        for p, names in enumerate(chosen):
            for c, name in enumerate(names):
                if times[name] > 1 or (level is levels[1] and name in vague and parts[p].series.n_columns > 1):
                    names[c] = level[p][c]
    return [tuple(names) for names in chosen]


def _holder(series: Series) -> str:
    return "" if series.holder in _GENERIC else series.holder


def _joined(*words: str) -> str:
    kept = [word.replace("/", "_") for word in words if word]
    return "_".join(word for place, word in enumerate(kept) if place == 0 or word != kept[place - 1])


def _slopes(parts: Sequence[_Part], names: Sequence[tuple[str, ...]], groups: Sequence[Kinematics]) -> list[Kinematics]:
    """Velocities of positions, in a file that has none."""
    told = [name for labels in names for name in labels]
    if any(_VELOCITY.search(name) for name in told) or any(_SLOPE_UNIT.search(part.unit) for part in parts):
        return []
    taken, made = set(told), []
    for part, labels, group in zip(parts, names, groups, strict=True):
        if part.series.type == "SpatialSeries" and part.shape == "linear":
            unit = f"{part.unit}/s" if part.unit else ""
            columns = [
                Column(slope, index, "slope", unit=unit)
                for index, name in enumerate(labels)
                if (slope := slope_name(name)) not in taken
            ]
            made.append(group.with_columns(columns))
    return made


def slope_name(name: str) -> str:
    """What the velocity of a position is called: `hand_x` moves at `hand_vx`, `x` at `vx`, others at `..._velocity`."""
    head, under, axis = name.rpartition("_")
    return f"{head}{under}v{axis}" if axis in ("x", "y", "z") else f"{name}_velocity"

"""Trials and other intervals of an NWB file in samples."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.nwb.clock import SampleClock
from cortexwire.sessions.nwb.hdf import Reader, texts
from cortexwire.sessions.session import TRIAL_DTYPE, Trials

INVALID: Final = "intervals/invalid_times"
MISSING: Final = "missing"
"""Tag of invalid times at which nothing was recorded; samples there stand as zeros."""


def read_trials(reader: Reader, clock: SampleClock, n_samples: int) -> tuple[Trials, tuple[str, ...]]:
    """Trials in order of their starts, cut at the ends of the recording, and what was left out.

    A trial that has begun before the one before it has ended, as tables of overlapping conditions have them, stays.
    """
    table = reader.child(reader.file, "intervals/trials")
    if table is None:
        return np.zeros(0, TRIAL_DTYPE), ()
    trials = read_intervals(reader, "intervals/trials", clock, n_samples)
    starts = reader.child(table, "start_time")
    n_rows = 0 if starts is None else int(starts.size)
    lost = n_rows - len(trials)
    return trials, (f"{lost} of {n_rows} trials lie outside the recording or have no length",) if lost else ()


def read_missing(reader: Reader, clock: SampleClock, n_samples: int) -> tuple[NDArray[np.int64], int]:
    """Samples that the table of invalid times calls missing, `[start, stop)`, `(n, 2)`, and how many it calls else."""
    table = reader.child(reader.file, INVALID)
    invalid = read_intervals(reader, INVALID, clock, n_samples)
    tags = None if table is None else reader.child(table, "tags")
    tagged = None if table is None else reader.child(table, "tags_index")
    every = tuple[str, ...]() if tags is None else texts(tags)
    if not len(invalid) or tagged is None or set(every) != {MISSING} or len(every) != tagged.size:
        return np.zeros((0, 2), np.int64), int((invalid["stop"] - invalid["start"]).sum())
    return np.stack((invalid["start"], invalid["stop"]), axis=1), 0


def read_intervals(reader: Reader, place: str, clock: SampleClock, n_samples: int) -> Trials:
    """Intervals of a table, in order, cut at the ends of the recording; none where there is no such table."""
    table = reader.child(reader.file, place)
    first, last = (None if table is None else reader.child(table, name) for name in ("start_time", "stop_time"))
    if first is None or last is None:
        return np.zeros(0, TRIAL_DTYPE)
    starts, stops = (np.asarray(edge[()], np.float64).reshape(-1) for edge in (first, last))
    good = np.isfinite(starts) & np.isfinite(stops)
    found = np.zeros(int(good.sum()), TRIAL_DTYPE)
    found["start"] = np.clip(clock.samples_of(starts[good]), 0, n_samples)
    found["stop"] = np.clip(clock.samples_of(stops[good]), 0, n_samples)
    found = found[found["stop"] > found["start"]]
    return found[np.argsort(found["start"], kind="stable")]

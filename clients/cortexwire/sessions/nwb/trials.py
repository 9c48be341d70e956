"""Trials and other intervals of an NWB file in samples."""

import numpy as np

from cortexwire.sessions.nwb.clock import SampleClock
from cortexwire.sessions.nwb.hdf import Reader
from cortexwire.sessions.session import TRIAL_DTYPE, Trials


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

"""The tables of an exported file: electrodes, units, trials, marks, and where the signal is not to be trusted."""

from itertools import chain, count
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.runtime.nwb_export.chunks import between
from cortexwire.runtime.nwb_export.crossings import Crossings, Stretch
from cortexwire.runtime.nwb_export.recording import Recording
from cortexwire.sessions.nwb.trials import MISSING
from cortexwire.sessions.nwb.units import UNIT_COLUMN
from cortexwire.sessions.session import Session
from cortexwire.types import Rate

UNSORTED: Final = "unsorted threshold crossings"
_READ_S: Final = 600.0


def add_electrodes(file: Any, recording: Recording) -> Any:
    """Add an electrode for each channel, in groups by bank; returns the region of all of them."""
    session, location = recording.session, recording.location
    electrodes = session.descriptor.electrodes
    device = file.create_device(
        name="acquisition", description=f"The acquisition system of {session.descriptor.source}."
    )
    banks = [electrode.bank for electrode in electrodes] or [""] * session.n_channels
    group_names = _group_names(banks)
    groups = {
        bank: file.create_electrode_group(
            name=group_names[bank],
            description=f"Electrodes of bank {bank}." if bank else "All electrodes that are in no bank.",
            location=location,
            device=device,
        )
        for bank in dict.fromkeys(banks)
    }
    if electrodes:
        file.add_electrode_column("channel_name", "Identity of the electrode, unique in its source.")
    if any(banks):
        file.add_electrode_column("bank", "Bank or headstage of the electrode; empty where it is in none.")
    reference = session.descriptor.reference
    for channel, bank in enumerate(banks):
        fields: dict[str, Any] = {"channel_name": electrodes[channel].id} if electrodes else {}
        fields |= {"bank": bank} if any(banks) else {}
        fields |= {"reference": reference} if reference else {}
        file.add_electrode(group=groups[bank], location=location, **fields)
    return file.create_electrode_table_region(list(range(session.n_channels)), "All channels, in order.")


def add_crossings(file: Any, found: Crossings, rate: Rate) -> int:
    """Add a unit for each channel that was watched, with its threshold and when it was; returns their number."""
    from pynwb.misc import Units

    order = np.argsort(found.crossings["channel"], kind="stable")
    samples, channels = found.crossings["sample"][order], found.crossings["channel"][order]
    edges = np.searchsorted(channels, np.arange(len(found.observed) + 1))
    file.units = Units(
        name="units",
        description=f"{UNSORTED.capitalize()}: one row for each channel, no cells. A time is that of the first sample "
        "at or beyond the threshold whose predecessor was not.",
        resolution=1 / rate.hz,
    )
    file.add_unit_column("threshold_uv", "Threshold in microvolts of the filtered signal, NaN where there is none.")
    _add_kind_columns(file)
    watched = [channel for channel, observed in enumerate(found.observed) if len(observed)]
    for channel in watched:
        file.add_unit(
            spike_times=samples[edges[channel] : edges[channel + 1]] / rate.hz,
            obs_intervals=found.observed[channel] / rate.hz,
            electrodes=[channel],
            threshold_uv=float(found.thresholds_uv[channel]),
            sorting=UNSORTED,
            **{UNIT_COLUMN: 0},
        )
    return len(watched)


def add_events(file: Any, recording: Recording) -> int:
    """Add the events of a session that has no samples: a unit for each channel and number; returns their number."""
    from pynwb.misc import Units

    session, gaps = recording.session, recording.gaps
    step = max(1, int(session.rate.hz * _READ_S))
    observed = list(between(gaps, 0, session.n_samples))
    starts = ((start, stop, at) for start, stop in observed for at in range(start, stop, step))
    spikes = np.concatenate([session.events(at, min(stop, at + step)) for start, stop, at in starts])
    order = np.lexsort((spikes["sample"], spikes["unit"], spikes["channel"]))
    spikes = spikes[order]
    numbers = spikes["unit"].astype(np.int64)
    key = spikes["channel"].astype(np.int64) << 16 | numbers
    silent = np.setdiff1d(np.arange(session.n_channels), spikes["channel"]) << 16
    rate = session.rate
    file.units = Units(name="units", description="Events as they were recorded.", resolution=1 / rate.hz)
    _add_kind_columns(file)
    whole = np.array(observed) / rate.hz
    rows = np.union1d(key, silent)
    for row in rows.tolist():
        first, last = np.searchsorted(key, (row, row + 1))
        channel, number = row >> 16, row & 0xFFFF
        file.add_unit(
            spike_times=spikes["sample"][first:last] / rate.hz,
            obs_intervals=whole,
            electrodes=[channel],
            sorting=UNSORTED if number == 0 else "sorted unit",
            **{UNIT_COLUMN: number},
        )
    return len(rows)


def add_trials(file: Any, session: Session) -> None:
    """Add the trials; `stop_time` is the end of a trial's last sample."""
    for trial in session.trials:
        file.add_trial(start_time=int(trial["start"]) / session.rate.hz, stop_time=int(trial["stop"]) / session.rate.hz)


def add_marks(file: Any, marks: NDArray[np.void], rate: Rate) -> None:
    """Add the marks as a table of events."""
    if not len(marks):
        return
    from pynwb.event import EventsTable

    table = EventsTable(
        name="marks",
        description="Marks of the operator or the task.",
        source_description="cortexwire commands and markers",
    )
    table.add_column("code", "Code of the mark.")
    table.add_column("value", "Value that came with it.")
    for mark in marks:
        table.add_event(timestamp=int(mark["sample"]) / rate.hz, code=int(mark["code"]), value=float(mark["value"]))
    file.add_events_table(table)


def add_validity(file: Any, stretches: tuple[Stretch, ...], rate: Rate) -> None:
    """Add where bins were not observed whole."""
    if not stretches:
        return
    from pynwb.epoch import TimeIntervals

    table = TimeIntervals(
        name="validity",
        description="Bins that were not observed whole, joined: partial: at least half of each was; stale: less; "
        "missing: no sample came. All other bins are valid.",
    )
    table.add_column("label", "partial, stale or missing")
    for what in ("observed", "missing", "artefact"):
        table.add_column(
            f"{what}_samples", f"Samples in it that were {what}." if what != "artefact" else "Samples in artefacts."
        )
    for each in stretches:
        table.add_row(
            start_time=each.start / rate.hz,
            stop_time=each.stop / rate.hz,
            label=each.label,
            observed_samples=each.observed,
            missing_samples=each.missing,
            artefact_samples=each.artefact,
        )
    file.add_time_intervals(table)


def add_gaps(file: Any, gaps: tuple[tuple[int, int], ...], rate: Rate) -> None:
    """Add samples that were never recorded, and stand as zeros, as invalid times."""
    for start, stop in gaps:
        file.add_invalid_time_interval(start_time=start / rate.hz, stop_time=stop / rate.hz, tags=[MISSING])


def _add_kind_columns(file: Any) -> None:
    file.add_unit_column("sorting", f"{UNSORTED}, or a sorted unit")
    file.add_unit_column(UNIT_COLUMN, "Number of the unit on its channel; 0 for unsorted crossings.")


def _group_names(banks: list[str]) -> dict[str, str]:
    """A name for the group of each bank, no two alike, without what HDF5 paths trip over."""
    names: dict[str, str] = {}
    for bank in banks:
        if bank not in names:
            base = (bank or "electrodes").replace("/", "_").replace(":", "_")
            taken = set(names.values())
            names[bank] = next(name for name in chain((base,), (f"{base}_{n}" for n in count(2))) if name not in taken)
    return names

"""The tables of an exported file: electrodes, units, trials, marks, and where the signal is not to be trusted."""

from collections.abc import Sequence
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
    order = np.argsort(found.crossings["channel"], kind="stable")
    samples, channels = found.crossings["sample"][order], found.crossings["channel"][order]
    watched = np.array([channel for channel, observed in enumerate(found.observed) if len(observed)], np.int64)
    threshold = (
        "threshold_uv",
        "Threshold in microvolts of the filtered signal, NaN where there is none.",
        found.thresholds_uv[watched],
    )
    _add_units(
        file,
        f"{UNSORTED.capitalize()}: one row for each channel, no cells. A time is that of the first sample at or beyond "
        "the threshold whose predecessor was not.",
        rate,
        samples,
        np.searchsorted(channels, watched, "right"),
        [found.observed[channel] for channel in watched],
        watched,
        np.zeros(len(watched), np.int64),
        [threshold],
    )
    return len(watched)


def add_events(file: Any, recording: Recording) -> int:
    """Add the events of a session that has no samples: a unit for each channel and number; returns their number."""
    session, gaps = recording.session, recording.gaps
    step = max(1, int(session.rate.hz * _READ_S))
    observed = list(between(gaps, 0, session.n_samples))
    starts = ((start, stop, at) for start, stop in observed for at in range(start, stop, step))
    spikes = np.concatenate([session.events(at, min(stop, at + step)) for start, stop, at in starts])
    spikes = spikes[np.lexsort((spikes["sample"], spikes["unit"], spikes["channel"]))]
    key = spikes["channel"].astype(np.int64) << 16 | spikes["unit"].astype(np.int64)
    silent = np.setdiff1d(np.arange(session.n_channels), spikes["channel"]) << 16
    rows = np.union1d(key, silent)
    ends = np.searchsorted(key, rows, "right")
    whole = [np.array(observed, np.int64)] * len(rows)
    what = "Events as they were recorded."
    _add_units(file, what, session.rate, spikes["sample"], ends, whole, rows >> 16, rows & 0xFFFF)
    return len(rows)


def _add_units(
    file: Any,
    description: str,
    rate: Rate,
    samples: NDArray[np.int64],
    ends: NDArray[np.int64],
    observed: list[NDArray[np.int64]],
    channels: NDArray[np.int64],
    numbers: NDArray[np.int64],
    more: Sequence[tuple[str, str, NDArray[Any]]] = (),
) -> None:
    """Add the units table from whole columns; row by row, every spike would become an object of its own.

    Args:
        file: The file.
        description: Of the table.
        rate: Sample rate.
        samples: Spikes of all units, one unit after the other.
        ends: Where each unit's end, `(n_units,)`.
        observed: Samples `[start, stop)` at which each was observed, `(n, 2)` each.
        channels: Channel of each.
        numbers: Number of each on its channel, 0 for unsorted.
        more: Further columns: name, description, values.
    """
    from hdmf.backends.hdf5 import H5DataIO
    from hdmf.common import DynamicTableRegion, VectorData, VectorIndex
    from pynwb.misc import Units

    times = VectorData(
        name="spike_times",
        description="the spike times for each unit in seconds",
        data=H5DataIO(samples / rate.hz, compression="gzip", compression_opts=4, shuffle=True),
    )
    intervals = VectorData(
        name="obs_intervals",
        description="the observation intervals for each unit",
        data=np.concatenate(observed).reshape(-1, 2) / rate.hz,
    )
    region = DynamicTableRegion(
        name="electrodes", description="the electrode of each unit", data=channels, table=file.electrodes
    )
    sorting = [UNSORTED if number == 0 else "sorted unit" for number in numbers.tolist()]
    kinds = (
        ("sorting", f"{UNSORTED}, or a sorted unit", sorting),
        (UNIT_COLUMN, "Number of the unit on its channel; 0 for unsorted crossings.", numbers),
    )
    lengths = np.cumsum([len(each) for each in observed])
    file.units = Units(
        name="units",
        description=description,
        resolution=1 / rate.hz,
        id=list(range(len(ends))),
        electrode_table=file.electrodes,
        columns=[
            times,
            VectorIndex(name="spike_times_index", target=times, data=ends),
            intervals,
            VectorIndex(name="obs_intervals_index", target=intervals, data=lengths),
            region,
            VectorIndex(name="electrodes_index", target=region, data=np.arange(1, len(ends) + 1)),
            *(VectorData(name=name, description=what, data=values) for name, what, values in (*more, *kinds)),
        ],
    )


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


def _group_names(banks: list[str]) -> dict[str, str]:
    """A name for the group of each bank, no two alike, without what HDF5 paths trip over."""
    names: dict[str, str] = {}
    for bank in banks:
        if bank not in names:
            base = (bank or "electrodes").replace("/", "_").replace(":", "_")
            taken = set(names.values())
            names[bank] = next(name for name in chain((base,), (f"{base}_{n}" for n in count(2))) if name not in taken)
    return names

"""`open_nwb`: one file, one signal of it, and everything that was recorded beside it, as a session.

Sample 0 of the session is the first sample of the signal; times of spikes, behaviour and trials are taken from the
file's common clock.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions.nwb.clock import SampleClock
from cortexwire.sessions.nwb.columns import read_columns
from cortexwire.sessions.nwb.electrodes import ElectrodeTable
from cortexwire.sessions.nwb.hdf import Reader, open_hdf
from cortexwire.sessions.nwb.layout import Series, clock_of, find_series
from cortexwire.sessions.nwb.trials import read_missing, read_trials
from cortexwire.sessions.nwb.units import UNITS, has_units, read_units
from cortexwire.sessions.nwb.voltage import channel_names, read_voltage
from cortexwire.sessions.recorded import RecordedSession, Signal
from cortexwire.sessions.session import SPIKE_DTYPE
from cortexwire.sessions.signals import EventSignal
from cortexwire.types import Rate
from cortexwire.wire import MAX_CHANNELS, Descriptor, Electrode

DEFAULT_RATE: Final = Rate(30_000)
_ASSUMED: Final = "the clock of the spike times is not stated: 30000 Hz is assumed"


class _Found(NamedTuple):
    """A signal and who its channels are."""

    signal: Signal
    clock: SampleClock
    electrodes: tuple[Electrode, ...]
    reference: str
    uv_per_bit: float
    problems: tuple[str, ...]


def open_nwb(path: str | Path, series: str | None = None) -> RecordedSession:
    """Open an NWB file of version 2, or of version 1 as the public broadband recordings have it.

    Args:
        path: The file, or `FILE#NAME` with the name of a series behind it.
        series: Name of an electrical series, or `units` for spike times. By default the one electrical series of
            `acquisition`, else the units, else the one electrical series there is.

    Returns:
        The session; samples are read when asked for, all else is in memory.

    Raises:
        SessionError: It is no such file, or which signal is meant is not clear.
    """
    path, named = split_name(path)
    series = series or named
    with open_hdf(path) as file:
        reader = Reader(file)
        every = find_series(reader)
        chosen = _choose(path, reader, every, series)
        found = _units(path, reader, every) if chosen is None else _voltage(path, reader, chosen)
        signal, clock = found.signal, found.clock
        if not 1 <= signal.n_channels <= MAX_CHANNELS or signal.n_samples < 1:
            came = f"{signal.n_channels} channels and {signal.n_samples} samples"
            raise SessionError(f"{path}: expected 1 to {MAX_CHANNELS} channels and a sample, got {came}")
        last_s = clock.start_s + signal.n_samples / clock.rate.hz
        kinematics, assumed = read_columns(reader, every, clock, last_s)
        trials, dropped = read_trials(reader, clock, signal.n_samples)
        gaps, invalid = read_missing(reader, clock, signal.n_samples)
        problems = (*found.problems, *assumed, *dropped, *reader.refused)
    if len(gaps):
        problems += (f"{int(np.diff(gaps).sum())} samples are missing, in {len(gaps)} gap(s)",)
    if invalid:
        problems += (f"{invalid} samples are invalid by the file's own account, and are read all the same",)
    name = path.stem if chosen is None or series is None else f"{path.stem}#{series}"
    columns = tuple(column.name for column in kinematics.columns) if kinematics else ()
    try:
        descriptor = Descriptor(name, found.electrodes, found.uv_per_bit, found.reference, columns)
    except ConfigError as error:
        raise SessionError(f"{path}: {error}") from error
    return RecordedSession(name, clock.rate, signal, descriptor, kinematics, trials, problems, gaps)


def split_name(path: str | Path) -> tuple[Path, str | None]:
    """Part `FILE#NAME`; a file that is called so is not parted."""
    whole = Path(path)
    head, mark, name = str(path).rpartition("#")
    return (Path(head), name) if mark and head and not whole.exists() else (whole, None)


def _choose(path: Path, reader: Reader, every: tuple[Series, ...], name: str | None) -> Series | None:
    """The electrical series that is meant; None for the units."""
    electrical = [series for series in every if series.electrical]
    units = has_units(reader)
    names = [series.full_name for series in electrical] + [UNITS] * units
    if name is not None:
        if name == UNITS and units:
            return None
        meant = [s for s in electrical if name in (s.name, s.full_name, s.path, s.path.strip("/"))]
        if len(meant) != 1:
            raise SessionError(f"{path}: expected one of {', '.join(names) or 'no series'} behind '#', got {name!r}")
        return meant[0]
    raw = [series for series in electrical if series.path.startswith("/acquisition/")]
    for candidates in (raw, [] if units else electrical):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise SessionError(f"{path}: expected the name of one of {', '.join(names)} behind '#', got none")
    if units:
        return None
    others = ", ".join(series.full_name for series in every) or "none"
    raise SessionError(f"{path}: expected an electrical series or units with spike times, the file has: {others}")


def _voltage(path: Path, reader: Reader, series: Series) -> _Found:
    try:
        clock = clock_of(reader, series)
    except ValueError as error:
        raise SessionError(f"{path}: {series.full_name}: {error}") from error
    voltage = read_voltage(path, reader, series)
    problems = voltage.problems
    if clock.irregular_s * clock.rate.hz >= 1:
        off = f"by up to {clock.irregular_s:.3g} s"
        problems += (f"{series.full_name}: timestamps leave a straight line {off}; samples are taken one by one",)
    region = reader.child(reader.file[series.path], "electrodes")
    rows: NDArray[np.int64] = np.zeros(0, np.int64)
    if region is not None and region.size == series.n_columns and region.dtype.kind in "iu":
        rows = np.asarray(region[()]).astype(np.int64).reshape(-1)
    table = ElectrodeTable(reader)
    electrodes = table.electrodes(rows) or tuple(Electrode(name) for name in channel_names(reader, series))
    return _Found(voltage.signal, clock, electrodes, table.reference(rows), voltage.uv_per_bit, problems)


def _units(path: Path, reader: Reader, every: tuple[Series, ...]) -> _Found:
    found = read_units(str(path), reader)
    rate, problems = found.rate, tuple[str, ...]()
    if rate is None:
        stated = [series.rate_hz for series in every if series.electrical and series.rate_hz]
        rate = DEFAULT_RATE
        problems = (_ASSUMED,) if not stated else ()
        if stated:
            rate = clock_of(reader, next(s for s in every if s.electrical and s.rate_hz == max(stated))).rate
    # Sample 0 is the file's time 0, unless something came before it.
    first_s = min(0.0, float(found.times_s.min(initial=0.0)))
    before = int(np.ceil(-first_s * rate.hz))
    clock = SampleClock(rate, -before / rate.hz)
    spikes = np.zeros(len(found.times_s), SPIKE_DTYPE)
    spikes["sample"] = clock.samples_of(found.times_s)
    spikes["channel"], spikes["unit"] = found.channel, found.unit
    n_samples = max(int(spikes["sample"].max(initial=-1)) + 1, _end_of_observation(reader, clock))
    table = ElectrodeTable(reader)
    rows = found.electrode_rows
    signal = EventSignal(spikes, max(1, found.n_channels), n_samples)
    return _Found(signal, clock, table.electrodes(rows), table.reference(rows), 1.0, problems)


def _end_of_observation(reader: Reader, clock: SampleClock) -> int:
    """One past the last sample that units were observed at, or that a trial or a raw series reaches; 0 if unknown."""
    ends = [0]
    observed = reader.child(reader.file, f"{UNITS}/obs_intervals")
    trials = reader.child(reader.file, "intervals/trials/stop_time")
    for dataset in (observed, trials):
        if reader.is_dataset(dataset) and dataset.size:
            times = np.asarray(dataset[()], np.float64).reshape(-1)
            times = times[np.isfinite(times)]
            ends.append(int(clock.samples_of(times).max(initial=0)))
    return max(ends)

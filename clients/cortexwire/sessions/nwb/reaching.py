"""The public reaching sessions of O'Doherty, Cardoso, Makin and Sabes (Zenodo 583331, 3854034), MATLAB v7.3.

A file has `spikes`, a cell array of channels by units whose first unit holds the unsorted crossings ("hash"),
`chan_names`, and at the 250 Hz times `t` the positions `cursor_pos` and `target_pos` in mm and `finger_pos` as the hand
tracker gave it: (z, -x, -y) in cm, with three angles behind it in some sessions. Spike times and `t` are seconds of one
clock that runs at 24,414.0625 Hz. The broadband files to these sessions are NWB 1.0, which `open_nwb` reads.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions.kinematics import Column, Kinematics
from cortexwire.sessions.nwb.columns import rows_of, slope_name
from cortexwire.sessions.nwb.hdf import open_hdf
from cortexwire.sessions.recorded import RecordedSession
from cortexwire.sessions.session import SPIKE_DTYPE, TRIAL_DTYPE, Trials
from cortexwire.sessions.signals import EventSignal
from cortexwire.types import Rate
from cortexwire.wire import Descriptor, Electrode

RATE: Final = Rate(390_625, 16)
_NEEDED: Final = ("spikes", "chan_names", "t", "cursor_pos", "target_pos")
_FINGER: Final = ("z", "-x", "-y", "azimuth", "elevation", "roll")
"""What the columns of `finger_pos` are; the signs are turned here."""

Floats = NDArray[np.float64]


def is_reaching(path: str | Path) -> bool:
    """Whether a file looks like one of these sessions; False for whatever is no HDF5 file."""
    try:
        with open_hdf(Path(path)) as file:
            return all(name in file for name in _NEEDED)
    except SessionError:
        return False


def open_reaching(path: str | Path) -> RecordedSession:
    """Open a reaching session as events, with columns of cursor, finger and target, and a trial for each target.

    Columns: `cursor_x`, `cursor_y`, `target_x`, `target_y` in mm, `finger_x`, `finger_y`, `finger_z` in cm, angles
    where there are any, and the velocities `cursor_vx`, `cursor_vy` in mm/s as slopes of the positions. Sample 0 is the
    earlier of the first time in `t` and the first spike.

    Raises:
        SessionError: The file has another layout.
    """
    path = Path(path)
    with open_hdf(path) as file:
        lacking = [name for name in _NEEDED if name not in file]
        if lacking:
            raise SessionError(f"{path}: expected the variables {', '.join(_NEEDED)}, the file lacks {lacking[0]!r}")
        times_s = _vector(file["t"])
        names = tuple(_text(file[reference]) for reference in file["chan_names"][()].reshape(-1))
        channel, unit, spike_s = _spikes(path, file, len(names))
        positions = {key: _rows(path, file, key, len(times_s)) for key in ("cursor_pos", "target_pos")}
        if "finger_pos" in file:
            positions["finger_pos"] = _rows(path, file, "finger_pos", len(times_s))
    if len(times_s) < 2 or not (np.diff(times_s) > 0).all():
        raise SessionError(f"{path}: t: expected two ascending times or more, got {len(times_s)}")
    # Spikes lie on the samples of the recorder's clock, which counts from its own zero.
    anchors, spikes = np.rint(times_s * RATE.hz).astype(np.int64), np.zeros(len(spike_s), SPIKE_DTYPE)
    samples = np.rint(spike_s * RATE.hz).astype(np.int64)
    first = int(min(anchors[0], samples.min(initial=anchors[0])))
    anchors = anchors - first
    spikes["sample"], spikes["channel"], spikes["unit"] = samples - first, channel, unit
    n_samples = int(max(anchors[-1], spikes["sample"].max(initial=0))) + 1
    kinematics = _kinematics(positions, anchors)
    columns = tuple(column.name for column in kinematics.columns)
    banks = {name.split(" ")[0] for name in names}
    try:
        electrodes = tuple(Electrode(name, name.split(" ")[0] if len(banks) > 1 else "") for name in names)
        descriptor = Descriptor(path.stem, electrodes, columns=columns)
    except ConfigError as error:
        raise SessionError(f"{path}: chan_names: {error}") from error
    signal = EventSignal(spikes, len(names), n_samples)
    return RecordedSession(
        path.stem, RATE, signal, descriptor, kinematics, _targets(positions["target_pos"], anchors), ()
    )


def _spikes(path: Path, file: Any, n_channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Channel, unit and time of every spike."""
    cells = file["spikes"][()]
    # MATLAB's channels by units lie in the file as units by channels.
    if cells.ndim != 2 or cells.dtype.kind != "O" or cells.shape[1] != n_channels:
        came = f"shape {cells.shape[::-1]}"
        raise SessionError(f"{path}: spikes: expected {n_channels} channels like chan_names, got {came}")
    parts = [
        (channel, unit, times)
        for unit, row in enumerate(cells)
        for channel, reference in enumerate(row)
        if len(times := _vector(file[reference]))
    ]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    lengths = [len(times) for _, _, times in parts]
    channels = np.repeat([channel for channel, _, _ in parts], lengths)
    units = np.repeat([unit for _, unit, _ in parts], lengths)
    times_s = np.concatenate([times for _, _, times in parts])
    good = np.isfinite(times_s)
    return channels[good], units[good], times_s[good]


def _vector(dataset: Any) -> Floats:
    """Values of a row or column; MATLAB writes an empty array as its size, with a mark."""
    if dataset.attrs.get("MATLAB_empty", 0):
        return np.zeros(0)
    return np.asarray(dataset[()], np.float64).reshape(-1)


def _text(dataset: Any) -> str:
    return "".join(chr(code) for code in np.asarray(dataset[()]).reshape(-1)).strip()


def _rows(path: Path, file: Any, key: str, n_rows: int) -> Floats:
    """A matrix time first, `(n_rows, n_columns)`."""
    values = np.asarray(file[key][()], np.float64)
    if values.ndim != 2 or values.shape[1] != n_rows:
        raise SessionError(f"{path}: {key}: expected {n_rows} rows like t, got shape {values.shape[::-1]}")
    return values.T


def _kinematics(positions: dict[str, Floats], anchors: NDArray[np.int64]) -> Kinematics:
    cursor, target = positions["cursor_pos"][:, :2], positions["target_pos"][:, :2]
    columns = [Column("cursor_x", 0, "linear", unit="mm"), Column("cursor_y", 1, "linear", unit="mm")]
    columns += [Column(slope_name(column.name), column.source, "slope", unit="mm/s") for column in columns]
    columns += [Column("target_x", 2, "step", unit="mm"), Column("target_y", 3, "step", unit="mm")]
    values = [cursor, target]
    if "finger_pos" in positions:
        finger = positions["finger_pos"][:, : len(_FINGER)].copy()
        for index, axis in enumerate(_FINGER[: finger.shape[1]]):
            if axis.startswith("-"):
                finger[:, index] *= -1
            unit = "cm" if index < 3 else ""
            columns.append(Column(f"finger_{axis.lstrip('-')}", 4 + index, "linear", unit=unit))
        values.append(finger)
    return Kinematics(columns, rows_of(anchors), np.concatenate(values, axis=1), RATE)


def _targets(target: Floats, anchors: NDArray[np.int64]) -> Trials:
    """A trial from each new target to the next; the task has no other."""
    changed = np.flatnonzero((np.diff(target, axis=0) != 0).any(axis=1)) + 1
    starts = anchors[np.concatenate(([0], changed))]
    trials = np.zeros(len(starts), TRIAL_DTYPE)
    trials["start"], trials["stop"] = starts, np.append(starts[1:], anchors[-1] + 1)
    return trials

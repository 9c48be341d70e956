"""`open_session`: from a `session.toml` or a folder of wav files to a session.

A recording's `file` is looked for in the folder given as `data`, beside the toml, then in the folder that
`CORTEXWIRE_DATA` names, so that a committed toml needs no machine's path.
"""

import os
from pathlib import Path
from typing import Final

import numpy as np

from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions.build_kinematics import KinematicsReader, Timeline
from cortexwire.sessions.build_signal import open_signal, open_stack, recorded_bins
from cortexwire.sessions.description import Description, NoTrials, WidebandSpec, read_description
from cortexwire.sessions.identities import channel_names, make_electrodes
from cortexwire.sessions.nwb import is_reaching, open_nwb, open_reaching
from cortexwire.sessions.nwb.opening import split_name
from cortexwire.sessions.log import LogSession, is_log, log_session
from cortexwire.sessions.recorded import RecordedSession, Signal
from cortexwire.sessions.session import TRIAL_DTYPE
from cortexwire.sessions.stores import Store, open_store
from cortexwire.sessions.wav import WavStack
from cortexwire.types import Rate
from cortexwire.wire import MAX_CHANNELS, Descriptor

DATA_VARIABLE: Final = "CORTEXWIRE_DATA"
_NO_SCALE: Final = "signal.uv_per_bit is not stated: 1.0 is assumed, so microvolts are recorded units"


def open_session(path: str | Path, data: str | Path | None = None) -> RecordedSession | LogSession:
    """Open a recorded session.

    Args:
        path: A `session.toml` of any name, a folder that holds one of that name, a folder of wav files, an NWB file
            (`FILE#NAME` for one of several series), a reaching session in MATLAB v7.3, or a log's folder (`FOLDER#2`
            for its second stream).
        data: Folder to look for the recording in first.

    Returns:
        The session; samples are read when asked for.

    Raises:
        SessionError: It cannot be read as described: what was expected, what came, and where.
    """
    place, _ = split_name(path)
    if place.suffix.lower() == ".nwb":
        return open_nwb(path)
    if place.suffix.lower() == ".mat" and is_reaching(place):
        return open_reaching(place)
    if is_log(path):
        return log_session(path)
    path = Path(path)
    if path.is_dir() and not (path / "session.toml").is_file():
        whole = Description(file=path.name, signal=WidebandSpec(), name=path.name)
        return _Opening(path, whole, data).stack(WavStack(path))
    toml = path / "session.toml" if path.is_dir() else path
    if toml.suffix.lower() != ".toml":
        raise SessionError(f"{toml}: expected a session.toml or a folder of wav files")
    opening = _Opening(toml, read_description(toml), data)
    file = opening.find(opening.description.file)
    return opening.stack(WavStack(file)) if file.is_dir() else opening.file(open_store(file))


class _Opening:
    """Puts one session together."""

    def __init__(self, toml: Path, description: Description, data: str | Path | None) -> None:
        self.description = description
        self._where = str(toml)
        self._folders = [Path(data)] if data is not None else []
        self._folders.append(toml.parent)
        if os.environ.get(DATA_VARIABLE):
            self._folders.append(Path(os.environ[DATA_VARIABLE]))

    def find(self, name: str) -> Path:
        """The first folder's file of that name."""
        for folder in self._folders:
            if (folder / name).exists():
                return folder / name
        places = ", ".join(str(folder) for folder in self._folders)
        hint = f"set {DATA_VARIABLE} or pass data"
        raise SessionError(f"{self._where}: file = {name!r}: not found in {places} ({hint})")

    def stack(self, stack: WavStack) -> RecordedSession:
        """A session of wav files."""
        if self.description.columns or not isinstance(self.description.trials, NoTrials):
            raise SessionError(f"{self._where}: a folder of wav files has neither columns nor trials")
        rate, signal = open_stack(self._where, self.description.signal, stack)
        problems: tuple[str, ...] = ()
        if stack.trimmed:
            problems = (f"the files differ in length: up to {stack.trimmed} samples are left out",)
        names = self.description.electrodes.names or stack.names
        return self._assemble(None, rate, signal, names, problems)

    def file(self, store: Store) -> RecordedSession:
        """A session in a file of named arrays."""
        rate, signal = open_signal(self._where, self.description.signal, store)
        names = channel_names(self._where, self.description, store)
        return self._assemble(store, rate, signal, names, ())

    def _assemble(
        self,
        store: Store | None,
        rate: Rate,
        signal: Signal,
        names: tuple[str, ...],
        problems: tuple[str, ...],
    ) -> RecordedSession:
        description, spec = self.description, self.description.signal
        if not 1 <= signal.n_channels <= MAX_CHANNELS or signal.n_samples < 1:
            expected = f"1 to {MAX_CHANNELS} channels and a sample"
            came = f"{signal.n_channels} channels and {signal.n_samples} samples"
            raise SessionError(f"{self._where}: signal: expected {expected}, got {came}")
        if names and len(names) != signal.n_channels:
            expected = f"{signal.n_channels} identities"
            raise SessionError(f"{self._where}: electrodes: expected {expected}, got {len(names)}")
        uv_per_bit, reference = 1.0, ""
        if isinstance(spec, WidebandSpec):
            reference = spec.reference
            if spec.uv_per_bit is None:
                problems += (_NO_SCALE,)
            else:
                uv_per_bit = spec.uv_per_bit
        name = description.name or Path(self._where).stem
        electrodes = make_electrodes(names, description.electrodes.bank_size)
        try:
            descriptor = Descriptor(name, electrodes, uv_per_bit, reference, tuple(description.columns))
        except ConfigError as error:
            raise SessionError(f"{self._where}: {error}") from error
        kinematics, trials = None, np.zeros(0, TRIAL_DTYPE)
        if store is not None:
            timeline = Timeline(rate, signal.n_samples, recorded_bins(signal))
            reader = KinematicsReader(
                self._where, description, store, timeline, lambda other: open_store(self.find(other))
            )
            trials = reader.trials()
            kinematics = reader.kinematics(trials) if description.columns else None
        return RecordedSession(name, rate, signal, descriptor, kinematics, trials, problems)

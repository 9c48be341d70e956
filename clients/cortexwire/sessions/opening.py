"""`open_session`: from a recording, as it was written or as a `session.toml` describes it, to a session.

A recording's `file` is looked for in the folder given as `data`, beside the toml, then in the folder that
`CORTEXWIRE_DATA` names, so that a committed toml needs no machine's path.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions.build_kinematics import KinematicsReader, Timeline
from cortexwire.sessions.build_signal import open_signal, open_stack, recorded_bins
from cortexwire.sessions.description import Description, NoTrials, RecordedSpec, WidebandSpec, read_description
from cortexwire.sessions.identities import channel_names, make_electrodes
from cortexwire.sessions.log import LogSession
from cortexwire.sessions.readers import Reader, reader_of
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
        path: A recording, a `session.toml` of any name, or a folder that holds one of that name. `PATH#STREAM` chooses
            one of several streams. The suffix may be left out where the folder has one recording of that name.
        data: Folder to look for the recording of a toml in first.

    Returns:
        The session; samples are read when asked for.

    Raises:
        SessionError: It cannot be read as described: what was expected, what came, and where.
    """
    place, stream = find_recording(path)
    toml = place / "session.toml" if (place / "session.toml").is_file() else place
    if toml.suffix.lower() == ".toml":
        if stream:
            raise SessionError(f"{toml}: expected the stream as signal.stream in the file, got #{stream}")
        return _open_toml(toml, data)
    if not place.exists():
        raise SessionError(f"{place}: expected a recording, there is nothing of that name")
    return _open_recording(place, stream)


def find_recording(source: str | Path) -> tuple[Path, str]:
    """The recording that a name means, and the stream of it that it chooses: `PATH#STREAM`.

    A `#` may be part of a path or of a stream's name; the longest path that exists counts. A path that does not exist
    means the recording of that name with whatever suffix.

    Raises:
        SessionError: There are several of that name.
    """
    text = str(source)
    for end in (len(text), *(at for at in reversed(range(len(text))) if text[at] == "#")):
        if text[:end] and (path := Path(text[:end])).exists():
            return path, text[end + 1 :]
    head, _, stream = text.partition("#")
    path = Path(head)
    try:
        beside = sorted(path.parent.iterdir())
    except OSError:
        return path, stream
    found = [other for other in beside if other.stem == path.name and reader_of(other) is not None]
    if len(found) > 1:
        names = ", ".join(other.name for other in found)
        raise SessionError(f"{path}: expected one recording of that name, got {names}: name one with its suffix")
    return found[0] if found else path, stream


def _open_toml(toml: Path, data: str | Path | None) -> RecordedSession:
    opening = _Opening(toml, read_description(toml), data)
    file = opening.find(opening.description.file)
    if isinstance(spec := opening.description.signal, RecordedSpec):
        recorded = _open_recording(file, spec.stream)
        if isinstance(recorded, LogSession):
            raise SessionError(f"{toml}: expected a recording without columns of its own, got the log {file}")
        return opening.over(recorded)
    return opening.stack(WavStack(file)) if file.is_dir() else opening.file(open_store(file))


def _open_recording(path: Path, stream: str) -> RecordedSession | LogSession:
    """Open a recording as it was written."""
    reader: Reader | None = reader_of(path)
    if reader is None:
        what = "folder" if path.is_dir() else "file"
        hint = "describe it in a session.toml" if path.is_file() else "`cortexwire sessions` lists what a folder holds"
        if path.is_file() and reader_of(path.absolute().parent) is not None:
            hint = f"it may be a part of the recording {path.absolute().parent}: open that"
        raise SessionError(f"{path}: expected a recording of a known format, got a {what} of none ({hint})")
    if reader.open is not None:
        return reader.open(path, stream)
    if stream:
        raise SessionError(f"{path}: expected no stream in a {reader.name} recording, got #{stream}")
    whole = Description(file=path.name, signal=WidebandSpec(), name=path.stem if path.is_file() else path.name)
    return _Opening(path, whole, None).stack(WavStack(path))


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
        hint = f"set {DATA_VARIABLE}, or --data FOLDER"
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
        spec = self.description.signal
        assert not isinstance(spec, RecordedSpec)
        rate, signal = open_signal(self._where, spec, store)
        names = channel_names(self._where, self.description, store)
        return self._assemble(store, rate, signal, names, ())

    def over(self, recorded: RecordedSession) -> RecordedSession:
        """A recording as it was written, with a name, columns and trials from the toml."""
        description = self.description
        if description.electrodes != type(description.electrodes)():
            raise SessionError(f"{self._where}: electrodes: expected none, the recording names its own")
        name = description.name or Path(self._where).stem
        columns = tuple(description.columns) or recorded.descriptor.columns
        described = replace(recorded.descriptor, source=name, columns=columns)
        kinematics, trials = recorded.kinematics, recorded.trials
        if description.columns or not isinstance(description.trials, NoTrials):
            if (file := description.kinematics.file) is None:
                expected = "the file of columns and trials, which the recording does not hold"
                raise SessionError(f"{self._where}: kinematics.file: expected {expected}")
            timeline = Timeline(recorded.rate, recorded.n_samples)
            reader = self._kinematics(open_store(self.find(file)), timeline)
            trials = trials if isinstance(description.trials, NoTrials) else reader.trials()
            kinematics = reader.kinematics(trials) if description.columns else kinematics
        return replace(recorded, name=name, descriptor=described, kinematics=kinematics, trials=trials)

    def _kinematics(self, store: Store, timeline: Timeline) -> KinematicsReader:
        return KinematicsReader(
            self._where, self.description, store, timeline, lambda other: open_store(self.find(other))
        )

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
            if (file := description.kinematics.file) is not None:
                store = open_store(self.find(file))
            reader = self._kinematics(store, Timeline(rate, signal.n_samples, recorded_bins(signal)))
            trials = reader.trials()
            kinematics = reader.kinematics(trials) if description.columns else None
        return RecordedSession(name, rate, signal, descriptor, kinematics, trials, problems)

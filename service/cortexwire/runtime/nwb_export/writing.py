"""`export_nwb`: one recording into one file, which appears whole or not at all."""

import os
import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from cortexwire.errors import ConfigError
from cortexwire.runtime.nwb_export import series, tables
from cortexwire.runtime.nwb_export.recording import Recording, Subject

_NEEDS = "NWB needs pynwb and hdmf: pip install 'cortexwire[io]'"
_KEYWORDS = ("intracortical", "extracellular electrophysiology", "brain-computer interface", "threshold crossings")


def require_pynwb() -> None:
    """Make sure that NWB can be written, which is worth knowing before a long work.

    Raises:
        ConfigError: pynwb is not installed.
    """
    if any(find_spec(name) is None for name in ("pynwb", "hdmf")):
        raise ConfigError(_NEEDS)


def export_nwb(
    recording: Recording,
    path: str | Path,
    subject: Subject | None = None,
    *,
    replace: bool = False,
    general: dict[str, Any] | None = None,
    progress: Callable[[float], Any] = lambda _share: None,
) -> dict[str, int]:
    """Write a recording as NWB.

    The raw signal is read, compressed and written in chunks; memory does not grow with it, only with spikes, columns
    and decoded bins.

    Args:
        recording: What to write.
        path: The file.
        subject: Who was recorded.
        replace: Whether a file of that name may be replaced.
        general: Further fields of `pynwb.NWBFile`, such as `lab`, `institution`, `experimenter`.
        progress: Told the share of the raw signal that is written.

    Returns:
        How many samples, channels, units, decoded bins, trials and marks were written.

    Raises:
        ConfigError: pynwb is not installed, the file exists, or the recording has nothing to write.
    """
    path = Path(path)
    require_pynwb()
    import pynwb

    if path.suffix != ".nwb":
        raise ConfigError(f"{path}: expected a name that ends in .nwb")
    if path.exists() and not replace:
        raise ConfigError(f"{path}: expected a new file, there is one already")
    session = recording.session
    if session.kind == "counts":
        raise ConfigError(f"{session.name}: expected samples or events to export, got counts per bin")
    file = _file(recording, subject or Subject(), general or {})
    region = tables.add_electrodes(file, recording)
    n_units = 0
    if session.kind == "wideband":
        series.add_raw(file, recording, region, progress)
        if recording.crossings is not None and recording.crossings.bins:
            n_units = tables.add_crossings(file, recording.crossings, session.rate)
    else:
        n_units = tables.add_events(file, recording)
    series.add_kinematics(file, session)
    tables.add_trials(file, session)
    tables.add_marks(file, recording.marks, session.rate)
    if recording.crossings is not None:
        tables.add_validity(file, recording.crossings.stretches, session.rate)
    tables.add_gaps(file, recording.gaps, session.rate)
    n_decoded = series.add_decoded(file, recording)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.nwb")
    try:
        with pynwb.NWBHDF5IO(partial, "w") as io:
            io.write(file)
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return {
        "samples": session.n_samples if session.kind == "wideband" else 0,
        "channels": session.n_channels,
        "units": n_units,
        "decoded_bins": n_decoded,
        "trials": len(session.trials),
        "marks": len(recording.marks),
    }


def _file(recording: Recording, subject: Subject, general: dict[str, Any]) -> Any:
    import pynwb
    from pynwb.file import Subject as NwbSubject

    session = recording.session
    notes = [f"bundle: {recording.bundle or 'none'}", *session.problems]
    started = recording.started
    if started is None:
        started = datetime.now(UTC)
        notes.append("session_start_time was not known: it is when the file was written")
    if recording.crossings is not None:
        notes += recording.crossings.notes
    file = pynwb.NWBFile(
        session_description=recording.about or f"{session.name}, exported by cortexwire",
        identifier=recording.identifier or uuid4().hex,
        session_start_time=started,
        **{"session_id": session.name.replace("/", "_"), "keywords": _KEYWORDS, "notes": "\n".join(notes)} | general,
        was_generated_by=[["cortexwire", metadata.version("cortexwire")], ["python", platform.python_version()]],
    )
    file.subject = NwbSubject(
        subject_id=subject.id,
        species=subject.species,
        age=subject.age,
        sex=subject.sex,
        description=subject.description or None,
    )
    if recording.configuration:
        file.add_scratch(
            msgspec.json.encode(recording.configuration).decode(),
            name="configuration",
            description="Configuration of cortexwire, as JSON",
        )
    return file

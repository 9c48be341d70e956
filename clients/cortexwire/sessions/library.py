"""A folder of recordings: which there are, and what each is, without reading their signals.

A recording that cannot be read is listed with its error: one damaged file never hides the others.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cortexwire.errors import SessionError
from cortexwire.sessions.opening import open_session
from cortexwire.sessions.rawio import StreamChoiceError
from cortexwire.sessions.readers import reader_of
from cortexwire.sessions.session import Session

MOST_LEVELS: Final = 6
"""How deep below the folder recordings are looked for."""


@dataclass(frozen=True)
class Entry:
    """One recording of a folder.

    Attributes:
        name: Its path within the folder, which opens it.
        format: Name of its format.
        signal: Kind of its signal; empty where it cannot be read.
        channels: Number of channels.
        rate_hz: Sample rate.
        seconds: Duration.
        columns: Names of its kinematics columns.
        trials: Number of trials.
        problems: What had to be assumed to read it.
        error: Why it cannot be read; None where it can.
    """

    name: str
    format: str
    signal: str = ""
    channels: int = 0
    rate_hz: float = 0.0
    seconds: float = 0.0
    columns: tuple[str, ...] = ()
    trials: int = 0
    problems: tuple[str, ...] = ()
    error: str | None = None


def recordings_in(folder: Path, levels: int = MOST_LEVELS) -> Iterator[Path]:
    """The recordings below a folder, by name; a folder that is a recording is one, and is not looked into.

    Raises:
        SessionError: There is no such folder.
    """
    if not folder.is_dir():
        raise SessionError(f"{folder}: expected a folder of recordings")
    if _is_recording(folder):
        yield folder
        return
    yield from _below(folder, levels)


def describe(path: Path, folder: Path, data: Path | None = None) -> tuple[Entry, ...]:
    """Open a recording of a folder and say what it is, or why it cannot be read; an entry for each stream."""
    name = str(path.relative_to(folder)) if path != folder else path.name
    format = ""
    try:
        reader = reader_of(path)
        format = reader.name if reader is not None else ""
        return (_entry(name, format, open_session(path, data)),)
    except StreamChoiceError as several:
        return tuple(_chosen(f"{name}#{choice}", format, f"{path}#{choice}") for choice in several.choices)
    except (SessionError, OSError) as error:
        return (Entry(name, format or path.suffix.removeprefix("."), error=str(error)),)


def _chosen(name: str, format: str, source: str) -> Entry:
    try:
        return _entry(name, format, open_session(source))
    except (SessionError, OSError) as error:
        return Entry(name, format, error=str(error))


def _entry(name: str, format: str, session: Session) -> Entry:
    return Entry(
        name,
        format,
        session.kind,
        session.n_channels,
        session.rate.hz,
        session.n_samples / session.rate.hz,
        session.column_names,
        len(session.trials),
        tuple(session.problems),
    )


def _below(folder: Path, levels: int) -> Iterator[Path]:
    try:
        found = sorted(folder.iterdir())
    except PermissionError:
        return
    for path in found:
        if path.name.startswith("."):
            continue
        if _is_recording(path):
            yield path
        elif path.is_dir() and levels > 1:
            yield from _below(path, levels - 1)


def _is_recording(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".toml" and path.is_file():
            return _describes_session(path)
        return reader_of(path) is not None
    except SessionError:
        return True
    except OSError:
        return False


def _describes_session(toml: Path) -> bool:
    """Whether a TOML file is about a recording: others lie about, too."""
    try:
        content = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return toml.name == "session.toml"
    return "signal" in content and "file" in content

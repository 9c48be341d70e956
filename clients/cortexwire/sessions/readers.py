"""Which reader opens what: by suffix, or by what a folder holds. A new format is one line here.

Recordings of no format, such as matrices in MATLAB or text files, need a `session.toml`, which is a reader, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cortexwire.sessions.log import LogSession, is_log, log_session
from cortexwire.sessions.nwb import is_reaching, open_nwb, open_reaching
from cortexwire.sessions.rawio import open_rawio, recognise
from cortexwire.sessions.recorded import RecordedSession


@dataclass(frozen=True)
class Reader:
    """One kind of recording.

    Attributes:
        name: Name of the format.
        open: Opens a file or folder, and of it the stream that is named behind `#`; None: `open_session` does.
    """

    name: str
    open: Callable[[Path, str], RecordedSession | LogSession] | None


_TOML: Final = Reader("session.toml", None)
_WAV: Final = Reader("wav", None)
_LOG: Final = Reader("log", lambda place, stream: log_session(f"{place}#{stream}" if stream else place))
_NWB: Final = Reader("NWB", lambda place, stream: open_nwb(f"{place}#{stream}" if stream else place))
_REACHING: Final = Reader("reaching session", lambda place, _: open_reaching(place))

FILES: Final[dict[str, Reader]] = {
    ".toml": _TOML,
    ".wav": _WAV,
    ".nwb": _NWB,
}
"""Readers by the suffix of a file, lower case; formats that neo reads are listed in `rawio.formats`."""
FOLDERS: Final[tuple[tuple[str, Reader], ...]] = (("session.toml", _TOML),)
"""Readers by what a folder holds, a pattern each; the first that fits counts."""


def reader_of(path: Path) -> Reader | None:
    """The reader for a file or folder, by its name and by what it holds; None where there is none.

    Raises:
        SessionError: It is of a format that cannot be read here.
    """
    if path.is_file() and (known := FILES.get(path.suffix.lower())) is not None:
        return known
    if path.suffix.lower() == ".mat" and is_reaching(path):
        return _REACHING
    if is_log(path):
        return _LOG
    if path.is_dir():
        for mark, reader in FOLDERS:
            if any(path.glob(mark)):
                return reader
    if (format := recognise(path)) is not None:
        return Reader(format.name, lambda place, stream: open_rawio(place, format, stream))
    if path.is_dir() and any(child.suffix.lower() == ".wav" for child in path.iterdir()):
        return _WAV
    return None

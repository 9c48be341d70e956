"""What a recording holds, for `inspect`: plain values, and the picture of them in a file."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.cli.picture import Stretch
    from cortexwire.sessions.rawio.recording import RawRecording
    from cortexwire.sessions.session import Session

PICTURES: Final = (".svg", ".html", ".png")
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_DRAWING_S: Final = 60.0


@dataclass(frozen=True)
class Contents:
    """A session, and the recording that it is a stream of.

    Attributes:
        session: The session.
        format: Name of the recording's format.
        recording: The recording with all of its streams, where it is one of several.
        chosen: Which stream and stretch the session is, as behind `#`.
    """

    session: "Session"
    format: str
    recording: "RawRecording | None" = None
    chosen: str = ""

    def rows(self) -> dict[str, Any]:
        """All that is known, as plain values."""
        session = self.session
        electrodes = session.descriptor.electrodes
        units = getattr(session, "column_units", ()) or ("",) * len(session.column_names)
        spikes = session.events(0, session.n_samples) if session.kind == "events" else None
        return {
            "name": session.name,
            "format": self.format,
            "signal": session.kind,
            "channels": session.n_channels,
            "rate_hz": session.rate.hz,
            "seconds": session.n_samples / session.rate.hz,
            "samples": session.n_samples,
            "events": None if spikes is None else len(spikes),
            "units": None
            if spikes is None
            else len({*zip(spikes["channel"].tolist(), spikes["unit"].tolist(), strict=True)}),
            "uv_per_bit": session.uv_per_bit,
            "reference": session.descriptor.reference,
            "electrodes": [electrode.id for electrode in electrodes],
            "banks": len({electrode.bank for electrode in electrodes}),
            "columns": dict(zip(session.column_names, units, strict=True)),
            "trials": len(session.trials),
            "problems": list(session.problems),
            "stretches": max(len(self.stretches()), 1),
            "streams": self._streams(),
            "marks": {} if self.recording is None else {mark.name: mark.count for mark in self.recording.marks()},
        }

    def stretches(self) -> "tuple[Stretch, ...]":
        """The stretches of the session's stream where there are gaps between them."""
        if self.recording is None:
            return ()
        from cortexwire.cli.picture import Stretch
        from cortexwire.sessions.rawio.opening import choose_part, choose_stream, split_choice

        name, number = split_choice(self.chosen)
        stream = choose_stream(self.recording, name)
        shown = choose_part(self.recording, stream, number)
        if len(stream.parts) < 2:
            return ()
        hz = stream.rate.hz
        return tuple(Stretch(p.start_s, p.start_s + p.n_samples / hz, p is shown) for p in stream.parts)

    def _streams(self) -> list[dict[str, Any]]:
        if self.recording is None:
            return []
        return [
            {
                "name": stream.name,
                "signal": stream.kind,
                "unit": stream.unit,
                "channels": len(stream.names),
                "rate_hz": stream.rate.hz,
                "seconds": stream.seconds,
                "stretches": len(stream.parts),
            }
            for stream in self.recording.streams
        ]


def look_into(session: "Session", source: str) -> Contents:
    """Find out what a session is a part of.

    Raises:
        SessionError: The recording that it is a part of cannot be read.
    """
    if source.partition(":")[0] == "sim":
        return Contents(session, "simulated")
    from cortexwire.sessions.opening import find_recording
    from cortexwire.sessions.rawio import RawRecording, recognise
    from cortexwire.sessions.readers import reader_of

    path, chosen = find_recording(source)
    reader = reader_of(path)
    name = "recording" if reader is None else reader.name
    if (format := recognise(path)) is None or name != format.name:
        return Contents(session, name)
    return Contents(session, name, RawRecording(path, format), chosen)


def check_picture(path: Path) -> None:
    """See that a picture can be written, which is worth knowing before it is drawn.

    Raises:
        ConfigError: It cannot.
    """
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"--picture: expected a file that ends in {', '.join(PICTURES)}, got {path}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--picture: expected the folder {path.absolute().parent}, got none")
    if path.suffix.lower() == ".png" and _browser() is None:
        raise ConfigError(f"--picture: a .png takes one of {', '.join(BROWSERS)} on the path, got none; write a .svg")


def write_picture(
    path: Path, session: "Session", found: Contents, start_s: float, tell: Callable[[float], Any]
) -> None:
    """Draw a session into a file.

    Raises:
        SessionError: The signal cannot be read.
        ConfigError: It cannot be drawn from there, or Chromium failed.
    """
    from cortexwire.cli.picture import draw

    svg = draw(session, found.format, found.stretches(), start_s, tell)
    if path.suffix.lower() == ".svg":
        path.write_text(svg, encoding="utf-8")
    elif path.suffix.lower() == ".html":
        path.write_text(_page(svg, session.name), encoding="utf-8")
    else:
        _photograph(path, svg, session.name)


def _page(svg: str, name: str) -> str:
    from html import escape

    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
    return f"{head}<style>body{{margin:0;background:#fcfcfb}}svg{{display:block;margin:0 auto}}</style>{svg}</html>\n"


def _browser() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)


def _photograph(path: Path, svg: str, name: str) -> None:
    browser = _browser()
    assert browser is not None
    height = svg[svg.index('height="') + 8 :].partition('"')[0]
    with tempfile.TemporaryDirectory(prefix="cortexwire-") as folder:
        page, shot = Path(folder) / "picture.html", Path(folder) / "picture.png"
        page.write_text(_page(svg, name), encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--disable-gpu",
            f"--user-data-dir={folder}/profile",
            "--force-device-scale-factor=2",
            f"--window-size=1000,{round(float(height))}",
            f"--screenshot={shot}",
            page.as_uri(),
        ]
        try:
            ran = subprocess.run(command, capture_output=True, timeout=_DRAWING_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"--picture: {browser} took longer than {_DRAWING_S:g} s; write a .svg") from error
        if not shot.is_file():
            said = ran.stderr.decode(errors="replace").strip()[-300:]
            raise ConfigError(f"--picture: expected a picture from {browser}, got: {said}")
        shutil.copyfile(shot, path)

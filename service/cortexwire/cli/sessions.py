"""`sessions`: what recordings a folder holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress_of_parts, show_json, show_table
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.sessions.library import Entry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire sessions recordings/",
            "cortexwire sessions docs/sessions --data ../shared/data --json",
            "cortexwire train recordings/monday --decoder wiener --out my-bundle",
        ),
    )(sessions)


def sessions(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder; those below it are looked into.", show_default=False)
    ] = Path(),
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """List the recordings in a folder: what each holds, and what is wrong with it.

    No signal is read. Every command that takes a recording takes DIR/NAME, with its suffix or without.
    """
    from cortexwire.sessions.library import describe, recordings_in

    entries: list[Entry] = []
    with progress_of_parts("looking") as tell:
        found = list(recordings_in(folder))
        for number, path in enumerate(found):
            tell(number / len(found), path.name)
            entries += describe(path, folder, data)
    if json:
        show_json({"folder": str(folder), "recordings": entries})
        return
    if not entries:
        note(f"{folder}: no recordings")
        return
    names = ("name", "format", "signal", "channels", "rate", "duration", "columns", "trials", "problems")
    show_table(names, [_row(entry) for entry in entries], left=3)
    for entry in entries:
        for text in (entry.error,) if entry.error is not None else entry.problems:
            note(f"{entry.name}: {text}")


def _row(entry: "Entry") -> tuple[str, ...]:
    if entry.error is not None:
        return (entry.name, entry.format, "unreadable", *("",) * 5, "see below")
    columns = ", ".join(entry.columns[:4]) + (", ..." if len(entry.columns) > 4 else "")
    return (
        entry.name,
        entry.format,
        entry.signal,
        str(entry.channels),
        f"{entry.rate_hz:g} Hz",
        duration(entry.seconds),
        columns,
        str(entry.trials or ""),
        str(len(entry.problems) or ""),
    )


def duration(seconds: float) -> str:
    """A length of time as people write it."""
    if seconds < 120:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes} min {rest} s"

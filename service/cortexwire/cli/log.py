"""`log verify`: is a recording whole, what is missing, and a copy without what is wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress, show_json, show_rows, show_table
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.sessions.log import Verification

_MOST_SHOWN: Final = 20
_MB: Final = 1e6

LogFolder = Annotated[str, typer.Argument(metavar="LOG", help="Folder of a recording.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Recordings as they are on disk.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        epilog=examples("cortexwire log verify recordings/today"),
    )
    group.command(
        epilog=examples(
            "cortexwire log verify recordings/today",
            "cortexwire log verify recordings/today --repair recordings/today-repaired",
            "cortexwire log verify recordings/today --json",
        )
    )(verify)
    group.callback()(_group)
    app.add_typer(group, name="log", rich_help_panel=options.LEARN)


def _group() -> None:
    """Recordings as they are on disk."""


def verify(
    log: LogFolder,
    repair: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a copy without what is wrong; the log is left alone."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Check every record of a recording; it is only read. Exit with 1 when anything is wrong or missing."""
    from cortexwire.errors import ConfigError
    from cortexwire.sessions.log import open_log, repair_log, verify_log

    if repair is not None and repair.exists():
        raise ConfigError(f"--repair: expected a folder that is to be made, got {repair}")
    opened = open_log(log)
    with progress("verifying") as share:
        found = verify_log(opened, share)
    bundles = _bundles(opened.folder, found)
    linked: int | None = None
    if repair is not None:
        with progress("repairing") as share:
            linked = repair_log(opened, found, repair, share)
    if json:
        repaired = None if repair is None else {"folder": str(repair), "segments_kept": linked}
        show_json(
            {
                "log": str(opened.folder),
                "name": opened.name,
                **found.as_json(),
                "bundles": bundles,
                "repaired": repaired,
            }
        )
    else:
        _show(found, opened.name, bundles)
        if repair is not None:
            note(f"repaired copy: {repair}, with {linked} of {len(found.segments)} segments as they were")
    raise typer.Exit(0 if found.whole else 1)


def _bundles(folder: Path, found: "Verification") -> dict[str, str]:
    """Where the bundle of each start is, by its hash: in the recording, and whole there, or only where it was."""
    from cortexwire.errors import BundleError
    from cortexwire.runtime.copies import Copies

    places = {}
    for _, start in found.starts:
        try:
            places[start.bundle_sha256] = str(Copies(folder).bundle(start.bundle_sha256, "").path)
        except BundleError:
            places[start.bundle_sha256] = f"not in the recording; it was {start.bundle}"
    return places


def _show(found: "Verification", name: str, bundles: dict[str, str]) -> None:
    plain = found.as_json()
    show_rows(
        {
            "records": f"{found.records}: " + ", ".join(f"{count} {kind}" for kind, count in found.kinds.items()),
            "length": f"{plain['seconds']:.3f} s, {found.bytes_read / _MB:.1f} MB in {len(found.segments)} segment(s)",
            "begins": "with a pipeline's start"
            if found.from_start
            else "in the middle: outputs before the next start cannot be reproduced",
            **{f"bundle {sha256[:16]}": place for sha256, place in bundles.items()},
            **({"not packets": f"{found.malformed} frames, as they came"} if found.malformed else {}),
        },
        name,
    )
    show_table(
        ("segment", "MB", "records", "first", "last", "faults"),
        [
            (s.name, f"{s.n_bytes / _MB:.1f}", str(s.records), _index(s.first), _index(s.last), str(s.faults or ""))
            for s in _few(found.segments)
        ],
    )
    if plain["streams"]:
        show_table(
            ("epoch", "restart", "signal", "channels", "samples", "never came", "not recorded", "repeated packets"),
            [_stream_row(row) for row in _few(plain["streams"])],
        )
    for index, loss in _few(found.losses):
        known = "an unknown number of" if loss.samples is None else str(loss.samples)
        spans = "".join(f"; epoch {span.epoch}: [{_end(span.start)}, {_end(span.stop)})" for span in loss.spans)
        typer.echo(f"  loss at record {index}: {loss.records} records ({loss.why}), {known} samples{spans}")
    for fault in _few(found.faults):
        typer.secho(f"  {fault}{' (nothing is missing)' if fault.harmless else ''}", bold=not fault.harmless)
    for what, items in (("losses", found.losses), ("faults", found.faults)):
        if len(items) > _MOST_SHOWN:
            note(f"and {len(items) - _MOST_SHOWN} more {what}; --json lists all")
    typer.secho("  whole" if found.whole else "  NOT WHOLE", bold=True)


def _stream_row(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("epoch", "restart", "signal", "channels", "samples", "never_came", "not_recorded", "repeated_packets")
    return tuple(str(row[name]) for name in names)


def _few(items: list[Any]) -> list[Any]:
    return items[:_MOST_SHOWN]


def _index(index: int) -> str:
    return "" if index < 0 else str(index)


def _end(sample: int | None) -> str:
    return "?" if sample is None else str(sample)

"""`export-nwb`: a recording as one NWB file."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress_of_parts, show_json, show_rows
from cortexwire.cli.help import examples
from cortexwire.cli.sources import check_folder, check_stream, open_bundle, open_source
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.runtime.nwb_export import Recording

Said = Annotated[str | None, typer.Option(show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="export-nwb",
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire export-nwb recording.toml day1.nwb --bundle my-bundle --subject M1 --species 'Macaca mulatta'",
            "cortexwire export-nwb sim:channels=96,seconds=20,seed=5 sim.nwb --bundle reference",
            "cortexwire export-nwb recordings/day1 day1.nwb --subject M1 --species 'Macaca mulatta'",
            "cortexwire export-nwb wavs/ raw.nwb --start 2024-05-01T10:30:00+02:00",
        ),
    )(export_nwb)


def export_nwb(
    source: options.Source,
    out: Annotated[Path, typer.Argument(metavar="OUT.nwb", help="The file to write.", show_default=False)],
    bundle: options.BundleFolder = None,
    start: Annotated[
        str | None,
        typer.Option(help="When the first sample was taken, ISO 8601; UTC unless it says so.", show_default="unknown"),
    ] = None,
    subject: Annotated[str, typer.Option(help="Name of the subject.")] = "unknown",
    species: Annotated[
        str | None, typer.Option(help="Latin binomial or NCBI taxonomy link.", show_default="unidentified")
    ] = None,
    age: Annotated[str, typer.Option(help="ISO 8601 duration, such as P8Y; P0D/ is some age.")] = "P0D/",
    sex: Annotated[Literal["M", "F", "O", "U"], typer.Option(help="O: other, U: unknown.")] = "U",
    location: Annotated[str, typer.Option(help="Where the electrodes are, such as M1.")] = "unknown",
    about: Annotated[str, typer.Option(help="What was recorded, in words.", show_default=False)] = "",
    experimenter: Annotated[
        list[str] | None, typer.Option(help="'Last name, First name'; may be repeated.", show_default=False)
    ] = None,
    lab: Said = None,
    institution: Said = None,
    thresholds: options.Thresholds = None,
    overlay: options.Overlay = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Export a recording to NWB: signal, threshold crossings, kinematics, trials, and with a bundle what it decodes.

    Of a log it exports what was recorded, outputs included; --bundle then says where the bundle is, if it has moved.
    Of another recording without a bundle crossings are those of the default signal chain.
    """
    from cortexwire.runtime.nwb_export import Recording, Subject, require_pynwb
    from cortexwire.runtime.nwb_export import export_nwb as write
    from cortexwire.sessions.log import is_log

    check_folder("OUT.nwb", out.absolute().parent)
    if out.exists() and not force:
        raise ConfigError(f"{out}: expected a new file, there is one already; --force replaces it")
    require_pynwb()
    session = open_source(source, data)
    recording = Recording(session, started=_instant(start), about=about, location=location)
    who = Subject(id=subject, age=age, sex=sex, **({} if species is None else {"species": species}))
    said = {"experimenter": experimenter, "lab": lab, "institution": institution}
    general = {name: value for name, value in said.items() if value}
    began = time.monotonic()
    with progress_of_parts("exporting") as tell:

        def told(what: str) -> Callable[[float], None]:
            return lambda share: tell(share, what)

        if is_log(source):
            recording = _logged(recording, source, bundle, told)
        elif bundle is not None or config is not None:
            recording = _decoded(recording, bundle, thresholds, overlay, config, assignments, told)
        elif session.kind == "wideband":
            recording = _crossed(recording, told)
        written = write(recording, out, who, replace=force, general=general, progress=told("writing"))
    if recording.started is None:
        note("when it was recorded is not known: the file says now (--start)")
    took_s, n_bytes = time.monotonic() - began, out.stat().st_size
    if json:
        show_json({"out": str(out), "bytes": n_bytes, "took_s": took_s, **written})
        return
    show_rows(
        {
            "signal": f"{written['channels']} channels, {session.n_samples / session.rate.hz:g} s of {session.kind}",
            "units": written["units"] or "none",
            "decoded": f"{written['decoded_bins']} bins" if written["decoded_bins"] else "nothing",
            "trials": written["trials"] or "none",
            "written": f"{out}, {n_bytes / 1e6:.1f} MB in {took_s:.1f} s",
        },
        f"exported {session.name}",
    )


def _decoded(
    recording: "Recording",
    bundle: Path | None,
    thresholds: Path | None,
    overlay: Path | None,
    config: Path | None,
    assignments: list[str] | None,
    told: Callable[[str], Callable[[float], Any]],
) -> "Recording":
    from cortexwire.config import load_config
    from cortexwire.runtime.nwb_export import decoded_recording
    from cortexwire.runtime.shipped import bundle_folder

    folder = None if bundle is None else bundle_folder(bundle)
    flags = {"bundle": folder, "thresholds": thresholds, "overlay": overlay}
    settings = load_config(config, flags=flags, assignments=assignments or ())
    check_stream(open_bundle(settings.bundle), recording.session)
    return decoded_recording(recording, settings, told)


def _logged(
    recording: "Recording", source: str, bundle: Path | None, told: Callable[[str], Callable[[float], Any]]
) -> "Recording":
    from cortexwire.runtime.nwb_export import logged_recording
    from cortexwire.runtime.shipped import bundle_folder
    from cortexwire.sessions.log import log_folder, open_log

    given = None if bundle is None else bundle_folder(bundle)
    return logged_recording(recording, open_log(log_folder(source)[0]), given, told("reading the log"))


def _crossed(recording: "Recording", told: Callable[[str], Callable[[float], Any]]) -> "Recording":
    from cortexwire.cli.chains import chain_of
    from cortexwire.pipeline.bin_stage import BinStage
    from cortexwire.runtime.nwb_export import session_crossings
    from cortexwire.training.features import stream_of

    session = recording.session
    chain = chain_of(None, session, None, ())
    found = session_crossings(recording, BinStage(stream_of(session, chain.bin_ms), chain), told("finding crossings"))
    if found.crossings is not None and not found.crossings.bins:
        seconds = chain.threshold.calibration_s
        note(f"{session.name} is too short to find thresholds on ({seconds:g} s): there are no units in the file")
    return found


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--start: expected a time in ISO 8601, got {text!r}") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

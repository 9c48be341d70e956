"""`record`: the recorder process, and telling one that runs to begin and to end."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cortexwire.cli import options
from cortexwire.cli.console import log_to_stderr, show_json, show_rows
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.runtime.recorder import RecorderStatus

_FOLDER: Final = "recordings"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.RUN,
        epilog=examples(
            "cortexwire record --out recordings",
            "cortexwire record --out recordings --wait --set recorder.segment_megabytes=1024",
            "cortexwire record start --name monday --about 'first day with the new array'",
            "cortexwire record stop",
            "cortexwire record status --json",
        ),
    )(record)


def record(
    action: Annotated[
        str,
        typer.Argument(help="run: be the recorder; start, stop, status: tell one that runs.", metavar="[ACTION]"),
    ] = "run",
    config: options.Config = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The engine's run directory.", show_default=options.RUN_DIR)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where recordings are made, a folder each.", show_default=_FOLDER)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Record when told to, not at once.")] = False,
    name: Annotated[str, typer.Option(help="What to call the recording that begins.")] = "",
    about: Annotated[str, typer.Option(help="Your own words about it.")] = "",
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Write all that an engine takes and gives to disk, until Ctrl-C; or tell the recorder that does.

    The recorder is a process of its own, fed by the engine's tap: whatever happens to it or its disk, decoding goes on.
    One that was killed goes on where it was.
    """
    from cortexwire.config import load_config

    flags: dict[str, Any] = {
        "run_dir": run_dir,
        "recorder.folder": out,
        "recorder.autostart": False if wait else None,
    }
    settings = load_config(config, os.environ, flags, assignments or ())
    if action == "run":
        _run(settings.run_dir, settings.recorder, json)
    elif action in ("start", "stop", "status"):
        request = {"command": action} | ({"name": name, "about": about} if action == "start" else {})
        _tell(settings.run_dir, request, json)
    else:
        raise typer.BadParameter(f"expected run, start, stop or status, got {action!r}", param_hint="ACTION")


def _run(run_dir: Path, settings: Any, json: bool) -> None:
    from cortexwire.runtime.recorder.process import Recorder
    from cortexwire.runtime.stopping import stop_on_signals

    log_to_stderr()
    with stop_on_signals() as stop, Recorder(run_dir, settings) as recorder:
        ready = {"control": recorder.endpoint, "folder": str(settings.folder.absolute()), "pid": os.getpid()}
        if json:
            show_json({"ready": ready})
        else:
            typer.echo("ready  " + "  ".join(f"{name}={value}" for name, value in ready.items()))
        last = recorder.run(stop)
    if json:
        show_json({"summary": last})
    else:
        show_rows(_in_words(last), "recorder stopped")


def _tell(run_dir: Path, request: dict[str, Any], json: bool) -> None:
    import msgspec

    from cortexwire.runtime.recorder import RecorderClient, RecorderStatus
    from cortexwire.runtime.rundir import RunDir

    with RecorderClient(RunDir(run_dir).recorder_endpoint) as client:
        answer = client.send(request)
    if json:
        show_json(answer)
    elif answer["problem"] is not None:
        typer.echo(f"cortexwire: {answer['problem']}", err=True)
    else:
        show_rows(_in_words(msgspec.convert(answer["status"], RecorderStatus)))
    raise typer.Exit(0 if answer["problem"] is None else 1)


def _in_words(status: "RecorderStatus") -> dict[str, Any]:
    lost = f"{status.lost_records} records, {status.lost_samples} samples" if status.losses else "nothing"
    segment = f"segment {status.segment}" if status.segment >= 0 else "no segment yet"
    return {
        "state": status.state,
        "folder": status.folder or "none yet",
        "written": f"{status.records} records, {status.written_bytes / 1e6:.1f} MB, {segment}",
        "on disk": f"{status.durable_bytes / 1e6:.1f} MB, records below {status.durable_index}",
        "lost": lost,
        "stalls": f"{status.stalls}, longest write {status.longest_stall_ns / 1e6:.0f} ms, "
        f"longest sync {status.longest_sync_ns / 1e6:.0f} ms",
        "waiting": f"{status.queued_bytes / 1e6:.1f} MB in memory (at most {status.most_queued_bytes / 1e6:.1f}), "
        f"{status.behind_bytes / 1e6:.1f} MB in the tap",
        **({"note": status.note} if status.note else {}),
    }

"""`serve`: the whole service, each part a process, started again when it dies."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import log_to_stderr, show_json
from cortexwire.cli.engine import engine_settings, show_summary
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.config import EngineConfig
    from cortexwire.runtime.supervisor import Part

RECORDER_STOP_S: Final = 60.0
"""Longest time that a recorder gets to write what the engine left."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.RUN,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog=examples(
            "cortexwire serve --bundle reference --ingest tcp://rig:5555",
            "cortexwire serve --config rig.toml --api --record recordings",
            "cortexwire serve --bundle reference --armed --set supervisor.rearm=true --no-standby",
            "cortexwire engine --help",
        ),
    )(serve)


def serve(
    context: typer.Context,
    api: Annotated[bool | None, typer.Option("--api/--no-api", help="Run the API.", show_default="api.enabled")] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record into this folder.", metavar="FOLDER", show_default="recorder.enabled"),
    ] = None,
    standby: Annotated[
        bool | None,
        typer.Option(
            "--standby/--no-standby",
            help="Keep a second engine that takes over at once.",
            show_default="supervisor.standby",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a supervisor that was killed had to leave off.")
    ] = False,
    log: Annotated[
        Literal["words", "json"] | None, typer.Option(help="Form of the log.", show_default="words on a terminal")
    ] = None,
    json: options.Json = False,
) -> None:
    """Run the service: engine, API and recorder, started again when they die or hang.

    Takes all options of [cyan]engine[/cyan] too. A restarted engine goes on with the thresholds, overlay, masks, gain
    and endpoints of the one before, disarmed unless supervisor.rearm says otherwise. Ctrl-C ends the engine first and
    the recorder last; a second one ends all at once. Exits as the engine does.
    """
    import structlog

    from cortexwire.errors import StartupError
    from cortexwire.runtime.supervisor import Notifier, Supervisor

    settings, given = _engine(context)
    is_json_log = log_to_stderr(None if log is None else log == "json")
    wants = {"api": api, "record": record, "standby": standby, "resume": resume}
    with Notifier() as notifier, _stop_on_signals() as (stop, force):
        supervisor = Supervisor(_parts(settings, context.args, given, wants), settings.supervisor, notifier)
        try:
            outcome = supervisor.run(stop, force, lambda said: _say_ready(said, json))
        except StartupError as error:
            if not is_json_log:
                raise
            structlog.get_logger("cortexwire.serve").error("not started", problems=error.problems)
            raise typer.Exit(2) from None
    summary = outcome.summaries.get("engine")
    if summary is not None:
        show_summary(summary | {"restarts": outcome.restarts}, json)
    raise typer.Exit(outcome.code)


def _engine(context: typer.Context) -> tuple["EngineConfig", dict[str, Any]]:
    """The engine's configuration, and its options' values by name, from the options that are not ours."""
    assert context.parent is not None
    # A group of commands, whichever click it comes from.
    group: Any = context.parent.command
    with group.commands["engine"].make_context("cortexwire serve", list(context.args)) as of_engine:
        return engine_settings(of_engine.params), of_engine.params


def _parts(
    settings: "EngineConfig", arguments: list[str], given: dict[str, Any], wants: dict[str, Any]
) -> list["Part"]:
    """The parts, in the order in which they are to be ended."""
    from cortexwire.runtime.children import command_line
    from cortexwire.runtime.rundir import RunDir
    from cortexwire.runtime.supervisor import EnginePart, Part, WebPart

    around = settings.supervisor
    engine = EnginePart(
        arguments,
        RunDir(settings.run_dir),
        rearm=around.rearm,
        standby=around.standby if wants["standby"] is None else wants["standby"],
        resume=wants["resume"],
    )
    parts: list[Part] = [engine]
    where = ["--json", "--run-dir", str(settings.run_dir)]
    if given["config"] is not None:
        where += ["--config", str(given["config"])]
    where += [part for text in given["assignments"] or () for part in ("--set", text)]
    if settings.api.enabled if wants["api"] is None else wants["api"]:
        parts.append(WebPart("api", command_line(["api", *where])))
    folder = wants["record"]
    if folder is not None or settings.recorder.enabled:
        out = [] if folder is None else ["--out", str(folder)]
        parts.append(Part("recorder", command_line(["record", *where, *out]), stop_s=RECORDER_STOP_S))
    return parts


def _say_ready(said: dict[str, dict[str, Any]], json: bool) -> None:
    ready = {"pid": os.getpid(), **said}
    if json:
        show_json({"ready": ready})
        sys.stdout.flush()
        return
    for name, values in said.items():
        typer.echo(f"ready  {name}  " + "  ".join(f"{key}={value}" for key, value in values.items()))


@contextmanager
def _stop_on_signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Give two events: the first signal that asks for an end sets the first, another one the second."""
    stop, force = threading.Event(), threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        (force if stop.is_set() else stop).set()

    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.signal(number, handle) for number in asking}
    try:
        yield stop, force
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

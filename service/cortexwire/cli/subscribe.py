"""`subscribe`: outputs for people and for programs."""

import sys
from typing import Annotated

import typer

from cortexwire.cli import options
from cortexwire.cli.console import show_rows
from cortexwire.cli.help import examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.SEND,
        epilog=examples(
            "cortexwire subscribe",
            "cortexwire subscribe tcp://engine:5556 --seconds 10",
            "cortexwire subscribe --json --all | head",
            "cortexwire subscribe tcp://engine:5556 --curve-server-key engine.key --curve-key screen.key_secret",
        ),
    )(subscribe)


def subscribe(
    endpoint: Annotated[str, typer.Argument(help="Where the engine publishes.")] = "tcp://127.0.0.1:5556",
    seconds: Annotated[float | None, typer.Option(min=0.0, help="How long.", show_default="until Ctrl-C")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show also what is no command: the shadow output of a disarmed engine.")
    ] = False,
    curve_server_key: options.CurveServerKey = None,
    curve_key: options.CurveKey = None,
    json: options.Json = False,
) -> None:
    """Watch decoded outputs: a live table, plain lines where there is no terminal, or one JSON object a line.

    Neutral is applied, and said, when a command's validity passes without a new one.
    """
    from cortexwire.clients.watch import watch

    curve = options.curve_client(curve_server_key, curve_key)
    seen = watch(endpoint, json, seconds, everything, out=sys.stdout, curve=curve)
    if json:
        return
    show_rows(
        {
            "outputs": f"{seen.messages}: {seen.decoded} decoded, {seen.safe} safe; {seen.commands} commands",
            "not valid": f"{seen.not_valid} bins, {seen.missing_samples} samples missing",
            "late": seen.late,
            "damaged": seen.damaged,
            "latency": seen.latency(),
        },
        "watched",
    )

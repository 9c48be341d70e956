"""`demo`: the whole path on one machine, started by one command."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cortexwire.cli import options
from cortexwire.cli.console import show_json
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.runtime.demo import DemoSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.RUN,
        epilog=examples(
            "cortexwire demo", "cortexwire demo --seconds 10", "cortexwire demo --seconds 9 --seed 5 --json"
        ),
    )(demo)


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Signal to decode, after calibration.", show_default="until Ctrl-C")
    ] = None,
    bundle: Annotated[
        Path, typer.Option(help="A bundle trained on the simulator; [cyan]reference[/cyan] is the one that is shipped.")
    ] = Path("reference"),
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the simulated run.", show_default="drawn")] = None,
    calibration_s: Annotated[
        float, typer.Option("--calibration", min=0.1, help="Seconds of clean signal to calibrate on.")
    ] = 3.0,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page, and open it in a browser.")] = True,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines even on a terminal.")] = False,
    json: options.Json = False,
) -> None:
    """A simulated rig, an engine, a live view and a page in the browser: see the whole path at work.

    Ends with a summary; its last line is the R2 of the worse axis, decoded against intended velocity.
    """
    from cortexwire.runtime.demo import DemoSettings, View, as_json, run_demo
    from cortexwire.runtime.demo_lines import LineView
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.runtime.shipped import bundle_folder
    from cortexwire.training.metrics import r2

    drawn = sys.stdout.isatty() and not (json or plain)
    # Without a display, a browser would be one in this very terminal.
    browse = drawn and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    settings = DemoSettings(bundle_folder(bundle), seconds, seed, calibration_s, page, browse)
    with stop_on_signals() as stop:
        if not drawn:
            view: View = LineView(sys.stderr if json else sys.stdout)
            summary = run_demo(settings, view, r2, stop)
        else:
            from cortexwire.runtime.demo_view import live_view

            with live_view() as view:
                summary = run_demo(settings, view, r2, stop)
    if json:
        show_json(as_json(summary))
    else:
        _show(summary)


def _show(summary: "DemoSummary") -> None:
    trained = ", ".join(summary.trained_on)
    lost = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary.lost.items())
    took = "  ".join(f"{name} {value:.2f} ms" for name, value in summary.latency_ms.items()) or "none measured"
    lines = {
        "simulator seed": f"{summary.seed} (trained on {trained})",
        "bins decoded": f"{summary.bins} ({summary.late} late, {summary.not_valid} not valid)",
        "drops": f"{summary.drops} ({lost})",
        "latency": took,
        "": "from closing packet sent to velocity received",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<15} {value}")
    if summary.r2 is None:
        typer.echo("nothing was decoded")
    else:
        typer.echo(f"R2 {min(summary.r2):z.2f}")

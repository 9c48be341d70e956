"""`engine` and `serve`: one engine in the foreground, or as a child of a supervisor."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import log_to_stderr, show_json, show_rows
from cortexwire.cli.help import examples

if TYPE_CHECKING:
    from cortexwire.config import EngineConfig
    from cortexwire.runtime.engine import Engine, EngineSummary
    from cortexwire.runtime.histogram import LatencySummary


_INGEST: Final = "tcp://127.0.0.1:5555"
_OUTPUT: Final = "tcp://127.0.0.1:5556"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel=options.RUN,
        epilog=examples(
            "cortexwire engine --bundle reference --armed",
            "cortexwire engine --bundle reference --ingest tcp://rig:5555 --set security.curve_key=engine.key_secret",
            "cortexwire engine --config engine.toml --set pipeline.output.max_speed=30",
            "cortexwire engine --bundle my-bundle --socket pull --bind --ingest tcp://0.0.0.0:5555 --insecure",
        ),
    )(engine)
    app.command(
        rich_help_panel=options.RUN,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog=examples("cortexwire serve --bundle reference --armed", "cortexwire engine --help"),
    )(serve)


def engine(
    config: options.Config = None,
    bundle: options.BundleFolder = None,
    ingest: Annotated[str | None, typer.Option(help="Where packets come from.", show_default=_INGEST)] = None,
    socket: Annotated[
        Literal["sub", "pull"] | None,
        typer.Option(help="sub: a full queue drops, which is counted; pull: the sender waits.", show_default="sub"),
    ] = None,
    bind: Annotated[
        bool | None, typer.Option("--bind/--connect", help="Bind to the ingest endpoint.", show_default="connect")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Where outputs are published.", show_default=_OUTPUT)] = None,
    armed: options.Armed = None,
    thresholds: options.Thresholds = None,
    overlay: options.Overlay = None,
    provider: options.Provider = None,
    executor: options.Executor = None,
    budgets: Annotated[
        Path | None,
        typer.Option(help="Latency budgets to watch; [cyan]default[/cyan] are the shipped ones.", show_default="none"),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of telemetry, tap and control socket.", show_default="$XDG_RUNTIME_DIR")
    ] = None,
    fifo: Annotated[
        int | None, typer.Option(metavar="1-99", help="SCHED_FIFO priority of the hot thread.", show_default="none")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines in without CURVE keys.")] = False,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Decode a stream: packets in, velocity out, until Ctrl-C.

    Flags go before CORTEXWIRE_* variables, and these before --config. One line says that it is ready; at the end
    comes a summary.
    """
    from cortexwire.config import load_config
    from cortexwire.runtime.engine import Engine, stop_on_signals
    from cortexwire.runtime.shipped import budgets_file, bundle_folder

    flags: dict[str, Any] = {
        "bundle": None if bundle is None else bundle_folder(bundle),
        "ingest.endpoint": ingest,
        "ingest.socket": socket,
        "ingest.bind": bind,
        "output.endpoint": output,
        "armed": armed,
        "thresholds": thresholds,
        "overlay": overlay,
        "provider": provider,
        "executor": executor,
        "budgets": None if budgets is None else budgets_file(budgets),
        "run_dir": run_dir,
        "realtime.fifo_priority": fifo,
        "security.insecure": insecure or None,
    }
    settings = load_config(config, flags=flags, assignments=assignments or ())
    log_to_stderr()
    with Engine(settings) as running, stop_on_signals() as stop:
        _say_ready(running, settings, json)
        summary = running.run(stop)
    _show_summary(summary, json)


def _say_ready(running: "Engine", settings: "EngineConfig", json: bool) -> None:
    ready = {
        "ingest": running.ingest_endpoint,
        "output": running.output_endpoint,
        "control": settings.control or running.run_dir.control_endpoint,
        "run_dir": str(running.run_dir.path),
        "armed": settings.armed,
        "pid": os.getpid(),
    }
    if json:
        show_json({"ready": ready})
    else:
        typer.echo("ready  " + "  ".join(f"{name}={value}" for name, value in ready.items()))


def _show_summary(summary: "EngineSummary", json: bool) -> None:
    if json:
        show_json({"summary": asdict(summary) | {"latency": {k: v._asdict() for k, v in summary.latency.items()}}})
        return
    show_rows(
        {
            "frames": summary.frames,
            "bins": summary.bins,
            "time": f"{summary.wall_s:.1f} s, {100 * summary.cpu_s / max(summary.wall_s, 1e-9):.1f} % of a core",
            **{name.replace("_", " "): _in_words(s) for name, s in summary.latency.items() if s.total},
            "counters": ", ".join(f"{name} {count}" for name, count in summary.counters.items() if count) or "all zero",
        },
        "engine stopped",
    )


def _in_words(found: "LatencySummary") -> str:
    return f"p50 {found.p50_ns / 1e6:.3f}  p99 {found.p99_ns / 1e6:.3f}  max {found.max_ns / 1e6:.3f} ms"


def serve(context: typer.Context) -> None:
    """Supervise an engine: takes all of its options, passes signals on, and exits as it does."""
    from cortexwire.runtime.children import supervise

    raise typer.Exit(supervise(["engine", *context.args]))

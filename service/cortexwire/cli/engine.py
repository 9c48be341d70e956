"""`engine`: one engine in the foreground."""

import os
from collections.abc import Mapping, Sequence
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
        Path | None, typer.Option(help="Folder of telemetry, tap and control socket.", show_default=options.RUN_DIR)
    ] = None,
    fifo: Annotated[
        int | None, typer.Option(metavar="1-99", help="SCHED_FIFO priority of the hot thread.", show_default="none")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines in without CURVE keys.")] = False,
    assignments: options.Assignments = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="Compile, then wait for a word on standard input.", hidden=True)
    ] = False,
    json: options.Json = False,
) -> None:
    """Decode a stream: packets in, velocity out, until Ctrl-C.

    Flags go before CORTEXWIRE_* variables, and these before --config. One line says that it is ready; at the end
    comes a summary.
    """
    from cortexwire.runtime.engine import Engine, stop_on_signals

    given = {
        "config": config, "bundle": bundle, "ingest": ingest, "socket": socket, "bind": bind, "output": output,
        "armed": armed, "thresholds": thresholds, "overlay": overlay, "provider": provider, "executor": executor,
        "budgets": budgets, "run_dir": run_dir, "fifo": fifo, "insecure": insecure, "assignments": assignments,
    }  # fmt: skip
    log_to_stderr()
    settings = engine_settings(given)
    if standby:
        from cortexwire.runtime.standby import stand_by

        word = stand_by(settings)
        if word is None:
            return
        settings = engine_settings(given, word)
    with Engine(settings) as running, stop_on_signals() as stop:
        _say_ready(running, settings, json)
        summary = running.run(stop)
    show_summary(_as_plain(summary), json)


def engine_settings(given: Mapping[str, Any], more: Sequence[str] = ()) -> "EngineConfig":
    """The configuration that the options of `engine` stand for.

    Args:
        given: The options' values by the names that they have in `engine`.
        more: Assignments that go before all else.

    Raises:
        ConfigError: All that is wrong.
    """
    from cortexwire.config import load_config
    from cortexwire.runtime.shipped import budgets_file, bundle_folder

    bundle, budgets = given["bundle"], given["budgets"]
    flags: dict[str, Any] = {
        "bundle": None if bundle is None else bundle_folder(bundle),
        "ingest.endpoint": given["ingest"],
        "ingest.socket": given["socket"],
        "ingest.bind": given["bind"],
        "output.endpoint": given["output"],
        "armed": given["armed"],
        "thresholds": given["thresholds"],
        "overlay": given["overlay"],
        "provider": given["provider"],
        "executor": given["executor"],
        "budgets": None if budgets is None else budgets_file(budgets),
        "run_dir": given["run_dir"],
        "realtime.fifo_priority": given["fifo"],
        "security.insecure": given["insecure"] or None,
    }
    return load_config(given["config"], flags=flags, assignments=(*(given["assignments"] or ()), *more))


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


def _as_plain(summary: "EngineSummary") -> dict[str, Any]:
    return asdict(summary) | {"latency": {name: found._asdict() for name, found in summary.latency.items()}}


def show_summary(summary: Mapping[str, Any], json: bool) -> None:
    """Write what an engine did, given as plain values."""
    if json:
        show_json({"summary": summary})
        return
    wall_s, cpu_s, latency, counters = (summary[name] for name in ("wall_s", "cpu_s", "latency", "counters"))
    show_rows(
        {
            "frames": summary["frames"],
            "bins": summary["bins"],
            "time": f"{wall_s:.1f} s, {100 * cpu_s / max(wall_s, 1e-9):.1f} % of a core",
            **{name.replace("_", " "): _in_words(found) for name, found in latency.items() if found["total"]},
            "counters": ", ".join(f"{name} {count}" for name, count in counters.items() if count) or "all zero",
        },
        "engine stopped",
    )


def _in_words(found: Mapping[str, int]) -> str:
    p50, p99, most = (found[name] / 1e6 for name in ("p50_ns", "p99_ns", "max_ns"))
    return f"p50 {p50:.3f}  p99 {p99:.3f}  max {most:.3f} ms"

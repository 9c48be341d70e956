"""`control`: tell a running engine something, or ask for its state."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cortexwire.cli import options
from cortexwire.cli.console import budgets_in_words, show_json, show_rows
from cortexwire.cli.help import examples
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.runtime.rundir import RunDir

RESTART_S: Final = 0.5
"""How long an engine may be gone that a supervisor starts again."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.RUN,
        # A negative number is an argument.
        context_settings={"ignore_unknown_options": True},
        epilog=examples(
            "cortexwire control state",
            "cortexwire control arm",
            "cortexwire control gain 0.8",
            "cortexwire control overlay days/monday.overlay",
            "cortexwire control stage bundles/new",
            "cortexwire control activate 25",
            "cortexwire control rollback-bundle",
            """cortexwire control '{"command": "set_offset", "offset": [0, 1.5]}'""",
        ),
    )(control)


def control(
    command: Annotated[
        str,
        typer.Argument(
            help="arm, disarm, neutral, release, state, recalibrate SECONDS, gain FACTOR, mask CHANNELS, "
            "unmask CHANNELS, thresholds FILE, overlay FILE, rollback, confirm, mark CODE (from 256 on), stage BUNDLE, "
            "activate [BINS OF CROSS-FADE], rollback-bundle, unstage; or a command as JSON.",
            show_default=False,
        ),
    ],
    argument: Annotated[str | None, typer.Argument(help="What the command needs.", show_default=False)] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The engine's run directory.", show_default=options.RUN_DIR)
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="The engine's control endpoint.", show_default="the one in the run directory")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds to wait for the answer.")] = 5.0,
    curve_server_key: options.CurveServerKey = None,
    curve_key: options.CurveKey = None,
    json: options.Json = False,
) -> None:
    """Tell a running engine something; it takes effect between two bins, and the first of them is named.

    Exits with 1 when the engine turns the command down or does not answer.
    """
    from cortexwire.config import default_run_dir
    from cortexwire.runtime.control import ControlClient
    from cortexwire.runtime.rundir import RunDir

    request = parse_command(command, argument)
    folder = RunDir(run_dir or default_run_dir(os.environ))
    where = endpoint or folder.control_endpoint
    if endpoint is None and not _runs_engine(folder, timeout_s):
        raise ConfigError(f"no engine runs in {folder.path}; --run-dir names another one's folder")
    curve = options.curve_client(curve_server_key, curve_key)
    with ControlClient(where, timeout_s, curve) as client:
        reply = client.state() if request == {"command": "state"} else client.send(request)
    if json:
        show_json(reply)
    elif reply.problem is not None:
        typer.echo(f"cortexwire: {reply.problem}", err=True)
    elif reply.state is not None:
        rows = {name: _short(value) for name, value in reply.state.items() if name != "channels"}
        show_rows(rows | {"budgets": budgets_in_words(reply.state["budgets"])})
    elif reply.bin is None and request["command"] == "stage_bundle":
        typer.echo("accepted; `cortexwire control state` tells how far the candidate is")
    elif request["command"] == "unstage_bundle":
        typer.echo("accepted; what was being loaded or was refused is forgotten")
    else:
        typer.echo(f"from bin {reply.bin} on")
    raise typer.Exit(0 if reply.problem is None else 1)


def _runs_engine(folder: "RunDir", timeout_s: float) -> bool:
    """Whether there is an engine, or one that died is back in a moment."""
    until = time.monotonic() + min(timeout_s, RESTART_S)
    while not folder.is_taken:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def parse_command(command: str, argument: str | None) -> dict[str, Any]:
    """The JSON object that a command line stands for.

    Raises:
        ConfigError: There is no such command, or its argument is missing or cannot be.
    """
    import msgspec

    from cortexwire.pipeline.commands import decode_request

    if command.lstrip().startswith("{"):
        if argument is not None:
            raise ConfigError(f"control: expected nothing behind a command as JSON, got {argument!r}")
        request = msgspec.json.decode(command.encode()) if _is_json(command) else None
        if request != {"command": "state"}:
            decode_request(command)
        return dict(request or {})
    if command in _PLAIN and (argument is None or command not in _WITH_ARGUMENT):
        if argument is not None:
            raise ConfigError(f"control {command}: expected no argument, got {argument!r}")
        return _PLAIN[command]
    if command not in _WITH_ARGUMENT:
        known = ", ".join((*_PLAIN, *_WITH_ARGUMENT))
        raise ConfigError(f"control: expected one of {known}, or JSON, got {command!r}")
    what, make = _WITH_ARGUMENT[command]
    if argument is None:
        raise ConfigError(f"control {command}: expected {what}")
    try:
        request = make(argument)
    except ValueError:
        raise ConfigError(f"control {command}: expected {what}, got {argument!r}") from None
    try:
        decode_request(msgspec.json.encode(request))
    except ConfigError:
        raise ConfigError(f"control {command}: expected {what}, got {argument!r}") from None
    return request


def _is_json(text: str) -> bool:
    import msgspec

    try:
        return isinstance(msgspec.json.decode(text.encode()), dict)
    except msgspec.DecodeError:
        return False


def _channels(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _thresholds(file: str) -> dict[str, Any]:
    from cortexwire.runtime.assembly import read_thresholds

    found = read_thresholds(Path(file))
    return {"command": "set_thresholds", "thresholds_uv": [value if value == value else None for value in found]}


def _overlay(file: str) -> dict[str, Any]:
    path = Path(file).absolute()
    short = int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:8], "little")
    return {"command": "apply_overlay", "path": str(path), "hash": f"{short:016x}"}


def _stage(folder: str) -> dict[str, Any]:
    return {"command": "stage_bundle", "path": str(Path(folder).absolute())}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(part)}" for name, part in value.items() if part) or "all zero"
    if isinstance(value, list):
        return " ".join(_short(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_PLAIN: Final[dict[str, dict[str, Any]]] = {
    "arm": {"command": "arm"},
    "disarm": {"command": "disarm"},
    "neutral": {"command": "neutral", "on": True},
    "release": {"command": "neutral", "on": False},
    "rollback": {"command": "rollback_overlay"},
    "confirm": {"command": "confirm_identity"},
    "activate": {"command": "activate_bundle"},
    "rollback-bundle": {"command": "rollback_bundle"},
    "unstage": {"command": "unstage_bundle"},
    "state": {"command": "state"},
}
_WITH_ARGUMENT: Final[dict[str, tuple[str, Callable[[str], dict[str, Any]]]]] = {
    "gain": ("a factor", lambda text: {"command": "set_gain", "gain": float(text)}),
    "recalibrate": ("seconds above 0, 3600 at most", lambda text: {"command": "recalibrate", "seconds": float(text)}),
    "mask": ("channels such as 3,17", lambda text: {"command": "mask", "channels": _channels(text), "masked": True}),
    "unmask": ("channels such as 3,17", lambda text: {"command": "mask", "channels": _channels(text), "masked": False}),
    "mark": ("a code from 256 to 4294967295", lambda text: {"command": "mark", "code": int(text)}),
    "thresholds": ("a file that calibrate wrote", _thresholds),
    "overlay": ("the file of an overlay", _overlay),
    "stage": ("the folder of a bundle", _stage),
    "activate": (
        "bins of cross-fade, 250 at most, or nothing",
        lambda text: {"command": "activate_bundle", "crossfade_bins": int(text)},
    ),
}

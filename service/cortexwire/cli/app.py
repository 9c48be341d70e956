"""The list of commands, and how whatever they raise becomes a message and an exit code.

Commands import what they need when they run: the help is quick, and the engine's process never holds what only
training needs.
"""

import sys
from typing import Annotated, Final, NoReturn

import typer

from cortexwire.cli import (
    api,
    bench,
    bundles,
    comparing,
    control,
    demo,
    engine,
    export,
    inspect,
    keys,
    log,
    record,
    recordings,
    rig,
    serve,
    sessions,
    subscribe,
)
from cortexwire.cli.help import examples
from cortexwire.errors import CortexwireError
from cortexwire.runtime.children import ChildError
from cortexwire.runtime.parent import end_with_parent

FAILED: Final = 1
"""A check failed, or a process did."""
MISUSED: Final = 2
"""Usage, configuration, or an input that cannot be what it is said to be."""

app = typer.Typer(
    name="cortexwire",
    help="Real-time decoding of intracortical recordings: packets in over ZeroMQ, velocity out.",
    epilog=examples("cortexwire demo", "cortexwire COMMAND --help"),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_MODULES: Final = (
    *(demo, serve, engine, record, api, keys, control, subscribe, rig),
    *(recordings, log, bundles, comparing, inspect, sessions, export, bench),
)
for module in _MODULES:
    module.register(app)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"cortexwire {metadata.version('cortexwire')}")
        raise typer.Exit


@app.callback()
def cortexwire(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Real-time decoding of intracortical recordings: packets in over ZeroMQ, velocity out."""


def run() -> NoReturn:
    """Run one command and exit."""
    end_with_parent()
    try:
        app(prog_name="cortexwire")
    except ChildError as error:
        sys.exit(_fail(str(error), FAILED))
    except CortexwireError as error:
        sys.exit(_fail(str(error), MISUSED))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.exit(_fail(f"{error.strerror or error}{where}", MISUSED))
    sys.exit(0)


def _fail(message: str, code: int) -> int:
    typer.echo(f"cortexwire: {message}", err=True)
    return code

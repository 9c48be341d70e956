"""`api`: the REST interface, the live stream and the page of one engine, as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

from cortexwire.cli import options
from cortexwire.cli.console import log_to_stderr, show_json
from cortexwire.cli.help import examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.RUN,
        epilog=examples(
            "cortexwire api",
            "cortexwire api --config engine.toml --bind 127.0.0.1:9000",
            "cortexwire api --bind 0.0.0.0:8765 --set api.tokens=tokens.json",
        ),
    )(api)


def api(
    config: options.Config = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The engine's run directory.", show_default=options.RUN_DIR)
    ] = None,
    bind: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen.", show_default="127.0.0.1:8765")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without tokens: anybody may control the engine.")
    ] = False,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Serve an engine's state, live stream and control over HTTP until Ctrl-C; the engine need not run yet.

    Beyond loopback every request needs a token, see `cortexwire keys`.
    """
    from cortexwire.api.server import ApiServer
    from cortexwire.config import load_config

    flags = {"run_dir": run_dir, "api.bind": bind, "security.insecure": insecure or None}
    settings = load_config(config, flags=flags, assignments=assignments or ())
    log_to_stderr()
    server = ApiServer(settings)
    if json:
        show_json({"ready": {"url": server.url, "run_dir": str(settings.run_dir), "insecure": server.insecure}})
    else:
        typer.echo(f"ready  url={server.url}  run_dir={settings.run_dir}")
    server.run()

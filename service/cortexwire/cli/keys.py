"""`keys`: tokens of the REST interface and CURVE keys of the ZeroMQ sockets: made, listed, revoked."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import show_json, show_table
from cortexwire.cli.help import examples

TOKENS: Final = "tokens.json"
"""File of tokens in the folder of keys."""

Name = Annotated[
    str, typer.Argument(help="Who it is for, such as [cyan]screen[/cyan] or [cyan]rig[/cyan].", show_default=False)
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder of keys and tokens.", show_default="$XDG_CONFIG_HOME/cortexwire"),
]
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(no_args_is_help=True, help="Tokens (REST) and CURVE keys (ZeroMQ): make, list, revoke.")
    app.add_typer(keys, name="keys", rich_help_panel=options.RUN)
    keys.command(
        epilog=examples(
            "cortexwire keys token screen",
            "cortexwire keys token operator --scope control --days 30",
            "cortexwire keys list",
        )
    )(token)
    keys.command(
        epilog=examples("cortexwire keys curve engine", "cortexwire keys curve rig --folder rig-keys"),
    )(curve)
    keys.command(name="list", epilog=examples("cortexwire keys list", "cortexwire keys list --json"))(list_keys)
    keys.command(epilog=examples("cortexwire keys revoke operator"))(revoke)


def token(
    name: Name,
    scope: Annotated[
        Literal["read", "control"], typer.Option(help="read: look at everything; control: change things too.")
    ] = "read",
    days: Annotated[
        float | None, typer.Option(min=0.0, help="How long it is good.", show_default="until it is revoked")
    ] = None,
    folder: Folder = None,
    json: options.Json = False,
) -> None:
    """Make a token, print it this once, and keep its hash; give the file to the API as api.tokens."""
    from cortexwire.api.tokens import new_token

    file = _folder(folder) / TOKENS
    secret = new_token(file, _checked(name), scope, days)
    if json:
        show_json({"name": name, "scope": scope, "token": secret, "file": str(file)})
        return
    typer.echo(secret)
    typer.echo(f"kept as a hash in {file}; it is not shown again", err=True)


def curve(name: Name, folder: Folder = None, json: options.Json = False) -> None:
    """Make a CURVE key pair.

    The engine gets its own pair as security.curve_key, and the .key files of its clients in the folder
    security.curve_clients; a client gets its own pair (--curve-key) and the engine's .key (--curve-server-key).
    """
    from cortexwire.clients.curve import write_keys

    public, secret = write_keys(_folder(folder), _checked(name))
    if json:
        show_json({"name": name, "public": str(public), "secret": str(secret)})
        return
    typer.echo(f"public key  {public}\nboth keys   {secret}")


def list_keys(folder: Folder = None, json: options.Json = False) -> None:
    """List tokens and CURVE keys, without their secrets."""
    from cortexwire.api.tokens import list_tokens
    from cortexwire.clients.curve import PUBLIC_SUFFIX, SECRET_SUFFIX, read_public_key

    where = _folder(folder)
    tokens = list_tokens(where / TOKENS) if (where / TOKENS).exists() else []
    pairs = {path.stem: read_public_key(path).decode() for path in sorted(where.glob(f"*{PUBLIC_SUFFIX}"))}
    secret = {name for name in pairs if (where / (name + SECRET_SUFFIX)).exists()}
    if json:
        show_json(
            {
                "folder": str(where),
                "tokens": [
                    {
                        "name": entry.name,
                        "scope": entry.scope,
                        "made": entry.made,
                        "expires": entry.expires,
                        "expired": entry.expired,
                    }
                    for entry in tokens
                ],
                "curve": [{"name": name, "public": key, "secret": name in secret} for name, key in pairs.items()],
            }
        )
        return
    typer.echo(f"in {where}")
    rows: list[tuple[str, str, str, str]] = [
        (e.name, "token", e.scope, "expired" if e.expired else _until(e.expires)) for e in tokens
    ]
    rows += [(name, "CURVE", "pair" if name in secret else "public", key) for name, key in pairs.items()]
    show_table(("name", "kind", "scope", "until, or key"), rows)


def revoke(name: Name, folder: Folder = None) -> None:
    """Take back a token, or remove a CURVE key from the folder.

    An API that runs refuses the token within a second. A client whose key is removed from the engine's folder of
    clients cannot connect again; a connection that stands lasts until the engine or the client ends it.
    """
    from cortexwire.api.tokens import list_tokens, revoke_token
    from cortexwire.clients.curve import PUBLIC_SUFFIX, SECRET_SUFFIX
    from cortexwire.errors import ConfigError

    where, gone = _folder(folder), []
    if (where / TOKENS).exists() and any(entry.name == name for entry in list_tokens(where / TOKENS)):
        revoke_token(where / TOKENS, name)
        gone.append(f"token {name}")
    for path in (where / (_checked(name) + PUBLIC_SUFFIX), where / (name + SECRET_SUFFIX)):
        if path.exists():
            path.unlink()
            gone.append(path.name)
    if not gone:
        raise ConfigError(f"keys: expected the name of a token or key in {where}, got {name!r}")
    typer.echo(f"revoked  {', '.join(gone)}")


def _folder(folder: Path | None) -> Path:
    from cortexwire.config import default_keys_dir

    return folder or default_keys_dir(os.environ)


def _checked(name: str) -> str:
    if not name or name.startswith((".", "-")) or not set(name) <= _LETTERS:
        raise typer.BadParameter(f"expected letters, digits, dots, dashes and underscores, got {name!r}")
    return name


def _until(expires: int | None) -> str:
    return "no end" if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(timespec="minutes")

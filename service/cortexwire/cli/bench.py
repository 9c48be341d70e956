"""`bench`: measurements; what they measure, and how, is in the bench room."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, show_json, show_rows, show_table
from cortexwire.cli.help import examples
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.runtime.budgets import Budgets

Budget = Annotated[
    Path | None,
    typer.Option(help="Latency budgets to judge by; [cyan]default[/cyan] are the shipped ones.", show_default="none"),
]
Strict = Annotated[bool, typer.Option("--strict", help="A budget line that could not be judged fails too.")]
Out = Annotated[Path | None, typer.Option(help="Write the results as JSON.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Measure: kernels against scipy, latency through the whole service.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        epilog=examples("cortexwire bench kernels", "cortexwire bench latency --channels 96 --seconds 60"),
    )
    group.command(epilog=examples("cortexwire bench kernels", "cortexwire bench kernels --out kernels.json"))(kernels)
    group.command(
        epilog=examples(
            "cortexwire bench latency",
            "cortexwire bench latency --channels 1024 --seconds 60 --json",
            "cortexwire bench latency --transport ipc --no-tap --fifo 50",
            "cortexwire bench latency --budget default",
            "cortexwire bench latency --budget default --slow binned_to_decoded=3000",
        )
    )(latency)
    app.add_typer(group, name="bench", rich_help_panel=options.MEASURE)


def kernels(out: Out = None, json: options.Json = False) -> None:
    """The signal chain against scipy and numpy doing identical work in the same run."""
    note("measuring kernels; leave the machine alone meanwhile")
    try:
        found: dict[str, Any] = import_module("cortexwire.bench.kernels").run_kernels()
    except ModuleNotFoundError as error:
        raise ConfigError(f"bench kernels: expected {error.name} to be installed") from error
    _show(found, out, json)


def latency(
    channels: Annotated[
        str, typer.Option(metavar="N,N...", help="Numbers of channels, one after the other.")
    ] = "96,256,1024",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure each.")] = 20.0,
    packet_ms: Annotated[float, typer.Option(help="Signal in a packet.")] = 1.0,
    transport: Annotated[Literal["tcp", "ipc"], typer.Option(help="How packets travel.")] = "tcp",
    tap: Annotated[bool, typer.Option("--tap/--no-tap", help="Whether the engine writes its tap.")] = True,
    fifo: Annotated[
        int | None, typer.Option(metavar="1-99", help="SCHED_FIFO priority of the engine.", show_default="none")
    ] = None,
    slow: Annotated[
        str | None,
        typer.Option(metavar="STAGE=US", help="Slow a stage of the engine, to see a budget break.", show_default=False),
    ] = None,
    budget: Budget = None,
    strict: Strict = False,
    out: Out = None,
    json: options.Json = False,
) -> None:
    """From the closing packet of a bin to its velocity at a subscriber, beside a bare sleeper on the same machine.

    Exits with 1 when anything was lost on the way, or a budget was broken.
    """
    from cortexwire.bench.budgeting import judge
    from cortexwire.bench.latency import run_latency
    from cortexwire.bench.live import RunError
    from cortexwire.bench.slowing import parse_slowing

    try:
        wanted = [int(part) for part in channels.split(",")]
    except ValueError:
        raise typer.BadParameter(f"expected numbers, got {channels!r}", param_hint="--channels") from None
    budgets = _budgets(budget)
    slowing = None if slow is None else parse_slowing(slow)
    note("measuring latency; leave the machine alone meanwhile")
    try:
        found = run_latency(
            wanted, seconds, packet_ms=packet_ms, transport=transport, tap=tap, fifo_priority=fifo, slow=slowing
        )
    except RunError as error:
        typer.echo(f"cortexwire: {error}", err=True)
        raise typer.Exit(1) from None
    verdict = None if budgets is None else judge(found, budgets)
    if verdict is not None:
        found["budget"] = verdict.as_json(strict=strict)
    _show(found, out, json)
    for sentence in () if verdict is None else verdict.sentences:
        typer.echo(sentence, err=json)
    broken = verdict is not None and not verdict.passed(strict=strict)
    raise typer.Exit(int(broken or any(any(result["losses"].values()) for result in found["results"])))


def _budgets(path: Path | None) -> "Budgets | None":
    """Read the budgets before anything is measured in vain."""
    from cortexwire.runtime.budgets import read_budgets
    from cortexwire.runtime.shipped import budgets_file

    return None if path is None else read_budgets(budgets_file(path))


def _show(found: dict[str, Any], out: Path | None, json: bool) -> None:
    import msgspec

    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if json:
        show_json(found)
        return
    rows = found.get("results", [])
    show_rows({name: value for name, value in found.items() if isinstance(value, str | int | float)})
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    show_table(
        ["", *(str(row.get("channels", number)) for number, row in enumerate(flat))],
        [[name, *(row.get(name, "-") for row in flat)] for name in names if name != "channels"],
    )


def _flat(row: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Every number of a result with its path, as text."""
    found: list[tuple[str, str]] = []
    for name, value in row.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name} ")
        elif isinstance(value, bool | int | float | str):
            found.append((f"{before}{name}", _text(value)))
    return found


def _text(value: float | str) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"

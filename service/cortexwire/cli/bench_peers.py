"""`bench peers` and `transport`."""

from typing import Annotated, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.bench_budgets import Budget, Strict, budgets_of, show_judged
from cortexwire.cli.bench_output import Html, Out, show
from cortexwire.cli.bench_suite import fail, numbers
from cortexwire.cli.console import note
from cortexwire.cli.help import examples

Channels = Annotated[str, typer.Option(metavar="N,N...", help="Numbers of channels, one after the other.")]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command(
        epilog=examples(
            "cortexwire bench peers",
            "cortexwire bench peers --channels 1024 --seconds 60 --out peers.json",
            "cortexwire bench peers --services echo,torch_chain --transport tcp",
            "cortexwire bench peers --services echo --executor incremental --budget default",
        )
    )(peers)
    group.command(epilog=examples("cortexwire bench transport", "cortexwire bench transport --channels 1024 --json"))(
        transport
    )


def peers(
    channels: Channels = "96,256,1024",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long each turn of each service is measured.")] = 20.0,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each service.")] = 2,
    transport: Annotated[Literal["tcp", "ipc"], typer.Option(help="How packets travel.")] = "ipc",
    executor: Annotated[Literal["onnx", "incremental"], typer.Option(help="What runs the engine's decoder.")] = "onnx",
    services: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="Whom to compare with.")
    ] = "echo,torch_chain,redis_chain,ezmsg_graph",
    budget: Budget = None,
    strict: Strict = False,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """The engine end to end beside other services with the same signal, pacing, transport and decoder weights.

    Those that are not installed say so. Exits with 1 when the engine missed a bin, or broke a budget.
    """
    from cortexwire.bench.live import RunError
    from cortexwire.bench.peering import run_peers

    wanted, budgets = numbers(channels, "--channels"), budgets_of(budget)
    note("measuring services in turns; leave the machine alone meanwhile")
    try:
        found = run_peers(
            wanted, seconds, transport=transport, executor=executor, turns=turns, services=services.split(",")
        )
    except RunError as error:
        fail(error)
    kept = show_judged(found, budgets, strict, out, html, json)
    missed = any(result["services"]["engine"]["bins_missed"] for result in found["results"])
    raise typer.Exit(int(missed or not kept))


def transport(
    channels: Channels = "96,256,1024",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each turn of each link is measured.")] = 5.0,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each link.")] = 2,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """What ZeroMQ costs by itself, one way and there and back, beside a bare Unix socket."""
    from cortexwire.bench.live import RunError
    from cortexwire.bench.transport import run_transport

    wanted = numbers(channels, "--channels")
    note("measuring transport; leave the machine alone meanwhile")
    try:
        found = run_transport(wanted, seconds, turns=turns)
    except RunError as error:
        fail(error)
    show(found, out, html, json)

"""`bench`: measurements; what they measure, and how, is in the bench room."""

from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from cortexwire.cli import bench_peers, bench_suite, options
from cortexwire.cli.bench_budgets import Budget, Strict, budgets_of, show_judged
from cortexwire.cli.bench_output import Html, Out, show
from cortexwire.cli.console import note, progress_of_parts
from cortexwire.cli.help import examples
from cortexwire.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Measure: kernels, decoders, transport, latency through the whole service, peers beside it; compare.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        epilog=examples(
            "cortexwire bench latency --channels 96 --seconds 60",
            "cortexwire bench all --quick --html report.html",
            "cortexwire bench compare before.json after.json",
        ),
    )
    group.command(epilog=examples("cortexwire bench kernels", "cortexwire bench kernels --out kernels.json"))(kernels)
    group.command(
        epilog=examples(
            "cortexwire bench latency",
            "cortexwire bench latency --channels 1024 --seconds 60 --json",
            "cortexwire bench latency --transport ipc --no-tap --fifo 50 --lock-memory",
            "cortexwire bench latency --channels 256 --repeats 3 --html latency.html --out latency.json",
            "cortexwire bench latency --budget default",
            "cortexwire bench latency --budget default --slow binned_to_decoded=3000",
        )
    )(latency)
    bench_suite.register(group)
    bench_peers.register(group)
    app.add_typer(group, name="bench", rich_help_panel=options.MEASURE)


def kernels(out: Out = None, html: Html = None, json: options.Json = False) -> None:
    """The signal chain against scipy and numpy, a C kernel and an ezmsg-sigproc graph on the same packets, in turns."""
    note("measuring kernels; leave the machine alone meanwhile")
    try:
        found: dict[str, Any] = import_module("cortexwire.bench.kernels").run_kernels()
    except ModuleNotFoundError as error:
        raise ConfigError(f"bench kernels: expected {error.name} to be installed") from error
    show(found, out, html, json)


def latency(
    channels: Annotated[
        str, typer.Option(metavar="N,N...", help="Numbers of channels, one after the other.")
    ] = "96,256,1024",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure each.")] = 20.0,
    packet_ms: Annotated[float, typer.Option(help="Signal in a packet.")] = 1.0,
    transport: Annotated[Literal["tcp", "ipc"], typer.Option(help="How packets travel.")] = "tcp",
    tap: Annotated[bool, typer.Option("--tap/--no-tap", help="Whether the engine writes its tap.")] = True,
    decoder: Annotated[Literal["gru", "wiener"], typer.Option(help="What decodes, with random weights.")] = "gru",
    units: Annotated[
        int | None, typer.Option(min=1, help="Units of the GRU.", show_default="128, 256, 512 with the channels")
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="What runs the decoder; several are compared in turn.")
    ] = "onnx",
    deadline_ms: Annotated[
        float | None, typer.Option(help="When an output is due after its bin's end.", show_default="the engine's")
    ] = None,
    fifo: Annotated[
        int | None, typer.Option(metavar="1-99", help="SCHED_FIFO priority of the engine.", show_default="none")
    ] = None,
    lock_memory: Annotated[bool, typer.Option("--lock-memory", help="Lock the engine's memory.")] = False,
    cpu: Annotated[int | None, typer.Option(min=0, help="The one CPU of the hot thread.", show_default="any")] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse/--no-rehearse", help="Whether the engine rehearses the end of a bin.")
    ] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each, all of them in turn.")] = 1,
    slow: Annotated[
        str | None,
        typer.Option(metavar="STAGE=US", help="Slow a stage of the engine, to see a budget break.", show_default=False),
    ] = None,
    budget: Budget = None,
    strict: Strict = False,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """From the closing packet of a bin to its velocity at a subscriber, beside a bare sleeper on the same machine.

    Tails are not judged where the sleeper's own p99 exceeds 0.5 ms. Exits with 1 when anything was lost on the way, or
    a budget was broken.
    """
    from cortexwire.bench.latency import run_latency
    from cortexwire.bench.live import RunError
    from cortexwire.bench.slowing import parse_slowing

    budgets = budgets_of(budget)
    slowing = None if slow is None else parse_slowing(slow)
    wanted = bench_suite.numbers(channels, "--channels")
    note("measuring latency; leave the machine alone meanwhile")
    try:
        with progress_of_parts("latency") as told:
            found = run_latency(
                wanted, seconds, packet_ms=packet_ms, transport=transport, tap=tap, fifo_priority=fifo,
                decoder=decoder, units=units, executors=executor.split(","), deadline_ms=deadline_ms,
                lock_memory=lock_memory, cpu=cpu, rehearse=rehearse, repeats=repeats, slow=slowing,
                told=told,
            )  # fmt: skip
    except RunError as error:
        bench_suite.fail(error)
    kept = show_judged(found, budgets, strict, out, html, json)
    raise typer.Exit(int(not kept or any(any(result["losses"].values()) for result in found["results"])))

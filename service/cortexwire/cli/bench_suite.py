"""`bench decoders`, `scale`, `soak`, `all` and `compare`."""

from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from cortexwire.cli import options
from cortexwire.cli.bench_budgets import Budget, Strict, budgets_of, show_judged
from cortexwire.cli.bench_output import Html, Out, show
from cortexwire.cli.console import note, progress_of_parts, show_json, show_table
from cortexwire.cli.help import examples

Executor = Annotated[str, typer.Option(metavar="NAME", help="What runs the decoder.")]
Fifo = Annotated[
    int | None, typer.Option(metavar="1-99", help="SCHED_FIFO priority of the engine.", show_default="none")
]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command(
        epilog=examples(
            "cortexwire bench decoders",
            "cortexwire bench decoders --only 'gru 256/256' --seconds 10 --json",
            "cortexwire bench decoders --executors onnx --batch 32",
        )
    )(decoders)
    group.command(
        epilog=examples(
            "cortexwire bench scale",
            "cortexwire bench scale --channels 1024,2048,4096 --packet-ms '' --sessions '' --seconds 20",
            "cortexwire bench scale --html scale.html",
            "cortexwire bench scale --channels 256,1024 --packet-ms '' --sessions '' --budget rig.toml",
        )
    )(scale)
    group.command(
        epilog=examples(
            "cortexwire bench soak",
            "cortexwire bench soak --channels 1024 --minutes 60 --fifo 50 --out soak.json",
            "cortexwire bench soak --minutes 60 --budget default",
        )
    )(soak)
    group.command(
        "all",
        epilog=examples("cortexwire bench all --quick", "cortexwire bench all --out all.json --html report.html"),
    )(everything)
    group.command(
        epilog=examples(
            "cortexwire bench compare before.json after.json",
            "cortexwire bench compare before.json after.json --tolerance 0.05 --json",
        )
    )(compare)


def numbers(text: str, option: str) -> list[int]:
    """Read whole numbers between commas; none from an empty text.

    Raises:
        BadParameter: Something else stands there.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"expected numbers, got {text!r}", param_hint=option) from None


def fail(error: Exception) -> NoReturn:
    """End with what could not be measured."""
    typer.echo(f"cortexwire: {error}", err=True)
    raise typer.Exit(1) from None


def decoders(
    only: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="Decoders such as [cyan]gru 96/128[/cyan].", show_default="all")
    ] = "",
    executors: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="What runs them, in turn.", show_default="all there are")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.2, help="How long each has, hot and paced each.")] = 4.0,
    batch: Annotated[int, typer.Option(min=2, help="Sessions in the batched step.")] = 16,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """The decoder's step: hot and at one every 20 ms, whole and int8, batched, torch eager beside, all in turn."""
    from cortexwire.bench.decoders import EXECUTORS, run_decoders
    from cortexwire.bench.drawn_decoders import DECODERS

    wanted = [name.strip() for name in only.split(",") if name.strip()]
    known = {decoder.name: decoder for decoder in DECODERS}
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(f"expected some of {', '.join(known)}, got {', '.join(unknown)}", param_hint="--only")
    note("measuring decoder steps; leave the machine alone meanwhile")
    with progress_of_parts("decoders") as told:
        found = run_decoders(
            [known[name] for name in wanted] or DECODERS,
            seconds,
            executors=[name.strip() for name in executors.split(",") if name.strip()] or tuple(EXECUTORS),
            batch=batch,
            told=told,
        )
    show(found, out, html, json)


def scale(
    channels: Annotated[
        str, typer.Option(metavar="N,N...", help="Numbers of channels.")
    ] = "96,192,384,768,1024,1536,2048,3072,4096",
    packet_ms: Annotated[str, typer.Option(metavar="MS,MS...", help="Packet lengths.")] = "0.5,1,2,5,10,20",
    sessions: Annotated[str, typer.Option(metavar="N,N...", help="Sessions in one step.")] = "1,2,4,8,16,32,64",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure each point.")] = 5.0,
    transport: Annotated[Literal["tcp", "ipc"], typer.Option(help="How packets travel.")] = "ipc",
    executor: Executor = "onnx",
    fifo: Fifo = None,
    budget: Budget = None,
    strict: Strict = False,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """Channels, packet lengths and batched sessions: where the service keeps up, and at which share of a core.

    An empty list leaves an axis out. Budgets are for runs of the service, not for batched sessions. Exits with 1 when
    one was broken.
    """
    from cortexwire.bench.live import RunError
    from cortexwire.bench.loads import Load
    from cortexwire.bench.scale import run_scale

    try:
        lengths = [float(part) for part in packet_ms.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"expected numbers, got {packet_ms!r}", param_hint="--packet-ms") from None
    axes = numbers(channels, "--channels"), lengths, numbers(sessions, "--sessions")
    load = Load(decoder="gru", transport=transport, executor=executor, fifo_priority=fifo)
    budgets = budgets_of(budget)
    note("measuring how the service scales; leave the machine alone meanwhile")
    try:
        with progress_of_parts("scale") as told:
            found = run_scale(*axes, seconds, load=load, told=told)
    except RunError as error:
        fail(error)
    raise typer.Exit(int(not show_judged(found, budgets, strict, out, html, json)))


def soak(
    channels: Annotated[int, typer.Option(min=1, help="Channels of the rig.")] = 256,
    minutes: Annotated[float, typer.Option(min=0.02, help="How long to measure.")] = 10.0,
    packet_ms: Annotated[float, typer.Option(help="Signal in a packet.")] = 1.0,
    transport: Annotated[Literal["tcp", "ipc"], typer.Option(help="How packets travel.")] = "tcp",
    decoder: Annotated[Literal["gru", "wiener"], typer.Option(help="What decodes, with random weights.")] = "gru",
    executor: Executor = "onnx",
    fifo: Fifo = None,
    budget: Budget = None,
    strict: Strict = False,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """A long run with a telemetry reader: no drop, memory flat within 1 %, tails beside the sleeper's.

    Exits with 1 when it did not pass, or a budget was broken. Ctrl-C ends it early, with the result so far.
    """
    from cortexwire.bench.live import RunError
    from cortexwire.bench.loads import Load
    from cortexwire.bench.soak import run_soak

    load = Load(
        channels=channels, seconds=60 * minutes, packet_ms=packet_ms, transport=transport, decoder=decoder,
        executor=executor, fifo_priority=fifo,
    )  # fmt: skip
    budgets = budgets_of(budget)
    note(f"soaking for {minutes:g} minutes; leave the machine alone meanwhile")
    try:
        with progress_of_parts("soak") as told:
            found = run_soak(load, told=told)
    except RunError as error:
        fail(error)
    kept = show_judged(found, budgets, strict, out, html, json)
    raise typer.Exit(int(not (kept and found["passed"])))


def everything(
    quick: Annotated[bool, typer.Option("--quick", help="Little time for each; rougher figures.")] = False,
    out: Out = None,
    html: Html = None,
    json: options.Json = False,
) -> None:
    """Every benchmark that is there, one after the other. Ctrl-C ends it with what is done.

    Exits with 1 when one of them could not be carried out.
    """
    from cortexwire.bench.everything import estimate_s, run_all

    minutes = estimate_s(quick=quick) / 60
    note(f"measuring everything, about {minutes:.0f} minutes; leave the machine alone meanwhile")
    with progress_of_parts("everything") as told:
        found = run_all(quick=quick, told=told)
    show(found, out, html, json)
    for name, why in found["failed"].items():
        typer.echo(f"cortexwire: bench {name}: {why}", err=True)
    raise typer.Exit(int(bool(found["failed"])))


def compare(
    old: Annotated[Path, typer.Argument(help="Result of a benchmark, as --out writes it.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="A later one.", show_default=False)],
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative change that does not matter.")] = 0.1,
    across: Annotated[
        bool, typer.Option("--across", help="Compare results of different machines all the same.")
    ] = False,
    json: options.Json = False,
) -> None:
    """What became of each figure from one result to another, with an interval of 95 %.

    Exits with 1 when one became worse by more than the tolerance and its interval leaves out no change at all.
    """
    from cortexwire.bench.compare import compare_files

    found = compare_files(old, new, tolerance=tolerance, across=across)
    if json:
        show_json(found)
    else:
        _show_changes(found)
    raise typer.Exit(int(not found["passed"]))


def _show_changes(found: dict[str, Any]) -> None:
    rows = [
        [
            one["what"], one["metric"], f"{one['old']:.4g}", f"{one['new']:.4g}", f"{one['change']:+.1%}",
            "-" if one["low"] is None else f"{one['low']:+.1%} to {one['high']:+.1%}", one["verdict"],
        ]
        for one in found["changes"]
    ]  # fmt: skip
    show_table(["measured", "figure", "old", "new", "change", "95 % interval", ""], rows)
    for name, (before, after) in found["environment_differences"].items():
        note(f"environments differ in {name}: {before} and {after}")
    for text in (*found["notes"], *(f"only in one: {name}" for name in (*found["only_old"], *found["only_new"]))):
        note(text)
    typer.echo(f"{len(found['regressions'])} regressions beyond {found['tolerance']:.0%}")

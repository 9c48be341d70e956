"""`replay` and `simulate`: what sends packets as a rig would."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress, show_json, show_rows
from cortexwire.cli.help import examples
from cortexwire.cli.sources import open_source, packet_sizes, sample_range
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.clients.curve import CurveClient
    from cortexwire.clients.replay import Speed

Endpoint = Annotated[str, typer.Option(help="Where to send.")]
SenderSocket = Annotated[
    Literal["pub", "push"], typer.Option(help="pub: what a slow receiver has no room for is dropped; push: wait.")
]
Bind = Annotated[bool, typer.Option("--bind/--connect", help="Bind to the endpoint, or connect to it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel=options.SEND,
        epilog=examples(
            "cortexwire replay docs/sessions/contdata95.toml",
            "cortexwire replay recording/ --speed fast --socket push --connect",
            "cortexwire replay sim:channels=96,seconds=60,seed=3 --from 10 --to 20 --loop",
            "cortexwire replay recordings/today --speed fast --socket push --connect",
            "cortexwire replay recordings/today#2 --packet-ms 5",
        ),
    )(replay)
    app.command(
        rich_help_panel=options.SEND,
        epilog=examples(
            "cortexwire simulate",
            "cortexwire simulate --channels 1024 --seconds 60 --packet-ms 1",
            "cortexwire simulate --set artefacts=false --set line_hz=60",
        ),
    )(simulate)


def replay(
    source: options.Source,
    endpoint: Endpoint = "tcp://127.0.0.1:5555",
    socket: SenderSocket = "pub",
    bind: Bind = True,
    speed: Annotated[str, typer.Option(metavar="K|fast", help="Multiple of real time, or as it is taken.")] = "1",
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end, sample indices running on.")] = False,
    start_s: options.From = 0.0,
    stop_s: options.To = None,
    packet_samples: options.PacketSamples = None,
    packet_ms: options.PacketMs = None,
    epoch: options.Epoch = None,
    stamp: Annotated[
        bool, typer.Option("--stamp", help="Of a log: write the time of this sending into its packets.")
    ] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for a receiver.", min=0.0)] = 30.0,
    data: options.DataFolder = None,
    curve_server_key: options.CurveServerKey = None,
    curve_key: options.CurveKey = None,
    json: options.Json = False,
) -> None:
    """Send a recorded session as a rig would have, on its own schedule; Ctrl-C ends the stream properly.

    The packets of a log are sent as they came, byte for byte, when they came. With another packet size, with --loop, or
    named as LOG#1, a log is sent as any session.
    """
    from cortexwire.clients.replay import ReplayProgress
    from cortexwire.clients.replay import replay as send
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.sessions.log import is_log, log_folder

    curve = options.curve_client(curve_server_key, curve_key)
    as_it_was = packet_samples is None and packet_ms is None and not loop
    if as_it_was and is_log(source) and log_folder(source)[1] is None:
        _replay_log(source, endpoint, socket, bind, _speed(speed), (start_s, stop_s), epoch, stamp, wait_s, json, curve)
        return
    if stamp:
        raise ConfigError("--stamp: a session's packets always have the time of their sending; it is for logs")
    session = open_source(source, data)
    sizes = packet_sizes(packet_samples, packet_ms, session.rate)
    first, last = sample_range(session, start_s, stop_s)
    multiple = _speed(speed)
    if not json:
        verb = "binds" if bind else "connects to"
        note(f"{session.name}: {(last - first) / session.rate.hz:g} s of {session.kind}; {verb} {endpoint}")
    with stop_on_signals() as stop, progress("replaying") as share:

        def tell(state: ReplayProgress) -> None:
            share(min(1.0, state.samples / (last - first)))

        summary = send(
            session,
            endpoint,
            sizes,
            socket=socket,
            bind=bind,
            speed=multiple,
            loop=loop,
            start_s=start_s,
            stop_s=stop_s,
            epoch=epoch,
            wait_s=wait_s,
            stop=stop,
            progress=tell,
            curve=curve,
        )
    if json:
        show_json(asdict(summary))
        return
    show_rows(
        {
            "packets": summary.packets,
            "signal": f"{summary.samples / session.rate.hz:.2f} s in {summary.seconds:.2f} s",
            "behind": f"at most {summary.lag_max_ms:.2f} ms",
            "ended": "early" if summary.stopped else "at the end of the recording",
        },
        "replayed",
    )


def _replay_log(
    source: str,
    endpoint: str,
    socket: Literal["pub", "push"],
    bind: bool,
    speed: "Speed",
    span: tuple[float, float | None],
    epoch: int | None,
    stamp: bool,
    wait_s: float,
    json: bool,
    curve: "CurveClient | None",
) -> None:
    from cortexwire.clients.replay import ReplayProgress
    from cortexwire.clients.replay_log import log_frames, renamed, send_timed
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.sessions.log import open_log

    log = open_log(source)
    frames = log_frames(log, *span)
    if epoch is not None:
        frames = renamed(frames, epoch)
    if not json:
        verb = "binds" if bind else "connects to"
        note(f"{log.name}: {log.n_bytes / 1e6:.1f} MB of records; {verb} {endpoint}")
    with stop_on_signals() as stop, progress("replaying") as share:

        def tell(state: ReplayProgress) -> None:
            share(min(1.0, state.bytes / max(1, log.n_bytes)))

        summary = send_timed(
            frames,
            endpoint,
            socket=socket,
            bind=bind,
            speed=speed,
            stamp=stamp,
            wait_s=wait_s,
            stop=stop,
            progress=tell,
            curve=curve,
        )
    if json:
        show_json(asdict(summary))
        return
    show_rows(
        {
            "packets": f"{summary.packets}, {summary.bytes / 1e6:.1f} MB, as they came",
            "time": f"{summary.seconds:.2f} s",
            "behind": f"at most {summary.lag_max_ms:.2f} ms",
            "ended": "early" if summary.stopped else "at the end of the log",
        },
        "replayed",
    )


def _speed(text: str) -> "Speed":
    if text == "fast":
        return "fast"
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number or fast, got {text!r}", param_hint="--speed") from None


def simulate(
    endpoint: Endpoint = "tcp://127.0.0.1:5555",
    socket: SenderSocket = "pub",
    bind: Bind = True,
    channels: Annotated[int, typer.Option(min=1, max=65535, help="Electrodes.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Draws the run: movement, spikes, noise.")] = 1,
    subject: Annotated[int, typer.Option(min=0, help="Draws the array: tuning, waveforms, gains.")] = 7,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="How long.", show_default="until Ctrl-C")] = None,
    packet_samples: Annotated[int | None, typer.Option(min=1, help="Samples in a packet.", show_default="1 ms")] = None,
    packet_ms: options.PacketMs = None,
    queue_ms: Annotated[float, typer.Option(min=1.0, help="Signal that may wait for a slow receiver.")] = 1000.0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of the simulator.", show_default=False),
    ] = None,
    epoch: options.Epoch = None,
    curve_server_key: options.CurveServerKey = None,
    curve_key: options.CurveKey = None,
    json: options.Json = False,
) -> None:
    """Be a rig: seeded wideband of tuned neurons in noise, in real time, with the intended movement as columns.

    The settings of --set are listed in docs/simulator.md.
    """
    from cortexwire.clients.simulator import parse_source, run_simulator
    from cortexwire.config import parse_assignments
    from cortexwire.runtime.engine import stop_on_signals

    listed = {"channels": channels, "seed": seed, "subject": subject, **parse_assignments(assignments or ())}
    settings = parse_source("sim:" + ",".join(f"{name}={value}" for name, value in listed.items())).settings
    sizes = packet_sizes(None if packet_samples is None else str(packet_samples), packet_ms, settings.rate)
    assert isinstance(sizes, int)
    curve = options.curve_client(curve_server_key, curve_key)

    def ready(where: str) -> None:
        if json:
            show_json({"ready": {"endpoint": where, "seed": seed}})
        else:
            typer.echo(f"ready  endpoint={where}  channels={channels}  seed={seed}")

    with stop_on_signals() as stop:
        summary = run_simulator(
            endpoint,
            settings,
            sizes,
            socket=socket,
            bind=bind,
            seconds=seconds,
            stop=stop,
            queue_ms=queue_ms,
            epoch=epoch,
            on_ready=ready,
            curve=curve,
        )
    if json:
        show_json({"summary": asdict(summary)})
        return
    show_rows(
        {
            "packets": summary.packets,
            "signal": f"{summary.seconds:.2f} s",
            "late packets": f"{summary.late_packets}, at most {summary.max_lag_ms:.2f} ms behind",
            "processor": f"{100 * summary.cpu_share:.1f} % of a core",
        },
        "simulated",
    )

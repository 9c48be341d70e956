"""Options that several commands share, so that one word means one thing everywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

if TYPE_CHECKING:
    from cortexwire.clients.curve import CurveClient

RUN: Final = "Run"
SEND: Final = "Send and watch"
LEARN: Final = "Recordings and decoders"
MEASURE: Final = "Measure"
RUN_DIR: Final = "$XDG_RUNTIME_DIR/cortexwire, else /tmp/cortexwire-UID"
"""The default run directory, in words."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON rather than words.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A recording (PATH, or PATH#STREAM of one with several), a session.toml, or a simulated session such as "
        "[cyan]sim:channels=96,seconds=60,seed=3[/cyan].",
        show_default=False,
    ),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder to look for the recording in first.", show_default=False)
]
BundleFolder = Annotated[
    Path | None,
    typer.Option("--bundle", help="Folder of the model bundle; [cyan]reference[/cyan] is the one that is shipped."),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; CORTEXWIRE_* variables and flags go before it.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its path, again and again.", show_default=False),
]
FrontEndAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the signal chain, such as [cyan]filter.high_hz=6000[/cyan].",
        show_default=False,
    ),
]
Armed = Annotated[
    bool | None, typer.Option("--armed/--disarmed", help="Whether outputs are commands.", show_default="disarmed")
]
Thresholds = Annotated[Path | None, typer.Option("--thresholds", help="Thresholds in microvolts, as calibrate writes.")]
Overlay = Annotated[Path | None, typer.Option("--overlay", help="Parameters of the day, laid over the bundle's.")]
Provider = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    typer.Option(help="What runs the decoder.", show_default="auto"),
]
Executor = Annotated[
    Literal["onnx", "incremental"] | None,
    typer.Option(
        help="onnx: the whole step at the end of a bin; incremental: all that can be computed before it, on the CPU.",
        show_default="onnx",
    ),
]
From = Annotated[float, typer.Option("--from", help="Where to begin, in seconds of the recording.", min=0.0)]
To = Annotated[float | None, typer.Option("--to", help="Where to end, in seconds.", show_default="the end")]
PacketSamples = Annotated[
    str | None,
    typer.Option(
        "--packet-samples",
        metavar="N|LOW-HIGH",
        help="Samples in a packet, or drawn each time.",
        show_default="1 ms",
    ),
]
PacketMs = Annotated[float | None, typer.Option("--packet-ms", help="The same in milliseconds.", show_default=False)]
CurveServerKey = Annotated[
    Path | None,
    typer.Option(
        "--curve-server-key",
        envvar="CORTEXWIRE_CURVE_SERVER_KEY",
        help="The engine's public key, where it wants CURVE.",
        show_default=False,
    ),
]
CurveKey = Annotated[
    Path | None,
    typer.Option(
        "--curve-key",
        envvar="CORTEXWIRE_CURVE_KEY",
        help="Our own key pair, which the engine knows.",
        show_default=False,
    ),
]
Epoch = Annotated[int | None, typer.Option("--epoch", help="Name of this start of the stream.", show_default="random")]


def curve_client(server_key: Path | None, key: Path | None) -> "CurveClient | None":
    """The keys that two options name; none without them.

    Raises:
        ConfigError: Only one is given, or a file is not what it should be.
    """
    from cortexwire.clients.curve import CurveClient
    from cortexwire.errors import ConfigError

    if server_key is None or key is None:
        if server_key is not key:
            raise ConfigError("CURVE: expected both --curve-server-key and --curve-key, or neither")
        return None
    return CurveClient.from_files(server_key, key)

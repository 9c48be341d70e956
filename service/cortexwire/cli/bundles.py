"""`train`: from sessions to a bundle."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress, show_json, show_rows
from cortexwire.cli.help import examples
from cortexwire.cli.sources import open_source
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.decoders import Bundle
    from cortexwire.sessions.session import Session
    from cortexwire.signal.settings import FrontEndSettings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire train recording.toml --out my-bundle",
            "cortexwire train docs/sessions/contdata95.toml --columns vx,vy --history 20 --out contdata95-bundle",
            "cortexwire train monday.toml tuesday.toml --decoder gru --search 50 --int8 --out gru-bundle",
            "cortexwire train docs/sessions/contdata95.toml --decoder esn --hop-ms 5 --out fine-bundle",
            "cortexwire train wrist.toml --columns fx,fy,emg_FCRr --velocity fx,fy --out force-bundle",
            "cortexwire train sim:channels=96,seconds=300,seed=1 --reference mean --unit cm/s --out sim-bundle",
        ),
    )(train)


def train(
    session: Annotated[
        list[str], typer.Argument(metavar="SESSION...", help="Recordings of one stream, oldest first, or sim:...")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.", show_default=False)],
    decoder: Annotated[str, typer.Option(help="Family of decoders.")] = "wiener",
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Columns to decode.", show_default="the velocity: ...vx, ...vy"),
    ] = None,
    velocity: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y", help="Which two are the velocity that is served.", show_default="those named ...vx, ...vy"
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Classify the states in this column instead.", show_default=False),
    ] = None,
    goals: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Columns of where the subject wanted to go.", show_default=False),
    ] = None,
    closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="The subject saw the decoded output move.")
    ] = False,
    history: Annotated[int | None, typer.Option(min=1, help="Bins that the decoder sees.", show_default="20")] = None,
    bin_ms: Annotated[float, typer.Option(help="Width of a bin in milliseconds.")] = 20.0,
    hop_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS", help="Time from one output to the next; it divides the bin.", show_default="the bin"
        ),
    ] = None,
    interleaved: Annotated[
        bool | None,
        typer.Option(
            "--interleaved/--per-hop",
            help="With a shorter hop: states that take turns, each stepped once a bin, or one state that is trained "
            "and stepped every hop.",
            show_default="--per-hop for recurrent families",
        ),
    ] = None,
    features: Annotated[str, typer.Option(help="counts, band_power, or both with a comma between.")] = "counts",
    reference: Annotated[
        Literal["none", "mean", "median"], typer.Option(help="What is taken away from every channel.")
    ] = "none",
    assignments: options.FrontEndAssignments = None,
    decoder_assignments: Annotated[
        list[str] | None,
        typer.Option("--decoder-set", metavar="KEY=VALUE", help="A setting of the decoder.", show_default=False),
    ] = None,
    search: Annotated[
        int, typer.Option(min=0, help="Settings to try, on validation blocks; goes on where it broke off.")
    ] = 0,
    int8: Annotated[bool, typer.Option("--int8", help="Keep the weights of recurrent layers as int8.")] = False,
    unit: Annotated[str | None, typer.Option(help="Unit of the columns.", show_default="the session's")] = None,
    lag_ms: Annotated[float, typer.Option(min=0.0, help="How much later than its bin a target is.")] = 0.0,
    held_out: Annotated[float, typer.Option(help="Share of the trials, the last ones, that is only scored.")] = 0.2,
    keep_thresholds: Annotated[
        bool, typer.Option("--keep-thresholds", help="Fix today's thresholds, rather than the rule that found them.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What to call the bundle.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="For families that draw, and for the search.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a bundle that is there.")] = False,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Fit a decoder to recorded sessions, score it on what was held out, and write it as a bundle.

    The model card names the command that made it.
    """
    from cortexwire.cli.chains import chain_from
    from cortexwire.cli.training import watching
    from cortexwire.config import parse_assignments
    from cortexwire.training.fitting import train_session

    opened = [open_source(one, data) for one in session]
    given = {key: _number(value) for key, value in parse_assignments(decoder_assignments or ()).items()}
    if history is not None:
        given["history"] = history
    chain = chain_from(
        {"bin_ms": bin_ms, "features": features.split(","), "reference": {"mode": reference}}, assignments or ()
    )
    other = next((one for one in opened if one.kind != "wideband"), None)
    if other is not None and chain.features != ("counts",):
        raise ConfigError(f"--features: {other.name} has {other.kind}, and so counts only, got {features}")
    if classes is not None:
        others = {
            "--decoder": decoder != "wiener", "--columns": columns, "--velocity": velocity, "--search": search,
            "--int8": int8, "--goals": goals, "--closed-loop": closed_loop, "--lag-ms": lag_ms, "--unit": unit,
            "--keep-thresholds": keep_thresholds, "--seed": seed, "--hop-ms": hop_ms,
            "--interleaved": interleaved is not None,
        }  # fmt: skip
        if len(opened) > 1 or any(others.values()):
            came = [option for option, value in others.items() if value] or ["several sessions"]
            raise ConfigError(f"--classes: expected one session and none of {', '.join(others)}, got {came[0]}")
        _train_classes(opened[0], out, classes, given, chain, name, held_out, replace, json)
        return
    with watching() as watched:
        trained = train_session(
            opened,
            out,
            decoder=decoder,
            settings=given,
            front_end=chain,
            columns=_names(columns) or (),
            velocity=_names(velocity),
            goals=_names(goals) or (),
            closed_loop=closed_loop,
            lag_ms=lag_ms,
            unit=unit,
            name=name,
            held_out=held_out,
            keep_thresholds=keep_thresholds,
            seed=seed,
            search=search,
            int8=int8,
            hop_ms=hop_ms,
            interleaved=interleaved,
            replace=replace,
            progress=watched.read,
            stage=watched.stage,
            tried=watched.tried,
        )
    bundle = _with_command(trained.bundle, f"cortexwire {shlex.join(sys.argv[1:])}")
    if json:
        show_json(
            {"bundle": str(out), "sha256": bundle.sha256, "columns": trained.columns, "r2_held_out": trained.scores}
        )
        return
    for said in dict.fromkeys(said for part in trained.parts for said in part.table.notes):
        note(said)
    bins = sum(len(part.table.end) for part in trained.parts)
    held = sum(part.split.test.stop - part.split.test.start for part in trained.parts)
    show_rows(
        {
            "bins": f"{bins}, {held} held out",
            **{f"R2 {column}": f"{score:.4f} (held out)" for column, score in trained.scores.items()},
            "settings": ", ".join(f"{key} {value}" for key, value in _chosen(bundle).items()),
            **_extras(bundle),
            "bundle": f"{out} ({bundle.hash:016x})",
        },
        f"trained {bundle.manifest.name}",
    )


def _train_classes(
    session: "Session",
    out: Path,
    column: str,
    settings: dict[str, Any],
    chain: "FrontEndSettings",
    name: str | None,
    held_out: float,
    replace: bool,
    json: bool,
) -> None:
    from cortexwire.training.classes import train_classes

    with progress("reading the session") as share:
        trained = train_classes(
            session,
            out,
            column,
            settings=settings,
            front_end=chain,
            name=name,
            held_out=held_out,
            replace=replace,
            progress=share,
        )
    bundle = _with_command(trained.bundle, f"cortexwire {shlex.join(sys.argv[1:])}")
    if json:
        show_json({"bundle": str(out), "sha256": bundle.sha256, "classes": trained.names, "held_out": trained.scores})
        return
    rows = {name.replace("_", " "): f"{score:.4f} (held out)" for name, score in trained.scores.items()}
    show_rows(
        {"classes": ", ".join(trained.names), **rows, "bundle": f"{out} ({bundle.hash:016x})"},
        f"trained {bundle.manifest.name}",
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between them; None where nothing was said, none of them for an empty text."""
    return None if text is None else tuple(name for name in text.split(",") if name)


def _number(value: Any) -> Any:
    """A number where the text of a value is one; the families' settings do not convert."""
    import msgspec

    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return value


def _chosen(bundle: "Bundle") -> dict[str, Any]:
    settings = bundle.manifest.training.settings
    return {key: settings[key] for key in ("history", "lambda", "hidden", "best_epoch", "leak") if key in settings}


def _extras(bundle: "Bundle") -> dict[str, str]:
    """What the search found, and what int8 costs."""
    settings, found = bundle.manifest.training.settings, {}
    if "search" in settings:
        tried = settings["search"]
        found["search"] = f"{tried['trials']} trials ({tried['resumed']} of them before), {tried['settings']}"
    if "int8" in settings:
        cost = settings["int8"]
        found["int8"] = (
            f"R2 {cost['validation_r2_lost']:+.5f} lost on the validation block, "
            f"weights {cost['weight_bytes_float32']} -> {cost['weight_bytes_int8']} bytes"
        )
    return found


def _with_command(bundle: "Bundle", command: str) -> "Bundle":
    """Write a bundle again with the command that made it in its manifest and card."""
    import msgspec

    from cortexwire.decoders import write_bundle
    from cortexwire.decoders.graph import parse_graph
    from cortexwire.training.card import model_card

    settings = {"command": command, **bundle.manifest.training.settings}
    training = msgspec.structs.replace(bundle.manifest.training, settings=settings)
    manifest = msgspec.structs.replace(bundle.manifest, training=training)
    model = parse_graph(bundle.model, str(bundle.path))
    return write_bundle(bundle.path, model, manifest, model_card(manifest), replace=True)

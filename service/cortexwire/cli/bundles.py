"""`train`: from a session to a bundle."""

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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire train recording.toml --out my-bundle",
            "cortexwire train docs/sessions/contdata95.toml --columns vx,vy --history 20 --out contdata95-bundle",
            "cortexwire train sim:channels=96,seconds=300,seed=1 --reference mean --unit cm/s --out sim-bundle",
        ),
    )(train)


def train(
    session: options.Source,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.", show_default=False)],
    decoder: Annotated[str, typer.Option(help="Family of decoders.")] = "wiener",
    columns: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Velocity to decode.", show_default="those named ...vx, ...vy")
    ] = None,
    history: Annotated[int | None, typer.Option(min=1, help="Bins that the decoder sees.", show_default="20")] = None,
    bin_ms: Annotated[float, typer.Option(help="Width of a bin in milliseconds.")] = 20.0,
    features: Annotated[str, typer.Option(help="counts, band_power, or both with a comma between.")] = "counts",
    reference: Annotated[
        Literal["none", "mean", "median"], typer.Option(help="What is taken away from every channel.")
    ] = "none",
    assignments: options.FrontEndAssignments = None,
    decoder_assignments: Annotated[
        list[str] | None,
        typer.Option("--decoder-set", metavar="KEY=VALUE", help="A setting of the decoder.", show_default=False),
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the columns.", show_default="the session's or mm/s")] = None,
    lag_ms: Annotated[float, typer.Option(min=0.0, help="How much later than its bin a target is.")] = 0.0,
    held_out: Annotated[float, typer.Option(help="Share of the trials, the last ones, that is only scored.")] = 0.2,
    keep_thresholds: Annotated[
        bool, typer.Option("--keep-thresholds", help="Fix today's thresholds, rather than the rule that found them.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What to call the bundle.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="For families that draw.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a bundle that is there.")] = False,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Fit a decoder to a recorded session, score it on what was held out, and write it as a bundle.

    The model card names the command that made it.
    """
    from cortexwire.cli.chains import chain_from
    from cortexwire.config import parse_assignments
    from cortexwire.training.fitting import train_session

    opened = open_source(session, data)
    chosen = tuple(columns.split(",")) if columns else ()
    given = {key: _number(value) for key, value in parse_assignments(decoder_assignments or ()).items()}
    if history is not None:
        given["history"] = history
    chain = chain_from(
        {"bin_ms": bin_ms, "features": features.split(","), "reference": {"mode": reference}}, assignments or ()
    )
    if opened.kind != "wideband" and chain.features != ("counts",):
        raise ConfigError(f"--features: {opened.name} has {opened.kind}, and so counts only, got {features}")
    with progress("reading the session") as share:
        trained = train_session(
            opened,
            out,
            decoder=decoder,
            settings=given,
            front_end=chain,
            columns=chosen,
            lag_ms=lag_ms,
            unit=unit or _unit(opened, chosen),
            name=name,
            held_out=held_out,
            keep_thresholds=keep_thresholds,
            seed=seed,
            replace=replace,
            progress=share,
        )
    bundle = _with_command(trained.bundle, f"cortexwire {shlex.join(sys.argv[1:])}")
    if json:
        show_json(
            {"bundle": str(out), "sha256": bundle.sha256, "columns": trained.columns, "r2_held_out": trained.scores}
        )
        return
    for said in trained.table.notes:
        note(said)
    bins = len(trained.table.end)
    show_rows(
        {
            "bins": f"{bins}, {trained.split.test.stop - trained.split.test.start} held out",
            **{f"R2 {column}": f"{score:.4f} (held out)" for column, score in trained.scores.items()},
            "settings": ", ".join(f"{key} {value}" for key, value in _chosen(bundle).items()),
            "bundle": f"{out} ({bundle.hash:016x})",
        },
        f"trained {bundle.manifest.name}",
    )


def _number(value: Any) -> Any:
    """A number where the text of a value is one; the families' settings do not convert."""
    import msgspec

    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return value


def _unit(session: Any, columns: tuple[str, ...]) -> str:
    """The unit that the session states for its velocity, where it states one."""
    from cortexwire.training.fitting import velocity_columns

    stated = dict(zip(session.column_names, getattr(session, "column_units", ()), strict=False))
    found = {stated.get(name, "") for name in velocity_columns(session, columns)} - {""}
    return found.pop() if len(found) == 1 else "mm/s"


def _chosen(bundle: "Bundle") -> dict[str, Any]:
    settings = bundle.manifest.training.settings
    return {key: settings[key] for key in ("history", "lambda") if key in settings}


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

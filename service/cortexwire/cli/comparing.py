"""`compare`: families of decoders side by side on one recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress_of_parts, show_table
from cortexwire.cli.help import examples
from cortexwire.cli.sources import check_folder, open_source

if TYPE_CHECKING:
    from cortexwire.training.results import Comparison


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire compare docs/sessions/contdata95.toml --bin-ms 100 --quick --out report.html",
            "cortexwire compare recording.toml --decoders wiener,gru --columns vx,vy --out report.html",
        ),
    )(compare)


def compare(
    source: options.Source,
    decoders: Annotated[
        str,
        typer.Option(metavar="A,B", help="Families with commas between, or [cyan]all[/cyan] that can be fitted here."),
    ] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="One configuration each, and less of every test.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report, one HTML page.", show_default=False)] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep the bundles in.", show_default=False)] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Velocity to decode.", show_default="those named ...vx, ...vy")
    ] = None,
    bin_ms: Annotated[float, typer.Option(help="Width of a bin in milliseconds.")] = 20.0,
    features: Annotated[str, typer.Option(help="counts, band_power, or both with a comma between.")] = "counts",
    reference: Annotated[
        Literal["none", "mean", "median"], typer.Option(help="What is taken away from every channel.")
    ] = "none",
    assignments: options.FrontEndAssignments = None,
    lag_ms: Annotated[float, typer.Option(min=0.0, help="How much later than its bin a target is.")] = 0.0,
    held_out: Annotated[float, typer.Option(help="Share of the trials, the last ones, that is scored once.")] = 0.2,
    unit: Annotated[str | None, typer.Option(help="Unit of the columns.", show_default="the session's")] = None,
    seed: Annotated[int, typer.Option(help="Draws what goes wrong in the robustness tests.")] = 0,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Fit families of decoders to a recording and score each, once, beside baselines that see no spikes.

    Configurations are chosen inside the training part. Families that need torch are left out of "all" without it.
    """
    from cortexwire.cli.chains import chain_from
    from cortexwire.training.evaluation import Effort
    from cortexwire.training.evaluation import compare as run
    from cortexwire.training.report import write_report

    session = open_source(source, data)
    if out is not None:
        check_folder("--out", out.absolute().parent)
    chain = chain_from(
        {"bin_ms": bin_ms, "features": features.split(","), "reference": {"mode": reference}}, assignments or ()
    )
    with progress_of_parts("comparing") as tell:
        found = run(
            session,
            _families(decoders),
            effort=Effort.to_be_quick() if quick else Effort(),
            folder=keep,
            seed=seed,
            progress=tell,
            front_end=chain,
            columns=tuple(columns.split(",")) if columns else (),
            lag_ms=lag_ms,
            unit=unit,
            held_out=held_out,
        )
    if out is not None:
        write_report(found, out)
    if json:
        typer.echo(found.to_json())
        return
    show_comparison(found)
    if out is not None:
        note(f"report: {out}")


def show_comparison(comparison: "Comparison") -> None:
    """Write the ranking as a table."""
    rows = []
    for row in comparison.table():
        if "failed" in row:
            note(f"{row['decoder']}: {row['failed']}")
            continue
        name = f"{row['decoder']} (no spikes)" if row["baseline"] else row["decoder"]
        each = " ".join(_number(value) for value in row["r2_of"].values())
        step = "" if row["step_ms"] is None else f"{1000 * row['step_ms']:.0f}"
        fit = "" if row["fit_s"] is None else f"{row['fit_s']:.0f}"
        rows.append(
            [name, _number(row["r2_new_directions"]), _number(row["r2"]), each, _number(row["r2_moving"]), step, fit]
        )
    show_table(["decoder", "R2 new directions", "R2", "R2 each", "R2 moving", "step us", "fit s"], rows)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"


def _families(wanted: str) -> list[str]:
    """The families by name; of all, those whose libraries are here."""
    from importlib.util import find_spec

    from cortexwire.training.families import family_names, needs_torch

    if wanted != "all":
        return wanted.split(",")
    if find_spec("torch") is not None:
        return list(family_names())
    note("torch is not installed: pip install 'cortexwire[train]' adds mlp, rnn, gru, lstm, tcn and snn")
    return [name for name in family_names() if not needs_torch(name)]

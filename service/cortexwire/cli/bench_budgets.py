"""`--budget` and `--strict` of the commands that measure the whole service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexwire.cli.bench_output import show

if TYPE_CHECKING:
    from cortexwire.runtime.budgets import Budgets

Budget = Annotated[
    Path | None,
    typer.Option(help="Latency budgets to judge by; [cyan]default[/cyan] are the shipped ones.", show_default="none"),
]
Strict = Annotated[bool, typer.Option("--strict", help="A budget line that could not be judged fails too.")]


def budgets_of(path: Path | None) -> "Budgets | None":
    """Read the budgets before anything is measured in vain.

    Raises:
        ConfigError: The file cannot be read, or lines in it are wrong.
    """
    from cortexwire.runtime.budgets import read_budgets
    from cortexwire.runtime.shipped import budgets_file

    return None if path is None else read_budgets(budgets_file(path))


def show_judged(
    found: dict[str, Any],
    budgets: "Budgets | None",
    strict: bool,
    out: Path | None,
    html: Path | None,
    json: bool,
) -> bool:
    """Write a result as `show` does, with its verdict under `budget`; whether it keeps its budgets, if it has any."""
    if budgets is None:
        show(found, out, html, json)
        return True
    from cortexwire.bench.budgeting import judge

    verdict = judge(found, budgets)
    found["budget"] = verdict.as_json(strict=strict)
    show(found, out, html, json)
    for sentence in verdict.sentences:
        typer.echo(sentence, err=json)
    return verdict.passed(strict=strict)

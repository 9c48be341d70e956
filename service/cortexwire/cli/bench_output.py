"""How results of the bench room are written: words for people, JSON and a page for keeping."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cortexwire.cli.console import show_json, show_rows, show_table

Out = Annotated[Path | None, typer.Option(help="Write the results as JSON.", show_default=False)]
Html = Annotated[
    Path | None, typer.Option(help="Write the results as one HTML page that loads nothing.", show_default=False)
]

_PERCENTS: Final = ("p50", "p90", "p99", "p99_9", "max")
_LEFT_OUT: Final = ("histograms", "samples", "series", "runs", "environment", "channels")
_NOT_JUDGED: Final = "not judged"
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "scale": {
        "axis": "axis", "channels": "channels", "packet ms": "packet_ms", "sessions": "sessions",
        "keeps up": "kept_up", "held back by": "held_back_by|failed", "p50 us": "sent_to_received_us.p50|step_us.p50",
        "p99 us": "sent_to_received_us.p99|step_us.p99", "sleeper p99": "sleeper_us.p99", "judged": "judged",
        "core share": "engine_core_share|core_share", "data age ms": "data_age_ms.mean",
        "us a session": "us_per_session",
    },
    "decoders": {
        "decoder": "decoder", "": "contender", "hot p50": "hot_us.p50", "hot p99": "hot_us.p99",
        "of the first": "hot_ratio", "paced p50": "paced_us.p50", "paced p99": "paced_us.p99",
        "of the first ": "paced_ratio",
    },
}  # fmt: skip
"""Benchmarks whose rows stand below each other, with what is told of each."""


def show(found: dict[str, Any], out: Path | None, html: Path | None, json: bool) -> None:
    """Write a result wherever it was asked for, and always to standard output."""
    import msgspec

    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if html is not None:
        from cortexwire.bench.report import write_page

        write_page(found, html)
    if json:
        show_json(found)
        return
    show_rows({name: value for name, value in found.items() if isinstance(value, str | int | float)})
    for name, part in (found.get("parts") or {"": found}).items():
        if name:
            typer.echo()
            typer.secho(f"  {name}", bold=True)
        _show_part(part)


def _show_part(part: Mapping[str, Any]) -> None:
    rows = part.get("results", [])
    if (columns := _COLUMNS.get(part.get("benchmark", ""))) is not None:
        show_table([*columns], [[_cell(row, path) for path in columns.values()] for row in _lines(rows)])
        return
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    show_table(
        ["", *(str(row.get("channels") or number) for number, row in enumerate(rows))],
        [[name, *(row.get(name, "-") for row in flat)] for name in names],
    )


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows; those of several contenders apart."""
    for row in rows:
        if "hot_us" not in row:
            yield row
            continue
        for name in row["hot_us"]:
            mine = {kind: row[kind].get(name) for kind in ("hot_us", "paced_us", "hot_ratio", "paced_ratio")}
            yield {**row, **mine, "contender": name}
        for name, why in row.get("absent", {}).items():
            yield {"decoder": row["decoder"], "contender": f"{name}: {why}"}


def _cell(row: Mapping[str, Any], path: str) -> str:
    """What is found first of the paths between bars, steps of a path between dots."""
    for one in path.split("|"):
        value: Any = row
        for step in one.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None:
            return _text(value)
    return "-"


def _flat(row: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Every number of a result with its path, as text; percentiles together, bulky entries left out."""
    found: list[tuple[str, str]] = []
    for name, value in row.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(value, dict) and set(value) == set(_PERCENTS):
            found.append((f"{before}{name} {' '.join(_PERCENTS)}", " ".join(_text(value[p]) for p in _PERCENTS)))
        elif isinstance(value, dict):
            found += _flat(value, f"{before}{name} ")
        elif name == "judged":
            found.append((f"{before}tails", "judged" if value else _NOT_JUDGED))
        elif isinstance(value, bool | int | float | str):
            found.append((f"{before}{name}", _text(value)))
    return found


def _text(value: float | str) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"

"""Tables of a report, and the words around them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from cortexwire.bench.distribution import NOT_JUDGED, PERCENTS
from cortexwire.bench.report.latency_figures import STAGE_WORDS, name_of

Row = Mapping[str, Any]

_BULK: Final = ("histograms", "samples", "series", "runs", "environment", "processes", "losses", "scheduling")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], css: str = "numbers") -> str:
    """A table; cells are HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def latency_table(rows: Sequence[Row]) -> str:
    """Percentiles of each run, the sleeper's beside them, and what it took."""
    heads = [
        "run", *(f"{_percent(name)}<small>µs</small>" for name in PERCENTS), "sleeper p99<small>µs</small>", "tails",
        "missed<small>deadlines</small>", "drift<small>µs a minute</small>", "data age<small>ms, mean</small>",
        "engine<small>of a core</small>", "lost",
    ]  # fmt: skip
    cells = [
        [
            escape(name_of(row)),
            *(f"{row['sent_to_received_us'][name]:.0f}" for name in PERCENTS),
            f"{row['sleeper_us']['p99']:.0f}",
            _judged(row),
            str(row["deadline_misses"]),
            f"{row['drift_us_per_min']:+.0f}",
            f"{row['data_age_ms']['mean']:.2f}",
            f"{100 * row['engine_core_share']:.1f} %",
            _lost(row),
        ]
        for row in rows
    ]
    return table(heads, cells)


def stage_table(row: Row) -> str:
    """Percentiles of every stage of one run."""
    heads = ["stage", *(f"{_percent(name)}<small>µs</small>" for name in PERCENTS)]
    words = {**STAGE_WORDS, "received_to_published": "all computing", "sent_to_published": "sent to published"}
    cells = [
        [escape(words.get(name, name)), *(f"{found[percent]:.1f}" for percent in PERCENTS if percent in found)]
        for name, found in row["stages_us"].items()
    ]
    return table(heads, cells, "numbers narrow")


def process_table(rows: Sequence[Row]) -> str:
    """Processor and memory of every process of each run."""
    cells = [
        [escape(name_of(row)), escape(name), f"{100 * used['core_share']:.1f} %", f"{used['resident_mib']:.0f}"]
        for row in rows
        for name, used in row.get("processes", {}).items()
    ]
    return table(["run", "process", "of a core", "resident<small>MiB</small>"], cells, "numbers narrow")


def budget_table(verdict: Row) -> str:
    """Every line of a file of budgets, with what was measured and what it may be."""
    cells = [
        [
            escape(line["line"]), escape(line["load"]), escape(line["outcome"]),
            *("-" if line[name] is None else f"{line[name]:.4g} {line['unit']}" for name in ("value", "limit")),
            escape(line["why"]),
        ]
        for line in verdict["lines"]
    ]  # fmt: skip
    return table(["line", "run", "", "measured", "limit", ""], cells)


def any_table(rows: Sequence[Row]) -> str:
    """Whatever numbers rows hold, one line each."""
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    cells = [[escape(name), *(escape(row.get(name, "–")) for row in flat)] for name in names]
    return table(["", *(str(number + 1) for number in range(len(rows)))], cells)


def environment_table(environment: Mapping[str, Any]) -> str:
    """What it was measured on."""
    cells = []
    for name, value in environment.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items() if v) if isinstance(value, dict) else _shown(value)
        cells.append([escape(name.replace("_", " ")), escape(shown)])
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in cells)
    return f"<dl>{rows}</dl>"


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "none, or not told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _judged(row: Row) -> str:
    return '<span class="good">judged</span>' if row["judged"] else f'<span class="bad">{NOT_JUDGED}</span>'


def _lost(row: Row) -> str:
    lost = {name: count for name, count in row["losses"].items() if count}
    words = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in lost.items())
    return f'<span class="bad">{escape(words)}</span>' if lost else "nothing"


def _percent(name: str) -> str:
    return name.replace("_", ".")


def _flat(row: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in row.items():
        if name in _BULK:
            continue
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name} ")
        elif isinstance(value, bool | int | str):
            found.append((f"{before}{name}", str(value)))
        elif isinstance(value, float):
            found.append((f"{before}{name}", f"{value:.4g}"))
    return found

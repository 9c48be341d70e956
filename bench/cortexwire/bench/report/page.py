"""Putting the page together: each benchmark its sections, then what it was measured on."""

import os
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import Any, Final

from cortexwire.bench.distribution import MOST_SLEEPER_P99_US
from cortexwire.bench.report import latency_figures as latency
from cortexwire.bench.report import scaling_figures as scaling
from cortexwire.bench.report import tables
from cortexwire.bench.report.scales import reach
from cortexwire.training.report.page import put_whole
from cortexwire.training.report.svg import Plot

Result = Mapping[str, Any]

_READING: Final = (
    "Service latency counts from the sending of the packet that closes a bin to its velocity in a subscriber's hands. "
    "Packets are sent on a fixed schedule whatever the service does, so a stall is charged to every packet that it "
    "delays. Data age adds what a bin waits for: half its length, and the packet's. The grey sleeper asked for 1 ms "
    "all the while, on the same machine; what it got too late is the machine's own and is subtracted nowhere. Where "
    f"its p99 exceeds {MOST_SLEEPER_P99_US:.0f} µs, tails are not judged."
)


def report_html(found: Result) -> str:
    """The report of a result, of one benchmark or of several, as one HTML page which loads nothing from anywhere."""
    parts: Mapping[str, Result] = found.get("parts") or {str(found.get("benchmark", "kernels")): found}
    sections = [
        section
        for name, part in parts.items()
        if part.get("results")
        for section in _SECTIONS.get(part.get("benchmark", name), _other)(name, part)
    ]
    if "budget" in found:
        sections.append(("budgets", "Budgets", tables.budget_table(found["budget"])))
    sections.append(("environment", "What it was measured on", tables.environment_table(found.get("environment", {}))))
    links = "".join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in sections)
    shared = files("cortexwire.training.report").joinpath("page.css").read_text(encoding="utf-8")
    style = shared + files("cortexwire.bench.report").joinpath("page.css").read_text(encoding="utf-8")
    title = f"cortexwire bench {found.get('benchmark', 'kernels')}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="lead">{escape(_opening(found))}</p>{_facts(parts)}<nav>{links}</nav>'
        + "".join(f'<section id="{key}"><h2>{escape(heading)}</h2>{body}</section>' for key, heading, body in sections)
        + "</main></body></html>\n"
    )


def write_page(found: Result, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all."""
    put_whole(report_html(found), path)


def _opening(found: Result) -> str:
    machine = found.get("environment", {})
    words = f"{machine.get('processor')}, {machine.get('cpus_usable')} CPUs, {machine.get('system')}"
    quick = " Measured with little time for each, so figures are rough." if found.get("quick") else ""
    cut = " Ended early." if found.get("interrupted") else ""
    return f"{words}.{quick}{cut}"


def _facts(parts: Mapping[str, Result]) -> str:
    facts = []
    for part in parts.values():
        if part.get("benchmark") in ("latency", "soak"):
            for row in part["results"]:
                facts.append((f"{row['sent_to_received_us']['p50']:.0f} µs", f"{latency.name_of(row)}: p50"))
                tail = f"{row['sent_to_received_us']['p99']:.0f} µs"
                facts.append((tail, "p99" if row["judged"] else "p99, not judged"))
    return '<ul class="facts">' + "".join(f"<li><b>{value}</b>{escape(words)}</li>" for value, words in facts) + "</ul>"


def _latency(name: str, part: Result) -> list[tuple[str, str, str]]:
    rows = [row for row in part["results"] if row["bins"]]
    if not rows:
        return [(name, name.capitalize(), "<p>No output came.</p>")]
    unjudged = [latency.name_of(row) for row in rows if not row["judged"]]
    warning = (
        f'<p class="warn">Tails not judged, for the machine itself was late: {escape("; ".join(unjudged))}.</p>'
        if unjudged
        else ""
    )
    histograms = "".join(
        f"<figure><h3>{escape(latency.name_of(row))}</h3>{latency.histogram(row)}</figure>" for row in rows
    )
    lines = "".join(
        f"<figure><h3>{escape(latency.name_of(row))}</h3>{latency.timeline(row)}"
        f"<details><summary>Percentiles of each stage</summary>{tables.stage_table(row)}</details></figure>"
        for row in rows
        if row.get("series", {}).get("at_s")
    )
    key = "".join(
        f'<li><svg viewBox="0 0 22 14" aria-hidden="true"><rect class="fill {css}" x="3" y="1" width="12" height="12"/>'
        f"</svg>{latency.STAGE_WORDS[stage]}</li>"
        for stage, css in latency.STAGE_CLASSES.items()
    )
    return [
        (
            name,
            "Service latency",
            f'<p class="note">{escape(_READING)}</p>{warning}{tables.latency_table(rows)}'
            f'<div class="panels">{histograms}</div><figure><h3>By percentile</h3>'
            f"{latency.percentile_curves(rows)}</figure>",
        ),
        (
            f"{name}-stages",
            "Stages",
            '<p class="note">Where the median bin spends its time. Medians of stages, so their sum is near the median '
            "of the whole and not exactly it.</p>"
            f'<figure>{latency.stage_bars(rows)}<ul class="key">{key}</ul></figure>',
        ),
        (
            f"{name}-time",
            "As time goes by",
            '<p class="note">Lines are medians of short stretches, dots the largest service latency in each.</p>'
            + lines,
        ),
        (f"{name}-processes", "What it takes", tables.process_table(rows)),
    ]


def _soak(name: str, part: Result) -> list[tuple[str, str, str]]:
    sections = _latency(name, part)
    (row,) = part["results"]
    memory = row["resident_mib"]
    low, high = reach(memory, 1.02)
    plot = Plot((0.0, float(max(1, len(memory) - 1))), (low, high), width=900, height=180, right=20, left=58)
    plot.axes("seconds", "resident memory of the engine, MiB")
    plot.line([float(second) for second in range(len(memory))], memory, "c0", "resident memory")
    says = "passed" if part["passed"] else "did not pass"
    reader = row["telemetry_reader"]
    words = (
        f"It {says}: memory differed by {100 * row['resident_differs_by']:.2f} % from second 10 on; the telemetry was "
        f"read {reader.get('polls', 0)} times, {reader.get('torn', 0)} of them torn."
    )
    body = f"<p>{escape(words)}</p><figure>{plot.draw('resident memory of the engine')}</figure>"
    return [*sections, (f"{name}-memory", "Memory", body)]


def _scale(name: str, part: Result) -> list[tuple[str, str, str]]:
    rows = part["results"]
    figures = ""
    for axis, (words, _, _) in scaling.AXES.items():
        pair = scaling.latency_by(rows, axis), scaling.load_by(rows, axis)
        if any(pair):
            figures += f'<h3>{escape(words.capitalize())}</h3><div class="panels wide">' + "".join(
                f"<figure>{drawn}</figure>" for drawn in pair
            )
            figures += "</div>"
    failed = "".join(
        f'<p class="warn">{row["channels"]} channels, {row["packet_ms"]:g} ms: {escape(row["failed"])}</p>'
        for row in rows
        if "failed" in row
    )
    note = "Left, latency; right, the share of one core that it takes. Rings are points at which it does not keep up."
    return [(name, "How it scales", f'<p class="note">{note}</p>{figures}{failed}')]


def _decoders(name: str, part: Result) -> list[tuple[str, str, str]]:
    rows = part["results"]
    note = (
        "Rings are a hot loop, dots one step every 20 ms, which is what a service waits for: between two bins the "
        "processor has forgotten the weights. All contenders of a decoder took turns."
    )
    heads = ["decoder", "", "hot p50", "hot p99", "paced p50", "paced p99", "paced, of the first"]
    cells = [
        [
            escape(row["decoder"]), escape(one), *(f"{row[kind][one][p]:.1f}" for kind in ("hot_us", "paced_us")
            for p in ("p50", "p99")), f"{row['paced_ratio'].get(one, 1.0):.2f}",
        ]
        for row in rows
        for one in row["hot_us"]
    ]  # fmt: skip
    absent = sorted({f"{one}: {why}" for row in rows for one, why in row.get("absent", {}).items()})
    missing = "".join(f'<p class="warn">{escape(words)}</p>' for words in absent)
    figure = f"<figure>{scaling.decoder_steps(rows)}</figure>{missing}"
    return [(name, "Decoder steps", f'<p class="note">{escape(note)}</p>{figure}{tables.table(heads, cells)}')]


def _other(name: str, part: Result) -> list[tuple[str, str, str]]:
    return [
        (
            name,
            name.capitalize(),
            f'<p class="note">{escape(part.get("what", ""))}</p>{tables.any_table(part["results"])}',
        )
    ]


_SECTIONS: Final[dict[str, Callable[[str, Result], list[tuple[str, str, str]]]]] = {
    "latency": _latency,
    "soak": _soak,
    "scale": _scale,
    "decoders": _decoders,
}

"""Figures of runs through the whole service: distributions, stages, and what they did as time went by."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from cortexwire.bench.distribution import counted_us, merged
from cortexwire.bench.report.scales import log, log_plot, log_ticks, micros, reach
from cortexwire.bench.stages import STAGES
from cortexwire.training.report.svg import Plot, number, svg, text

Row = Mapping[str, Any]

STAGE_CLASSES: Final = {name: f"c{k}" for k, name in enumerate(STAGES)}
STAGE_WORDS: Final = {
    "transport_in": "transport in",
    "received_to_binned": "front end and bin",
    "binned_to_decoded": "decoder step",
    "decoded_to_published": "publish",
    "transport_out": "transport out",
}
_MARKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_CLASSES_PER_DECADE: Final = 24


def name_of(row: Row) -> str:
    """What a run is called in figures."""
    units = f" {row['units']}" if row.get("units") else ""
    more = "" if row.get("executor", "onnx") == "onnx" else f", {row['executor']}"
    length = "" if row.get("packet_ms", 1.0) == 1.0 else f", {row['packet_ms']:g} ms"
    return f"{row['channels']} ch, {row.get('decoder', '')}{units}{more}{length}"


def percentile_curves(rows: Sequence[Row]) -> str:
    """Latency by percentile, each further nine as wide as the last: where the tail begins, and how long it is."""
    curves = [(name_of(row), f"c{k % 8}", row["histograms"]["sent_to_received"]) for k, row in enumerate(rows)]
    curves.append(("sleeper", "b0", merged(row["histograms"]["sleeper"] for row in rows)))
    drawn = []
    for name, css, payload in curves:
        values, counts = counted_us(payload)
        below = np.cumsum(counts) - counts
        drawn.append((name, css, [_nines(100 * at / counts.sum()) for at in below], np.maximum(values, 1.0)))
    most = max(x[-1] for _, _, x, _ in drawn)
    low, high = reach([float(v) for _, _, _, values in drawn for v in (values[0], values[-1])])
    plot = log_plot((0.0, most), (low, high), log_x=False, width=900, height=330, right=150, left=58)
    marks = [_nines(mark) for mark in _MARKS if _nines(mark) <= most]
    plot.axes(
        "percentile", "", marks, y_ticks=log_ticks(low, high), y_words=micros,
        x_words=lambda place: f"{float(f'{100 * (1 - 10**-place):.6g}'):g} %",
    )  # fmt: skip
    for name, css, x, values in drawn:
        plot.line(x, [log(float(value)) for value in values], css, name, name)
    return plot.draw("latency by percentile, and the sleeper's")


def histogram(row: Row) -> str:
    """How often each latency came, the sleeper's lateness behind it."""
    both = {name: counted_us(row["histograms"][name]) for name in ("sleeper", "sent_to_received")}
    low, high = reach([float(v) for values, _ in both.values() for v in (max(values[0], 5.0), values[-1])], 1.3)
    edges = np.linspace(log(low), log(high), max(8, math.ceil((log(high) - log(low)) * _CLASSES_PER_DECADE)) + 1)
    shares = {}
    for name, (values, counts) in both.items():
        found, _ = np.histogram(np.log10(np.maximum(values, low)), edges, weights=counts)
        shares[name] = found / counts.sum()
    top = max(float(share.max()) for share in shares.values()) * 1.08
    plot = Plot((float(edges[0]), float(edges[-1])), (0.0, top), width=430, height=200, right=12, left=40)
    parts = [_area(plot, edges, share, "b0" if name == "sleeper" else "c0", name) for name, share in shares.items()]
    plot.axes("", "share", log_ticks(low, high, 4), x_words=micros,
              y_words=lambda share: f"{100 * share:g} %")  # fmt: skip
    return plot.draw(f"distribution of latency, {name_of(row)}").replace("</svg>", "".join(parts) + "</svg>")


def stage_bars(rows: Sequence[Row]) -> str:
    """Where the median bin spends its time, stage by stage."""
    left, width, height, top, right = 170.0, 900.0, 30.0, 6.0, 76.0
    sums = [sum(row["stages_us"][stage]["p50"] for stage in STAGES) for row in rows]
    most = max(sums) or 1.0
    parts = []
    for k, (row, total) in enumerate(zip(rows, sums, strict=True)):
        y, x = top + k * height, left
        parts.append(text(left - 10, y + height / 2 + 2, name_of(row), "end", "small"))
        for stage in STAGES:
            value = row["stages_us"][stage]["p50"]
            across = value / most * (width - left - right)
            title = escape(f"{STAGE_WORDS[stage]}: {value:.0f} µs")
            parts.append(
                f'<rect class="fill {STAGE_CLASSES[stage]}" x="{number(x)}" y="{number(y)}" '
                f'width="{max(across - 1, 0.5):.2f}" height="{number(height - 10)}"><title>{title}</title></rect>'
            )
            x += across
        parts.append(text(x + 8, y + height / 2 + 2, f"{total:.0f} µs", "start", "small"))
    return svg(width, top + height * len(rows), parts, "medians of the stages of each run")


def timeline(row: Row) -> str:
    """Each stage bin by bin: the median of every stretch of time as a line, the whole's largest as dots."""
    series = row["series"]
    at = series["at_s"]
    medians = {name: series["median_us"][name] for name in ("sent_to_received", *STAGES)}
    worst = series["max_us"]["sent_to_received"]
    low, high = reach([max(v, 1.0) for values in (*medians.values(), worst) for v in values])
    plot = log_plot((at[0], at[-1] or 1.0), (low, high), log_x=False, width=900, height=260, right=150, left=58)
    plot.axes("seconds", "", y_ticks=log_ticks(low, high), y_words=micros)
    for name, values in medians.items():
        css, words = STAGE_CLASSES.get(name, "b1"), STAGE_WORDS.get(name, "service latency")
        plot.line(at, [log(max(v, 1.0)) for v in values], css, words, words)
    parts = []
    for t, value in zip(at, worst, strict=True):
        x, y = plot.at(t, log(max(value, 1.0)))
        parts.append(
            f'<circle class="dot b1 worst" cx="{number(x)}" cy="{number(y)}" r="1.4">'
            f"<title>largest at {t:g} s: {value:.0f} µs</title></circle>"
        )
    return plot.draw(f"stages over time, {name_of(row)}").replace("</svg>", "".join(parts) + "</svg>")


def _nines(percent: float) -> float:
    """Where a percentile lies on an axis on which 90, 99, 99.9 are equally far apart."""
    return -math.log10(max(1e-6, 1 - percent / 100))


def _area(plot: Plot, edges: Any, share: Any, css: str, name: str) -> str:
    points = [plot.at(float(edges[0]), 0.0)]
    for k, value in enumerate(share):
        points += [plot.at(float(edges[k]), float(value)), plot.at(float(edges[k + 1]), float(value))]
    points.append(plot.at(float(edges[-1]), 0.0))
    path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + "Z"
    words = "sleeper" if name == "sleeper" else "service latency"
    return f'<path class="area {css}" d="{path}"><title>{words}</title></path>'

"""Figures of how speed goes with size: scaling curves, decoder steps, kernels."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from cortexwire.bench.report.scales import log, log_plot, log_ticks, micros, plain, reach
from cortexwire.training.report.svg import Plot, number, svg, text

Row = Mapping[str, Any]

AXES: Final = {
    "channels": ("channels", "sent_to_received_us", "engine_core_share"),
    "packet_ms": ("packet length, ms", "sent_to_received_us", "engine_core_share"),
    "sessions": ("sessions in one step", "step_us", "core_share"),
}
"""For each axis its words, which entry holds the times, and which the share of a core."""


def latency_by(rows: Sequence[Row], axis: str) -> str:
    """Median and p99 along an axis."""
    words, entry, _ = AXES[axis]
    points = [row for row in rows if row["axis"] == axis and entry in row]
    if not points:
        return ""
    x = [float(row[axis]) for row in points]
    known = [row[entry][percent] for row in points for percent in ("p50", "p99")]
    per_session = [row["us_per_session"] for row in points] if axis == "sessions" else []
    (x_low, x_high), (low, high) = reach(x, 1.05), reach([*known, *per_session])
    plot = log_plot((x_low, x_high), (low, high), width=430, height=270, right=50, left=58)
    plot.axes(words, "", [log(value) for value in _thinned(x)], y_ticks=log_ticks(low, high), y_words=micros,
              x_words=plain)  # fmt: skip
    for percent, css in (("p50", "c0"), ("p99", "c5")):
        places = [log(value) for value in x]
        values = [log(max(row[entry][percent], 1e-3)) for row in points]
        plot.line(places, values, css, percent, percent)
        plot.dots(places, values, css, f"{percent}, log10 µs")
    if per_session:
        shares = [log(value) for value in per_session]
        plot.line([log(value) for value in x], shares, "c2", "median for each session", "each")
    return plot.draw(f"latency by {words}")


def load_by(rows: Sequence[Row], axis: str) -> str:
    """Share of a core along an axis; hollow where the service did not keep up."""
    words, _, entry = AXES[axis]
    points = [row for row in rows if row["axis"] == axis and entry in row]
    if not points:
        return ""
    x = [float(row[axis]) for row in points]
    share = [100 * float(row[entry]) for row in points]
    x_low, x_high = reach(x, 1.05)
    plot = Plot((log(x_low), log(x_high)), (0.0, max(share) * 1.15), width=430, height=270, right=50, left=58)
    plot.axes(words, "", [log(value) for value in _thinned(x)], x_words=plain, y_words=lambda value: f"{value:g} %")
    plot.line([log(value) for value in x], share, "c4", "share of a core")
    parts = []
    for row, place, value in zip(points, x, share, strict=True):
        cx, cy = plot.at(log(place), value)
        said = f"{row[axis]:g}: {value:.1f} % of a core" + ("" if row["kept_up"] else ", does not keep up")
        shape = "fill" if row["kept_up"] else "ring"
        parts.append(
            f'<circle class="{shape} c{4 if row["kept_up"] else 7}" cx="{number(cx)}" cy="{number(cy)}" '
            f'r="{4 if row["kept_up"] else 5}"><title>{escape(said)}</title></circle>'
        )
    return plot.draw(f"share of a core by {words}").replace("</svg>", "".join(parts) + "</svg>")


def decoder_steps(rows: Sequence[Row]) -> str:
    """Every contender's median step, hot and paced, on one logarithmic axis."""
    lines = [(row, name) for row in rows for name in row["hot_us"]]
    left, width, height, top, right = 220.0, 900.0, 22.0, 8.0, 120.0
    gap = 14.0
    low, high = reach([row[kind][name]["p50"] for row, name in lines for kind in ("hot_us", "paced_us")], 1.4)
    bottom = top + height * len(lines) + gap * len(rows) + 4

    def across(value: float) -> float:
        return left + (log(value) - log(low)) / (log(high) - log(low)) * (width - left - right)

    parts = []
    for place in log_ticks(low, high):
        x = number(across(10**place))
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{number(bottom)}"/>')
        parts.append(text(across(10**place), bottom + 15, micros(place), "middle", "small"))
    y, before = top, None
    for row, name in lines:
        if row is not before:
            y += gap if before is not None else 0
            before = row
            parts.append(text(left - 100, y + height / 2 + 4, str(row["decoder"]), "end", "name"))
        hot, paced = row["hot_us"][name]["p50"], row["paced_us"][name]["p50"]
        middle = number(y + height / 2)
        parts.append(text(left - 10, y + height / 2 + 4, name.removeprefix("onnx ") or name, "end", "small"))
        parts.append(
            f'<line class="whisker c0" x1="{number(across(hot))}" x2="{number(across(paced))}" '
            f'y1="{middle}" y2="{middle}"/>'
        )
        for kind, value, shape in (("hot", hot, "ring c0"), ("paced", paced, "fill c0")):
            parts.append(
                f'<circle class="{shape}" cx="{number(across(value))}" cy="{middle}" r="4.5">'
                f"<title>{escape(name)}, {kind}: {value:.1f} µs</title></circle>"
            )
        parts.append(
            text(across(max(hot, paced)) + 10, y + height / 2 + 4, f"{hot:.0f} / {paced:.0f} µs", "start", "small")
        )
        y += height
    return svg(width, bottom + 20, parts, "decoder steps, hot and paced")


def _thinned(values: Sequence[float], most: int = 6) -> list[float]:
    """Not more than so many of some values, the last among them."""
    every = -(-len(values) // most)
    return sorted(values)[::-1][::every][::-1]

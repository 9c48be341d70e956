"""The figures of a report, each from a comparison's plain values."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from cortexwire.training.report.series import classes_of
from cortexwire.training.report.svg import LETTER, Plot, number, svg, text, ticks
from cortexwire.training.results import Comparison, Curve, Entry, Point

LOWEST_R2: Final = -0.25
"""R2 below this is drawn here: it is bad enough."""
AMISS: Final = {
    "channels_lost": ("Channels lost", "share of channels"),
    "count_noise": ("Crossings replaced by noise", "share of crossings"),
    "bins_missing": ("Bins missing", "share of bins"),
}
"""Title and axis of each thing amiss."""


def scored(comparison: Comparison) -> list[Entry]:
    """Entries that worked, best first."""
    return [entry for entry in comparison.entries if entry.scores is not None]


def ranking(comparison: Comparison) -> str:
    """Every entry on one scale: new directions, the final part with its interval, moving bins."""
    entries, classes = scored(comparison), classes_of(comparison.entries)
    row, top, left, right, width = 26.0, 20.0, 110.0, 24.0, 900.0
    height = top + row * len(entries) + 34
    values = [
        v for e in entries if e.scores for v in (e.generalisation, e.scores.r2, e.scores.r2_moving) if v is not None
    ]
    low = max(LOWEST_R2, min([0.0, *values]))
    floor = math.floor(low * 10) / 10

    def across(value: float) -> float:
        return left + (max(value, floor) - floor) / (1 - floor) * (width - left - right)

    parts = []
    for k in range(round((1 - floor) / 0.1) + 1):
        value = round(floor + k * 0.1, 1)
        place, css = number(across(value)), "zero" if value == 0 else "grid"
        edges = f'y1="{number(top - 8)}" y2="{number(height - 34)}"'
        parts.append(f'<line class="{css}" x1="{place}" x2="{place}" {edges}/>')
        parts.append(text(across(value), height - 18, f"{value:g}", "middle", "small"))
    parts.append(
        text((left + width - right) / 2, height - 3, "R² (1 = perfect, 0 = no better than the mean)", "middle", "small")
    )
    for k, entry in enumerate(entries):
        assert entry.scores is not None
        y, scores, css = top + row * (k + 0.5), entry.scores, classes[entry.name]
        parts.append(text(left - 10, y + 4, entry.name, "end", f"name ink-{css.split()[0]}"))
        if scores.r2_low is not None and scores.r2_high is not None:
            span = f'x1="{number(across(scores.r2_low))}" x2="{number(across(scores.r2_high))}"'
            parts.append(f'<line class="whisker {css}" {span} y1="{number(y)}" y2="{number(y)}"/>')
        if scores.r2_moving is not None:
            x = across(scores.r2_moving)
            parts.append(
                _mark(
                    f"M{number(x)} {number(y - 6)}v12",
                    f"tick {css}",
                    f"{entry.name}, moving bins: {scores.r2_moving:.3f}",
                )
            )
        if scores.r2 is not None:
            place = f'cx="{number(across(scores.r2))}" cy="{number(y)}"'
            words = escape(f"{entry.name}, final part: {scores.r2:.3f}")
            parts.append(f'<circle class="ring {css}" {place} r="4.5"><title>{words}</title></circle>')
        if entry.generalisation is not None:
            x = across(entry.generalisation)
            diamond = f"M{number(x)} {number(y - 6.5)}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"
            parts.append(_mark(diamond, f"fill {css}", f"{entry.name}, new directions: {entry.generalisation:.3f}"))
    return svg(width, height, parts, "R2 of every decoder and baseline")


def traces(comparison: Comparison, entry: Entry) -> str:
    """Predicted columns over the true ones, one above the other."""
    css = classes_of(comparison.entries)[entry.name]
    seconds = [k * comparison.bin_ms / 1000 for k in range(len(comparison.example))]
    drawn = []
    for column, name in enumerate(comparison.columns):
        true, came = _column(comparison.example, column), _column(entry.example, column)
        known = [abs(v) for v in true if v is not None]
        reach = 1.25 * max(known, default=1.0) or 1.0
        is_last = column == len(comparison.columns) - 1
        span = (0.0, seconds[-1] if seconds else 1.0)
        plot = Plot(
            span, (-reach, reach), width=620, height=150 if is_last else 122, right=8, bottom=36 if is_last else 8
        )
        x_label = "seconds into the final part" if is_last else ""
        plot.axes(x_label, f"{name} ({comparison.unit})", None if is_last else ())
        plot.line(seconds, true, "truth", "true")
        plot.line(seconds, came, css, entry.name)
        drawn.append(plot.draw(f"{name}, true and by {entry.name}"))
    return "".join(drawn)


def trajectories(comparison: Comparison, entry: Entry) -> str:
    """Paths of one trial of each direction, true and predicted, from a common origin."""
    if not comparison.paths or not entry.paths:
        return ""
    css = classes_of(comparison.entries)[entry.name]
    known = [abs(v) for path in comparison.paths for point in path for v in point if v is not None]
    reach, size, pad = 1.35 * max(known, default=1.0) or 1.0, 290.0, 6.0

    def place(point: Point) -> str:
        x, y = (min(max(v, -reach), reach) / reach for v in point[:2])
        half = size / 2 - pad
        return f"{number(size / 2 + x * half)},{number(size / 2 - y * half)}"

    parts = [f'<circle class="grid none" cx="{size / 2}" cy="{size / 2}" r="3"/>']
    for degrees, true, came in zip(comparison.path_degrees, comparison.paths, entry.paths, strict=True):
        for path, style, whose in ((true, "truth", "true"), (came, css, entry.name)):
            whole = [point for point in path if all(v is not None and math.isfinite(v) for v in point[:2])]
            if len(whole) > 1:
                points = " ".join(map(place, whole))
                words = escape(f"{whose}, {degrees:g}°")
                parts.append(f'<polyline class="line {style}" points="{points}"><title>{words}</title></polyline>')
                end_x, end_y = place(whole[-1]).split(",")
                parts.append(f'<circle class="dot {style}" cx="{end_x}" cy="{end_y}" r="3"/>')
    return svg(size, size, parts, f"trajectories, true and by {entry.name}")


def over_time(comparison: Comparison) -> str:
    """R2 of stretches after the first two fifths, by decoders fitted to those alone."""
    entries = [entry for entry in scored(comparison) if entry.name != "mean"]
    curves = [(entry, entry.drift.over_time) for entry in entries if entry.drift and any(entry.drift.over_time.y)]
    return _lines(comparison, curves, "minutes since the session began", width=900, height=300)


def robustness(comparison: Comparison, what: str) -> str:
    """R2 as more and more is amiss."""
    entries = [entry for entry in scored(comparison) if what in entry.robustness]
    curves = [(entry, entry.robustness[what]) for entry in entries]
    # One scale for all that may be amiss, so that its harm can be compared.
    everything = [y for e in entries for curve in e.robustness.values() for y in curve.y if y is not None]
    return _lines(comparison, curves, AMISS[what][1], width=345, height=300, percent=True, scores=everything)


def learning(comparison: Comparison) -> str:
    """Validation score as the fits went on."""
    curves = [(entry, entry.learning) for entry in scored(comparison) if entry.learning]
    return _lines(comparison, [(e, c) for e, c in curves if c], "epoch", width=900, height=280)


def importance(comparison: Comparison) -> str:
    """One row of cells for each decoder, one cell for each channel: the darker, the more it is missed."""
    entries = [entry for entry in scored(comparison) if entry.importance]
    if not entries:
        return ""
    n_channels = len(entries[0].importance)
    left, width, row, top = 110.0, 900.0, 22.0, 4.0
    cell = (width - left - 4) / n_channels
    parts = []
    for k, entry in enumerate(entries):
        css, y = classes_of(comparison.entries)[entry.name], top + k * row
        most = max([*entry.importance, 1e-9])
        parts.append(text(left - 10, y + row / 2 + 3, entry.name, "end", f"name ink-{css.split()[0]}"))
        for channel, value in enumerate(entry.importance):
            share = max(0.0, value / most)
            words = escape(f"{entry.name}, channel {channel}: R² falls by {value:.4f} without it")
            parts.append(
                f'<rect class="cell" x="{number(left + channel * cell)}" y="{number(y)}" width="{cell - 0.6:.2f}" '
                f'height="{number(row - 4)}" style="--share:{share:.3f}"><title>{words}</title></rect>'
            )
    bottom = top + row * len(entries)
    parts.extend(
        text(left + (channel + 0.5) * cell, bottom + 12, str(channel), "middle", "small")
        for channel in range(0, n_channels, 10 if n_channels > 20 else 2)
    )
    parts.append(text(left + (width - left) / 2, bottom + 27, "channel", "middle", "small"))
    return svg(width, bottom + 32, parts, "what each decoder loses without each channel")


def _lines(
    comparison: Comparison,
    curves: Sequence[tuple[Entry, Curve]],
    x_label: str,
    *,
    width: float,
    height: float,
    percent: bool = False,
    scores: Sequence[float] = (),
) -> str:
    if not curves:
        return ""
    classes = classes_of(comparison.entries)
    xs = [x for _, curve in curves for x in curve.x]
    ys = scores or [y for _, curve in curves for y in curve.y if y is not None]
    low = max(LOWEST_R2, min([*ys, 1.0]) - 0.05)
    right = 24 + LETTER * max(len(entry.name) for entry, _ in curves)
    top = min(1.0, max([*ys, low + 0.1]) + 0.05)
    plot = Plot((min(xs), max(xs)), (low, top), width=width, height=height, right=right, top=18)
    plot.axes(x_label, "R²", ticks(*plot.x, int((width - right) / 60)), percent=percent)
    for entry, curve in curves:
        plot.line(curve.x, curve.y, classes[entry.name], entry.name, entry.name)
        plot.dots(curve.x, curve.y, classes[entry.name], entry.name)
    return plot.draw(f"R2 by {x_label}")


def _mark(path: str, css: str, title: str) -> str:
    return f'<path class="{css}" d="{path}"><title>{escape(title)}</title></path>'


def _column(rows: Iterable[Sequence[float | None]], column: int) -> list[float | None]:
    return [row[column] for row in rows]

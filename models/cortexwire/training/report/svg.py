"""Small drawings as SVG text: a frame with axes, lines, dots, and labels that keep out of each other's way.

Colours are classes, so that the page's style sheet decides them, for light and for dark.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

LETTER: Final = 6.3
"""Width of a letter of the small print, about, in units of the drawing."""
LINE: Final = 13.0
"""Height of a line of the small print."""

Values = Sequence[float | None]


def number(value: float) -> str:
    """A coordinate in few characters."""
    return f"{value:.1f}".removesuffix(".0")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from `low` to `high`, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions as little as needed so that neighbours are `gap` apart and all lie within bounds."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    placed = [0.0] * len(wanted)
    previous = low - gap
    for k in order:
        placed[k] = previous = max(wanted[k], previous + gap)
    following = high + gap
    for k in reversed(order):
        placed[k] = following = min(placed[k], following - gap)
    return placed


def text(x: float, y: float, words: str, anchor: str = "start", css: str = "") -> str:
    """A piece of text; `anchor` is `start`, `middle` or `end`."""
    extra = f' class="{css}"' if css else ""
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def svg(width: float, height: float, parts: Iterable[str], label: str) -> str:
    """A drawing with a description for those who cannot see it."""
    box = f"0 0 {number(width)} {number(height)}"
    return (
        f'<svg viewBox="{box}" style="max-width:{number(width)}px" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


@dataclass
class Plot:
    """A frame with two axes, into which lines are drawn.

    Attributes:
        x: Lowest and highest value shown.
        y: Lowest and highest value shown; what lies outside is cut off.
        width: Of the whole drawing.
        height: Of the whole drawing.
        left: Room for the y axis.
        right: Room for labels at the ends of lines.
        top: Room above the frame.
        bottom: Room for the x axis.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 640
    height: float = 260
    left: float = 46
    right: float = 96
    top: float = 14
    bottom: float = 36
    _parts: list[str] = field(default_factory=list)
    _ends: list[tuple[float, float, str, str]] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where values lie in the drawing."""
        inner_w, inner_h = self.width - self.left - self.right, self.height - self.top - self.bottom
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (min(max(y, self.y[0]), self.y[1]) - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return self.left + across * inner_w, self.top + (1 - up) * inner_h

    def axes(
        self,
        x_label: str,
        y_label: str = "",
        x_ticks: Sequence[float] | None = None,
        percent: bool = False,
        *,
        y_ticks: Sequence[float] | None = None,
        x_words: Callable[[float], str] = "{:g}".format,
        y_words: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Draw the grid and say what is shown.

        Args:
            x_label: What the x axis shows.
            y_label: What the y axis shows.
            x_ticks: Where it is marked; round values if None.
            percent: Whether values of x are shares, and written as such.
            y_ticks: As `x_ticks`.
            x_words: Writes a value of x, such as one whose logarithm is drawn.
            y_words: Writes a value of y.
        """
        for value in ticks(*self.y, 4) if y_ticks is None else y_ticks:
            x0, y0 = self.at(self.x[0], value)
            css = "zero" if value == 0 else "grid"
            self._parts.append(
                f'<line class="{css}" x1="{number(x0)}" x2="{number(self.width - self.right)}" '
                f'y1="{number(y0)}" y2="{number(y0)}"/>'
            )
            self._parts.append(text(x0 - 6, y0 + 4, y_words(value), "end", "small"))
        for value in ticks(*self.x) if x_ticks is None else x_ticks:
            x0, y0 = self.at(value, self.y[0])
            words = f"{value * 100:g} %" if percent else x_words(value)
            self._parts.append(text(x0, y0 + 16, words, "middle", "small"))
        middle = (self.left + self.width - self.right) / 2
        self._parts.append(text(middle, self.height - 4, x_label, "middle", "small"))
        if y_label:
            self._parts.append(text(4, 10, y_label, "start", "small"))

    def line(self, x: Sequence[float], y: Values, css: str, title: str, end: str = "") -> None:
        """Draw a line, broken where there is no value; `end` is written behind its last point."""
        runs: list[list[str]] = [[]]
        last: tuple[float, float] | None = None
        for a, b in zip(x, y, strict=True):
            if b is None or not math.isfinite(b):
                runs.append([])
                continue
            last = self.at(a, b)
            runs[-1].append(f"{number(last[0])},{number(last[1])}")
        for run in runs:
            if len(run) > 1:
                self._parts.append(
                    f'<polyline class="line {css}" points="{" ".join(run)}"><title>{escape(title)}</title></polyline>'
                )
            elif run:
                px, py = run[0].split(",")
                self._parts.append(
                    f'<circle class="dot {css}" cx="{px}" cy="{py}" r="2.5"><title>{escape(title)}</title></circle>'
                )
        if end and last is not None:
            self._ends.append((last[0], last[1], end, css))

    def dots(self, x: Sequence[float], y: Values, css: str, title: str) -> None:
        """Mark points; each tells its values to the pointer."""
        for a, b in zip(x, y, strict=True):
            if b is not None and math.isfinite(b):
                px, py = self.at(a, b)
                place = f'cx="{number(px)}" cy="{number(py)}"'
                words = escape(f"{title}: {b:.3f}")
                self._parts.append(f'<circle class="dot {css}" {place} r="2.5"><title>{words}</title></circle>')

    def draw(self, label: str) -> str:
        """The finished drawing."""
        heights = spread([y for _, y, _, _ in self._ends], LINE, self.top + 4, self.height - self.bottom)
        parts = list(self._parts)
        for (x, y, words, css), height in zip(self._ends, heights, strict=True):
            tip = f"M{number(x + 3)} {number(y)}L{number(x + 11)} {number(height)}"
            parts.append(f'<path class="lead {css}" d="{tip}"/>')
            parts.append(text(x + 14, height + 4, words, "start", f"small ink-{css.split()[0]}"))
        return svg(self.width, self.height, parts, label)

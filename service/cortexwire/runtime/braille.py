"""Pictures of dots in a terminal: each character holds 2 x 4 dots (Unicode braille)."""

from collections.abc import Iterable

from rich.text import Text

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


class Canvas:
    """A picture of `columns` x `rows` characters; what is drawn last gives a character its colour.

    Args:
        columns: Width in characters.
        rows: Height in characters.
        x: Left and right edge of what is drawn.
        y: Bottom and top edge.
    """

    def __init__(self, columns: int, rows: int, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._columns, self._rows = max(1, columns), max(1, rows)
        self._x, self._y = x, y
        self._dots = [[0] * self._columns for _ in range(self._rows)]
        self._marks = [[""] * self._columns for _ in range(self._rows)]
        self._styles = [[""] * self._columns for _ in range(self._rows)]

    def points(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """Draw dots; those outside lie on the edge."""
        for x, y in points:
            across, down = self._place(x, y)
            self._dots[down // 4][across // 2] |= _BITS[down % 4][across % 2]
            self._styles[down // 4][across // 2] = style

    def line(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """Draw points joined by straight lines."""
        before: tuple[int, int] | None = None
        for x, y in points:
            here = self._place(x, y)
            first = here if before is None else before
            steps = max(abs(here[0] - first[0]), abs(here[1] - first[1]), 1)
            for step in range(steps + 1):
                across = first[0] + round((here[0] - first[0]) * step / steps)
                down = first[1] + round((here[1] - first[1]) * step / steps)
                self._dots[down // 4][across // 2] |= _BITS[down % 4][across % 2]
                self._styles[down // 4][across // 2] = style
            before = here

    def mark(self, x: float, y: float, character: str, style: str) -> None:
        """Put one character over the dots."""
        across, down = self._place(x, y)
        self._marks[down // 4][across // 2] = character
        self._styles[down // 4][across // 2] = style

    def text(self) -> Text:
        """The picture."""
        text = Text(no_wrap=True, overflow="crop")
        for row, (dots, marks, styles) in enumerate(zip(self._dots, self._marks, self._styles, strict=True)):
            if row:
                text.append("\n")
            for dot, mark, style in zip(dots, marks, styles, strict=True):
                text.append(mark or (chr(_BLANK + dot) if dot else " "), style or None)
        return text

    def _place(self, x: float, y: float) -> tuple[int, int]:
        (left, right), (bottom, top) = self._x, self._y
        across = round((x - left) / (right - left) * (2 * self._columns - 1))
        down = round((top - y) / (top - bottom) * (4 * self._rows - 1))
        return min(max(across, 0), 2 * self._columns - 1), min(max(down, 0), 4 * self._rows - 1)

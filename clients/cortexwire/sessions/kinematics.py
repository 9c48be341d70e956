"""Kinematics between their recorded rows: linear, stepwise, or the slope of another column; else NaN.

A row's value holds exactly at its anchor sample. Between two anchors of one stretch values run linearly,
and the slope there is the velocity, so that velocity is always the derivative of the position sent beside
it. Nothing is interpolated across the joint of two stretches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.types import Rate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Its name.
        source: Index into the recorded values.
        shape: What happens between rows; `slope` is the derivative per second of the linear course.
        scale: Factor on a slope; recorded values are scaled already.
        unit: Unit in words.
    """

    name: str
    source: int
    shape: Literal["linear", "step", "slope"]
    scale: float = 1.0
    unit: str = ""


@dataclass(frozen=True)
class Rows:
    """When the recorded rows were taken.

    Attributes:
        anchors: Sample at which each row's value holds exactly, ascending, `(n,)`.
        starts: First sample that belongs to each row, `(n,)`.
        stops: One past the last, `(n,)`.
        stretch: Number of the continuous stretch that each row belongs to, `(n,)`; -1 for none.
    """

    anchors: Ints
    starts: Ints
    stops: Ints
    stretch: Ints


class Kinematics:
    """Columns on the sample clock.

    Args:
        columns: What to give, in order.
        rows: When the values were taken.
        values: Recorded values, scaled, `(n_rows, n_sources)`.
        rate: Sample rate.
        hold_first: Whether a stretch's first row has its value, and slope 0, also before its anchor.
    """

    def __init__(
        self, columns: Sequence[Column], rows: Rows, values: Floats, rate: Rate, hold_first: bool = False
    ) -> None:
        self.columns = tuple(columns)
        self._rows = rows
        self._values = values
        self._hz = rate.hz
        self._rate = rate
        self._hold_first = hold_first

    def with_columns(self, columns: Sequence[Column]) -> "Kinematics":
        """Other columns from the same rows and values."""
        return Kinematics(columns, self._rows, self._values, self._rate, self._hold_first)

    def at(self, samples: Ints) -> Floats:
        """Values at `samples` `(n,)`: `(n, n_columns)`, NaN where undefined."""
        rows = self._rows
        result = np.full((len(samples), len(self.columns)), np.nan)
        if not len(rows.anchors) or not len(samples):
            return result
        right = np.minimum(np.searchsorted(rows.anchors, samples, "left"), len(rows.anchors) - 1)
        left = np.maximum(right - 1, 0)
        span = rows.anchors[right] - rows.anchors[left]
        reached = samples <= rows.anchors[right]
        exact = samples == rows.anchors[right]
        inside = reached & (span > 0) & (rows.stretch[right] >= 0) & (rows.stretch[left] == rows.stretch[right])
        fraction = (samples - rows.anchors[left]) / np.maximum(span, 1)
        held = reached & ~inside & (samples >= rows.starts[right]) if self._hold_first else np.zeros_like(exact)
        for index, column in enumerate(self.columns):
            value = self._values[:, column.source]
            step = value[right] - value[left]
            if column.shape == "step":
                result[:, index] = self._stepwise(value, samples)
            elif column.shape == "slope":
                slope = step / np.maximum(span, 1) * self._hz * column.scale
                result[:, index] = np.where(inside, slope, np.where(held, 0.0, np.nan))
            else:
                course = np.where(inside, value[left] + fraction * step, np.nan)
                result[:, index] = np.where(exact | held, value[right], course)
        return result

    def _stepwise(self, value: Floats, samples: Ints) -> Floats:
        rows = self._rows
        row = np.maximum(np.searchsorted(rows.starts, samples, "right") - 1, 0)
        covered = (samples >= rows.starts[row]) & (samples < rows.stops[row])
        return np.where(covered, value[row], np.nan)


class JoinedKinematics:
    """Columns of several kinematics side by side, each with rows of its own."""

    def __init__(self, parts: Sequence[Kinematics]) -> None:
        self._parts = tuple(parts)
        self.columns = tuple(column for part in parts for column in part.columns)

    def at(self, samples: Ints) -> Floats:
        """Values at `samples` `(n,)`: `(n, n_columns)`, NaN where undefined."""
        return np.concatenate([part.at(samples) for part in self._parts], axis=1)

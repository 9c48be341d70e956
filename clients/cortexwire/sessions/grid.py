"""Where the edges of recorded bins lie: row `k` covers the samples `[edge(k), edge(k + 1))`.

A recording's rows (counts per bin, kinematics per frame) have a width in milliseconds which need not be a
whole number of samples. Edges are `floor(k x width)` with the width as an exact fraction, so they never
drift.
"""

from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.types import Rate

Samples = NDArray[np.int64]
TimeUnit = Literal["s", "ms", "samples"]
_ROUNDING: Final = 1e-6
"""Share of a sample by which a time in decimals may fall short of the sample that it means."""


class RowGrid:
    """Equal rows on the sample clock.

    Args:
        rate: Sample rate of the clock.
        row_ms: Width of a row in milliseconds, an exact decimal.

    Raises:
        ValueError: A row is shorter than one sample.
    """

    def __init__(self, rate: Rate, row_ms: Fraction) -> None:
        self.rate = rate
        self.row_ms = row_ms
        self.width = rate.fraction * row_ms / 1000
        if self.width < 1:
            raise ValueError(f"expected rows of at least one sample, got {float(row_ms)} ms at {rate.hz} Hz")

    def edges(self, rows: Samples) -> Samples:
        """First sample of each of `rows`."""
        return rows * self.width.numerator // self.width.denominator

    def edge(self, row: int) -> int:
        """First sample of `row`."""
        return row * self.width.numerator // self.width.denominator

    def row_of(self, sample: int) -> int:
        """The row that covers `sample`."""
        return ((sample + 1) * self.width.denominator - 1) // self.width.numerator


def row_width(value: int | float | str) -> Fraction:
    """The exact fraction of a decimal number as somebody wrote it.

    Raises:
        ValueError: It is no positive number.
    """
    width = Fraction(str(value))
    if width <= 0:
        raise ValueError(f"expected a positive number, got {value}")
    return width


def samples_of(times: NDArray[Any], unit: TimeUnit, rate: Rate) -> Samples:
    """Sample at or before each time."""
    factor = {"s": rate.hz, "ms": rate.hz / 1000, "samples": 1.0}[unit]
    return np.floor(times.astype(np.float64) * factor + _ROUNDING).astype(np.int64)

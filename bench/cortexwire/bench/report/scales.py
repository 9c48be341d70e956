"""Logarithmic axes for the drawings: latencies span from microseconds to tens of milliseconds."""

import math
from collections.abc import Sequence
from typing import Final

from cortexwire.training.report.svg import Plot

_STEPS: Final = (1, 2, 5)


def log(value: float) -> float:
    """Where a value lies on a logarithmic axis."""
    return math.log10(max(value, 1e-3))


def log_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Round values between two, as places on the axis: 1, 2, 5, or whole powers of ten where that would be too many."""
    powers = range(math.floor(log(low)), math.ceil(log(high)) + 1)
    steps = _STEPS if (log(high) - log(low)) * len(_STEPS) <= most else (1,)
    values = [step * 10.0**power for power in powers for step in steps]
    return [log(value) for value in values if low * 0.999 <= value <= high * 1.001]


def micros(place: float) -> str:
    """A place on a logarithmic axis of microseconds, in words."""
    value = 10**place
    return f"{value / 1000:g} ms" if value >= 999 else f"{float(f'{value:.3g}'):g} µs"


def plain(place: float) -> str:
    """A place on a logarithmic axis, as the number that it stands for."""
    return f"{float(f'{10**place:.6g}'):g}"


def reach(values: Sequence[float], room: float = 1.15) -> tuple[float, float]:
    """From somewhat below the least of some positive values to somewhat above the largest."""
    known = [value for value in values if value > 0] or [1.0]
    return min(known) / room, max(known) * room


def log_plot(
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    log_x: bool = True,
    width: float = 900,
    height: float = 260,
    right: float = 150,
    left: float = 58,
) -> Plot:
    """A frame whose y axis is logarithmic, and its x axis too if wanted; the edges are values."""
    across = (log(x[0]), log(x[1])) if log_x else x
    return Plot(across, (log(y[0]), log(y[1])), width=width, height=height, right=right, left=left)

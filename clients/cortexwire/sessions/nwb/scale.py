"""Numbers that must come back as they went in: scales between volts and microvolts, and rates as rationals.

A file states both as decimals in binary floating point. Scales are moved by six decimal places rather than multiplied,
so that 2.5e-07 V is 0.25 µV and not its neighbour; a rate is the simplest rational that has the float's value.
"""

from decimal import Decimal
from fractions import Fraction
from math import inf, nextafter
from typing import Any

from cortexwire.types import Rate

_MICRO = 6


def microvolts_of(volts: Any) -> float:
    """Microvolts of a number of volts, a float or a numpy scalar of any precision, exact in decimals."""
    return float(Decimal(str(volts)).scaleb(_MICRO))


def volts_of(microvolts: float) -> float:
    """The number of volts, a float, that `microvolts_of` turns into `microvolts` again."""
    near = float(Decimal(repr(float(microvolts))).scaleb(-_MICRO))
    neighbours = (near, nextafter(near, 0.0), nextafter(near, inf))
    return next((volts for volts in neighbours if microvolts_of(volts) == microvolts), near)


def exact_rate(hz: float) -> Rate:
    """The simplest rational with the value of `hz`.

    Raises:
        ValueError: It is no sample rate.
    """
    exact = Fraction(float(hz))
    for limit in (1, 10**3, 10**6):
        simple = exact.limit_denominator(limit)
        if float(simple) == float(hz):
            return Rate.from_hz(simple)
    return Rate.from_hz(exact.limit_denominator(2**32 - 1))


def rate_of_period(seconds: float) -> Rate:
    """The simplest rate whose period is the float `seconds`.

    Raises:
        ValueError: It is no period.
    """
    exact = 1 / Fraction(float(seconds))
    for limit in (1, 10**3, 10**6):
        simple = exact.limit_denominator(limit)
        if simple and float(1 / simple) == float(seconds):
            return Rate.from_hz(simple)
    return exact_rate(1 / float(seconds))

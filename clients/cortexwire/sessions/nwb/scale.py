"""Numbers that must come back as they went in: scales between volts and microvolts, and rates as rationals.

A file states both as decimals in binary floating point. Scales are moved by six decimal places rather than multiplied,
so that 2.5e-07 V is 0.25 µV and not its neighbour; a rate is the simplest rational that has the float's value. That is
exact for numbers that people write. For others, such as quotients, an export says them in words beside the signal, and
those words count where they agree with the numbers.
"""

import re
from decimal import Decimal
from fractions import Fraction
from math import inf, nextafter
from typing import Any

from cortexwire.types import Rate

_MICRO = 6
_ROUNDING = 2.0**-51
_AGREES = 1e-12
_SAID_RATE = re.compile(r"The rate is exactly (\d+)/(\d+) Hz")
_SAID_SCALE = re.compile(r"one unit is exactly (\S+) uV")


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
    """The simplest rate whose period is `seconds`, to the rounding of a division.

    Raises:
        ValueError: It is no period.
    """
    exact = 1 / Fraction(float(seconds))
    for limit in (1, 10**3, 10**6):
        simple = exact.limit_denominator(limit)
        if abs(simple / exact - 1) < _ROUNDING:
            return Rate.from_hz(simple)
    return exact_rate(1 / float(seconds))


def in_words(rate: Rate, uv_per_bit: float) -> str:
    """Say rate and scale so that `said_rate` and `said_scale` find them."""
    return f"The rate is exactly {rate.num}/{rate.den} Hz; one unit is exactly {float(uv_per_bit)!r} uV."


def said_rate(words: str, near: Rate) -> Rate:
    """The rate that the words state, if it is as good as `near`; else `near`."""
    found = _SAID_RATE.search(words)
    if found is None or not int(found[2]):
        return near
    said = Rate(int(found[1]), int(found[2]))
    return said if abs(said.hz - near.hz) <= _AGREES * near.hz else near


def said_scale(words: str, near: float) -> float:
    """The microvolts of a unit that the words state, if they are as good as `near`; else `near`."""
    found = _SAID_SCALE.search(words)
    try:
        said = float(found[1]) if found else near
    except ValueError:
        return near
    return said if abs(said - near) <= _AGREES * abs(near) else near

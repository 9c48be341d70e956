"""Where bins begin and end: integer arithmetic on the sample index, for any rational rate.

Bin `k` holds the samples `start(k) <= s < start(k + 1)` with `start(k) = floor(k * width * rate)`. Edges are
absolute within an epoch; nothing that happens in the stream moves them.
"""

from copy import copy
from fractions import Fraction
from typing import Self

from cortexwire.errors import ConfigError
from cortexwire.types import Rate


class BinClock:
    """Cuts the sample axis of one stream into bins of a fixed width.

    Attributes:
        num: Numerator of the samples per bin.
        den: Denominator of the samples per bin.
    """

    def __init__(self, rate: Rate, width_ms: float) -> None:
        """Make the clock for bins of `width_ms` at `rate`.

        Raises:
            ConfigError: A bin would be shorter than one sample.
        """
        samples = rate.fraction * Fraction(str(width_ms)) / 1000
        if samples < 1:
            raise ConfigError(f"expected bins of at least one sample, got {width_ms} ms at {rate.hz:g} Hz")
        self.num = samples.numerator
        self.den = samples.denominator

    def divided(self, parts: int) -> Self:
        """A clock of which `parts` bins fill one of this clock's exactly.

        Raises:
            ConfigError: A part would be shorter than one sample.
        """
        clock = copy(self)
        samples = Fraction(self.num, self.den * parts)
        if samples < 1:
            raise ConfigError(f"expected parts of at least one sample, got {parts} in {float(samples * parts):g}")
        clock.num, clock.den = samples.numerator, samples.denominator
        return clock

    def start(self, k: int) -> int:
        """First sample of bin `k`."""
        return k * self.num // self.den

    def bin_of(self, sample: int) -> int:
        """The bin that holds `sample`."""
        return ((sample + 1) * self.den - 1) // self.num

    def length(self, k: int) -> int:
        """Number of samples in bin `k`."""
        return self.start(k + 1) - self.start(k)

    @property
    def longest(self) -> int:
        """Largest number of samples that any bin holds."""
        return -(-self.num // self.den)


def samples_in(rate: Rate, ms: float) -> int:
    """Number of samples that cover `ms` milliseconds, rounded up."""
    samples = rate.fraction * Fraction(str(ms)) / 1000
    return -(-samples.numerator // samples.denominator)

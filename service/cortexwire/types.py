"""Shared leaves: array aliases with shapes and units, and the sample rate as a rational number.

Arrays are time-first. Units are suffixes in public names: `_ns` (int), `_s`, `_ms`, `_hz`, `_uv`.
"""

from fractions import Fraction
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[np.int16] | NDArray[np.float32]
"""Samples as they come from the rig, `(n_samples, n_channels)`; microvolts = value x `uv_per_bit`."""
Microvolts = NDArray[np.float32]
"""Voltage, `(n_samples, n_channels)`, in microvolts."""
Counts = NDArray[np.uint16]
"""Threshold crossings per bin, `(n_channels,)` or `(n_bins, n_channels)`."""
Features = NDArray[np.float32]
"""Decoder input, `(n_features,)` or `(n_bins, n_features)`."""
Velocity = NDArray[np.float32]
"""Decoded velocity, `(2,)` or `(n_bins, 2)`, in the bundle's unit."""


class Rate(NamedTuple):
    """A sample rate as the rational `num / den` in hertz, so that bin edges are exact integers."""

    num: int
    den: int = 1

    @property
    def hz(self) -> float:
        """The rate in hertz."""
        return self.num / self.den

    @property
    def fraction(self) -> Fraction:
        """The rate as an exact fraction."""
        return Fraction(self.num, self.den)

    @classmethod
    def from_hz(cls, hz: float | str | Fraction) -> Self:
        """Make the exact rate for a decimal number, e.g. `24414.0625`.

        Raises:
            ValueError: The rate is not positive, or needs more than 32 bits.
        """
        fraction = Fraction(str(hz)) if not isinstance(hz, Fraction) else hz
        if not 0 < fraction < 2**32 or fraction.denominator >= 2**32:
            raise ValueError(f"expected a sample rate in (0, 2^32) Hz, got {hz}")
        return cls(fraction.numerator, fraction.denominator)

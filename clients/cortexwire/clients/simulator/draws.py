"""Seeded draws that stay the same for ever: PCG64 uniform doubles, and explicit transforms of them.

numpy promises stable bit streams but not stable distributions; a bundle trained on one subject must meet the
same subject under a later numpy, so nothing here uses `Generator.normal` and its kind.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """The independent random streams of a run or subject."""

    ELECTRODE = 1
    ARRAY = 2
    REACHES = 3
    SPIKES = 4
    BANK = 5
    SEGMENT = 6
    ARTEFACT = 7
    RAIL = 8


class Draws:
    """Uniform and normal numbers of one stream.

    Args:
        seed: Seed of the subject or of the run.
        stream: Which stream of it.
        index: Which member of a numbered family (an electrode, a window of time).
    """

    def __init__(self, seed: int, stream: Stream, index: int = 0) -> None:
        self._rng = np.random.Generator(np.random.PCG64([seed, int(stream), index]))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw one number from `[low, high)`."""
        return low + (high - low) * float(self._rng.random())

    def uniforms(self, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
        """Draw numbers of the given shape from `[0, 1)`."""
        return self._rng.random(shape)

    def normal(self) -> float:
        """Draw one standard normal number (Box and Muller, 1958)."""
        radius = np.sqrt(-2.0 * np.log1p(-self._rng.random()))
        return float(radius * np.cos(2.0 * np.pi * self._rng.random()))

    def lognormal(self, median: float, sigma: float) -> float:
        """Draw one number whose logarithm is normal with standard deviation `sigma`."""
        return float(median * np.exp(sigma * self.normal()))

    def poisson(self, mean: float, most: int) -> int:
        """Draw a Poisson number, cut at `most` (by inversion)."""
        left = self.uniform()
        probability = float(np.exp(-mean))
        for k in range(most):
            if left < probability:
                return k
            left -= probability
            probability *= mean / (k + 1)
        return most

    def permutation(self, n: int) -> NDArray[np.int64]:
        """Draw an order of `0 .. n - 1`."""
        return np.argsort(self._rng.random(n), kind="stable").astype(np.int64)

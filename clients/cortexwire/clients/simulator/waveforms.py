"""The shapes of an extracellular action potential, as sums of Gaussians around the main peak.

Four kinds are seen near cortical electrodes: the broad negative spike with slow repolarisation of pyramidal
cells, the narrow one of interneurons, the triphasic one of axons, and, rarely, a positive one (Gold et al.,
2006).
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws

BEFORE_MS = 0.6
AFTER_MS = 1.4


class Shape(IntEnum):
    """The kinds of waveform."""

    BROAD = 0
    NARROW = 1
    TRIPHASIC = 2
    POSITIVE = 3


# One row for each Gaussian: height, centre in ms, width in ms; the first is the main peak.
_PARTS = {
    Shape.BROAD: ((-1.0, 0.0, 0.11), (0.38, 0.48, 0.24)),
    Shape.NARROW: ((-1.0, 0.0, 0.07), (0.45, 0.24, 0.12)),
    Shape.TRIPHASIC: ((-1.0, 0.0, 0.09), (0.40, -0.22, 0.09), (0.35, 0.30, 0.15)),
    Shape.POSITIVE: ((1.0, 0.0, 0.10), (-0.40, 0.38, 0.20)),
}


def draw_shape(draws: Draws) -> Shape:
    """Draw the kind of a neuron's waveform: 60 % broad, 25 % narrow, 11 % triphasic, 4 % positive."""
    where = np.searchsorted((0.60, 0.85, 0.96), draws.uniform(), side="right")
    return Shape(int(where))


def peak_offset(rate_hz: float) -> int:
    """Give the sample of the main peak within a template."""
    return round(BEFORE_MS * rate_hz / 1000)


def template_samples(rate_hz: float) -> int:
    """Give the length of every template."""
    return round((BEFORE_MS + AFTER_MS) * rate_hz / 1000)


def template(shape: Shape, stretch: float, rate_hz: float) -> NDArray[np.float64]:
    """Sample a waveform whose main peak is 1 in magnitude.

    Args:
        shape: Kind of waveform.
        stretch: Factor on all times.
        rate_hz: Sample rate.

    Returns:
        The waveform, `(template_samples(rate_hz),)`, zero at both ends.
    """
    ms = (np.arange(template_samples(rate_hz)) - peak_offset(rate_hz)) * 1000 / rate_hz
    wave = np.zeros(ms.size)
    for height, centre, width in _PARTS[shape]:
        wave += height * np.exp(-0.5 * ((ms - stretch * centre) / (stretch * width)) ** 2)
    fade = np.minimum(1.0, np.minimum(ms + BEFORE_MS, AFTER_MS - ms).clip(min=0.0) / 0.2)
    wave *= fade
    scaled: NDArray[np.float64] = wave / np.abs(wave).max()
    return scaled

"""Where training ends and the held-out part begins: always one instant, never random bins.

Neighbouring bins share history and kinematics, so a random split would score how well a decoder remembers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cortexwire.errors import ConfigError


class Split(NamedTuple):
    """Two adjoining ranges, in the unit that they were made from (bins or samples)."""

    train: slice
    test: slice


def last_fraction_of_trials(starts: ArrayLike, stop: int, fraction: float = 0.2) -> Split:
    """Hold out the last whole trials.

    Args:
        starts: `(n_trials,)` first bin (or sample) of each trial, ascending.
        stop: One past the last bin of the session.
        fraction: Share of the trials to hold out, rounded to whole trials, at least one.

    Returns:
        Training from the first trial's start to the start of the first held-out trial, testing from there on.

    Raises:
        ConfigError: Fewer than two trials, starts out of order, or a fraction that leaves a part empty.
    """
    first = np.asarray(starts, dtype=np.int64)
    if first.ndim != 1 or len(first) < 2 or (np.diff(first) <= 0).any() or stop <= first[-1]:
        raise ConfigError(f"expected at least two ascending trial starts before {stop}, got {first.tolist()[:5]}")
    n_test = max(1, round(len(first) * check_fraction(fraction)))
    if n_test >= len(first):
        raise ConfigError(f"expected a trial left to train on, got a fraction of {fraction} of {len(first)}")
    cut = int(first[-n_test])
    return Split(slice(int(first[0]), cut), slice(cut, stop))


def last_fraction(stop: int, fraction: float = 0.2) -> Split:
    """Hold out the last part of `[0, stop)`, in one block.

    Raises:
        ConfigError: A part would be empty.
    """
    cut = stop - round(stop * check_fraction(fraction))
    if not 0 < cut < stop:
        raise ConfigError(f"expected two parts, got a fraction of {fraction} of {stop}")
    return Split(slice(0, cut), slice(cut, stop))


def check_fraction(fraction: float) -> float:
    """See that a share lies between 0 and 1; returns it.

    Raises:
        ConfigError: It does not.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"expected a fraction between 0 and 1, got {fraction}")
    return fraction

"""What goes wrong with recordings, done to features on purpose.

A channel that is lost, and a bin that is missing, enter at the training mean: that is what the engine gives the
decoder then. Each makes a new array and leaves the given one alone.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import FeatureKind
from cortexwire.types import Features

Perturbation = Callable[[Features, float, NDArray[np.float32], tuple[FeatureKind, ...], np.random.Generator], Features]
"""Features, level, training mean `(n_features,)`, content of the features, source of chance; new features."""


def channels_lost(
    features: Features,
    share: float,
    mean: NDArray[np.float32],
    content: tuple[FeatureKind, ...],
    rng: np.random.Generator,
) -> Features:
    """Lose a random share of the channels from the first bin on."""
    n_channels = features.shape[1] // len(content)
    lost = rng.permutation(n_channels)[: round(share * n_channels)]
    return masked(features, lost, mean, content)


def masked(
    features: Features, channels: NDArray[np.int64], mean: NDArray[np.float32], content: tuple[FeatureKind, ...]
) -> Features:
    """Let the given channels enter at the mean, in every kind of feature."""
    n_channels = features.shape[1] // len(content)
    columns = (np.arange(len(content))[:, None] * n_channels + np.asarray(channels, np.int64)).ravel()
    without = features.copy()
    without[:, columns] = mean[columns]
    return without


def count_noise(
    features: Features,
    share: float,
    mean: NDArray[np.float32],
    content: tuple[FeatureKind, ...],
    rng: np.random.Generator,
) -> Features:
    """Replace a share of the crossings by as many that say nothing: the rate of each channel stays.

    Each crossing is lost with the probability `share`, and a Poisson number of others, with the mean `share` times
    the channel's, comes in. Features other than counts are mixed with a copy that is shuffled in time.
    """
    n_channels = features.shape[1] // len(content)
    noisy = features.copy()
    for kind, start in zip(content, range(0, features.shape[1], n_channels), strict=True):
        part = slice(start, start + n_channels)
        if kind == "counts":
            whole = np.clip(np.rint(features[:, part]), 0, None).astype(np.int64)
            spurious = rng.poisson(share * np.clip(mean[part], 0, None), whole.shape)
            noisy[:, part] = rng.binomial(whole, 1 - share) + spurious
        else:
            noisy[:, part] = (1 - share) * features[:, part] + share * rng.permutation(features[:, part], axis=0)
    return noisy


def bins_missing(
    features: Features,
    share: float,
    mean: NDArray[np.float32],
    content: tuple[FeatureKind, ...],
    rng: np.random.Generator,
) -> Features:
    """Miss a random share of the bins: they are still decoded and scored, with nothing in them."""
    missing = rng.permutation(len(features))[: round(share * len(features))]
    without = features.copy()
    without[missing] = mean
    return without


ROBUSTNESS: Final[dict[str, tuple[Perturbation, tuple[float, ...]]]] = {
    "channels_lost": (channels_lost, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "count_noise": (count_noise, (0.05, 0.1, 0.2, 0.3, 0.5)),
    "bins_missing": (bins_missing, (0.01, 0.02, 0.03, 0.04, 0.05)),
}
"""What is tried, and how much of it."""

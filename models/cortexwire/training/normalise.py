"""What changes from day to day, put into overlays: the file of the decoder never changes.

Rates drift, thresholds move, electrodes come and go. A decoder normalises its features by the parameters
`feature_mean` and `feature_scale`; an overlay gives it those of today. Three ways to find them:

* *zscore*: mean and scale of minutes of today's stream. Best where today holds the same mixture of rest and movement
  as the training did; a stretch of rest alone would be taken for the whole.
* *mean*: the mean only, for streams too short to tell the scale.
* *gain*: one factor for each channel, today's mean over the training's, applied to mean and scale alike. It asks least
  of the stream, and leaves a channel alone that was silent in training.

Minutes are few against a training, so today's values are drawn towards the training's, as if that had spoken for
`prior_s` as well. A feature that says nothing today keeps its scale.

Running normalisation is not a state of the pipeline: `RunningNormaliser` watches the features and gives a new overlay
at fixed bins, to be applied by a command like any other. So the log holds it, and a replay repeats it.
"""

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.overlay import Overlay, make_overlay
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training.features import FeatureTable
from cortexwire.types import Features

Mode = Literal["zscore", "mean", "gain"]

PRIOR_S: Final = 10.0
"""For how long the training's values speak beside today's."""
MOST_GAIN: Final = 10.0
"""Largest change of a channel's rate that is taken for a gain."""

Floats = NDArray[np.float64]


def day_overlay(
    bundle: Bundle, table: FeatureTable, *, mode: Mode = "zscore", prior_s: float = PRIOR_S, note: str = ""
) -> Overlay:
    """Make the overlay of a day from minutes of its stream.

    Args:
        bundle: The decoder.
        table: Features of the day, made by the bundle's own front end.
        mode: What to take from the day.
        prior_s: Seconds for which the training's values speak as well; 0 forgets them.
        note: What the overlay says of itself; the mode and the length of the stream when empty.

    Raises:
        BundleError: The bundle has no parameter that the mode needs.
        ConfigError: The table has other features than the bundle, or no valid bin.
    """
    features, valid = table.features(), table.valid
    if not valid.any() or features.shape[1] != bundle.manifest.n_features:
        raise ConfigError(
            f"overlay of the day: expected valid bins of {bundle.manifest.n_features} features, got {int(valid.sum())} "
            f"of {features.shape[1]}"
        )
    rows = features[valid].astype(np.float64)
    known = _known(table, len(table.front_end.features))[valid]
    bin_s = table.stream.bin_ms / 1000
    values = day_parameters(bundle, rows, known, mode=mode, prior_bins=prior_s / bin_s)
    said = note or f"{mode} of {len(rows) * bin_s:.0f} s"
    return make_overlay(bundle, values, said)


def day_parameters(
    bundle: Bundle,
    rows: Floats,
    known: NDArray[np.bool_] | None = None,
    *,
    mode: Mode = "zscore",
    prior_bins: float = 0.0,
) -> dict[str, NDArray[np.float32]]:
    """Find today's `feature_mean` and, where the mode says so, `feature_scale`.

    Args:
        bundle: The decoder.
        rows: Features of today, `(n_bins, n_features)`.
        known: Which of them were measured, of the same shape; None means all. One never measured stays as trained.
        mode: What to take from them.
        prior_bins: Weight of the training's values, in bins.

    Raises:
        BundleError: The bundle has no parameter that the mode needs.
    """
    mean, scale = _trained(bundle, mode)
    weights = np.ones(rows.shape) if known is None else known.astype(np.float64)
    number = weights.sum(axis=0) + prior_bins
    heard = number > 0
    number = np.where(heard, number, 1)
    today = np.where(heard, ((rows * weights).sum(axis=0) + prior_bins * mean) / number, mean)
    if mode == "mean":
        return {"feature_mean": today.astype(np.float32)}
    if mode == "gain":
        gain = np.where(mean > 0, np.clip(today / np.where(mean > 0, mean, 1), 1 / MOST_GAIN, MOST_GAIN), 1.0)
        return _pair(np.where(mean > 0, mean * gain, today), scale * gain)
    square = (np.square(rows - today) * weights).sum(axis=0) + prior_bins * (scale**2 + (mean - today) ** 2)
    return _pair(today, _usable(np.sqrt(square / number), today, scale))


class RunningNormaliser:
    """Follows mean and scale of a stream, and gives an overlay at fixed bins.

    The statistics are exponentially weighted and begin at the training's values, so the first overlay changes little.
    The same features give the same overlays, bit for bit, however they are cut into calls.

    Args:
        bundle: The decoder.
        half_life_bins: After how many bins a bin's weight has halved.
        every_bins: How many bins pass between two overlays.
        mode: What to take from the stream.

    Raises:
        BundleError: The bundle has no parameter that the mode needs.
        ConfigError: A number of bins is below 1.
    """

    def __init__(self, bundle: Bundle, *, half_life_bins: int, every_bins: int, mode: Mode = "zscore") -> None:
        if half_life_bins < 1 or every_bins < 1:
            raise ConfigError(f"running normalisation: expected 1 bin or more, got {half_life_bins} and {every_bins}")
        self._bundle, self._mode, self._every = bundle, mode, every_bins
        self._keep = 0.5 ** (1 / half_life_bins)
        self._trained = _trained(bundle, mode)
        self.reset()

    def reset(self) -> None:
        """Begin again at the training's values."""
        mean, scale = self._trained
        self._mean, self._variance = mean.copy(), scale**2
        self._seen = 0

    def process(self, features: Features, known: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, Overlay]]:
        """Take in bins.

        Args:
            features: float32 `(n_bins, n_features)`, the next ones.
            known: Which of them were measured, of the same shape; None means all.

        Yields:
            The number of bins seen so far and the overlay to apply before the next one.
        """
        for k, row in enumerate(features.astype(np.float64)):
            rate = (1 - self._keep) * (1.0 if known is None else known[k])
            step = row - self._mean
            self._mean = self._mean + rate * step
            self._variance = (1 - rate) * (self._variance + rate * step**2)
            self._seen += 1
            if self._seen % self._every == 0:
                yield self._seen, self._overlay()

    def _overlay(self) -> Overlay:
        _, scale = self._trained
        if self._mode == "zscore":
            values = _pair(self._mean, _usable(np.sqrt(self._variance), self._mean, scale))
        else:
            values = day_parameters(self._bundle, self._mean[None], mode=self._mode)
        return make_overlay(self._bundle, values, f"running {self._mode} after {self._seen} bins")


def _trained(bundle: Bundle, mode: Mode) -> tuple[Floats, Floats]:
    wanted = ("feature_mean",) if mode == "mean" else ("feature_mean", "feature_scale")
    missing = [name for name in wanted if name not in bundle.parameters]
    if missing:
        raise BundleError(f"{bundle.path}: {mode} needs the parameters {', '.join(wanted)}; missing: {missing}")
    mean = bundle.parameters["feature_mean"].astype(np.float64)
    scale = bundle.parameters.get("feature_scale")
    return mean, np.ones_like(mean) if scale is None else scale.astype(np.float64)


def _usable(scale: Floats, mean: Floats, trained: Floats) -> Floats:
    """The scale where it says something; the training's where the feature never varied."""
    return np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-6), scale, trained)


def _pair(mean: Floats, scale: Floats) -> dict[str, NDArray[np.float32]]:
    return {"feature_mean": mean.astype(np.float32), "feature_scale": scale.astype(np.float32)}


def _known(table: FeatureTable, n_kinds: int) -> NDArray[np.bool_]:
    return np.tile(table.status == 0, (1, n_kinds))

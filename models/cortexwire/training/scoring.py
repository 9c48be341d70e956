"""From predictions to plain scores, in one place, so that a decoder and a baseline are measured alike."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.training import metrics
from cortexwire.training.reaches import Reaches, Rest
from cortexwire.training.recording import Bins, Recording
from cortexwire.training.results import Curve, DirectionScore, Scores

BLOCK_S: Final = 10.0
"""Length of the blocks that confidence intervals are drawn from: several trials, far longer than errors stay alike."""
MOST_LAG_S: Final = 0.5
_FEWEST: Final = 3
_DECIMALS: Final = 5

Floats = NDArray[np.float64]


class Scorer:
    """Scores predictions of one recording.

    Args:
        recording: The truth.
        rest: What counts as moving.
        reaches: Its trials as movements, or None.
    """

    def __init__(self, recording: Recording, rest: Rest, reaches: Reaches | None) -> None:
        self._recording = recording
        self._moving = rest.moving(recording.targets)
        self._direction = None if reaches is None else reaches.direction_of_bins(recording.n_bins)
        self._reaches = reaches

    def scores(self, predicted: Floats, bins: Bins) -> Scores:
        """Score some bins in every way.

        Args:
            predicted: `(n_bins, n_columns)`, of the whole recording.
            bins: The bins to score; those of unknown truth or prediction count for nothing.
        """
        names, bin_ms = self._recording.columns, self._recording.bin_ms
        true, came = self._pair(predicted, bins)
        still_true, still_came = self._pair(predicted, bins & self._moving)
        block = max(1, round(BLOCK_S * 1000 / bin_ms))
        low, high = metrics.r2_interval(true, came, block_bins=block) if len(true) else (np.nan, np.nan)
        most_lag = min(round(MOST_LAG_S * 1000 / bin_ms), len(true) - 1)
        return Scores(
            r2=self.r2(predicted, bins),
            r2_low=rounded(low),
            r2_high=rounded(high),
            r2_moving=self.r2_moving(predicted, bins),
            r2_of=_named(names, metrics.r2(true, came)) if len(true) else {},
            r2_moving_of=_named(names, metrics.r2(still_true, still_came)) if len(still_true) else {},
            pearson_of=_named(names, metrics.pearson(true, came)) if len(true) else {},
            rmse_of={name: float(value) for name, value in zip(names, metrics.rmse(true, came), strict=True)}
            if len(true)
            else {},
            lag_ms=metrics.lag_bins(true, came, most_lag) * bin_ms if most_lag >= 0 else 0.0,
            bins=len(true),
            moving_bins=len(still_true),
        )

    def r2(self, predicted: Floats, bins: Bins) -> float | None:
        """Variance-weighted R2 over some bins; None where too few are known."""
        true, came = self._pair(predicted, bins)
        return rounded(metrics.weighted_r2(true, came)) if len(true) >= _FEWEST else None

    def r2_moving(self, predicted: Floats, bins: Bins) -> float | None:
        """The same over those of them that move."""
        return self.r2(predicted, bins & self._moving)

    def of_directions(self, numbers: tuple[int, ...]) -> Bins:
        """Bins in trials of the given directions."""
        assert self._direction is not None
        return np.isin(self._direction, numbers)

    def by_direction(self, predicted: Floats, bins: Bins) -> tuple[DirectionScore, ...]:
        """Score each direction by itself; empty without directions."""
        if self._reaches is None:
            return ()
        found = []
        for number, angle in enumerate(self._reaches.angles):
            here = bins & self.of_directions((number,))
            trials = int(((self._reaches.direction == number) & bins[self._reaches.trials[:, 0]]).sum())
            found.append(
                DirectionScore(
                    degrees=round(float(np.degrees(angle)), 1),
                    r2=self.r2(predicted, here),
                    r2_moving=self.r2_moving(predicted, here),
                    trials=trials,
                )
            )
        return tuple(found)

    def over_time(self, predicted: Floats, start: int, stop: int, stretches: int) -> Curve:
        """Score successive stretches of equal length; `x` is the middle of each, in minutes since the first bin."""
        edges = np.linspace(start, stop, stretches + 1).round().astype(int)
        middles = (edges[:-1] + edges[1:]) / 2 * self._recording.bin_ms / 60_000
        parts = [self._recording.bins(slice(a, b)) for a, b in pairwise(edges.tolist())]
        return Curve(x=tuple(np.round(middles, 3).tolist()), y=tuple(self.r2(predicted, part) for part in parts))

    def _pair(self, predicted: Floats, bins: Bins) -> tuple[Floats, Floats]:
        known = bins & np.isfinite(self._recording.targets).all(axis=1) & np.isfinite(predicted).all(axis=1)
        return self._recording.targets[known], predicted[known]


def rounded(value: float) -> float | None:
    """A number as JSON has it: None where it is not finite."""
    return round(float(value), _DECIMALS) if np.isfinite(value) else None


def _named(names: tuple[str, ...], values: Floats) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in zip(names, values.tolist(), strict=True)}

"""Which way each trial went, when it began to move, and which bins count as moving.

None of this looks at spikes. A bin is moving when its target lies further from rest (the median) than
`MOVING_SHARE` of what it reaches at most (the 99th percentile), both taken from the training part.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.recording import Bins, Recording

MOVING_SHARE: Final = 0.05
"""Share of the highest speed from which a bin counts as moving."""
MOST_DIRECTIONS: Final = 16
SECTORS: Final = 8
"""Sectors that directions are sorted into where the recording shows no distinct targets."""
_GAP_RAD: Final = np.deg2rad(8.0)
_LEAST_SHARE: Final = 0.01
_TIGHT: Final = 0.2


@dataclass(frozen=True, eq=False)
class Rest:
    """What rest is, and where moving begins.

    Attributes:
        value: The median of the targets, `(n_columns,)`.
        threshold: Distance from it, in the unit of the targets, from which a bin counts as moving.
    """

    value: NDArray[np.float64]
    threshold: float

    def speed(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from rest, `(n_bins,)`; NaN where the target is unknown."""
        return np.asarray(np.linalg.norm(targets - self.value, axis=1))

    def moving(self, targets: NDArray[np.float64]) -> Bins:
        """Bins that count as moving."""
        return np.asarray(np.nan_to_num(self.speed(targets)) >= self.threshold)


@dataclass(frozen=True, eq=False)
class Reaches:
    """The trials of a recording as movements.

    Attributes:
        trials: First bin of each trial and one past its last, `(n_trials, 2)`.
        direction: Number of the direction of each trial.
        angles: Angle of each direction in radians, ascending, in (-pi, pi].
        onset: Bin in which each trial begins to move.
    """

    trials: NDArray[np.int64]
    direction: NDArray[np.int64]
    angles: NDArray[np.float64]
    onset: NDArray[np.int64]

    def direction_of_bins(self, n_bins: int) -> NDArray[np.int64]:
        """Direction of the trial that holds each bin, `(n_bins,)`; -1 outside of trials."""
        bins = np.full(n_bins, -1)
        for (start, stop), direction in zip(self.trials, self.direction, strict=True):
            bins[start:stop] = direction
        return bins

    def since_onset(self, n_bins: int) -> NDArray[np.int64]:
        """Bins since the trial began to move, negative before, `(n_bins,)`; 0 outside of trials."""
        bins = np.zeros(n_bins, np.int64)
        for (start, stop), onset in zip(self.trials, self.onset, strict=True):
            bins[start:stop] = np.arange(start, stop) - onset
        return bins


def rest_of(recording: Recording) -> Rest:
    """Find rest and the threshold of moving in the training part.

    Raises:
        ConfigError: No target of the training part is known, or none ever changes.
    """
    targets = recording.targets[recording.split.train]
    targets = targets[np.isfinite(targets).all(axis=1)]
    if not len(targets):
        raise ConfigError(f"{recording.name}: expected targets in the training part, got none")
    value = np.median(targets, axis=0)
    top = float(np.quantile(np.linalg.norm(targets - value, axis=1), 0.99))
    if not top > 0:
        raise ConfigError(f"{recording.name}: expected targets that change, got none in the training part")
    return Rest(value, MOVING_SHARE * top)


def reaches_of(recording: Recording, rest: Rest) -> Reaches | None:
    """Sort the trials of a recording by direction, and find where they begin to move.

    The direction of a trial is that of its end point from the middle of all starting points; without positions, of
    the sum of its targets. It begins to move at the last bin before its highest speed that follows a bin at rest.

    Returns:
        The reaches; None where there are fewer than two directions, or targets that are not two.
    """
    if recording.targets.shape[1] != 2 or len(recording.trials) < 2:
        return None
    ends = _displacements(recording, rest)
    known = np.isfinite(ends).all(axis=1)
    if known.sum() < 2:
        return None
    trials, ends = recording.trials[known], ends[known]
    direction, angles = _sorted_by_angle(np.arctan2(ends[:, 1], ends[:, 0]))
    if len(angles) < 2:
        return None
    speed = np.nan_to_num(rest.speed(recording.targets))
    onset = np.array([_onset(speed[start:stop], rest.threshold) + start for start, stop in trials])
    return Reaches(trials, direction, angles, onset)


def _displacements(recording: Recording, rest: Rest) -> NDArray[np.float64]:
    starts, stops = recording.trials.T
    if recording.positions is not None:
        centre = np.nanmedian(recording.positions[starts], axis=0)
        return np.asarray(recording.positions[stops - 1] - centre)
    moved = recording.targets - rest.value
    return np.stack([moved[start:stop].sum(axis=0) for start, stop in recording.trials])


def _onset(speed: NDArray[np.float64], threshold: float) -> int:
    peak = int(speed.argmax())
    still = np.flatnonzero(speed[: peak + 1] < threshold)
    return int(still[-1]) + 1 if len(still) and still[-1] < peak else int(still[-1]) if len(still) else 0


def _sorted_by_angle(angles: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Group angles that lie together on the circle; equal sectors where they form no groups."""
    ascending = np.sort(angles)
    gaps = np.diff(ascending, append=ascending[0] + 2 * np.pi)
    middles = (ascending + gaps / 2)[gaps > _GAP_RAD]
    if len(middles) >= 2:
        groups = np.searchsorted(middles, angles) % len(middles)
        size = np.bincount(groups, minlength=len(middles))
        large = np.flatnonzero(size >= max(2, _LEAST_SHARE * len(angles)))
        centres = np.array([_mean_angle(angles[groups == k]) for k in large])
        widest = max((_spread(angles[groups == k]) for k in large), default=np.inf)
        if 2 <= len(large) <= MOST_DIRECTIONS and widest <= _TIGHT * 2 * np.pi / len(large):
            return _nearest(angles, centres)
    return _nearest(angles, -np.pi + 2 * np.pi * (np.arange(SECTORS) + 1) / SECTORS)


def _nearest(
    angles: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    centres = np.sort(centres)
    closest = np.cos(angles[:, None] - centres).argmax(axis=1)
    used, numbered = np.unique(closest, return_inverse=True)
    return numbered.astype(np.int64), centres[used]


def _mean_angle(angles: NDArray[np.float64]) -> float:
    return float(np.angle(np.exp(1j * angles).mean()))


def _spread(angles: NDArray[np.float64]) -> float:
    """Standard deviation of angles about their mean direction."""
    return float(np.sqrt(np.square(np.angle(np.exp(1j * (angles - _mean_angle(angles))))).mean()))

"""What every family is fitted to: one run of bins with features, targets, and which of them may teach.

Bins are consecutive in time within a segment, and history runs through them as it will live: across trial
joins, across bins that do not teach. Only a new segment (another session, or after a reset) starts from
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.types import Features


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Features and targets, bin by bin.

    Attributes:
        features: float32 `(n_bins, n_features)`, finite.
        targets: `(n_bins, n_outputs)`, the kinematics at each bin's last sample; NaN where unknown.
        keep: bool `(n_bins,)`, bins that may teach (their history is complete and valid); None means all.
        segments: First bin of each segment, ascending from 0.
        joins: Bins whose predecessor is not their past, ascending: the first bin of each trial where trials
            were cut out and put end to end. History runs across them all the same, as it must live.
        positions: `(n_bins, n_outputs)`, where the targets are velocities: the positions that they change, at
            the same instants and along the same axes; NaN where unknown.
        goals: Of the shape of `positions`: where the subject wanted to go; NaN where nowhere.
        closed_loop: Whether the subject saw the decoded output move, so that it steered by `positions`.
    """

    features: Features
    targets: NDArray[np.float64]
    keep: NDArray[np.bool_] | None = None
    segments: tuple[int, ...] = (0,)
    joins: tuple[int, ...] = ()
    positions: NDArray[np.float64] | None = None
    goals: NDArray[np.float64] | None = None
    closed_loop: bool = False

    def __post_init__(self) -> None:
        n_bins, shapes = len(self.features), (self.features.shape, self.targets.shape)
        if self.features.ndim != 2 or self.targets.ndim != 2 or len(self.targets) != n_bins:
            raise ConfigError(f"expected features and targets (n_bins, n) of equal length, got {shapes}")
        if self.keep is not None and self.keep.shape != (n_bins,):
            raise ConfigError(f"keep: expected shape ({n_bins},), got {self.keep.shape}")
        if not np.isfinite(self.features).all():
            raise ConfigError("features: expected finite values; a bin without data enters at the mean")
        check_segments(self.segments, n_bins)
        for name, table in (("positions", self.positions), ("goals", self.goals)):
            if table is not None and table.shape != self.targets.shape:
                raise ConfigError(f"{name}: expected the shape of the targets {self.targets.shape}, got {table.shape}")
        if list(self.joins) != sorted(set(self.joins)) or (
            self.joins and not 0 <= self.joins[0] <= self.joins[-1] < n_bins
        ):
            raise ConfigError(f"joins: expected ascending bins of {n_bins}, got {self.joins[:5]}")

    def usable(self, warm_up_bins: int) -> NDArray[np.bool_]:
        """Say which bins may teach a decoder whose first `warm_up_bins` outputs of a segment lack history.

        Returns:
            bool `(n_bins,)`.
        """
        mask: NDArray[np.bool_] = np.array(np.isfinite(self.targets).all(axis=1))
        if self.keep is not None:
            mask &= self.keep
        for start in self.segments:
            mask[start : start + warm_up_bins] = False
        return mask

    def first(self, n_bins: int) -> "TrainingData":
        """Return the first bins alone, as if nothing had been recorded after them."""
        part = slice(0, n_bins)
        return TrainingData(
            self.features[part],
            self.targets[part],
            keep=None if self.keep is None else self.keep[part],
            segments=tuple(start for start in self.segments if start < n_bins),
            joins=tuple(join for join in self.joins if join < n_bins),
            positions=None if self.positions is None else self.positions[part],
            goals=None if self.goals is None else self.goals[part],
            closed_loop=self.closed_loop,
        )

    def successive(self) -> NDArray[np.bool_]:
        """Say which bins follow their own past: none that begins a segment or is a join.

        Returns:
            bool `(n_bins,)`.
        """
        mask: NDArray[np.bool_] = np.ones(len(self.features), dtype=bool)
        mask[[start for start in self.segments if start < len(mask)]] = False
        mask[list(self.joins)] = False
        return mask


def check_segments(segments: tuple[int, ...], n_bins: int) -> None:
    """Check segment starts.

    Raises:
        ConfigError: They do not ascend from 0, or lie outside `n_bins`.
    """
    if not segments or segments[0] != 0 or list(segments) != sorted(set(segments)) or segments[-1] > n_bins:
        raise ConfigError(f"segments: expected starts ascending from 0 within {n_bins} bins, got {segments}")


def joined(parts: Sequence[TrainingData]) -> TrainingData:
    """Put runs of bins end to end; each begins a segment, and nothing runs from one into the next.

    Positions and goals are kept where all parts have them.

    Raises:
        ConfigError: There is none, or the parts do not fit each other.
    """
    if len({(part.features.shape[1], part.targets.shape[1], part.closed_loop) for part in parts}) != 1:
        raise ConfigError("expected runs of bins with the same features and targets, all in one kind of loop")
    offsets = np.cumsum([0, *(len(part.features) for part in parts[:-1])]).tolist()
    placed = list(zip(offsets, parts, strict=True))
    return TrainingData(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.targets for part in parts]),
        keep=np.concatenate([_kept(part) for part in parts]),
        segments=tuple(offset + start for offset, part in placed for start in part.segments),
        joins=tuple(offset + join for offset, part in placed for join in part.joins),
        positions=_all_of([part.positions for part in parts]),
        goals=_all_of([part.goals for part in parts]),
        closed_loop=parts[0].closed_loop,
    )


def _kept(part: TrainingData) -> NDArray[np.bool_]:
    return np.ones(len(part.features), dtype=bool) if part.keep is None else part.keep


def _all_of(tables: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [table for table in tables if table is not None]
    return np.concatenate(known) if len(known) == len(tables) else None

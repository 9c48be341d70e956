"""A session as decoders are fitted to it and scored on it: bins with features, targets and trials, in order.

Bins are consecutive in time; nothing is cut out. What must not teach is left without a target, so that histories run
through it as they will live.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import FeatureKind, StreamSpec, TrainingSpec
from cortexwire.pipeline.decode_stage import ENOUGH
from cortexwire.sessions.session import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.data import TrainingData
from cortexwire.training.features import FeatureTable, extract_features
from cortexwire.training.fitting import split_of, targets_of, units_of, velocity_columns
from cortexwire.training.splits import Split
from cortexwire.types import Features

Bins = NDArray[np.bool_]
"""Which bins, `(n_bins,)`."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Features and targets of a whole session.

    Attributes:
        name: What the session is called.
        columns: Names of the targets.
        unit: Their unit.
        bin_ms: Time from one bin to the next; less than their length where they overlap.
        content: What a feature vector holds, in order.
        features: float32 `(n_bins, n_features)`.
        targets: `(n_bins, n_columns)`, NaN where unknown.
        valid: Bins of which every sample was observed.
        split: The part to train on and the final part.
        trials: First bin of each trial and one past its last, `(n_trials, 2)`; empty where there are none.
        positions: Where the targets are velocities: the positions that they change, `(n_bins, n_columns)`, or None.
        joined: Whether trials were cut out and put end to end.
    """

    name: str
    columns: tuple[str, ...]
    unit: str
    bin_ms: float
    content: tuple[FeatureKind, ...]
    features: Features
    targets: NDArray[np.float64]
    valid: Bins
    split: Split
    trials: NDArray[np.int64]
    positions: NDArray[np.float64] | None = None
    joined: bool = False

    @property
    def n_bins(self) -> int:
        """Length in bins."""
        return len(self.features)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.features.shape[1]) // len(self.content)

    def bins(self, part: slice) -> Bins:
        """A part of the recording as a mask."""
        mask: Bins = np.zeros(self.n_bins, dtype=bool)
        mask[part] = True
        return mask

    def training(self, part: slice, without: Bins | None = None) -> TrainingData:
        """What a family is fitted to.

        Args:
            part: The bins to show.
            without: Bins whose targets are hidden, `(n_bins,)`; the features stay, for the histories of others.
        """
        hidden = np.zeros(self.n_bins, dtype=bool) if without is None else without
        targets = np.where(hidden[:, None], np.nan, self.targets)[part]
        positions = None if self.positions is None else np.where(hidden[:, None], np.nan, self.positions)[part]
        starts = self.trials[:, 0] - (part.start or 0) if self.joined else np.zeros(0, np.int64)
        joins = starts[(starts >= 0) & (starts < len(targets))]
        return TrainingData(
            self.features[part],
            targets,
            keep=self.valid[part],
            joins=tuple(np.unique(joins).tolist()),
            positions=positions,
        )

    def with_targets(self, targets: NDArray[np.float64]) -> Self:
        """The same recording with other targets and nothing known of positions."""
        return replace(self, targets=targets, positions=None)


@dataclass(frozen=True, eq=False)
class Source:
    """A recording together with what a bundle of it has to say of its stream, and of how it was split."""

    recording: Recording
    stream: StreamSpec
    front_end: FrontEndSettings
    rates_hz: tuple[float, ...]
    split: dict[str, Any]


def read_recording(
    session: Session,
    *,
    front_end: FrontEndSettings | None = None,
    columns: Sequence[str] = (),
    lag_ms: float = 0.0,
    unit: str | None = None,
    held_out: float = 0.2,
    table: FeatureTable | None = None,
    progress: Callable[[float], Any] = lambda _: None,
) -> Source:
    """Send a session through the signal chain and pair its bins with the kinematics.

    Args:
        session: The recording.
        front_end: The signal chain.
        columns: What to decode; the two velocity columns, found by name, when empty.
        lag_ms: How much later than a bin's last sample its target lies.
        unit: Unit of the columns; the session's when None.
        held_out: Share of the trials (or of the time), at the end, that is the final part.
        table: Features that were extracted before.
        progress: Told the share of the session that was read.

    Raises:
        ConfigError: A column does not exist, or a part would be empty.
        SessionError: No bin came out.
    """
    chosen = velocity_columns(session, columns)
    table = table or extract_features(session, front_end or FrontEndSettings(), progress=progress)
    places = _position_columns(session, chosen)
    adjacent = len(session.trials) > 1 and bool((session.trials["start"][1:] == session.trials["stop"][:-1]).all())
    split = split_of(session, table, held_out)
    recording = Recording(
        name=session.name,
        columns=chosen,
        unit=_unit_of(session, chosen) if unit is None else unit,
        bin_ms=table.row_ms,
        content=table.front_end.features,
        features=_features(table, split.train),
        targets=targets_of(session, table, chosen, lag_ms),
        valid=table.valid,
        split=split,
        trials=_trial_bins(session, table),
        positions=targets_of(session, table, places, lag_ms) if places else None,
        joined=adjacent,
    )
    return Source(
        recording, table.stream, table.front_end, tuple(table.rates_hz.tolist()), _split_spec(session, table, split)
    )


def _split_spec(session: Session, table: FeatureTable, split: Split) -> dict[str, Any]:
    """Which bins are trained on and which held out: by number, and by the samples that they end at.

    The next time, a calibration may take more bins or none.
    """
    train, test = split
    return {
        "train_bins": [train.start, train.stop],
        "test_bins": [test.start, test.stop],
        "test_ends": [int(table.end[test.start]), int(table.end[test.stop - 1])],
        "session_samples": session.n_samples,
    }


def held_out_ends(training: TrainingSpec, session: Session) -> tuple[int, int] | None:
    """Ends of the first and last bin that a training held out of this very session; None where it never saw it."""
    entry = training.split.get(session.name, training.split)
    if session.name not in training.sessions or entry.get("session_samples") != session.n_samples:
        return None
    first, last = entry["test_ends"]
    return first, last


def _unit_of(session: Session, columns: Sequence[str]) -> str:
    """The unit of the columns; empty where the session states none, or they have several."""
    units = units_of(session)
    found = {units.get(column, "") for column in columns}
    return found.pop() if len(found) == 1 else ""


def _features(table: FeatureTable, train: slice) -> Features:
    """Features of all bins, where nothing is known at the mean of the training part: the rest must not be in it."""
    features = table.features()
    n_kinds = len(table.front_end.features)
    unknown = np.tile(table.status != 0, (1, n_kinds)) | (table.observed_fraction < ENOUGH)[:, None]
    taught = np.zeros(len(features), dtype=bool)
    taught[train] = table.valid[train]
    if unknown.any() and taught.any():
        features = np.where(unknown, features[taught].mean(axis=0, dtype=np.float64).astype(np.float32), features)
    return features


def _trial_bins(session: Session, table: FeatureTable) -> NDArray[np.int64]:
    """Bins whose last sample lies in each trial; trials without a bin are left out."""
    last = table.end - 1
    edges = [np.searchsorted(last, session.trials[side]) for side in ("start", "stop")]
    trials = np.stack(edges, axis=1).astype(np.int64).reshape(-1, 2)
    return trials[trials[:, 1] > trials[:, 0]]


def _position_columns(session: Session, columns: Sequence[str]) -> tuple[str, ...]:
    """The positions behind velocities, where their names tell: `px` or `x` behind `vx`."""
    names = session.column_names
    found = []
    for column in columns:
        stem, axis = column[:-2], column[-1:]
        behind = [name for name in (f"{stem}p{axis}", f"{stem}{axis}") if column[-2:-1] == "v" and name in names]
        found += behind[:1]
    return tuple(found) if len(found) == len(columns) else ()

"""From a session with a column of discrete states to a proven bundle that gives the probability of each.

A class is a value that the column takes in the part to train on; bins where the column is undefined, or takes a value
that was never shown, teach and score nothing.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle, check_free
from cortexwire.decoders.manifest import TrainingSpec
from cortexwire.errors import ConfigError
from cortexwire.sessions.session import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.classifier import OUTPUT, UNKNOWN, ClassifierSettings, Labels, accuracy, fit_classifier
from cortexwire.training.export import export_bundle
from cortexwire.training.recording import read_recording
from cortexwire.training.splits import check_fraction

FAMILY: Final = "classifier"
UNIT: Final = "probability"
MOST: Final = 64
"""Values of a column of states: one that takes more holds something that is measured."""


@dataclass(frozen=True, eq=False)
class TrainedClasses:
    """A classifier that was fitted and exported.

    Attributes:
        bundle: What was written.
        names: The classes.
        scores: On the held-out part: `accuracy`, `balanced_accuracy`, and the `most_frequent` class's share.
    """

    bundle: Bundle
    names: tuple[str, ...]
    scores: dict[str, float]


def train_classes(
    session: Session,
    out: str | os.PathLike[str],
    column: str,
    *,
    settings: Mapping[str, Any] | None = None,
    front_end: FrontEndSettings | None = None,
    name: str | None = None,
    held_out: float = 0.2,
    replace: bool = False,
    progress: Callable[[float], Any] = lambda _: None,
) -> TrainedClasses:
    """Fit a classifier to a session and write it as a bundle.

    Args:
        session: The recording.
        out: Folder of the bundle.
        column: The column of states.
        settings: As for `ClassifierSettings`.
        front_end: The signal chain.
        name: What to call the bundle.
        held_out: Share of the trials, the last ones, that is only scored.
        replace: Replace an existing bundle.
        progress: Told the share of the session that was read.

    Raises:
        ConfigError: The column does not exist or holds no states, or a setting is unusable.
        BundleError: The export was refused.
    """
    try:
        given = msgspec.convert(dict(settings or {}), ClassifierSettings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{FAMILY}: {error}") from error
    check_fraction(held_out)
    check_free(out, replace)
    source = read_recording(session, columns=(column,), front_end=front_end, held_out=held_out, progress=progress)
    recording = source.recording
    train, test = recording.split
    labels, values = labels_of(recording.targets[:, 0], train)
    names = tuple(f"{column}={value:g}" for value in values)
    fitted = fit_classifier(recording.features[train], labels[train], names, given, keep=recording.valid[train])
    found = fitted.predict(recording.features)[OUTPUT]
    right, balanced = accuracy(labels[test], found[test])
    known = labels[test][labels[test] != UNKNOWN]
    scores = {
        "accuracy": right,
        "balanced_accuracy": balanced,
        "most_frequent": float(np.bincount(known).max() / len(known)) if len(known) else float("nan"),
    }
    bundle = export_bundle(
        fitted,
        out,
        name=name or f"{FAMILY}-{session.name}",
        family=FAMILY,
        stream=source.stream,
        front_end=source.front_end.model_dump(mode="json"),
        content=recording.content,
        unit=UNIT,
        recorded=recording.features[train],
        training=TrainingSpec(
            channel_rates_hz=source.rates_hz,
            sessions=(session.name,),
            split=source.split,
            scores={"held_out": scores},
            settings={"columns": [column]},
        ),
        replace=replace,
    )
    return TrainedClasses(bundle, names, scores)


def labels_of(states: NDArray[np.float64], train: slice) -> tuple[Labels, NDArray[np.float64]]:
    """Number the states that are shown in the training part.

    Args:
        states: `(n_bins,)`, NaN where undefined.
        train: The part to train on.

    Returns:
        The number of each bin's state, `UNKNOWN` for those that are undefined or never shown; and the states.

    Raises:
        ConfigError: There are fewer than two, or too many to be states.
    """
    shown = states[train]
    values = np.unique(shown[np.isfinite(shown)])
    if not 2 <= len(values) <= MOST:
        raise ConfigError(f"classes: expected a column of 2 to {MOST} states, got {len(values)} values")
    labels = np.searchsorted(values, np.nan_to_num(states))
    inside = np.minimum(labels, len(values) - 1)
    return np.where(values[inside] == states, inside, UNKNOWN).astype(np.int64), values

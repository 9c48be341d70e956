"""From a session to a proven bundle: features, split, fit, scores on what was held out, export."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.manifest import TrainingSpec
from cortexwire.errors import ConfigError
from cortexwire.sessions.session import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.data import TrainingData
from cortexwire.training.export import export_bundle
from cortexwire.training.families import family
from cortexwire.training.features import FeatureTable, extract_features
from cortexwire.training.metrics import r2
from cortexwire.training.splits import Split, last_fraction, last_fraction_of_trials


@dataclass(frozen=True, eq=False)
class Trained:
    """A decoder that was fitted and exported.

    Attributes:
        bundle: What was written.
        columns: The columns that it decodes.
        scores: R2 of each column on the held-out part, by name.
        table: The features of the whole session.
        split: Which bins were trained on and which held out.
        predicted: Decoded values of every bin, `(n_bins, n_columns)`.
        targets: True values, `(n_bins, n_columns)`.
    """

    bundle: Bundle
    columns: tuple[str, ...]
    scores: dict[str, float]
    table: FeatureTable
    split: Split
    predicted: NDArray[np.float64]
    targets: NDArray[np.float64]


def velocity_columns(session: Session, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns to decode: those named, else the two of the session that look like a velocity.

    Raises:
        ConfigError: A named column does not exist, not two were named, or there is no such pair.
    """
    names = session.column_names
    chosen = tuple(columns) or tuple(name for name in names if name.endswith(("vx", "vy")))
    unknown = [name for name in chosen if name not in names]
    if unknown or len(chosen) != 2:
        raise ConfigError(
            f"{session.name}: expected two velocity columns (--columns X,Y) among {list(names)}, got {list(chosen)}"
        )
    return chosen


def targets_of(
    session: Session, table: FeatureTable, columns: Sequence[str], lag_ms: float = 0.0
) -> NDArray[np.float64]:
    """Kinematics at each bin's last sample, or `lag_ms` after it, `(n_bins, n_columns)`; NaN where undefined.

    Raises:
        ConfigError: The lag is negative: a decoder would be asked for what lies before its newest spikes.
    """
    if lag_ms < 0:
        raise ConfigError(f"lag_ms: expected 0 or more, got {lag_ms}")
    where = [session.column_names.index(name) for name in columns]
    samples = table.end - 1 + round(lag_ms / 1000 * session.rate.hz)
    inside = (samples >= 0) & (samples < session.n_samples)
    values = session.columns_at(np.clip(samples, 0, session.n_samples - 1))[:, where]
    return np.where(inside[:, None], values, np.nan)


def split_of(session: Session, table: FeatureTable, held_out: float) -> Split:
    """Bins to train on and bins to hold out: the last whole trials, or the last block where there are none."""
    if len(session.trials) < 2:
        return last_fraction(len(table.end), held_out)
    starts = np.searchsorted(table.end - 1, session.trials["start"])
    starts = np.unique(starts[starts < len(table.end)])
    return last_fraction_of_trials(starts, len(table.end), held_out)


def train_session(
    session: Session,
    out: str | os.PathLike[str],
    *,
    decoder: str = "wiener",
    settings: Mapping[str, Any] | None = None,
    front_end: FrontEndSettings | None = None,
    columns: Sequence[str] = (),
    lag_ms: float = 0.0,
    unit: str = "mm/s",
    name: str | None = None,
    held_out: float = 0.2,
    keep_thresholds: bool = False,
    seed: int = 0,
    replace: bool = False,
    table: FeatureTable | None = None,
    progress: Callable[[float], Any] = lambda _: None,
) -> Trained:
    """Fit a decoder of a family to a session and write it as a bundle.

    Args:
        session: The recording.
        out: Folder of the bundle.
        decoder: Name of the family.
        settings: The family's settings.
        front_end: The signal chain.
        columns: The two velocity columns; found by name when empty.
        lag_ms: How much later than a bin's last sample its target lies.
        unit: Unit of the columns.
        name: What to call the bundle.
        held_out: Share of the trials, the last ones, that is only scored.
        keep_thresholds: Put today's thresholds into the bundle, rather than the rule that found them.
        seed: For families that draw.
        replace: Replace an existing bundle.
        table: Features that were extracted before.
        progress: Told the share of the session that was read.

    Raises:
        ConfigError: Something named does not exist or cannot work.
        BundleError: The export was refused.
    """
    chosen = velocity_columns(session, columns)
    fam = family(decoder)
    checked = fam.check(settings or {})
    table = table or extract_features(session, front_end or FrontEndSettings(), progress=progress)
    targets = targets_of(session, table, chosen, lag_ms)
    split = split_of(session, table, held_out)
    features = table.features()
    fitted = fam.fit(TrainingData(features[split.train], targets[split.train], keep=table.valid[split.train]), checked)
    predicted = np.asarray(fitted.predict(features)["velocity"], np.float64)
    test = split.test
    scores = dict(zip(chosen, r2(targets[test], predicted[test]).tolist(), strict=True))
    chain = table.front_end
    if keep_thresholds and table.thresholds_uv is not None:
        threshold = chain.threshold.model_copy(update={"values_uv": tuple(table.thresholds_uv.tolist())})
        chain = chain.model_copy(update={"threshold": threshold})
    known = table.thresholds_uv is not None and np.isfinite(table.thresholds_uv).all()
    training = TrainingSpec(
        channel_rates_hz=tuple(table.rates_hz.tolist()),
        thresholds_uv=tuple(table.thresholds_uv.tolist()) if known and table.thresholds_uv is not None else (),
        seed=seed,
        sessions=(session.name,),
        split={"train_bins": [split.train.start, split.train.stop], "test_bins": [test.start, test.stop]},
        scores={"r2_held_out": scores},
        settings={"columns": list(chosen), "lag_ms": lag_ms},
    )
    bundle = export_bundle(
        fitted,
        out,
        name=name or f"{decoder}-{session.name}",
        family=decoder,
        stream=table.stream,
        front_end=chain.model_dump(mode="json"),
        content=chain.features,
        unit=unit,
        recorded=features[split.train],
        training=training,
        replace=replace,
    )
    return Trained(bundle, chosen, scores, table, split, predicted, targets)

"""From sessions to a proven bundle: features, split, fit, scores on what was held out, export.

Every session is a segment of its own: a decoder starts from nothing at its first bin and runs on across its trials. The
last part of each is held out.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle, check_free
from cortexwire.decoders.hop import Hop, plan_hop
from cortexwire.decoders.manifest import TrainingSpec, stream_mismatches
from cortexwire.errors import ConfigError
from cortexwire.sessions.session import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.contract import Family, Fitted
from cortexwire.training.data import TrainingData, joined
from cortexwire.training.export import export_bundle
from cortexwire.training.families import family
from cortexwire.training.features import FeatureTable, extract_features, stream_of
from cortexwire.training.hops import check_hops
from cortexwire.training.metrics import r2
from cortexwire.training.outputs import VECTOR, NamedOutput, in_units, plan
from cortexwire.training.quantise import FAMILIES, quantised
from cortexwire.training.search import Tried, search_settings, store_beside
from cortexwire.training.splits import Split, check_fraction, last_fraction, last_fraction_of_trials

if TYPE_CHECKING:
    from cortexwire.training.recording import Source

Floats = NDArray[np.float64]
STAGES: Final = ("reading", "searching", "fitting", "proving")
"""What a training goes through, in order."""


@dataclass(frozen=True, eq=False)
class Part:
    """One session of a training.

    Attributes:
        session: What it is called.
        table: Its features.
        split: Which of its bins were trained on and which held out.
        predicted: Decoded values of every bin, `(n_bins, n_columns)`.
        targets: True values, `(n_bins, n_columns)`.
    """

    session: str
    table: FeatureTable
    split: Split
    predicted: Floats
    targets: Floats


@dataclass(frozen=True, eq=False)
class Trained:
    """A decoder that was fitted and exported.

    Attributes:
        bundle: What was written.
        columns: The columns that it decodes, a velocity first.
        scores: R2 of each column on the held-out parts together, by name.
        parts: The sessions that it was trained on.
    """

    bundle: Bundle
    columns: tuple[str, ...]
    scores: dict[str, float]
    parts: tuple[Part, ...]

    @property
    def table(self) -> FeatureTable:
        """The features of the last session."""
        return self.parts[-1].table

    @property
    def split(self) -> Split:
        """How the last session was split."""
        return self.parts[-1].split

    @property
    def predicted(self) -> Floats:
        """What was decoded of the last session."""
        return self.parts[-1].predicted

    @property
    def targets(self) -> Floats:
        """True values of the last session."""
        return self.parts[-1].targets


def velocity_columns(session: Session, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns to decode: those named, else the two of the session that look like a velocity.

    Raises:
        ConfigError: A named column does not exist or is named twice, or there is no such pair.
    """
    names = session.column_names
    chosen = tuple(columns) or tuple(name for name in names if name.endswith(("vx", "vy")))
    if not columns and len(chosen) != 2:
        raise ConfigError(
            f"{session.name}: expected two velocity columns or others by name (--columns A,B,...) among {list(names)}, "
            f"got {list(chosen)}"
        )
    unknown = [name for name in chosen if name not in names]
    if unknown or len(set(chosen)) != len(chosen):
        raise ConfigError(f"{session.name}: expected distinct columns among {list(names)}, got {list(chosen)}")
    return chosen


def targets_of(session: Session, table: FeatureTable, columns: Sequence[str], lag_ms: float = 0.0) -> Floats:
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
    session: Session | Sequence[Session],
    out: str | os.PathLike[str],
    *,
    decoder: str = "wiener",
    settings: Mapping[str, Any] | None = None,
    front_end: FrontEndSettings | None = None,
    columns: Sequence[str] = (),
    velocity: Sequence[str] | None = None,
    goals: Sequence[str] = (),
    closed_loop: bool = False,
    lag_ms: float = 0.0,
    unit: str | None = None,
    name: str | None = None,
    held_out: float = 0.2,
    keep_thresholds: bool = False,
    seed: int = 0,
    search: int = 0,
    int8: bool = False,
    hop_ms: float | None = None,
    interleaved: bool | None = None,
    replace: bool = False,
    table: FeatureTable | None = None,
    progress: Callable[[float], Any] = lambda _: None,
    stage: Callable[[str], Any] = lambda _: None,
    tried: Callable[[Tried], Any] = lambda _: None,
) -> Trained:
    """Fit a decoder of a family to one or several sessions and write it as a bundle.

    Args:
        session: The recording, or several of one and the same stream, oldest first.
        out: Folder of the bundle.
        decoder: Name of the family.
        settings: The family's settings.
        front_end: The signal chain.
        columns: What to decode; the two velocity columns, found by name, when empty.
        velocity: Which two of the columns are the velocity, whatever they are called; none of them when empty. Those
            named `...vx` and `...vy` when None.
        goals: Columns of where the subject wanted to go, one for each column to decode, for fits that ask for them.
        closed_loop: Whether the subject saw the decoded output move.
        lag_ms: How much later than a bin's last sample its target lies.
        unit: Unit of the velocity, or of all columns where there is none; what the session states when None.
        name: What to call the bundle.
        held_out: Share of the trials of each session, the last ones, that is only scored.
        keep_thresholds: Put today's thresholds into the bundle, rather than the rule that found them.
        seed: For families that draw, and for the search.
        search: How many settings to try; what was tried before beside the bundle counts.
        int8: Keep the weights of recurrent layers as int8.
        hop_ms: Time from one output to the next; the bin when None.
        interleaved: Whether an output comes every hop by states that take turns, rather than by one that is trained at
            the hop; where None, only where the family cannot be.
        replace: Replace an existing bundle.
        table: Features that were extracted before, of a single session.
        progress: Told the share of the sessions that was read.
        stage: Told each of `STAGES` as it begins; whoever wants to see epochs names a `progress.listening`.
        tried: Told of every trial of the search.

    Raises:
        ConfigError: Something named does not exist or cannot work.
        BundleError: The export was refused.
    """
    sessions = (session,) if not isinstance(session, Sequence) else tuple(session)
    if not sessions or (table is not None and len(sessions) > 1):
        raise ConfigError(f"expected sessions to train on, and a table for one only, got {len(sessions)}")
    names = [one.name for one in sessions]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"sessions: expected different names, got {twice[0]!r} twice; give each its own `name` in its session.toml"
        )
    check_fraction(held_out)
    check_free(out, replace)
    fam = family(decoder)
    given = _with_seed(fam, settings or {}, seed)
    fam.check(given)
    if int8 and decoder not in FAMILIES:
        raise ConfigError(f"int8: expected a network with recurrent layers ({', '.join(FAMILIES)}), got {decoder}")
    outputs = plan(velocity_columns(sessions[0], columns), velocity)
    chosen = tuple(column for output in outputs for column in output.columns)
    chain = front_end or FrontEndSettings()
    stream = table.stream if table else stream_of(sessions[0], chain.bin_ms)
    hop = plan_hop(decoder, stream, hop_ms, interleaved)
    for one in sessions:
        check_hops(one, stream.bin_ms, hop)
    if table is not None and table.rows != hop.rows:
        raise ConfigError(f"table: expected {hop.rows} row(s) for each bin's length, got {table.rows}")
    stage("reading")
    tables = (table,) if table else _tables(sessions, chain, hop, progress)
    data, parts = _read(sessions, tables, chosen, goals, lag_ms, held_out, closed_loop)
    outputs = _in_units(sessions[0], outputs, unit)
    searched: dict[str, Any] = {}
    if search:
        stage("searching")
        store = store_beside(Path(out))
        found = search_settings(data, decoder, search, fixed=given, store=store, seed=seed, told=tried)
        given, searched = {**given, **found.settings}, {"search": found.summary}
    stage("fitting")
    fitted: Fitted = fam.fit(data, fam.check(given))
    if int8:
        fitted, cost = quantised(fitted, data)
        searched["int8"] = cost
    stage("proving")
    predicted = [np.asarray(fitted.predict(part.features)[VECTOR], np.float64) for part in parts]
    scores = _scores(chosen, parts, predicted)
    newest = tables[-1]
    chain = _with_thresholds(newest) if keep_thresholds else newest.front_end
    training = TrainingSpec(
        channel_rates_hz=tuple(newest.rates_hz.tolist()),
        thresholds_uv=_known_thresholds(newest),
        seed=int(given.get("seed", seed)),
        sessions=tuple(part.name for part in parts),
        split=parts[0].spec if len(parts) == 1 else {part.name: part.spec for part in parts},
        scores={"r2_held_out": scores},
        settings={"columns": list(outputs[0].columns), "lag_ms": lag_ms, **searched},
    )
    bundle = export_bundle(
        fitted,
        out,
        name=name or f"{decoder}-{sessions[0].name}",
        family=decoder,
        stream=tables[0].stream,
        front_end=chain.model_dump(mode="json"),
        content=chain.features,
        unit=outputs[0].unit,
        recorded=data.features,
        training=training,
        outputs=outputs,
        hop=hop,
        replace=replace,
    )
    kept_parts = tuple(
        Part(part.name, table, part.split, decoded, part.targets)
        for part, table, decoded in zip(parts, tables, predicted, strict=True)
    )
    return Trained(bundle, chosen, scores, kept_parts)


@dataclass(frozen=True, eq=False)
class _Read:
    """One session as it was read."""

    name: str
    features: NDArray[np.float32]
    targets: Floats
    split: Split
    spec: dict[str, Any]


def _with_seed(fam: Family[Any], settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings with the seed in them, where the family has one and no other was given."""
    has = any(field.name == "seed" for field in msgspec.structs.fields(fam.settings))
    return {**({"seed": seed} if has else {}), **settings}


def _tables(
    sessions: Sequence[Session], front_end: FrontEndSettings, hop: Hop, progress: Callable[[float], Any]
) -> tuple[FeatureTable, ...]:
    """Send sessions through the signal chain.

    Raises:
        ConfigError: A later session is of another stream than the first.
    """
    tables: list[FeatureTable] = []
    for k, session in enumerate(sessions):

        def within(share: float, k: int = k) -> None:
            progress((k + share) / len(sessions))

        tables.append(extract_features(session, front_end, rows=hop.rows, progress=within))
        different = stream_mismatches(tables[0].stream, tables[k].stream)
        if different:
            raise ConfigError(f"{session.name} does not go with {sessions[0].name}: " + "; ".join(different))
    return tuple(tables)


def _read(
    sessions: Sequence[Session],
    tables: Sequence[FeatureTable],
    columns: tuple[str, ...],
    goals: Sequence[str],
    lag_ms: float,
    held_out: float,
    closed_loop: bool,
) -> tuple[TrainingData, list[_Read]]:
    """Put the training parts of all sessions end to end, each a segment of its own."""
    from cortexwire.training.recording import read_recording  # which takes its columns and splits from here

    if goals and len(goals) != len(columns):
        raise ConfigError(f"goals: expected one column for each of {list(columns)}, got {list(goals)}")
    pieces, parts = [], []
    for session, table in zip(sessions, tables, strict=True):
        source: Source = read_recording(session, columns=columns, lag_ms=lag_ms, held_out=held_out, table=table)
        recording = source.recording
        wanted = targets_of(session, table, velocity_columns(session, goals), lag_ms) if goals else None
        part = recording.training(recording.split.train)
        pieces.append(
            TrainingData(
                part.features,
                part.targets,
                keep=part.keep,
                joins=part.joins,
                positions=part.positions,
                goals=None if wanted is None else wanted[recording.split.train],
                closed_loop=closed_loop,
            )
        )
        parts.append(_Read(session.name, recording.features, recording.targets, recording.split, source.split))
    return joined(pieces), parts


def _with_thresholds(table: FeatureTable) -> FrontEndSettings:
    """The chain of a table with the thresholds that were in force at its end, where there were any."""
    chain = table.front_end
    if table.thresholds_uv is None:
        return chain
    kept = chain.threshold.model_copy(update={"values_uv": tuple(table.thresholds_uv.tolist())})
    return chain.model_copy(update={"threshold": kept})


def _known_thresholds(table: FeatureTable) -> tuple[float, ...]:
    """The thresholds, where every channel has one."""
    found = table.thresholds_uv
    return () if found is None or not np.isfinite(found).all() else tuple(found.tolist())


def units_of(session: Session) -> dict[str, str]:
    """Units of the columns, of those that state one."""
    return dict(zip(session.column_names, getattr(session, "column_units", ()), strict=False))


def _in_units(session: Session, outputs: tuple[NamedOutput, ...], unit: str | None) -> tuple[NamedOutput, ...]:
    units = units_of(session)
    if unit is not None:
        units.update(dict.fromkeys(outputs[0].columns, unit))
    return in_units(outputs, units)


def _scores(columns: tuple[str, ...], parts: Sequence[_Read], predicted: Sequence[Floats]) -> dict[str, float]:
    true = np.concatenate([part.targets[part.split.test] for part in parts])
    came = np.concatenate([values[part.split.test] for part, values in zip(parts, predicted, strict=True)])
    return dict(zip(columns, r2(true, came).tolist(), strict=True))

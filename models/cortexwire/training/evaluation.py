"""Decoders proved on a session: one bundle through the pipeline, or several families fitted and compared.

Configurations are chosen on validation blocks inside the training part. The final part is scored once, for the
configuration that was chosen. Beside every decoder stand two baselines without spikes.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.hop import hop_of
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.decoders.overlay import Overlay
from cortexwire.errors import ConfigError, CortexwireError
from cortexwire.pipeline.pipeline import Pipeline, front_end_of
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.sessions.packets import session_packets
from cortexwire.sessions.session import Session
from cortexwire.training.baselines import Baseline, Stereotypy, mean_baseline
from cortexwire.training.complexity import complexity
from cortexwire.training.configurations import default_configurations
from cortexwire.training.examples import Examples
from cortexwire.training.families import family_names
from cortexwire.training.features import EPOCH, extract_features, packet_size
from cortexwire.training.lanes import Lanes
from cortexwire.training.procedure import Maker, Progress, choose
from cortexwire.training.progress import Epoch, listening
from cortexwire.training.reaches import Reaches, Rest, reaches_of, rest_of
from cortexwire.training.recording import Recording, Source, held_out_ends, read_recording
from cortexwire.training.results import Comparison, Curve, Drift, Entry, HeldOut
from cortexwire.training.scored import scored_bundle
from cortexwire.training.scoring import Scorer, rounded
from cortexwire.training.splits import Split
from cortexwire.training.strength import Strength, timing
from cortexwire.wire import OutKind, Output

Floats = NDArray[np.float64]

EARLY: Final = 0.4
"""Share of a session that the decoder is fitted to whose ageing is looked at."""
NEAR: Final = 0.2
"""Share, right after it, that counts as near; the final part is far."""
STRETCHES: Final = 12
_LIBRARIES: Final = ("cortexwire", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        quick: Whether each family gets one configuration.
        pairs: Pairs of directions to leave out; None for as many as leave out each once.
        draws: Draws of each thing amiss.
        robust_bins: Bins of the final part on which robustness is tried.
        importance_bins: Bins of the final part on which channels are masked.
        minutes: What a fit to the whole training part may take, for families that can be told so.
    """

    quick: bool = False
    pairs: int | None = None
    draws: int = 5
    robust_bins: int = 20_000
    importance_bins: int = 10_000
    minutes: float | None = None

    @classmethod
    def to_be_quick(cls) -> "Effort":
        """Everything, but of each as little as still says something."""
        return cls(quick=True, pairs=1, draws=2, robust_bins=3000, importance_bins=1200, minutes=0.8)


def compare(
    session: Session,
    decoders: Sequence[str],
    *,
    configurations: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    effort: Effort | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    source: Source | None = None,
    progress: Progress = lambda _share, _what: None,
    **reading: Any,
) -> Comparison:
    """Fit families to a session and score each, once, on its final part.

    Args:
        session: The recording.
        decoders: Names of families. One that cannot be fitted stands in the result with the reason.
        configurations: Settings to choose from, by family, in place of the default ones.
        effort: How much is tried.
        folder: Where to keep the bundles; nowhere when None.
        seed: Draws what goes wrong in robustness.
        source: The recording as it was read before.
        progress: Told the share that is done, and what is being done.
        reading: As for `read_recording`.

    Raises:
        ConfigError: A family is unknown, or the session cannot be split.
        SessionError: The session cannot be read.
    """
    began = time.monotonic()
    unknown = [name for name in decoders if name not in family_names()]
    if unknown or not decoders:
        raise ConfigError(f"decoders: expected some of {', '.join(family_names())}, got {', '.join(unknown) or 'none'}")
    effort = effort or Effort()
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
    if source is None:
        source = read_recording(session, progress=lambda share: progress(0.02 * share, "reading"), **reading)
    trial = Trial.of(source, effort, seed)
    entries = list(trial.baselines())
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(decoders):

            def within(share: float, what: str, number: int = number, name: str = name) -> None:
                progress(0.02 + 0.98 * (number + share) / len(decoders), f"{name}: {what}")

            candidates = (configurations or {}).get(name)
            entries.append(trial.family(name, candidates, folder or scratch, folder is not None, within))
    progress(1.0, "done")
    return trial.comparison(entries, time.monotonic() - began)


def evaluate(
    session: Session,
    bundle: Bundle,
    *,
    overlay: Overlay | None = None,
    thresholds_uv: tuple[float, ...] | None = None,
    columns: Sequence[str] = (),
    effort: Effort | None = None,
    seed: int = 0,
    progress: Progress = lambda _share, _what: None,
) -> Comparison:
    """Decode a session with the pipeline that runs live, and score what comes out beside the baselines.

    Where the bundle was fitted to this very session, the final part is what its training held out. Else the decoder
    knows nothing of it: `whole` scores all of it, while the baselines are made from the part before the final one.

    Of states that take turns, the one is scored whose bins end where bins end without hops; all are the same decoder.

    Args:
        session: The recording.
        bundle: The decoder.
        overlay: Values of the day.
        thresholds_uv: Thresholds to use rather than the bundle's own or its rule.
        columns: True columns; those that the bundle was trained on when empty.
        effort: How much is tried.
        seed: Draws what goes wrong in robustness.
        progress: Told the share that is done, and what is being done.

    Raises:
        ConfigError: A column does not exist, or the session cannot be split.
        BundleError: The bundle does not fit the session.
        SessionError: No bin came out.
    """
    began = time.monotonic()
    training = bundle.manifest.training
    table = extract_features(
        session,
        front_end_of(bundle),
        thresholds_uv=thresholds_uv,
        rows=hop_of(bundle.manifest).rows,
        progress=lambda share: progress(0.3 * share, "reading"),
    )
    source = read_recording(
        session,
        columns=columns or tuple(training.settings.get("columns", ())),
        lag_ms=float(training.settings.get("lag_ms", 0.0)),
        unit=bundle.manifest.velocity.unit,
        table=table,
    )
    seen = held_out_ends(training, session)
    if seen is not None:
        first, stop = np.searchsorted(table.end, seen[0]), np.searchsorted(table.end, seen[1], "right")
        source = _with_split(source, Split(slice(0, int(first)), slice(int(first), int(stop))))
    trial = Trial.of(source, effort or Effort(pairs=0), seed)
    predicted = np.full(source.recording.targets.shape, np.nan)
    ends, decoded = _through_pipeline(
        session, bundle, overlay, thresholds_uv, lambda s: progress(0.3 + 0.3 * s, "decoding")
    )
    where = np.searchsorted(table.end, ends)
    known = (where < len(table.end)) & (table.end[np.minimum(where, len(table.end) - 1)] == ends)
    predicted[where[known]] = decoded[known]
    entry = trial.examined(
        bundle.manifest.name, bundle, predicted, overlay, lambda share, what: progress(0.6 + 0.4 * share, what)
    )
    everywhere = np.ones(source.recording.n_bins, dtype=bool)
    entry = msgspec.structs.replace(
        entry,
        whole=None if seen is not None else trial.scorer.scores(predicted, everywhere),
        summary={key: value for key, value in training.settings.items() if key != "columns"},
        bundle=str(bundle.path),
    )
    progress(1.0, "done")
    return trial.comparison([*trial.baselines(), entry], time.monotonic() - began)


@dataclass(frozen=True, eq=False)
class Trial:
    """One session on which decoders are tried, all in the same way.

    Attributes:
        source: The recording and its stream.
        scorer: Scores predictions of it.
        rest: What counts as moving.
        reaches: Its trials as movements, or None.
        examples: What is shown of it.
        effort: How much is tried.
        seed: Draws what goes wrong.
    """

    source: Source
    scorer: Scorer
    rest: Rest
    reaches: Reaches | None
    examples: Examples
    effort: Effort
    seed: int

    @classmethod
    def of(cls, source: Source, effort: Effort, seed: int) -> "Trial":
        """Prepare everything that does not depend on the decoder."""
        recording = source.recording
        rest = rest_of(recording)
        reaches = reaches_of(recording, rest)
        scorer = Scorer(recording, rest, reaches)
        return cls(source, scorer, rest, reaches, Examples.of(recording, reaches), effort, seed)

    @property
    def recording(self) -> Recording:
        """The recording."""
        return self.source.recording

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of directions to leave out, far from each other and from being opposite."""
        if self.reaches is None or len(self.reaches.angles) < 4:
            return ()
        pairs = pairs_of_directions(len(self.reaches.angles))
        return pairs if self.effort.pairs is None else pairs[: self.effort.pairs]

    def baselines(self) -> Iterator[Entry]:
        """Score what needs no spikes."""
        test = self.recording.bins(self.recording.split.test)
        taught = self.recording.bins(self.recording.split.train)
        made: dict[str, Baseline] = {"mean": mean_baseline, "stereotypy": Stereotypy(self.reaches)}
        for name, baseline in made.items():
            predicted = baseline(self.recording, taught)
            if not np.isfinite(predicted).any():
                yield Entry(name=name, baseline=True, failed="the session has no trials in several directions")
                continue
            held_out = []
            for pair in self.pairs:
                hidden = self.scorer.of_directions(pair)
                held_out.append(self._held_out(pair, predicted, baseline(self.recording, taught & ~hidden)))
            yield Entry(
                name=name,
                baseline=True,
                scores=self.scorer.scores(predicted, test),
                by_direction=self.scorer.by_direction(predicted, test),
                held_out=tuple(held_out),
                drift=self._drift(baseline(self.recording, self.recording.bins(self._early))),
                example=self.examples.trace(predicted),
                paths=self.examples.paths_of(predicted),
            )

    def family(
        self,
        name: str,
        candidates: Sequence[Mapping[str, Any]] | None,
        folder: str | os.PathLike[str],
        keep: bool,
        progress: Progress,
    ) -> Entry:
        """Choose, fit, export and score a family; where that cannot be done, say why."""
        maker = Maker(self.source, name, folder, self.seed)
        try:
            return self._family(maker, candidates, keep, progress)
        except (CortexwireError, ImportError, np.linalg.LinAlgError) as error:
            return Entry(name=name, failed=f"{type(error).__name__}: {error}")

    def _family(
        self, maker: Maker, candidates: Sequence[Mapping[str, Any]] | None, keep: bool, progress: Progress
    ) -> Entry:
        recording, train = self.recording, self.recording.split.train
        shared = {} if self.effort.minutes is None else {"max_minutes": self.effort.minutes}
        given = candidates or default_configurations(
            maker.name, recording.bin_ms, quick=self.effort.quick, shared=shared
        )
        with listening(_shown(progress, 0.0, 0.2, "choosing settings")):
            settings, tried = choose(recording, maker.name, given, train)
        epochs: list[Epoch] = []
        began = time.monotonic()
        with listening(_shown(progress, 0.2, 0.45, "fitting", epochs)):
            fitted, bundle = maker.make(maker.name, settings, train)
        fit_s = time.monotonic() - began
        entry = self.examined(maker.name, bundle, None, None, lambda share, what: progress(0.45 + 0.2 * share, what))
        predicted = _decode(bundle, recording)
        held_out = []
        for number, pair in enumerate(self.pairs):
            low, high = (0.65 + 0.2 * k / len(self.pairs) for k in (number, number + 1))
            with listening(_shown(progress, low, high, "fitting without two directions")):
                _, partial = maker.make(f".{maker.name}-part", settings, train, self.scorer.of_directions(pair))
            held_out.append(self._held_out(pair, predicted, _decode(partial, recording)))
        with listening(_shown(progress, 0.85, 1.0, "fitting to the first part")):
            _, early = maker.make(f".{maker.name}-part", self._shortened(settings), self._early)
        drift = self._drift(_decode(early, recording))
        shutil.rmtree(early.path)
        entry = msgspec.structs.replace(
            entry,
            settings=dict(settings),
            summary=dict(fitted.summary),
            fit_s=round(fit_s, 2),
            tried=tried,
            held_out=tuple(held_out),
            drift=drift,
            learning=learning_curve(epochs),
            bundle=str(bundle.path) if keep else "",
        )
        if keep:
            scored_bundle(bundle, entry, tuple(self.baselines()))
        return entry

    def _shortened(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings for the first part: as much time for each bin, and no more."""
        train, early = self.recording.split.train, self._early
        share = (early.stop - early.start) / (train.stop - train.start)
        minutes = settings.get("max_minutes")
        return {**settings, **({} if minutes is None else {"max_minutes": minutes * share})}

    def examined(
        self,
        name: str,
        bundle: Bundle,
        predicted: Floats | None,
        overlay: Overlay | None,
        progress: Progress,
    ) -> Entry:
        """Score a bundle on the final part and find out what it withstands, depends on and costs.

        Args:
            name: What to call it.
            bundle: The decoder.
            predicted: What it decoded of the whole recording, `(n_bins, n_columns)`, where that is known.
            overlay: Values that it was decoded with.
            progress: Told the share that is done, and what is being done.
        """
        recording, test = self.recording, self.recording.split.test
        lanes = Lanes(bundle, overlay)
        before, state = lanes.run(recording.features[: test.start])
        if predicted is None:
            after, _ = lanes.run(recording.features[test.start :], state)
            predicted = np.concatenate([before, after])
        final = recording.bins(test)
        mean = lanes.feature_mean

        def strength(bins: int) -> Strength:
            return Strength(lanes, mean, recording, state, bins, self.seed)

        progress(0.3, "robustness")
        robustness = strength(self.effort.robust_bins).robustness(self.effort.draws)
        progress(0.6, "importance of channels")
        importance = strength(self.effort.importance_bins).importance()
        progress(0.9, "complexity")
        return Entry(
            name=name,
            scores=self.scorer.scores(predicted, final),
            by_direction=self.scorer.by_direction(predicted, final),
            robustness=robustness,
            importance=importance,
            complexity=complexity(bundle, recording.features[test]),
            timing=timing(bundle, recording.features[test]),
            example=self.examples.trace(predicted),
            paths=self.examples.paths_of(predicted),
        )

    def comparison(self, entries: Sequence[Entry], took_s: float) -> Comparison:
        """Put the result together, best first."""
        recording, split = self.recording, self.recording.split
        seconds = recording.bin_ms / 1000
        angles = () if self.reaches is None else np.degrees(self.reaches.angles).round(1).tolist()
        return Comparison(
            session=recording.name,
            columns=recording.columns,
            unit=recording.unit,
            bin_ms=recording.bin_ms,
            n_channels=recording.n_channels,
            n_trials=len(recording.trials),
            train_s=round((split.train.stop - split.train.start) * seconds, 1),
            test_s=round((split.test.stop - split.test.start) * seconds, 1),
            moving_threshold=round(self.rest.threshold, 3),
            moving_share=round(float(self.rest.moving(recording.targets[split.test]).mean()), 4),
            directions=tuple(angles),
            example_start_s=round(self.examples.stretch.start * seconds, 2),
            example=self.examples.trace(recording.targets),
            path_degrees=self.examples.degrees,
            paths=self.examples.paths_of(recording.targets),
            entries=tuple(sorted(entries, key=_rank)),
            quick=self.effort.quick,
            took_s=round(took_s, 1),
            seed=self.seed,
            libraries={name: version(name) for name in _LIBRARIES},
        )

    @property
    def _early(self) -> slice:
        start = self.recording.split.train.start
        return slice(start, start + round(EARLY * (self.recording.split.test.stop - start)))

    def _drift(self, predicted: Floats) -> Drift:
        early, test = self._early, self.recording.split.test
        near = slice(early.stop, early.stop + round(NEAR * (test.stop - early.start)))
        return Drift(
            near=self.scorer.r2(predicted, self.recording.bins(near)),
            far=self.scorer.r2(predicted, self.recording.bins(test)),
            over_time=self.scorer.over_time(predicted, early.stop, test.stop, STRETCHES),
        )

    def _held_out(self, pair: tuple[int, int], shown: Floats, unshown: Floats) -> HeldOut:
        assert self.reaches is not None
        bins = self.scorer.of_directions(pair) & self.recording.bins(self.recording.split.test)
        return HeldOut(
            degrees=tuple(round(float(np.degrees(self.reaches.angles[k])), 1) for k in pair),
            unseen=self.scorer.r2(unshown, bins),
            unseen_moving=self.scorer.r2_moving(unshown, bins),
            seen=self.scorer.r2(shown, bins),
        )


def pairs_of_directions(n_directions: int) -> tuple[tuple[int, int], ...]:
    """Pair directions about 135 degrees apart, so that a pair spans both axes; each is in one pair, but for a rest."""
    step = max(1, n_directions * 3 // 8)
    free, pairs = set(range(n_directions)), []
    for start in range(n_directions):
        first, second = start, (start + step) % n_directions
        while first in free and second in free:
            pairs.append((first, second))
            free -= {first, second}
            first, second = ((k + 2 * step) % n_directions for k in (first, second))
    return tuple(pairs)


def learning_curve(epochs: Sequence[Epoch]) -> Curve | None:
    """The validation score by epoch, averaged over the outputs; None where the fit had none to tell."""
    if not epochs:
        return None
    scores = [rounded(float(np.mean(epoch.validation_r2))) for epoch in epochs]
    return Curve(x=tuple(float(epoch.number) for epoch in epochs), y=tuple(scores))


def _shown(
    progress: Progress, low: float, high: float, what: str, kept: list[Epoch] | None = None
) -> Callable[[Epoch], None]:
    """Listen to a fit: show how far it is, and keep its epochs where somebody wants them."""
    progress(low, what)

    def listener(epoch: Epoch) -> None:
        if kept is not None:
            kept.append(epoch)
        score = float(np.mean(epoch.validation_r2))
        progress(low + (high - low) * min(1.0, epoch.done), f"{what} (epoch {epoch.number}, validation R2 {score:.3f})")

    return listener


def _decode(bundle: Bundle, recording: Recording) -> Floats:
    return Lanes(bundle).run(recording.features)[0]


def _rank(entry: Entry) -> tuple[float, float]:
    """New directions first, then the final part; what failed comes last."""
    overall = None if entry.scores is None else entry.scores.r2
    new = entry.generalisation if entry.generalisation is not None else overall
    return (np.inf if new is None else -new, np.inf if overall is None else -overall)


def _with_split(source: Source, split: Split) -> Source:
    if not 0 < split.test.start < split.test.stop:
        raise ConfigError(f"{source.recording.name}: expected bins of the part that was held out, got none")
    return replace(source, recording=replace(source.recording, split=split))


def _through_pipeline(
    session: Session,
    bundle: Bundle,
    overlay: Overlay | None,
    thresholds_uv: tuple[float, ...] | None,
    progress: Callable[[float], Any],
) -> tuple[NDArray[np.int64], Floats]:
    """Decode a session's packets: one past the last sample of each decoded bin, and what was decoded."""
    pipeline = Pipeline(PipelineSettings(), OnnxDecoder(bundle, "cpu", overlay), thresholds_uv=thresholds_uv)
    ends, decoded = [], []

    def take(outputs: Sequence[Output]) -> None:
        for output in outputs:
            if output.kind is OutKind.DECODED:
                ends.append(output.end_sample)
                decoded.append(output.tensors["velocity"])
                progress(output.end_sample / session.n_samples)

    for frame in session_packets(session, packet_size(session), EPOCH):
        take(pipeline.packet(frame))
    take(pipeline.finish())
    return np.array(ends, np.int64), np.array(decoded, np.float64).reshape(-1, *bundle.manifest.velocity.shape)

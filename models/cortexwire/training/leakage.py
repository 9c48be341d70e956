"""Does any of the answer reach a decoder by another way than the spikes up to now?

The battery is given the very functions that align, split, fit and decode, changes what they must not look at, and
sees whether anything changes. Each check belongs to one leak that has made decoders look good: features from the
future, bins split at random, states reset at trial starts, normalisation (or anything else) fitted to the part that is
scored, and targets from before the newest spikes. Last, targets are shifted against the features, twenty times over:
what can then still be decoded is leaking, whatever its way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.alignment import aligned_by_session
from cortexwire.training.contract import Fitted
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.procedure import decoded_by, fit_part
from cortexwire.training.recording import Bins, Recording
from cortexwire.training.splits import last_fraction, last_fraction_of_trials

Floats = NDArray[np.float64]
ModelT = TypeVar("ModelT")

SHIFTS: Final = 20
TOLERANCE: Final = 1e-6
"""Largest change that is none, relative to the largest value."""
CHANCE_R2: Final = 0.02
"""Largest score on shifted targets that is put down to chance."""
_CUTS: Final = 3


class Parts(NamedTuple):
    """Which bins are fitted to and which are scored."""

    train: Bins
    test: Bins


@dataclass(frozen=True, eq=False)
class Procedure(Generic[ModelT]):
    """What is put to the test.

    Attributes:
        align: Kinematics at the last sample of each bin, `(n_bins, n_columns)`, to the targets of the bins.
        split: Decides which bins are fitted to and which are scored.
        fit: Fits to the first of these.
        predict: Decodes all bins, `(n_bins, n_columns)`.
    """

    align: Callable[[Floats], Floats]
    split: Callable[[Recording], Parts]
    fit: Callable[[Recording, Bins], ModelT]
    predict: Callable[[ModelT, Recording], Floats]


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: What must hold.
        passed: Whether it does.
        detail: The numbers.
    """

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """All findings.

    Attributes:
        findings: One for each check.
        score: R2 on the test part, nothing changed.
        null: R2 on shifted targets, one for each shift.
    """

    findings: tuple[Finding, ...]
    score: float
    null: tuple[float, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing leaks."""
        return all(finding.passed for finding in self.findings)

    @property
    def caught(self) -> tuple[str, ...]:
        """The checks that failed."""
        return tuple(finding.check for finding in self.findings if not finding.passed)

    def lines(self) -> list[str]:
        """The verdict as text, the null distribution with it."""
        rows = [f"{'ok  ' if f.passed else 'LEAK'}  {f.check}: {f.detail}" for f in self.findings]
        if self.null:
            spread = np.quantile(self.null, (0, 0.25, 0.5, 0.75, 1))
            rows.append("null  R2 on shifted targets: " + " ".join(f"{value:+.4f}" for value in sorted(self.null)))
            names = ("least", "lower quartile", "median", "upper quartile", "most")
            rows.append("null  " + ", ".join(f"{n} {v:+.4f}" for n, v in zip(names, spread.tolist(), strict=True)))
        return [*rows, f"score R2 on the test part: {self.score:+.4f}"]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        findings = [finding._asdict() for finding in self.findings]
        return {"passed": self.passed, "score": self.score, "null": list(self.null), "findings": findings}


def battery(
    procedure: Procedure[ModelT],
    recording: Recording,
    *,
    shifts: int = SHIFTS,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda _: None,
) -> Verdict:
    """Look for leaks in a procedure.

    Args:
        procedure: What aligns, splits, fits and decodes; the same twice over if it is called so.
        recording: A recording with more than one trial. Its targets are taken for kinematics.
        shifts: Fits to shifted targets; 0 leaves them out.
        seed: Draws the shifts and what unknown bins are filled with.
        progress: Told the share that is done.

    Raises:
        ConfigError: The recording is too short to shift, or has no trials.
    """
    if len(recording.trials) < 2:
        raise ConfigError(f"{recording.name}: expected at least two trials to look for leaks with")
    rng = np.random.default_rng(seed)
    aligned = recording.with_targets(procedure.align(recording.targets))
    parts = procedure.split(aligned)
    model = procedure.fit(aligned, parts.train)
    predicted = procedure.predict(model, aligned)
    score = _score(aligned, predicted, parts.test)
    checks = (
        _targets_are_not_early(procedure.align, recording),
        _test_comes_after_training(parts),
        _future_is_unknown(procedure, model, aligned, parts, predicted, rng),
        _trials_are_unknown(procedure, model, aligned, predicted),
        _labels_are_unknown(procedure, model, aligned, predicted, rng),
        _test_part_teaches_nothing(procedure, aligned, parts, predicted, rng),
    )
    null = tuple(_shifted_scores(procedure, recording, shifts, rng, progress)) if shifts else ()
    return Verdict((*checks, *_null_findings(null)), score, null)


def _targets_are_not_early(align: Callable[[Floats], Floats], recording: Recording) -> Finding:
    """A bin's target may be the kinematics at its last sample or later, never earlier.

    One bin's kinematics are changed: if a later bin's target changes, that target is older than its spikes, so the
    decoder has seen what came after it.
    """
    before = align(recording.targets)
    bin_ = recording.n_bins // 2
    changed = recording.targets.copy()
    changed[bin_] += 10 * np.nanstd(recording.targets) + 1
    rows = np.flatnonzero(_differ(align(changed), before))
    early = int((rows > bin_).sum())
    lag = int(bin_ - rows.max()) if len(rows) else 0
    return Finding(
        "targets are not early",
        early == 0 and len(rows) > 0,
        f"targets lie {lag} bins after the last sample of their bin" if not early else f"{-lag} bins before it",
    )


def _test_comes_after_training(parts: Parts) -> Finding:
    """Test bins are one run, after every bin that was fitted to."""
    train, test = np.flatnonzero(parts.train), np.flatnonzero(parts.test)
    if not len(train) or not len(test):
        return Finding("test comes after training", False, "a part is empty")
    whole = int(test[-1] - test[0]) + 1 == len(test)
    apart = bool(train[-1] < test[0])
    detail = f"training ends at bin {train[-1]}, testing is from {test[0]} to {test[-1]}"
    return Finding("test comes after training", whole and apart, detail + ("" if whole else ", with gaps"))


def _future_is_unknown(
    procedure: Procedure[ModelT],
    model: ModelT,
    recording: Recording,
    parts: Parts,
    predicted: Floats,
    rng: np.random.Generator,
) -> Finding:
    """What is decoded up to a bin stays when all features after it change."""
    test = np.flatnonzero(parts.test)
    worst = 0.0
    for cut in np.linspace(test[0], test[-1], _CUTS + 2).astype(int)[1:-1]:
        features = recording.features.copy()
        features[cut + 1 :] = rng.permutation(recording.features)[: len(features) - cut - 1] + 1
        again = procedure.predict(model, replace(recording, features=features))
        worst = max(worst, _change(again[: cut + 1], predicted[: cut + 1]))
    return Finding("the future is unknown", worst <= TOLERANCE, _detail(worst))


def _trials_are_unknown(
    procedure: Procedure[ModelT], model: ModelT, recording: Recording, predicted: Floats
) -> Finding:
    """What is decoded stays when trials begin elsewhere, or when there are none."""
    moved = np.clip(recording.trials + 3, 0, recording.n_bins)
    moved = moved[moved[:, 1] > moved[:, 0]]
    worst = 0.0
    for trials in (moved, np.zeros((0, 2), np.int64)):
        again = procedure.predict(model, replace(recording, trials=trials, joined=False))
        worst = max(worst, _change(again, predicted))
    return Finding("trial starts are unknown", worst <= TOLERANCE, _detail(worst))


def _labels_are_unknown(
    procedure: Procedure[ModelT], model: ModelT, recording: Recording, predicted: Floats, rng: np.random.Generator
) -> Finding:
    """What is decoded stays when the true values change."""
    again = procedure.predict(model, recording.with_targets(_garbled(recording.targets, rng)))
    worst = _change(again, predicted)
    return Finding("the true values are unknown", worst <= TOLERANCE, _detail(worst))


def _test_part_teaches_nothing(
    procedure: Procedure[ModelT], recording: Recording, parts: Parts, predicted: Floats, rng: np.random.Generator
) -> Finding:
    """The fit stays when features and targets outside of the training part change."""
    other = ~parts.train
    features, targets = recording.features.copy(), recording.targets.copy()
    features[other] = 3 * rng.permutation(recording.features)[other] + 1
    targets[other] = _garbled(targets[other], rng)
    changed = replace(recording, features=features, targets=targets, positions=None)
    again = procedure.predict(procedure.fit(changed, parts.train), recording)
    worst = _change(again, predicted)
    return Finding("the test part teaches nothing", worst <= TOLERANCE, _detail(worst))


def _shifted_scores(
    procedure: Procedure[ModelT],
    recording: Recording,
    shifts: int,
    rng: np.random.Generator,
    progress: Callable[[float], Any],
) -> Iterator[float]:
    """Fit and score with movements, and the trials around them, turned round against the features."""
    n_bins, margin = recording.n_bins, recording.n_bins // 10
    if margin < 2:
        raise ConfigError(f"{recording.name}: expected at least 20 bins to shift, got {n_bins}")
    for number, shift in enumerate(rng.integers(margin, n_bins - margin, shifts).tolist()):
        trials = (recording.trials + shift) % n_bins
        whole = trials[trials[:, 1] > trials[:, 0]]
        turned = replace(
            recording.with_targets(np.roll(recording.targets, shift, axis=0)), trials=whole[np.argsort(whole[:, 0])]
        )
        turned = turned.with_targets(procedure.align(turned.targets))
        parts = procedure.split(turned)
        model = procedure.fit(turned, parts.train)
        yield _score(turned, procedure.predict(model, turned), parts.test)
        progress((number + 1) / shifts)


def _null_findings(null: Sequence[float]) -> tuple[Finding, ...]:
    if not null:
        return ()
    most, mean = max(null), float(np.mean(null))
    detail = f"R2 {mean:+.4f} in the mean and {most:+.4f} at most over {len(null)} shifts"
    return (Finding("shifted targets cannot be decoded", most <= CHANCE_R2, detail),)


def _score(recording: Recording, predicted: Floats, bins: Bins) -> float:
    return weighted_r2(recording.targets[bins], predicted[bins])


def _garbled(targets: Floats, rng: np.random.Generator) -> Floats:
    scale = np.nanstd(targets) + 1
    return np.asarray(rng.normal(scale=2 * scale, size=targets.shape) + 5 * scale)


def _differ(one: Floats, other: Floats) -> Bins:
    same = np.isclose(one, other, rtol=0, atol=TOLERANCE * max(1.0, float(np.nanmax(np.abs(other)))), equal_nan=True)
    return np.asarray(~same.all(axis=1))


def _change(came: Floats, want: Floats) -> float:
    """Largest change, relative to the largest value; infinite where something became known or unknown."""
    if (np.isnan(came) != np.isnan(want)).any():
        return float("inf")
    largest = float(np.nanmax(np.abs(want), initial=0))
    return float(np.nanmax(np.abs(came - want), initial=0)) / (largest or 1.0)


def _detail(worst: float) -> str:
    return f"decoded values change by {worst:.1e} of the largest"


def family_procedure(
    name: str, settings: Mapping[str, Any], *, held_out: float = 0.2, lag_bins: int = 0
) -> Procedure[Fitted]:
    """The procedure by which this package fits and scores a family.

    Args:
        name: Name of the family.
        settings: Its settings; a seed among them must make the fit repeatable.
        held_out: Share of the trials, the last ones, that is scored.
        lag_bins: Bins by which targets lie after the last sample of their bin.
    """

    def split(recording: Recording) -> Parts:
        starts = np.unique(recording.trials[:, 0])
        n_bins = recording.n_bins
        parts = (
            last_fraction(n_bins, held_out) if len(starts) < 2 else last_fraction_of_trials(starts, n_bins, held_out)
        )
        return Parts(recording.bins(parts.train), recording.bins(parts.test))

    def fit(recording: Recording, train: Bins) -> Fitted:
        first, last = np.flatnonzero(train)[[0, -1]]
        part = slice(int(first), int(last) + 1)
        return fit_part(recording, name, settings, part, without=~train)

    return Procedure(lambda kinematics: aligned_by_session(kinematics, lag_bins), split, fit, decoded_by)

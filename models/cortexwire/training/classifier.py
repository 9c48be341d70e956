"""Discrete states (rest or movement, a grip, a target) from the last bins: multinomial logistic regression.

`p = softmax(weights @ vec(history) + bias)`, with rows of history as the Wiener filter has them. The weights minimise
the mean cross-entropy of the known labels and a ridge penalty (L-BFGS; Bishop, "Pattern Recognition and Machine
Learning", 2006, 4.3.4); the penalty is chosen by the cross-entropy on the last, contiguous part of the bins that teach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import StepGraph, normalisation
from cortexwire.training.data import check_segments
from cortexwire.training.history import history_rows
from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder
from cortexwire.types import Features

UNKNOWN: Final = -1
"""The label of a bin that teaches nothing."""
OUTPUT: Final = "class"
ITERATIONS: Final = 500
_Positive = Annotated[float, msgspec.Meta(gt=0)]
Labels = NDArray[np.int64]
"""Number of each bin's class, `(n_bins,)`."""


class ClassifierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to fit: bins of history, penalties to try, and the share of bins to choose among them on."""

    history: Annotated[int, msgspec.Meta(ge=1)] = 10
    penalties: Annotated[tuple[_Positive, ...], msgspec.Meta(min_length=1)] = (1e-4, 1e-3, 1e-2, 1e-1)
    validation_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A classifier.

    Attributes:
        names: The classes.
        feature_mean: float32 `(n_features,)`.
        feature_scale: float32 `(n_features,)`, above zero.
        weights: float32 `(n_classes, history * n_features)`, oldest bin first.
        bias: float32 `(n_classes,)`.
        summary: What was chosen in fitting.
    """

    names: tuple[str, ...]
    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    summary: Mapping[str, Any]

    @property
    def memory_bins(self) -> int:
        """Bins that an output depends on, its own included."""
        return int(self.weights.shape[1]) // len(self.feature_mean)

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""
        return self.memory_bins - 1

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Classify a whole sequence in float64, starting from a zero history at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `class`, the probability of each, float64 `(n_bins, n_classes)`.
        """
        check_segments(segments, len(features))
        z = (features - self.feature_mean) / self.feature_scale
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        found = np.empty((len(features), len(bias)))
        for bins, rows in history_rows(z, self.memory_bins, segments):
            found[bins] = scipy.special.softmax(rows @ weights.T + bias, axis=1)
        return {OUTPUT: found}

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step; where nothing decoded may be used, the consumer is to abstain.

        Args:
            features: The input to read.
            unit: What the outputs count in, such as `probability`.
        """
        step = StepBuilder("classifier", features)
        newest = step.normalised(self.feature_mean, self.feature_scale)
        window = step.window(newest, len(self.feature_mean), self.memory_bins)
        operands = [window, step.parameter("weights", self.weights), step.parameter("bias", self.bias)]
        evidence = step.node("Gemm", operands, "evidence", transB=1)
        step.output(step.node("Softmax", [evidence], OUTPUT, axis=1), OUTPUT, len(self.bias), unit)
        built = step.build()
        outputs = tuple(
            msgspec.structs.replace(spec, columns=self.names, safe_action="abstain") if spec.name == OUTPUT else spec
            for spec in built.outputs
        )
        return StepGraph(built.model, built.inputs, outputs)


def fit_classifier(
    features: Features,
    labels: Labels,
    names: Sequence[str],
    settings: ClassifierSettings | None = None,
    *,
    keep: NDArray[np.bool_] | None = None,
    segments: tuple[int, ...] = (0,),
) -> FittedClassifier:
    """Fit a classifier.

    Args:
        features: float32 `(n_bins, n_features)`, consecutive bins.
        labels: `(n_bins,)`, the number of each bin's class among `names`, or `UNKNOWN`.
        names: The classes.
        settings: How to fit.
        keep: bool `(n_bins,)`, bins that may teach; None means all.
        segments: First bin of each segment, ascending from 0.

    Raises:
        ConfigError: The labels do not fit, there are fewer than two classes, or one of them is never shown.
    """
    given = settings or ClassifierSettings()
    check_segments(segments, len(features))
    if labels.shape != (len(features),) or len(names) < 2 or not ((labels >= UNKNOWN) & (labels < len(names))).all():
        raise ConfigError(f"labels: expected one of {len(names)} classes (two or more) or {UNKNOWN} for each bin")
    usable = (labels != UNKNOWN) & (True if keep is None else keep)
    for start in segments:
        usable[start : start + given.history - 1] = False
    teaching = np.flatnonzero(usable)
    cut = teaching[-max(1, round(len(teaching) * given.validation_fraction))] if len(teaching) else 0
    missing = [name for k, name in enumerate(names) if k not in labels[teaching[teaching < cut]]]
    if missing:
        raise ConfigError(f"labels: expected bins of every class to fit to, got none of {missing}")
    mean, scale = normalisation(features, usable)
    z = (features - mean) / scale
    rows = np.concatenate([rows for _, rows in history_rows(z, given.history, segments)])
    early, late = (teaching[part] for part in (teaching < cut, teaching >= cut))
    losses = []
    for penalty in given.penalties:
        weights, bias = _solve(rows[early], labels[early], len(names), penalty)
        losses.append(_cross_entropy(rows[late] @ weights.T + bias, labels[late]))
    penalty = given.penalties[int(np.argmin(losses))]
    weights, bias = _solve(rows[teaching], labels[teaching], len(names), penalty)
    summary = {
        **msgspec.structs.asdict(given),
        "penalty": penalty,
        "validation_cross_entropy": round(min(losses), 4),
        "bins": len(teaching),
    }
    return FittedClassifier(tuple(names), mean, scale, weights.astype(np.float32), bias.astype(np.float32), summary)


def accuracy(labels: Labels, probabilities: NDArray[Any]) -> tuple[float, float]:
    """Score the likeliest classes.

    Args:
        labels: `(n_bins,)`; `UNKNOWN` ones count for nothing.
        probabilities: `(n_bins, n_classes)`.

    Returns:
        The share of bins that are right, and its average over the classes that occur, for which saying always the
        most frequent one gains nothing; NaN where no label is known.
    """
    known = labels != UNKNOWN
    right = probabilities.argmax(axis=1) == labels
    shares = [right[labels == k].mean() for k in np.unique(labels[known])]
    return (float(right[known].mean()), float(np.mean(shares))) if known.any() else (float("nan"), float("nan"))


def _solve(rows: Matrix, labels: Labels, n_classes: int, penalty: float) -> tuple[Matrix, Matrix]:
    """Return weights `(n_classes, n_inputs)` and bias; the bias is not penalised."""
    n, size = rows.shape
    wanted = np.eye(n_classes)[labels]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights, bias = flat[n_classes:].reshape(n_classes, size), flat[:n_classes]
        logarithms = scipy.special.log_softmax(rows @ weights.T + bias, axis=1)
        wrong = (np.exp(logarithms) - wanted) / n
        value = -float((logarithms * wanted).sum()) / n + 0.5 * penalty * float(np.square(weights).sum())
        return value, np.concatenate([wrong.sum(axis=0), (wrong.T @ rows + penalty * weights).ravel()])

    found = scipy.optimize.minimize(
        loss, np.zeros(n_classes * (1 + size)), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    )
    return found.x[n_classes:].reshape(n_classes, size), found.x[:n_classes]


def _cross_entropy(evidence: Matrix, labels: Labels) -> float:
    return -float(scipy.special.log_softmax(evidence, axis=1)[np.arange(len(labels)), labels].mean())

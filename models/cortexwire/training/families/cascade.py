"""The Wiener cascade: a Wiener filter, then a static nonlinearity of each output by itself.

The linear filter shrinks towards the mean and never rests; the nonlinearity learns where it should be silent and how
far it should be stretched (Pohlmeyer et al., "Prediction of upper limb muscle activity from motor cortical
discharge", 2007). What the filter says of bins that it was fitted to is too good, so the nonlinearity is fitted to
predictions across contiguous folds: each fold's by a filter fitted to the others. The penalty and the size of the
nonlinearity are chosen on the last fold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family, StepGraph, Trace, normalisation
from cortexwire.training.data import TrainingData
from cortexwire.training.families.wiener import LAMBDAS, FittedWiener
from cortexwire.training.history import history_rows
from cortexwire.training.metrics import r2
from cortexwire.training.ridge import Linear, Matrix, Moments, choose_lambda, solve
from cortexwire.training.static_nonlinearity import Monotone, Polynomial, StaticNonlinearity
from cortexwire.training.step_graph import StepBuilder, window_states
from cortexwire.types import Features

_KINDS: Final[Mapping[str, type[Monotone] | type[Polynomial]]] = {"monotone": Monotone, "polynomial": Polynomial}

_Sizes = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=1)]


class CascadeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to fit.

    `history`, `lambdas` as for the Wiener filter; `pieces` are the numbers of pieces to try of a monotone
    nonlinearity, `degrees` the degrees to try of a polynomial; `folds` the contiguous parts of the training bins.
    """

    history: Annotated[int, msgspec.Meta(ge=1)] = 20
    lambdas: Annotated[tuple[Annotated[float, msgspec.Meta(gt=0)], ...], msgspec.Meta(min_length=1)] = LAMBDAS
    nonlinearity: Literal["monotone", "polynomial"] = "monotone"
    pieces: _Sizes = (5, 10, 20)
    degrees: _Sizes = (1, 3, 5, 7)
    folds: Annotated[int, msgspec.Meta(ge=2)] = 5


@dataclass(frozen=True, eq=False)
class FittedCascade:
    """A Wiener filter whose outputs are about zero and of the order of one, and what becomes of them.

    Attributes:
        linear: The filter.
        static: The nonlinearity, which brings them to the unit of the targets.
        summary: What was chosen in fitting.
    """

    linear: FittedWiener
    static: StaticNonlinearity
    summary: Mapping[str, Any]

    @property
    def memory_bins(self) -> int:
        """Bins that an output depends on, its own included."""
        return self.linear.history

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""
        return self.linear.history - 1

    @property
    def contracting(self) -> bool:
        """Nothing outlasts the history."""
        return True

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence in float64, starting from a zero history at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `velocity`, float64 `(n_bins, n_outputs)`.
        """
        return {"velocity": self.static.apply(self.linear.predict(features, segments)["velocity"])}

    def trace(self, features: Features) -> Trace:
        """Decode one segment and tell the states."""
        z = (features - self.linear.feature_mean) / self.linear.feature_scale
        return Trace(self.predict(features), window_states(z, self.linear.history))

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step: normalise, append to the history, multiply, bend.

        Args:
            features: The input to read.
            unit: The unit of the targets that were fitted.
        """
        step, linear = StepBuilder("cascade", features), self.linear
        newest = step.normalised(linear.feature_mean, linear.feature_scale)
        window = step.window(newest, linear.n_features, linear.history)
        operands = [window, step.parameter("weights", linear.weights), step.parameter("bias", linear.bias)]
        value = self.static.add_to(step, step.node("Gemm", operands, "linear", transB=1))
        step.output(step.node("Identity", [value], "velocity"), "velocity", len(linear.bias), unit)
        return step.build()


def _fit(data: TrainingData, settings: CascadeSettings) -> FittedCascade:
    usable = data.usable(settings.history - 1)
    teaching = np.flatnonzero(usable)
    if len(teaching) < 2 * settings.folds:
        raise ConfigError(
            f"cascade: expected at least {2 * settings.folds} bins with targets and {settings.history} bins of "
            f"history, got {len(teaching)}"
        )
    mean, scale = normalisation(data.features, usable)
    z = (data.features - mean) / scale
    fold = np.full(len(usable), -1)
    fold[teaching] = np.arange(len(teaching)) * settings.folds // len(teaching)
    parts = _moments(data, z, fold, settings)
    chosen, linear_score = choose_lambda(reduce(add, parts[:-1]), parts[-1], settings.lambdas)
    said = _across_folds(data, z, fold, settings, [_without(parts, k, chosen) for k in range(settings.folds)])
    centre, width = said[teaching].mean(axis=0), said[teaching].std(axis=0)
    static, size, score = _bend((said[teaching] - centre) / width, data.targets[teaching], fold[teaching], settings)
    weights, bias = solve(reduce(add, parts), chosen)
    filtered = FittedWiener(
        feature_mean=mean,
        feature_scale=scale,
        weights=(weights / width[:, None]).astype(np.float32),
        bias=((bias - centre) / width).astype(np.float32),
        summary={},
    )
    summary = {
        **msgspec.structs.asdict(settings),
        "lambda": chosen,
        "size": size,
        "linear_validation_r2": linear_score.round(4).tolist(),
        "validation_r2": score.round(4).tolist(),
        "bins": len(teaching),
    }
    return FittedCascade(filtered, static, summary)


def _moments(
    data: TrainingData, z: NDArray[np.float32], fold: NDArray[np.intp], settings: CascadeSettings
) -> list[Moments]:
    sizes = settings.history * z.shape[1], data.targets.shape[1]
    parts = [Moments.zero(*sizes) for _ in range(settings.folds)]
    for bins, rows in history_rows(z, settings.history, data.segments):
        for k, part in enumerate(parts):
            mask = fold[bins] == k
            if mask.any():
                part.add(rows[mask], data.targets[bins][mask])
    return parts


def _without(parts: list[Moments], k: int, chosen: float) -> Linear:
    return solve(reduce(add, [*parts[:k], *parts[k + 1 :]]), chosen)


def _across_folds(
    data: TrainingData,
    z: NDArray[np.float32],
    fold: NDArray[np.intp],
    settings: CascadeSettings,
    filters: list[Linear],
) -> Matrix:
    """Return what each bin's fold is said to be by the filter that was fitted to the others, `(n_bins, n_outputs)`."""
    said = np.zeros(data.targets.shape)
    for bins, rows in history_rows(z, settings.history, data.segments):
        for k, (weights, bias) in enumerate(filters):
            mask = fold[bins] == k
            said[bins][mask] = rows[mask] @ weights.T + bias
    return said


def _bend(
    inputs: Matrix, targets: Matrix, fold: NDArray[np.intp], settings: CascadeSettings
) -> tuple[StaticNonlinearity, int, Matrix]:
    """Choose the size of the nonlinearity on the last fold, and fit it again to all of them."""
    kind = _KINDS[settings.nonlinearity]
    sizes = settings.pieces if settings.nonlinearity == "monotone" else settings.degrees
    early = fold < settings.folds - 1
    scores = [
        r2(targets[~early], kind.fit(inputs[early], targets[early], size).apply(inputs[~early])) for size in sizes
    ]
    best = int(np.argmax([score.mean() for score in scores]))
    return kind.fit(inputs, targets, sizes[best]), sizes[best], scores[best]


FAMILY: Final = Family("cascade", CascadeSettings, _fit)

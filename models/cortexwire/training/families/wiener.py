"""The Wiener filter: velocity as a linear function of the last `history` bins of features, fitted by ridge.

`velocity = weights @ vec(history) + bias`, where each row of the history is `(features - feature_mean) /
feature_scale`, the newest last. The history holds normalised rows, so a zero row is the training mean: a
fresh state says "nothing unusual happened". The penalty is chosen on the last, contiguous part of the
training bins, and the weights are then fitted again to all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cortexwire.decoders.manifest import InputSpec, OutputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family, StepGraph, Trace, normalisation
from cortexwire.training.data import TrainingData, check_segments
from cortexwire.training.history import history_rows
from cortexwire.training.ridge import Moments, choose_lambda, solve
from cortexwire.types import Features

LAMBDAS: Final = tuple(float(f"{step}e{exponent}") for exponent in range(-4, 3) for step in (1, 2, 5))
"""Relative penalties tried by default: three in each decade."""


class WienerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to fit: bins of history, penalties to try, and the share of bins to choose among them on."""

    history: Annotated[int, msgspec.Meta(ge=1)] = 20
    lambdas: Annotated[tuple[Annotated[float, msgspec.Meta(gt=0)], ...], msgspec.Meta(min_length=1)] = LAMBDAS
    validation_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2


@dataclass(frozen=True, eq=False)
class FittedWiener:
    """A Wiener filter.

    Attributes:
        feature_mean: float32 `(n_features,)`.
        feature_scale: float32 `(n_features,)`, above zero.
        weights: float32 `(n_outputs, history * n_features)`, oldest bin first.
        bias: float32 `(n_outputs,)`.
        summary: What was chosen in fitting.
    """

    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    summary: Mapping[str, Any]

    @property
    def n_features(self) -> int:
        """Length of a feature vector."""
        return len(self.feature_mean)

    @property
    def history(self) -> int:
        """Bins in the window, the current one included."""
        return int(self.weights.shape[1]) // self.n_features

    @property
    def memory_bins(self) -> int:
        """Bins that an output depends on, its own included."""
        return self.history

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""
        return self.history - 1

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence in float64, starting from a zero history at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `velocity`, float64 `(n_bins, n_outputs)`.
        """
        check_segments(segments, len(features))
        z = (features - self.feature_mean) / self.feature_scale
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        velocity = np.empty((len(features), len(bias)))
        for bins, rows in history_rows(z, self.history, segments):
            velocity[bins] = rows @ weights.T + bias
        return {"velocity": velocity}

    @property
    def contracting(self) -> bool:
        """A window forgets everything that has left it."""
        return True

    def trace(self, features: Features) -> Trace:
        """Decode one segment and tell the histories that each step started from."""
        z = (features - self.feature_mean) / self.feature_scale
        after = np.concatenate([rows for _, rows in history_rows(z, self.history, (0,))])
        before = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
        return Trace(self.predict(features), {"history": before})

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step: normalise, append to the history, drop its oldest row, multiply.

        Args:
            features: The input to read.
            unit: The unit of the targets that were fitted.
        """
        size = self.weights.shape[1]
        parameters = {
            "feature_mean": self.feature_mean,
            "feature_scale": self.feature_scale,
            "weights": self.weights,
            "bias": self.bias,
        }
        inputs = (
            features,
            InputSpec(name="history", role="state", shape=(size,)),
            *(InputSpec(name=name, role="parameter", shape=value.shape) for name, value in parameters.items()),
        )
        outputs = (
            OutputSpec(name="velocity", role="velocity", shape=self.bias.shape, unit=unit, safe_action="zero"),
            OutputSpec(name="next_history", role="state", shape=(size,), feeds="history"),
        )
        return StepGraph(_step(features.name, size, parameters), inputs, outputs)


def fit_wiener(
    features: Features,
    targets: NDArray[np.float64],
    *,
    history: int = 20,
    lambdas: Sequence[float] = LAMBDAS,
    validation_fraction: float = 0.2,
    keep: NDArray[np.bool_] | None = None,
    segments: tuple[int, ...] = (0,),
) -> FittedWiener:
    """Fit a Wiener filter.

    Args:
        features: float32 `(n_bins, n_features)`, consecutive bins.
        targets: `(n_bins, n_outputs)`; a bin with a NaN teaches nothing, yet stays in the history of others.
        history: Bins in the window, the current one included.
        lambdas: Penalties to choose from, relative to the mean variance of the inputs.
        validation_fraction: Share of the teaching bins, at the end, on which the penalty is chosen.
        keep: bool `(n_bins,)`, bins that may teach; None means all. The first `history - 1` bins of a segment
            never do.
        segments: First bin of each segment, ascending from 0.

    Raises:
        ConfigError: Shapes or settings are unusable, or too few bins are left.
    """
    given = {"history": history, "lambdas": tuple(lambdas), "validation_fraction": validation_fraction}
    return _fit(TrainingData(features, targets, keep, segments), FAMILY.check(given))


def _fit(data: TrainingData, settings: WienerSettings) -> FittedWiener:
    usable = data.usable(settings.history - 1)
    if not usable.any():
        raise ConfigError(f"wiener: expected bins with targets and {settings.history} bins of history, got none")
    mean, scale = normalisation(data.features, usable)
    early, late = _moments(data, usable, (data.features - mean) / scale, settings)
    chosen, score = choose_lambda(early, late, settings.lambdas)
    fit = solve(early + late, chosen)
    return FittedWiener(
        feature_mean=mean,
        feature_scale=scale,
        weights=fit.weights.astype(np.float32),
        bias=fit.bias.astype(np.float32),
        summary={
            "history": settings.history,
            "lambda": chosen,
            "lambdas": list(settings.lambdas),
            "validation_fraction": settings.validation_fraction,
            "validation_r2": [round(float(value), 4) for value in score],
            "bins": early.n + late.n,
        },
    )


def _moments(
    data: TrainingData, usable: NDArray[np.bool_], z: NDArray[np.float32], settings: WienerSettings
) -> tuple[Moments, Moments]:
    """Sum over the bins to fit to and over the later ones to validate on."""
    size = settings.history * z.shape[1]
    parts = Moments.zero(size, data.targets.shape[1]), Moments.zero(size, data.targets.shape[1])
    teaching = np.flatnonzero(usable)
    cut = teaching[-max(1, round(len(teaching) * settings.validation_fraction))]
    for bins, rows in history_rows(z, settings.history, data.segments):
        late = np.arange(bins.start, bins.stop) >= cut
        for part, mask in zip(parts, (usable[bins] & ~late, usable[bins] & late), strict=True):
            if mask.any():
                part.add(rows if mask.all() else rows[mask], data.targets[bins][mask])
    return parts


def _step(features: str, state: int, parameters: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Build the graph; rows of the history lie end to end, so that it is at once the input of the product."""
    n_features, n_outputs = len(parameters["feature_mean"]), len(parameters["bias"])
    constants = {"oldest": [n_features], "end": [n_features + state], "axis": [1]}
    nodes = [
        helper.make_node("Sub", [features, "feature_mean"], ["centred"]),
        helper.make_node("Div", ["centred", "feature_scale"], ["newest"]),
        helper.make_node("Concat", ["history", "newest"], ["longer"], axis=1),
        helper.make_node("Slice", ["longer", "oldest", "end", "axis"], ["next_history"]),
        helper.make_node("Gemm", ["next_history", "weights", "bias"], ["velocity"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "wiener",
        [
            _float(features, (1, n_features)),
            _float("history", (1, state)),
            *(_float(name, value.shape) for name, value in parameters.items()),
        ],
        [_float("velocity", (1, n_outputs)), _float("next_history", (1, state))],
        [
            *(numpy_helper.from_array(value, name) for name, value in parameters.items()),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _float(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


FAMILY: Final = Family("wiener", WienerSettings, _fit)

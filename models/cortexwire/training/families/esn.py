"""The echo-state network: a fixed random reservoir of leaky units and a linear read-out.

The read-out sees the reservoir and, directly, the features of the last bins. It is fitted by ridge, or learnt by
FORCE with the output fed back. Leak, spectral radius and strength of the inputs decide what a reservoir remembers;
they are chosen, with a smaller reservoir, by the validation score of ridge read-outs, on the last, contiguous part of
the training bins.
"""

from itertools import product
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family, normalisation
from cortexwire.training.data import TrainingData
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.force import ForceLearner, draw_feedback
from cortexwire.training.history import history_rows
from cortexwire.training.metrics import r2
from cortexwire.training.reservoir import Reservoir
from cortexwire.training.ridge import Linear, Matrix, Moments, choose_lambda, solve

LAMBDAS: Final = tuple(float(f"{step}e{exponent}") for exponent in range(-5, 0) for step in (3, 10))
"""Relative penalties tried by default. Smaller ones ask for more than float32 states can tell."""
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Several = Annotated[tuple[_Positive, ...], msgspec.Meta(min_length=1)]
_Leaks = Annotated[tuple[Annotated[float, msgspec.Meta(gt=0, le=1)], ...], msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class EsnSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to draw a reservoir and fit its read-out.

    `leaks`, `spectral_radii` and `input_scalings` (the standard deviation of what all features together do to a unit)
    are tried in all combinations with `search_units`; `offset` is the standard deviation of the units' offsets,
    `direct` the number of bins that the read-out sees directly. For FORCE, `feedback` is the standard deviation of
    what the outputs do to a unit, `force_penalty` the inverse of the first learning rate, `passes` how often the bins
    are gone through, and only every `every`-th of them teaches.
    """

    units: _Count = 1000
    connections: _Count = 10
    leaks: _Leaks = (0.15, 0.3, 0.7)
    spectral_radii: _Several = (1.0,)
    input_scalings: _Several = (0.2, 0.4)
    offset: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    direct: Annotated[int, msgspec.Meta(ge=0)] = 5
    lambdas: _Several = LAMBDAS
    validation_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    search_units: _Count = 300
    training: Literal["ridge", "force"] = "ridge"
    feedback: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    force_penalty: _Positive = 1.0
    passes: _Count = 1
    every: _Count = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Choice(NamedTuple):
    """Strengths of a reservoir, the penalty of its read-out, and their validation score."""

    radius: float
    inputs: float
    leak: float
    penalty: float
    score: Matrix


def _fit(data: TrainingData, settings: EsnSettings) -> FittedEsn:
    usable = data.usable(max(settings.direct - 1, 0))
    teaching = np.flatnonzero(usable)
    if not len(teaching):
        raise ConfigError("esn: expected bins with targets and history, got none")
    mean, scale = normalisation(data.features, usable)
    z = (data.features - mean) / scale
    late = np.arange(len(usable)) >= teaching[-max(1, round(len(teaching) * settings.validation_fraction))]
    best = _search(data, z, usable, late, settings)
    reservoir = _drawn(data, settings, settings.units).scaled(best.radius, best.inputs, settings.offset, best.leak)
    if settings.training == "ridge":
        early, later = _moments(data, z, usable, late, reservoir, settings)
        penalty, score = choose_lambda(early, later, settings.lambdas)
        fit, chosen = solve(early + later, penalty), {"lambda": penalty}
    else:
        reservoir, fit, score = _force(data, z, usable, late, reservoir, settings)
        chosen = {}
    summary = {
        **msgspec.structs.asdict(settings),
        **chosen,
        "leak": best.leak,
        "spectral_radius": best.radius,
        "input_scaling": best.inputs,
        "validation_r2": score.round(4).tolist(),
        "bins": len(teaching),
    }
    weights, bias = fit.weights.astype(np.float32), fit.bias.astype(np.float32)
    unmeasured = FittedEsn(mean, scale, reservoir, weights, bias, 1, contracting=True, summary={})
    memory, contracting = unmeasured.remembered(data.features)
    summary["contracting"] = contracting
    return FittedEsn(mean, scale, reservoir, weights, bias, memory, contracting, summary)


def _search(
    data: TrainingData,
    z: NDArray[np.float32],
    usable: NDArray[np.bool_],
    late: NDArray[np.bool_],
    settings: EsnSettings,
) -> _Choice:
    """Choose the strengths whose ridge read-out scores best on the later part."""
    combinations = list(product(settings.spectral_radii, settings.input_scalings, settings.leaks))
    if len(combinations) == 1:
        return _Choice(*combinations[0], penalty=np.nan, score=np.empty(0))
    drawn = _drawn(data, settings, min(settings.search_units, settings.units))
    choices = []
    for radius, inputs, leak in combinations:
        reservoir = drawn.scaled(radius, inputs, settings.offset, leak)
        parts = _moments(data, z, usable, late, reservoir, settings)
        choices.append(_Choice(radius, inputs, leak, *choose_lambda(*parts, settings.lambdas)))
    return max(choices, key=lambda choice: float(choice.score.mean()))


def _drawn(data: TrainingData, settings: EsnSettings, n_units: int) -> Reservoir:
    sizes = n_units, settings.connections, data.features.shape[1]
    return Reservoir.draw(*sizes, settings.seed)


def _moments(
    data: TrainingData,
    z: NDArray[np.float32],
    usable: NDArray[np.bool_],
    late: NDArray[np.bool_],
    reservoir: Reservoir,
    settings: EsnSettings,
) -> tuple[Moments, Moments]:
    """Sum what the read-out sees over the bins to fit to and over the later ones to validate on."""
    direct = settings.direct * z.shape[1]
    sizes = reservoir.n_units + direct, data.targets.shape[1]
    parts = Moments.zero(*sizes), Moments.zero(*sizes)
    state = np.zeros(reservoir.n_units)
    for bins, window in history_rows(z, max(settings.direct, 1), data.segments):
        if bins.start in data.segments:
            state = np.zeros(reservoir.n_units)
        states = reservoir.run(state, reservoir.drive(z[bins]))
        state = states[-1]
        rows = np.concatenate([states, window[:, :direct]], axis=1)
        for part, mask in zip(parts, (usable[bins] & ~late[bins], usable[bins] & late[bins]), strict=True):
            if mask.any():
                part.add(rows[mask], data.targets[bins][mask])
    return parts


def _force(
    data: TrainingData,
    z: NDArray[np.float32],
    usable: NDArray[np.bool_],
    late: NDArray[np.bool_],
    reservoir: Reservoir,
    settings: EsnSettings,
) -> tuple[Reservoir, Linear, Matrix]:
    """Learn on the earlier part, score the later one, then learn on all of it once more."""
    targets = data.targets
    learner = ForceLearner(
        reservoir,
        draw_feedback(settings.units, targets.shape[1], settings.seed) * settings.feedback,
        mean=targets[usable & ~late].mean(axis=0),
        scale=targets[usable & ~late].std(axis=0),
        direct=settings.direct,
        n_features=z.shape[1],
        penalty=settings.force_penalty,
    )
    every = usable & (np.arange(len(usable)) % settings.every == 0)
    for _ in range(settings.passes):
        learner.pass_over(z, targets, every & ~late, data.segments)
    said = learner.pass_over(z, targets, np.zeros_like(usable), data.segments)
    score = r2(targets[usable & late], said[usable & late])
    learner.pass_over(z, targets, every & late, data.segments)
    return *learner.result(), score


FAMILY: Final = Family("esn", EsnSettings, _fit)

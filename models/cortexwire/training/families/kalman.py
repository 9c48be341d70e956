"""The velocity Kalman filter: a linear model of movement, corrected by what the spikes say.

The model is that of `state_space`, the filters are those of `kalman_filters`: *steady*, with the gain that the filter
settles at, or *running*, with the covariance carried along. With `position`, positions are part of the state and of
the output (Gilja et al. 2012). With `refit`, the targets are the intended velocities of closed-loop trials.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family, normalisation
from cortexwire.training.data import TrainingData
from cortexwire.training.intention import intended
from cortexwire.training.kalman_filters import Kalman, RunningKalman, SteadyKalman
from cortexwire.training.ridge import Matrix
from cortexwire.training.state_space import StateSpace, fit_observation, fit_transition


class KalmanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to fit.

    `history` is the number of bins in an observation (1 is the textbook's), `shrinkage` the share of the
    observation noise that is taken as independent, `hold_radius` the distance at which a cursor rests on its goal.
    """

    covariance: Literal["steady", "running"] = "steady"
    history: Annotated[int, msgspec.Meta(ge=1)] = 5
    position: bool = False
    transition: Literal["kinematic", "free"] = "kinematic"
    shrinkage: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    refit: bool = False
    hold_radius: Annotated[float, msgspec.Meta(ge=0)] = 0.0


def from_matrices(
    m1: ArrayLike, m2: ArrayLike, m0: ArrayLike, *, feature_mean: ArrayLike | None = None
) -> SteadyKalman:
    """Make the steady filter `v_t = M1 v_{t-1} + M2 u_t + m0` of a known experiment.

    Args:
        m1: `(d, d)`.
        m2: `(d, n_features)`, for raw features.
        m0: `(d,)`.
        feature_mean: `(n_features,)`, what a channel without data enters at; zero by default. It changes nothing
            else.

    Raises:
        ConfigError: The shapes do not fit each other, or the filter is not stable.
    """
    transition, weights, bias = (np.asarray(part, dtype=np.float64) for part in (m1, m2, m0))
    size = len(bias)
    mean = np.zeros(weights.shape[-1]) if feature_mean is None else np.asarray(feature_mean, np.float64)
    shapes = (transition.shape, weights.shape, bias.shape, mean.shape)
    if shapes != ((size, size), (size, weights.shape[-1]), (size,), (weights.shape[-1],)):
        raise ConfigError(f"kalman: expected M1 (d, d), M2 (d, n), m0 (d,) and a mean (n,), got {shapes}")
    entering = mean.astype(np.float32)
    return SteadyKalman(
        feature_mean=entering,
        feature_scale=np.ones_like(entering),
        transition=transition,
        weights=weights,
        bias=bias + weights @ entering.astype(np.float64),
        n_positions=0,
        settled=_stable(transition),
        summary={"covariance": "steady", "history": 1, "matrices": "given"},
    )


def _stable(transition: Matrix) -> Matrix:
    radius = np.abs(np.linalg.eigvals(transition)).max()
    if not radius < 1:
        raise ConfigError(f"kalman: expected a filter that forgets, got a spectral radius of {radius:.3g}")
    return transition


def _fit(data: TrainingData, settings: KalmanSettings) -> Kalman:
    data = intended(data, settings.hold_radius) if settings.refit else data
    states, n_positions = _states(data, settings.position)
    known = np.isfinite(states).all(axis=1)
    teaching = data.usable(settings.history - 1) & known
    if not teaching.any():
        raise ConfigError(f"kalman: expected bins with targets and {settings.history} bins of history, got none")
    mean, scale = normalisation(data.features, teaching)
    middle = states[teaching].mean(axis=0)
    follows = data.successive() & known & np.roll(known, 1)
    kinematic = n_positions if settings.transition == "kinematic" else 0
    transition, noise = fit_transition(states - middle, follows, kinematic)
    weights, observation = fit_observation(
        (data.features - mean) / scale,
        states - middle,
        teaching,
        history=settings.history,
        segments=data.segments,
        shrinkage=settings.shrinkage,
    )
    model = StateSpace(transition, noise, middle, weights, observation)
    summary = {
        **msgspec.structs.asdict(settings),
        "bins": int(teaching.sum()),
        "steps": int(follows[1:].sum()),
        "transition_matrix": transition.round(4).tolist(),
    }
    return _filter(model, mean, scale, n_positions, summary)


def _states(data: TrainingData, position: bool) -> tuple[Matrix, int]:
    if not position:
        return data.targets, 0
    if data.positions is None:
        raise ConfigError("kalman: expected positions to put them into the state, got none")
    return np.concatenate([data.positions, data.targets], axis=1), data.positions.shape[1]


def _filter(
    model: StateSpace,
    feature_mean: NDArray[np.float32],
    feature_scale: NDArray[np.float32],
    n_positions: int,
    summary: Mapping[str, Any],
) -> Kalman:
    covariance = model.steady_covariance()
    gain, unmoved = covariance @ model.observation.T, np.eye(len(covariance))
    settled = _stable((unmoved - gain @ model.observation) @ model.transition)
    shared: dict[str, Any] = {
        "feature_mean": feature_mean,
        "feature_scale": feature_scale,
        "n_positions": n_positions,
        "settled": settled,
        "summary": summary,
    }
    if summary["covariance"] == "steady":
        return SteadyKalman(
            transition=settled, weights=gain @ model.weights, bias=(unmoved - settled) @ model.mean, **shared
        )
    return RunningKalman(
        transition=model.transition,
        weights=model.weights,
        bias=model.observation @ model.mean,
        drift=(unmoved - model.transition) @ model.mean,
        noise=model.noise,
        observation=model.observation,
        **shared,
    )


FAMILY: Final = Family("kalman", KalmanSettings, _fit)

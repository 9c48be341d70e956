"""A linear-Gaussian model of movement and spikes, fitted to bins: what a Kalman filter is derived from.

`x_t = mean + A (x_{t-1} - mean) + w` and `z_t = C (x_t - mean) + q` with `w ~ N(0, W)`, `q ~ N(0, Q)` (Wu et al.,
"Bayesian population decoding of motor cortical activity using a Kalman filter", 2006). `z_t` holds the normalised
features of the last `history` bins: spikes lead the movement, and where Wu et al. shift them by one lag, several
bins let the fit find the lags.

However many features there are, all that they tell of the state is `C' Q^-1 z`, which has the length of the state.
So the observation is kept in that form, whitened: `y = B z = H (x - mean) + e` with `e ~ N(0, I)`. It loses nothing,
and a filter need invert nothing of the size of the features.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.history import history_rows
from cortexwire.training.ridge import Matrix, Moments

_INFORMATIVE = 1e-9


@dataclass(frozen=True, eq=False)
class StateSpace:
    """The model of a state of length d seen through r whitened observations; all float64.

    Attributes:
        transition: A, `(d, d)`.
        noise: W, `(d, d)`.
        mean: `(d,)`.
        weights: B, `(r, history * n_features)`.
        observation: H, `(r, d)`.
    """

    transition: Matrix
    noise: Matrix
    mean: Matrix
    weights: Matrix
    observation: Matrix

    def steady_covariance(self) -> Matrix:
        """Return the covariance of the state, given all observations up to now, that a filter settles at `(d, d)`.

        Raises:
            ConfigError: It never settles.
        """
        independent = np.eye(len(self.observation))
        try:
            predicted = scipy.linalg.solve_discrete_are(self.transition.T, self.observation.T, self.noise, independent)
        except np.linalg.LinAlgError as error:
            raise ConfigError(
                "kalman: expected a state that the features determine, got one that drifts away"
            ) from error
        information = self.observation.T @ self.observation
        return np.asarray(np.linalg.solve(np.eye(len(predicted)) + predicted @ information, predicted))


def fit_transition(states: Matrix, follows: NDArray[np.bool_], n_positions: int) -> tuple[Matrix, Matrix]:
    """Fit A and W by least squares over the bins that follow their own past.

    Args:
        states: `(n_bins, d)`, deviations from the mean, positions first.
        follows: bool `(n_bins,)`: this bin and the one before are known, and that one is its past.
        n_positions: With positions in the state, they are the integral of the velocities, `p + dt v` with one
            fitted `dt`, and the velocities depend on velocities alone (Gilja et al. 2012); a velocity that wanders
            within the step adds `dt^2 / 3` of its noise to theirs, so that they never count as known. 0 leaves A
            free.

    Returns:
        A and W, both `(d, d)`.

    Raises:
        ConfigError: Too few bins follow their own past.
    """
    now = np.flatnonzero(follows[1:]) + 1
    if len(now) <= states.shape[1]:
        raise ConfigError(f"kalman: expected more than {states.shape[1]} steps from bin to bin, got {len(now)}")
    before, after = states[now - 1], states[now]
    if n_positions:
        speed = before[:, n_positions:]
        dt = np.sum((after - before)[:, :n_positions] * speed) / np.square(speed).sum()
        transition = np.eye(states.shape[1])
        transition[:n_positions, n_positions:] = dt * np.eye(n_positions)
        transition[n_positions:, n_positions:] = np.linalg.lstsq(speed, after[:, n_positions:], rcond=None)[0].T
    else:
        transition = np.asarray(np.linalg.lstsq(before, after, rcond=None)[0].T)
    residual = after - before @ transition.T
    noise = residual.T @ residual / len(residual)
    if n_positions:
        noise[:n_positions, :n_positions] += dt**2 / 3 * noise[n_positions:, n_positions:]
    return transition, noise


def fit_observation(
    z: NDArray[np.float32],
    states: Matrix,
    teaching: NDArray[np.bool_],
    *,
    history: int,
    segments: tuple[int, ...],
    shrinkage: float,
) -> tuple[Matrix, Matrix]:
    """Fit C and Q over the bins that teach, and bring them into whitened form.

    Args:
        z: `(n_bins, n_features)`, normalised.
        states: `(n_bins, d)`, deviations from the mean over the bins that teach.
        teaching: bool `(n_bins,)`.
        history: Bins that make up an observation.
        segments: First bin of each segment.
        shrinkage: Share of Q that is replaced by its diagonal, so that few bins do not make it singular.

    Returns:
        B `(r, history * n_features)` and H `(r, d)`, r being the number of independent things that the features
        tell of the state.
    """
    size = history * z.shape[1]
    sums = Moments.zero(size + states.shape[1], 0)
    for bins, rows in history_rows(z, history, segments):
        mask = teaching[bins]
        both = np.concatenate([rows[mask], states[bins][mask]], axis=1)
        sums.add(both, np.empty((len(both), 0)))
    zz, zx, xx = sums.xx[:size, :size], sums.xx[:size, size:], sums.xx[size:, size:]
    gain = np.linalg.lstsq(xx, zx.T, rcond=None)[0].T
    noise = (zz - gain @ zx.T) / sums.n
    variances = np.diag(noise)
    noise = (1 - shrinkage) * noise + np.diag(shrinkage * variances + 1e-6 * variances.max())
    seen = scipy.linalg.cho_solve(scipy.linalg.cho_factor(noise), gain).T
    values, vectors = np.linalg.eigh(seen @ gain)
    told = values > _INFORMATIVE * values.max()
    root = np.sqrt(values[told])
    return (vectors[:, told] / root).T @ seen, (vectors[:, told] * root).T

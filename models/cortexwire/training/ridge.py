"""Ridge regression from its normal equations, so that any number of bins fits in memory.

Sums are float64. Everything that is asked of the data later (another penalty, the error on the validation
block, the fit on all of it) follows from the same sums, so the bins are read once. Inputs and targets are
centred, the intercept is not penalised, and the penalty is relative: `lambda * trace(X'X) / n_inputs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cortexwire.errors import ConfigError

Matrix = NDArray[np.float64]


class Linear(NamedTuple):
    """`y = x @ weights.T + bias` with weights `(n_outputs, n_inputs)` and bias `(n_outputs,)`."""

    weights: Matrix
    bias: Matrix


@dataclass(eq=False)
class Moments:
    """Sums over rows of inputs x and targets y: all that a linear least-squares fit needs to know."""

    n: int
    x: Matrix
    y: Matrix
    xx: Matrix
    xy: Matrix
    yy: Matrix

    @classmethod
    def zero(cls, n_inputs: int, n_outputs: int) -> Self:
        """Return the sums over no rows."""
        return cls(
            0,
            np.zeros(n_inputs),
            np.zeros(n_outputs),
            np.zeros((n_inputs, n_inputs)),
            np.zeros((n_inputs, n_outputs)),
            np.zeros(n_outputs),
        )

    def add(self, x: Matrix, y: Matrix) -> None:
        """Take in rows: x `(n_rows, n_inputs)` and y `(n_rows, n_outputs)`, both float64."""
        self.n += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += np.square(y).sum(axis=0)

    def __add__(self, other: Self) -> Self:
        """Return the sums over the rows of both."""
        return type(self)(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )


def solve(moments: Moments, relative_lambda: float) -> Linear:
    """Fit with one penalty.

    Raises:
        ConfigError: There are fewer than two rows, or the inputs never vary.
    """
    if moments.n < 2:
        raise ConfigError(f"expected at least two bins with targets and history to fit to, got {moments.n}")
    mean_x, mean_y = moments.x / moments.n, moments.y / moments.n
    xx = moments.xx - moments.n * np.outer(mean_x, mean_x)
    xy = moments.xy - moments.n * np.outer(mean_x, mean_y)
    penalty = relative_lambda * np.trace(xx) / len(xx)
    if not penalty > 0:
        raise ConfigError("expected features that vary and a penalty above zero")
    xx[np.diag_indices_from(xx)] += penalty
    factor = scipy.linalg.cho_factor(xx, lower=True, overwrite_a=True, check_finite=False)
    weights = scipy.linalg.cho_solve(factor, xy, check_finite=False).T
    return Linear(weights, mean_y - weights @ mean_x)


def r2_from(moments: Moments, fit: Linear) -> Matrix:
    """Return R² `(n_outputs,)` of a fit on the rows behind `moments`; NaN where a target is constant."""
    w, b = fit
    squares = np.sum((w @ moments.xx) * w, axis=1)
    cross = np.sum(w * moments.xy.T, axis=1)
    error = moments.yy - 2 * cross - 2 * b * moments.y + squares + 2 * b * (w @ moments.x) + moments.n * b**2
    spread = moments.yy - moments.y**2 / max(moments.n, 1)
    score: Matrix = np.full_like(error, np.nan)
    varies = spread > 1e-12 * moments.yy
    score[varies] = 1 - error[varies] / spread[varies]
    return score


def choose_lambda(fit: Moments, validation: Moments, candidates: Sequence[float]) -> tuple[float, Matrix]:
    """Choose the penalty whose fit on one part scores best on the other, by R² averaged over outputs.

    Args:
        fit: Sums over the part to fit to.
        validation: Sums over the part to score on.
        candidates: Relative penalties, each above zero.

    Returns:
        The penalty and its validation R² `(n_outputs,)`.

    Raises:
        ConfigError: No candidate, or a part without rows or without variance.
    """
    if not candidates or validation.n < 2:
        raise ConfigError(
            f"expected penalties to choose from and bins to validate on, got {list(candidates)} and {validation.n}"
        )
    scores = [(r2_from(validation, solve(fit, value)), value) for value in candidates]
    if np.isnan([score for score, _ in scores]).any():
        raise ConfigError("expected validation targets that vary")
    score, value = max(scores, key=lambda pair: float(pair[0].mean()))
    return value, score

"""Scores of a prediction, one number per output column."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def r2(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Coefficient of determination, `1 - SSE / SST` with SST about the mean of `true`.

    Args:
        true: `(n_bins, n_outputs)`; rows with a NaN count for nothing.
        predicted: `(n_bins, n_outputs)`.

    Returns:
        `(n_outputs,)`; NaN where the true column is constant.

    Raises:
        ValueError: The shapes differ, or no row is left.
    """
    y, p = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.ndim != 2 or y.shape != p.shape:
        raise ValueError(f"expected two arrays (n_bins, n_outputs) of one shape, got {y.shape} and {p.shape}")
    known = ~np.isnan(y).any(axis=1)
    if not known.any():
        raise ValueError("expected at least one row without NaN, got none")
    y, p = y[known], p[known]
    error = np.square(y - p).sum(axis=0)
    spread = np.square(y - y.mean(axis=0)).sum(axis=0)
    score: NDArray[np.float64] = np.full_like(error, np.nan)
    score[spread > 0] = 1 - error[spread > 0] / spread[spread > 0]
    return score

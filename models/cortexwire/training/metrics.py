"""Scores of a prediction against the truth.

Rows in which a true value is unknown count for nothing. R2 is about the mean of the truth that is scored, so that the
mean of the very bins scored would have zero and every other constant less.
"""

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
    y, p = _known(true, predicted)
    error = np.square(y - p).sum(axis=0)
    spread = np.square(y - y.mean(axis=0)).sum(axis=0)
    score: NDArray[np.float64] = np.full_like(error, np.nan)
    score[spread > 0] = 1 - error[spread > 0] / spread[spread > 0]
    return score


def weighted_r2(true: ArrayLike, predicted: ArrayLike) -> float:
    """Coefficient of determination of all columns together, each weighted by its variance: `1 - sum SSE / sum SST`.

    Args:
        true: `(n_bins, n_outputs)`; rows with a NaN count for nothing.
        predicted: `(n_bins, n_outputs)`.

    Returns:
        The score; NaN where nothing varies.

    Raises:
        ValueError: The shapes differ, or no row is left.
    """
    y, p = _known(true, predicted)
    spread = float(np.square(y - y.mean(axis=0)).sum())
    return 1 - float(np.square(y - p).sum()) / spread if spread > 0 else float("nan")


def pearson(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Pearson correlation of each column, `(n_outputs,)`; NaN where one side is constant.

    It forgives every wrong gain and offset, so it stands beside R2 and never in its place.

    Raises:
        ValueError: The shapes differ, or no row is left.
    """
    y, p = _known(true, predicted)
    y, p = _standardised(y), _standardised(p)
    score: NDArray[np.float64] = (y * p).mean(axis=0)
    score[(y == 0).all(axis=0) | (p == 0).all(axis=0)] = np.nan
    return score


def rmse(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Root-mean-square error of each column, `(n_outputs,)`, in the unit of the columns.

    Raises:
        ValueError: The shapes differ, or no row is left.
    """
    y, p = _known(true, predicted)
    return np.asarray(np.sqrt(np.square(y - p).mean(axis=0)))


def r2_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    block_bins: int,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of `weighted_r2` by drawing whole contiguous blocks with replacement.

    Errors of neighbouring bins are alike, so drawing single bins would make the interval far too narrow (Künsch,
    "The jackknife and the bootstrap for general stationary observations", 1989).

    Args:
        true: `(n_bins, n_outputs)`; rows with a NaN count for nothing.
        predicted: `(n_bins, n_outputs)`.
        block_bins: Bins in a block: longer than errors stay alike.
        level: Share of the draws inside the interval.
        resamples: Number of draws.
        seed: Draws the blocks.

    Returns:
        Lower and upper end; both NaN where there are fewer than two blocks or nothing varies.

    Raises:
        ValueError: The shapes differ, no row is left, or `block_bins` is below 1.
    """
    if block_bins < 1:
        raise ValueError(f"block_bins: expected 1 or more, got {block_bins}")
    y, p = _known(true, predicted)
    starts = np.arange(0, len(y), block_bins)
    if len(starts) < 2:
        return float("nan"), float("nan")
    # A draw needs no bins: what a block adds to the sums behind the score is all that matters of it.
    error = np.add.reduceat(np.square(y - p).sum(axis=1), starts)
    y = y - y.mean(axis=0)
    size = np.add.reduceat(np.ones(len(y)), starts)
    total = np.add.reduceat(y, starts, axis=0)
    square = np.add.reduceat(np.square(y).sum(axis=1), starts)
    drawn = np.random.default_rng(seed).multinomial(len(starts), np.full(len(starts), 1 / len(starts)), resamples)
    spread = drawn @ square - np.square(drawn @ total).sum(axis=1) / (drawn @ size)
    scores = 1 - (drawn @ error)[spread > 0] / spread[spread > 0]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def lag_bins(true: ArrayLike, predicted: ArrayLike, max_lag: int) -> int:
    """Return by how many bins the prediction comes late: where its cross-correlation with the truth is largest.

    Args:
        true: `(n_bins, n_outputs)`; rows with a NaN count for nothing.
        predicted: `(n_bins, n_outputs)`.
        max_lag: Largest lag to look at, either way.

    Returns:
        Positive: late; negative: early; 0 where they have nothing in common.

    Raises:
        ValueError: The shapes differ, or there are not more than `max_lag` bins.
    """
    y, p = _arrays(true, predicted)
    if len(y) <= max_lag:
        raise ValueError(f"expected more than {max_lag} bins for a lag up to {max_lag}, got {len(y)}")
    known = ~np.isnan(y).any(axis=1)
    y[~known] = y[known].mean(axis=0) if known.any() else 0
    y, p = _standardised(y), _standardised(p)
    lags = sorted(range(-max_lag, max_lag + 1), key=abs)
    n = len(y)
    together = [float((y[max(0, -lag) : n - max(0, lag)] * p[max(0, lag) : n + min(0, lag)]).mean()) for lag in lags]
    return lags[int(np.argmax(together))] if max(together) > 0 else 0


def normalised_latency(compute_s: float, bin_ms: float) -> float:
    """Time to compute a step over the time of the signal in it: below one it keeps up, and the rest is head-room."""
    return compute_s * 1000 / bin_ms


def _arrays(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, p = np.array(true, dtype=np.float64), np.array(predicted, dtype=np.float64)
    if y.ndim != 2 or y.shape != p.shape:
        raise ValueError(f"expected two arrays (n_bins, n_outputs) of one shape, got {y.shape} and {p.shape}")
    return y, p


def _known(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, p = _arrays(true, predicted)
    known = ~np.isnan(y).any(axis=1)
    if not known.any():
        raise ValueError("expected at least one row without NaN, got none")
    return y[known], p[known]


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean zero and variance one in each column; zeros where nothing varies but by rounding."""
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    varies = scale > 1e-12 * np.abs(values).max(axis=0)
    return np.where(varies, centred / np.where(varies, scale, 1), 0)

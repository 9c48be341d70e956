"""Rows of history: what a decoder with a window sees at each bin, oldest bin first."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_CHUNK = 8192


def history_rows(
    z: NDArray[np.floating[Any]], history: int, segments: tuple[int, ...]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Walk through the bins in chunks.

    Args:
        z: `(n_bins, n_features)`, normalised.
        history: Bins in a row, the current one included.
        segments: Starts of segments; before each lies nothing but zeros, the training mean.

    Yields:
        The bins and their rows, float64 `(n_rows, history * n_features)`.
    """
    for start, stop in zip(segments, (*segments[1:], len(z)), strict=True):
        for low in range(start, stop, _CHUNK):
            high = min(low + _CHUNK, stop)
            first = max(low - history + 1, start)
            padding = np.zeros((first - (low - history + 1), z.shape[1]))
            padded = np.concatenate([padding, z[first:high]])
            windows = sliding_window_view(padded, history, axis=0)
            yield slice(low, high), windows.transpose(0, 2, 1).reshape(high - low, -1)

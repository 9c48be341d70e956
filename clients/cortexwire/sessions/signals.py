"""The signal of a recording, one small reader per kind, all by sample range."""

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.grid import RowGrid
from cortexwire.sessions.matrix import Matrix
from cortexwire.sessions.placement import place_counts
from cortexwire.sessions.session import Spikes
from cortexwire.types import Counts, Raw

_TOLERANCE = 1e-3
_MAX_COUNT = np.iinfo(np.uint16).max


class WidebandSignal:
    """Voltages: int16 stays int16, any other number becomes float32."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self.n_samples = matrix.n_rows
        self.n_channels = matrix.n_columns

    def read(self, start: int, stop: int) -> Raw:
        """Samples `[start, stop)`, `(n, n_channels)`."""
        samples = self._matrix.rows(start, stop)
        if samples.dtype == np.int16:
            return samples.astype("<i2", copy=False)
        return samples.astype("<f4", copy=False)


class CountSignal:
    """Counts per recorded bin.

    Args:
        matrix: Recorded values, one row per bin.
        grid: Where the bins lie on the sample clock.
        scale: Count = value x scale.
        where: Names the matrix in errors.
    """

    def __init__(self, matrix: Matrix, grid: RowGrid, scale: float, where: str) -> None:
        self._matrix = matrix
        self._scale = scale
        self._where = where
        self.grid = grid
        self.n_rows = matrix.n_rows
        self.n_samples = grid.edge(matrix.n_rows)
        self.n_channels = matrix.n_columns

    def rows(self, first: int, last: int) -> Counts:
        """Counts of the bins `[first, last)`, `(n, n_channels)`.

        Raises:
            SessionError: A value is no whole number of counts.
        """
        values = self._matrix.rows(first, last) * self._scale
        counts = np.rint(values)
        wrong = ~((np.abs(values - counts) <= _TOLERANCE) & (counts >= 0) & (counts <= _MAX_COUNT))
        if wrong.any():
            row, channel = np.argwhere(wrong)[0]
            raise SessionError(
                f"{self._where}: expected whole counts from 0 to {_MAX_COUNT} after scale {self._scale}, "
                f"got {values[row, channel]} in row {first + row}, channel {channel}"
            )
        return counts.astype(np.uint16)

    def read(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Bins that begin in `[start, stop)`: edges `(n + 1,)`, counts `(n, n_channels)`."""
        first, last = self._first_from(start), self._first_from(stop)
        return self.grid.edges(np.arange(first, last + 1)), self.rows(first, last)

    def _first_from(self, sample: int) -> int:
        row = self.grid.row_of(sample)
        return min(self.n_rows, row + (self.grid.edge(row) < sample))


class PlacedCounts:
    """Counts as events, each at a random sample of its bin.

    Args:
        counts: The recorded counts.
        seed: Seed of the placement.
    """

    _BLOCK_ROWS = 64
    _KEPT = 4

    def __init__(self, counts: CountSignal, seed: int) -> None:
        self.counts = counts
        self.n_samples = counts.n_samples
        self.n_channels = counts.n_channels
        self._seed = seed
        self._blocks: OrderedDict[int, tuple[NDArray[np.int64], Spikes]] = OrderedDict()

    def read(self, start: int, stop: int) -> Spikes:
        """Events in `[start, stop)`."""
        first = self.counts.grid.row_of(start) // self._BLOCK_ROWS
        last = self.counts.grid.row_of(max(start, stop - 1)) // self._BLOCK_ROWS
        parts = [_between(*self._block(number), start, stop) for number in range(first, last + 1)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _block(self, number: int) -> tuple[NDArray[np.int64], Spikes]:
        block = self._blocks.get(number)
        if block is None:
            first = min(number * self._BLOCK_ROWS, self.counts.n_rows)
            last = min(first + self._BLOCK_ROWS, self.counts.n_rows)
            edges = self.counts.grid.edges(np.arange(first, last + 1))
            counts = self.counts.rows(first, last)
            spikes = place_counts(counts, first, edges[:-1], np.diff(edges), self._seed)
            block = np.ascontiguousarray(spikes["sample"]), spikes
            self._blocks[number] = block
            if len(self._blocks) > self._KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block


class EventSignal:
    """A list of events in memory.

    Args:
        spikes: Events in any order.
        n_channels: Number of channels.
        n_samples: Length of the recording.
    """

    def __init__(self, spikes: Spikes, n_channels: int, n_samples: int) -> None:
        self._spikes = spikes[np.lexsort((spikes["unit"], spikes["channel"], spikes["sample"]))]
        self._samples = np.ascontiguousarray(self._spikes["sample"])
        self.n_channels = n_channels
        self.n_samples = n_samples

    def read(self, start: int, stop: int) -> Spikes:
        """Events in `[start, stop)`."""
        return _between(self._samples, self._spikes, start, stop)


def _between(samples: NDArray[np.int64], spikes: Spikes, start: int, stop: int) -> Spikes:
    first, last = np.searchsorted(samples, (start, stop))
    return spikes[first:last]

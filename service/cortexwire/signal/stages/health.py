"""Dead and railing channels, found in raw samples block by block and reported bin by bin."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import DEAD, RAILING
from cortexwire.signal.bins import BinClock
from cortexwire.types import Raw


class Health:
    """Looks at every block's raw extremes.

    A channel rails in the bins of each block in which it touches a rail and of the blocks behind it in which the
    filter settles. It is dead once its value has stood still over so many whole blocks.

    Args:
        rails: Lowest and highest raw value.
        settling: Blocks in which the filter settles.
        dead: Blocks that make a still channel dead.
        bins: Where bins begin.
        blocks: Where blocks begin; every bin begins with one.
        n_channels: Channels per sample.
        start: Sample index of the first sample.
    """

    def __init__(
        self,
        rails: tuple[float, float],
        settling: int,
        dead: int,
        bins: BinClock,
        blocks: BinClock,
        n_channels: int,
        start: int = 0,
    ) -> None:
        self._rails = rails
        self._settling = settling
        self._dead = dead
        self._bins = bins
        self._blocks = blocks
        self._n_channels = n_channels
        self.reset(start)

    def reset(self, start: int = 0) -> None:
        """Know nothing, at sample index `start`."""
        self._position = start
        self._low: NDArray[np.float64] = np.full(self._n_channels, np.inf)
        self._high: NDArray[np.float64] = np.full(self._n_channels, -np.inf)
        self._rest: NDArray[np.float64] = np.zeros(self._n_channels)
        self._still: NDArray[np.int64] = np.zeros(self._n_channels, np.int64)
        self._left: NDArray[np.int64] = np.zeros(self._n_channels, np.int64)
        self._railing: NDArray[np.bool_] = np.zeros(self._n_channels, np.bool_)

    def process(self, chunk: Raw) -> list[NDArray[np.uint8]]:
        """Look at raw samples, `(n, n_channels)`; returns the status of each bin that they complete."""
        reports = []
        for row in chunk.astype(np.float64):
            self._low, self._high = np.minimum(self._low, row), np.maximum(self._high, row)
            block, bin_ = (clock.bin_of(self._position) for clock in (self._blocks, self._bins))
            self._position += 1
            if self._position == self._blocks.start(block + 1):
                self._end_block(row)
            if self._position == self._bins.start(bin_ + 1):
                dead = self._still >= self._dead
                reports.append((RAILING * self._railing + DEAD * dead).astype(np.uint8))
                self._railing[:] = False
        return reports

    def _end_block(self, row: NDArray[np.float64]) -> None:
        railed = (self._low <= self._rails[0]) | (self._high >= self._rails[1])
        self._railing |= railed | (self._left > 0)
        self._left = np.where(railed, self._settling, np.maximum(self._left - 1, 0))
        still = (self._low == self._high) & (self._low == self._rest)
        self._still = np.where(still, self._still + 1, 0)
        self._rest = row
        self._low, self._high = np.full_like(self._low, np.inf), np.full_like(self._high, -np.inf)

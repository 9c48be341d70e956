"""The causal Butterworth filter behind its first zeros: a cascade of biquads in float32."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.bins import BinClock
from cortexwire.signal.scalar import run_sections
from cortexwire.signal.settings import FilterDesign
from cortexwire.types import Microvolts


class Filter:
    """Biquads in transposed direct form II, whose memory is rounded to a grid at the edges of blocks.

    Args:
        design: The designed filter.
        high_pass: Numerators are (1, -2, 1), not (1, 0, -1); the first section has none, since `Reference`
            applied its zeros.
        blocks: Where blocks begin.
        grid_uv: Rounding grid of each channel, `(n_channels,)`; 0 does not round.
        start: Sample index of the first sample.
    """

    def __init__(
        self,
        design: FilterDesign,
        high_pass: bool,
        blocks: BinClock,
        grid_uv: NDArray[np.float32],
        start: int = 0,
    ) -> None:
        self._sections = np.array(design.words, np.float32)
        self._high_pass = high_pass
        self._blocks = blocks
        self._rounding = (1.5 * 2**23 * grid_uv.astype(np.float64)).astype(np.float32)
        self.reset(start)

    def reset(self, start: int = 0) -> None:
        """Begin at rest, at sample index `start`."""
        self._position = start
        self._memory = np.zeros((len(self._rounding), len(self._sections), 2), np.float32)

    def process(self, chunk: Microvolts) -> Microvolts:
        """Filter `(n, n_channels)` samples."""
        blocks = [self._blocks.bin_of(self._position + i) for i in range(len(chunk) + 1)]
        self._position += len(chunk)
        filtered = np.empty_like(chunk)
        run_sections(
            chunk, self._sections, self._high_pass, self._rounding, np.diff(blocks) > 0, self._memory, filtered
        )
        return filtered

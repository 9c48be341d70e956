"""A cross-fade: decoded velocity goes linearly from one decoder's to another's, before gain and limits.

So the limits of the output stage hold through it, and the smoothing has one memory.
"""

import numpy as np

from cortexwire.pipeline.output_stage import Commanding, Processed
from cortexwire.types import Velocity


class Crossfade:
    """An output stage that mixes in what the old decoder says.

    Args:
        output: The output stage behind it.
        first: The first bin.
        bins: Over how many bins it goes; of the k-th of them (from 1) the new decoder has k / (bins + 1).
    """

    def __init__(self, output: Commanding, first: int, bins: int) -> None:
        self._output = output
        self._first, self._bins = first, bins
        self._old: Velocity | None = None
        self._share = 1.0

    @property
    def end(self) -> int:
        """One past the last bin."""
        return self._first + self._bins

    def mix(self, index: int, old: Velocity | None) -> None:
        """Say what the old decoder made of the bin that comes next, `(2,)`; None for nothing that may be used."""
        self._old = old
        self._share = (index - self._first + 1) / (self._bins + 1)

    def process(self, raw: Velocity) -> Processed:
        """Mix, and process what that makes."""
        old = self._old
        if old is not None and np.isfinite(old).all():
            share = np.float32(self._share)
            raw = ((np.float32(1) - share) * old + share * raw).astype(np.float32)
        return self._output.process(raw)

    def reset(self) -> None:
        """Go to rest."""
        self._output.reset()

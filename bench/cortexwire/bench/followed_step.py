"""The step of a decoder that is told of crossings while their bin is open: what of it is left for the end of the bin.

Crossings come as a front end hands them on: in packets of a millisecond, ordered by channel within each. What is timed
is the end of the bin alone, which is all that an output waits for. What is done before, namely settling after the last
bin and adding up crossings, is timed by itself and reported beside it.
"""

import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.turns import InParts
from cortexwire.decoders.contract import CountingDecoder
from cortexwire.types import Counts, Features

PARTS: Final = 20
"""Packets in a bin."""
_SAMPLES: Final = 30
"""Samples in a packet."""
_CROSSING: Final = np.dtype([("sample", "<i4"), ("channel", "<i4")])
_SEED: Final = 8


class FollowedStep(InParts):
    """Bins of crossings for a decoder, one after the other and round again.

    Args:
        decoder: The decoder; it is told of no other crossings.
        features: Counts of each bin, `(n_bins, n_channels)`, whole numbers.

    Attributes:
        ahead_us: What was done before the end of each bin, microseconds each.
    """

    parts = PARTS

    def __init__(self, decoder: CountingDecoder, features: Features) -> None:
        rng = np.random.default_rng(_SEED)
        self._decoder = decoder
        self._bins = [(_crossings(row, rng), row.astype(np.uint16)) for row in features]
        self._status: NDArray[np.uint8] = np.zeros(features.shape[1], np.uint8)
        self._number = 0
        self._n_kept: NDArray[np.int64] = np.zeros(1, np.int64)
        most = max(sum(map(len, parts)) for parts, _ in self._bins)
        self._kept = np.zeros(most + 1, _CROSSING)
        decoder.listen(self._n_kept.ctypes.data, self._kept.ctypes.data, len(self._kept))
        self.ahead_us: list[float] = []
        self._ahead_ns = 0

    def ahead(self, part: int) -> None:
        """Take the crossings of one packet; the first one settles the bin before."""
        told = self._bins[self._number][0][part]
        began = time.perf_counter_ns()
        if part == 0:
            self._decoder.settle()
        first = int(self._n_kept[0])
        self._kept[first : first + len(told)] = told
        self._n_kept[0] = first + len(told)
        self._decoder.follow()
        self._ahead_ns += time.perf_counter_ns() - began

    def __call__(self) -> dict[str, NDArray[Any]]:
        """End the bin, and decode it."""
        counts: Counts = self._bins[self._number][1]
        self._n_kept[0] = 0
        found = self._decoder.step_counts(counts, self._status)
        self._number = (self._number + 1) % len(self._bins)
        self.ahead_us.append(self._ahead_ns / 1e3)
        self._ahead_ns = 0
        return found

    def bin_of(self, features: Features) -> dict[str, NDArray[Any]]:
        """Go through the whole of the next bin, which has to be the one of these features.

        Raises:
            ValueError: It is another.
        """
        if not np.array_equal(self._bins[self._number][1], features):
            raise ValueError(f"bin {self._number}: expected its own counts, got others")
        for part in range(PARTS):
            self.ahead(part)
        return self()


def _crossings(counts: Features, rng: np.random.Generator) -> list[NDArray[np.void]]:
    """Spread a bin's crossings over its packets; by channel within each."""
    channels = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
    made = np.zeros(len(channels), _CROSSING)
    made["channel"] = channels
    made["sample"] = rng.integers(0, PARTS * _SAMPLES, len(made))
    packet = made["sample"] // _SAMPLES
    return [made[packet == part] for part in range(PARTS)]

"""Counts per recorded bin become events: each count lands uniformly at random inside its own bin.

The sample of a count is a pure function of (seed, row, channel, which count), so any range of the
recording can be read in any order and holds the same events. The function is the finaliser of SplitMix64
(Steele et al. 2014), applied once per number.
"""

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.session import SPIKE_DTYPE, Spikes
from cortexwire.types import Counts

_STEP = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * _M1
    words = (words ^ (words >> np.uint64(27))) * _M2
    return words ^ (words >> np.uint64(31))


def place_counts(
    counts: Counts, first_row: int, starts: NDArray[np.int64], widths: NDArray[np.int64], seed: int
) -> Spikes:
    """Place every count of some rows.

    Args:
        counts: `(n_rows, n_channels)`.
        first_row: Number of the first of these rows within the recording.
        starts: First sample of each row, `(n_rows,)`.
        widths: Samples in each row, `(n_rows,)`, below 2^32.
        seed: Seed of the recording.

    Returns:
        Events sorted by (sample, channel), all of unit 0.
    """
    row, channel = np.nonzero(counts)
    repeats = counts[row, channel].astype(np.int64)
    total = int(repeats.sum())
    ordinal = np.arange(total) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    row, channel = np.repeat(row, repeats), np.repeat(channel, repeats)
    words = np.full(total, seed & (2**64 - 1), np.uint64)
    for number in (row + first_row, channel, ordinal):
        words = _mix(words + (number.astype(np.uint64) + np.uint64(1)) * _STEP)
    offset = ((words >> np.uint64(32)) * widths[row].astype(np.uint64)) >> np.uint64(32)
    spikes = np.zeros(total, SPIKE_DTYPE)
    spikes["sample"] = starts[row] + offset.astype(np.int64)
    spikes["channel"] = channel
    return spikes[np.lexsort((spikes["channel"], spikes["sample"]))]

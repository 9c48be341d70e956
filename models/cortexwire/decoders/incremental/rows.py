"""Products with the counts, crossing by crossing.

Let g(c, k) be what the first layer is given of channel c after k crossings (its normalised count, or a rounded one).
The product with g begins as that with g(., 0); a crossing of channel c then adds `g(c, k + 1) - g(c, k)` times the
channel's row of weights. Crossings are added by sample, and by channel within a sample, one after the other: packets
may be cut anywhere, and the sums have the same bits.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from cortexwire.decoders.incremental.machine import add_four, add_rows, run_program
from cortexwire.native.addresses import array_at

(
    N_KEPT, EVENTS, ADDED, SPILLED, N_CHANNELS, N_SUMS, N_LEVELS, COUNTS, LEVELS, RESTING, WEIGHTS, SUMS, BASE, KEYS,
    FACTORS, FEATURES, STEPS, N_WORDS,
) = range(18)  # fmt: skip
"""Words of the rows' state, int64.

Address of the number of crossings that the front end has kept in the open bin (int64), and of those (int32 pairs:
sample, channel); crossings added; whether the sums do not hold what was counted. Channels; sums; levels a channel.
Addresses: counts so far, int32 `(n_channels,)`; g, float32 `(n_channels, n_levels)`; g of a channel at its training
mean, `(n_channels,)`; weights, `(n_channels, n_sums)`; sums; what they begin with; room for as many int64, and
float32, as there can be crossings; features, float32 `(n_channels,)`; room for float32 `(n_channels,)`."""

MOST_FLAGGED: Final = 4
"""One channel in so many may be without data before the sums are made anew."""
_F32 = np.float32(0)


@njit(cache=True, error_model="numpy")
def begin_rows(state: int) -> None:
    """A bin opens: nothing is counted."""
    words = array_at(state, N_WORDS, np.int64(0))
    counts = array_at(words[COUNTS], words[N_CHANNELS], np.int32(0))
    counts[:] = 0
    sums, base = array_at(words[SUMS], words[N_SUMS], _F32), array_at(words[BASE], words[N_SUMS], _F32)
    for j in range(words[N_SUMS]):
        sums[j] = base[j]
    words[ADDED] = words[SPILLED] = 0


@njit(cache=True, error_model="numpy")
def follow_crossings(state: int) -> None:
    """Add the crossings that the front end has kept since the last call."""
    words = array_at(state, N_WORDS, np.int64(0))
    first, last = words[ADDED], array_at(words[N_KEPT], 1, np.int64(0))[0]
    if last <= first:
        return
    n = last - first
    events, keys = array_at(words[EVENTS] + 8 * first, 2 * n, np.int32(0)), array_at(words[KEYS], n, np.int64(0))
    for k in range(n):
        keys[k] = np.int64(events[2 * k]) << 32 | np.int64(events[2 * k + 1])
    _sort(keys, n)
    _add(words, keys, n)
    words[ADDED] = last


@njit(cache=True, error_model="numpy")
def _sort(keys: Any, n: int) -> None:
    """Sort by insertion with shrinking steps (Shell 1959; steps of Ciura 2001); few are all but sorted already."""
    for step in (701, 301, 132, 57, 23, 10, 4, 1):
        for k in range(step, n):
            key, at = keys[k], k
            while at >= step and keys[at - step] > key:
                keys[at] = keys[at - step]
                at -= step
            keys[at] = key


@njit(cache=True, error_model="numpy")
def _add(words: Any, keys: Any, n: int) -> None:
    """Add the rows of sorted crossings; their factors and rows' addresses take the place of the keys."""
    counts = array_at(words[COUNTS], words[N_CHANNELS], np.int32(0))
    levels = array_at(words[LEVELS], words[N_CHANNELS] * words[N_LEVELS], _F32)
    factors = array_at(words[FACTORS], n, _F32)
    m, added = words[N_SUMS], 0
    for k in range(n):
        channel = keys[k] & 0xFFFFFFFF
        count = counts[channel]
        if count + 1 >= words[N_LEVELS]:
            words[SPILLED] = 1
            continue
        at = channel * words[N_LEVELS] + count
        factors[added] = levels[at + 1] - levels[at]
        keys[added] = words[WEIGHTS] + 4 * channel * m
        counts[channel] = count + 1
        added += 1
    whole = added - added % 4
    for k in range(0, whole, 4):
        add_four(
            words[SUMS], m, factors[k], keys[k], factors[k + 1], keys[k + 1],
            factors[k + 2], keys[k + 2], factors[k + 3], keys[k + 3],
        )  # fmt: skip
    for k in range(whole, added):
        _add_one(words[SUMS], m, factors[k], keys[k])


@njit(cache=True, error_model="numpy")
def _add_one(target: int, m: int, factor: Any, row: int) -> None:
    y, weights = array_at(target, m, _F32), array_at(row, m, _F32)
    for j in range(m):
        y[j] += factor * weights[j]


@njit(cache=True, error_model="numpy")
def close_counted(state: int, counts: Any, status: Any, mean: int, program: int, n_ops: int) -> bool:
    """End a whole bin; a channel without data enters at its training mean.

    Args:
        state: Address of the rows' words.
        counts: The bin's counts, uint16 `(n_channels,)`.
        status: The channels' status, uint8 `(n_channels,)`.
        mean: Address of the training mean, float32 `(n_channels,)`.
        program: Address of the operations that end a bin.
        n_ops: How many there are.

    Returns:
        Whether the sums held the bin, so that it is decoded; where they did not, only the features are made.
    """
    words = array_at(state, N_WORDS, np.int64(0))
    n, m = words[N_CHANNELS], words[N_SUMS]
    added, features = array_at(words[COUNTS], n, np.int32(0)), array_at(words[FEATURES], n, _F32)
    differing, flagged = 0, 0
    for c in range(n):
        differing += 1 if added[c] != np.int32(counts[c]) else 0
        flagged += 1 if status[c] != 0 else 0
        features[c] = np.float32(counts[c])
    if flagged:
        means = array_at(mean, n, _F32)
        for c in range(n):
            if status[c] != 0:
                features[c] = means[c]
    if differing or words[SPILLED] or flagged * MOST_FLAGGED > n:
        return False
    if flagged:
        levels, resting = array_at(words[LEVELS], n * words[N_LEVELS], _F32), array_at(words[RESTING], n, _F32)
        for c in range(n):
            if status[c] != 0:
                change = resting[c] - levels[c * words[N_LEVELS] + added[c]]
                _add_one(words[SUMS], m, change, words[WEIGHTS] + 4 * c * m)
    run_program(program, n_ops)
    return True


@njit(cache=True, error_model="numpy")
def close_dense(state: int, entered: int) -> None:
    """Make the sums anew, channel by channel, from what the first layer is given, float32 `(n_channels,)`."""
    words = array_at(state, N_WORDS, np.int64(0))
    n, m = words[N_CHANNELS], words[N_SUMS]
    sums, base = array_at(words[SUMS], m, _F32), array_at(words[BASE], m, _F32)
    for j in range(m):
        sums[j] = base[j]
    given, levels = array_at(entered, n, _F32), array_at(words[LEVELS], n * words[N_LEVELS], _F32)
    steps = array_at(words[STEPS], n, _F32)
    for c in range(n):
        steps[c] = given[c] - levels[c * words[N_LEVELS]]
    add_rows(words[SUMS], words[STEPS], words[WEIGHTS], n, m)

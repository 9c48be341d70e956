"""The fused front end: reference, scale, filter, detect, square and collect, one pass over a run of samples."""

from typing import Any

import numpy as np
from numba import njit

from cortexwire.native.addresses import array_at
from cortexwire.signal.blocks import STRIP_BYTES, close_block, excuse_groups, forget_block
from cortexwire.signal.memory import (
    BIN_END,
    BIN_START,
    BLOCK_DEN,
    BLOCK_END,
    BLOCK_NUM,
    BLOCK_REST,
    BLOCK_START,
    BLOCKS_IN_BIN,
    MODE,
    N_CHANNELS,
    N_COLLECTED,
    N_EVENTS,
    N_INTEGERS,
    POSITION,
    REFRACTORY,
    RESTART,
    SETTLED_AT,
    SETTLING_BLOCKS,
)
from cortexwire.signal.referencing import NONE, reference_offsets
from cortexwire.signal.strip import EVENT, STRIPS_AHEAD, begin_strip, run_strip
from cortexwire.signal.vectors import LANES, bring

EVENT_BYTES = EVENT.itemsize


@njit(cache=True, error_model="numpy")
def run_front_end(memory: Any, raw: Any, start: int, first: int, n_samples: int, filtered: Any) -> int:
    """Take samples up to the end of the open bin, cut at the edges of blocks.

    Args:
        memory: The front end's `Memory`.
        raw: Values one sample after the other, C-contiguous int16 or float32 in raw units, read-only.
        start: Where in them the first of `n_samples` samples begins.
        first: First sample to take.
        n_samples: How many there are.
        filtered: Where filtered samples go, `(n_samples, padded channels)` in uV times the polarity, or empty.

    Returns:
        How many samples were taken.
    """
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    padded = memory.n_strips * LANES
    stride = padded * raw.itemsize
    per_channel = memory.group != 0
    n_channels = integers[N_CHANNELS]
    raw_at, filtered_at = np.int64(raw.ctypes.data), np.int64(filtered.ctypes.data) if filtered.size else 0
    raw_at += start * raw.itemsize
    n = min(n_samples - first, integers[BIN_END] - integers[POSITION])
    done = 0
    while done < n:
        position = integers[POSITION]
        settles = position < integers[SETTLED_AT] < integers[BLOCK_END]
        m = min((integers[SETTLED_AT] if settles else integers[BLOCK_END]) - position, n - done)
        ends = position + m == integers[BLOCK_END]
        restart = integers[RESTART] != 0
        source = raw_at + (first + done) * stride
        if n_channels != padded:
            source = _widen(memory, raw, start + (first + done) * n_channels, n_channels, m)
        if integers[MODE] != NONE:
            reference_offsets(memory, integers[MODE], source, m, restart)
        else:
            for i in range(m):
                bring(source + i * stride, STRIPS_AHEAD * LANES * raw.itemsize)
        known = integers[N_COLLECTED] + integers[N_EVENTS]
        n_events = known
        target = filtered_at + (first + done) * padded * 4 if filtered_at else 0
        for s in range(memory.n_strips):
            state = memory.state + s * STRIP_BYTES
            if restart:
                begin_strip(memory.variant, source + s * LANES * raw.itemsize, state)
            n_events += run_strip(
                memory.variant,
                memory.sections,
                memory.scale,
                memory.rails,
                source + s * LANES * raw.itemsize,
                stride,
                m,
                memory.offsets + s * LANES * 4 * per_channel,
                padded * 4 if per_channel else 4,
                state,
                memory.block_power + s * LANES * 4,
                position - integers[BIN_START],
                integers[REFRACTORY],
                1 if ends else 0,
                integers[SETTLING_BLOCKS],
                memory.events + n_events * EVENT_BYTES,
                s * LANES,
                target + s * LANES * 4 if target else 0,
                padded * 4,
            )
        integers[RESTART] = 0
        integers[N_EVENTS] = n_events - integers[N_COLLECTED]
        integers[POSITION] += m
        done += m
        if ends:
            close_block(memory)
            if integers[MODE] != NONE:
                excuse_groups(memory)
            _open_block(integers)
        elif integers[POSITION] == integers[SETTLED_AT]:
            forget_block(memory)
    return int(n)


@njit(cache=True, error_model="numpy")
def _open_block(integers: Any) -> None:
    """Find the edges of the next block as `BinClock` does, without a product that could overflow."""
    rest = integers[BLOCK_REST] + integers[BLOCK_NUM] % integers[BLOCK_DEN]
    integers[BLOCK_REST] = rest % integers[BLOCK_DEN]
    integers[BLOCK_START] = integers[BLOCK_END]
    following = integers[BLOCK_REST] + integers[BLOCK_NUM]
    integers[BLOCK_END] += following // integers[BLOCK_DEN]
    integers[BLOCKS_IN_BIN] += 1


@njit(cache=True, error_model="numpy")
def _widen(memory: Any, raw: Any, start: int, n_channels: int, n_samples: int) -> int:
    """Copy samples to where each has room for whole strips; returns the address."""
    padded = memory.n_strips * LANES
    for i in range(n_samples):
        row = array_at(memory.wide + i * padded * raw.itemsize, padded, memory.rails[0])
        for c in range(n_channels):
            row[c] = raw[start + i * n_channels + c]
    return int(memory.wide)

"""Blocks: stretches of at most 1 ms, of which every bin has a whole number, and which join it whole or not at all.

At the end of a block its crossings and power join the bin, unless it was an artefact, lies behind one, or was blanked
by a marker. Where the filters settle within a block, what came before that is left out of it. Everything that is
summed is summed sample by sample within a block and block by block within a bin, wherever packets were cut.
"""

from typing import Any

import numpy as np
from numba import njit

from cortexwire.native.addresses import array_at
from cortexwire.signal.memory import (
    ARTEFACT,
    ARTEFACT_CHANNELS,
    BIN_END,
    BIN_START,
    BLOCK_START,
    BLOCKS_IN_BIN,
    DEAD_BLOCKS,
    HAS_LIMIT,
    HOLD_SAMPLES,
    HOLD_UNTIL,
    N_BLANKS,
    N_COLLECTED,
    N_EARLIER,
    N_EVENTS,
    N_INTEGERS,
    OBSERVED,
    POSITION,
    SEEN_FROM,
    SETTLED_AT,
    SETTLING_BLOCKS,
)
from cortexwire.signal.strip import (
    FOREVER,
    LIMITED_ROW,
    RAILING_ROW,
    STATE_ROWS,
    STILL_ROW,
    UNTIL_ROW,
    look_at_strip,
)
from cortexwire.signal.vectors import LANES, read

STRIP_BYTES = STATE_ROWS * LANES * 4
DEAD_BIT, RAILING_BIT = 2, 4
"""Bits of the status that looking at raw values gives."""


@njit(cache=True, error_model="numpy")
def close_block(memory: Any) -> None:
    """End the open block: join it to the bin, or count it as unobserved."""
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    padded = memory.n_strips * LANES
    start, stop, n_events = integers[BLOCK_START], integers[POSITION], integers[N_EVENTS]
    artefact = integers[N_EARLIER] + n_events >= integers[ARTEFACT_CHANNELS]
    if integers[HAS_LIMIT]:
        artefact |= _count_limited(memory) >= integers[ARTEFACT_CHANNELS]
    if artefact:
        integers[HOLD_UNTIL] = stop + integers[HOLD_SAMPLES]
    unseen = start < integers[HOLD_UNTIL]
    blanks = array_at(memory.blanks, 2 * integers[N_BLANKS], np.int64(0))
    for k in range(0, len(blanks), 2):
        unseen |= start < blanks[k + 1] and stop > blanks[k]
    settled = integers[SEEN_FROM] >= integers[SETTLED_AT]
    samples = stop - integers[SEEN_FROM]
    if settled and not unseen:
        integers[OBSERVED] += samples
        _count_events(memory, integers[N_COLLECTED], n_events)
        integers[N_COLLECTED] += n_events
        block_power = array_at(memory.block_power, padded, np.float32(0))
        power = array_at(memory.power, padded, np.float64(0))
        for c in range(padded):
            power[c] += np.float64(block_power[c])
    elif settled:
        integers[ARTEFACT] += samples
    forget_block(memory)
    integers[N_EARLIER] = 0


@njit(cache=True, error_model="numpy")
def forget_block(memory: Any) -> None:
    """Let the open block begin here; its crossings so far still speak for an artefact."""
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    block_power = array_at(memory.block_power, memory.n_strips * LANES, np.float32(0))
    for c in range(len(block_power)):
        block_power[c] = 0.0
    integers[N_EARLIER] += integers[N_EVENTS]
    integers[N_EVENTS] = 0
    integers[SEEN_FROM] = integers[POSITION]


@njit(cache=True, error_model="numpy")
def _count_events(memory: Any, first: int, number: int) -> None:
    events = array_at(memory.events, 2 * (first + number), np.int32(0))
    counts = array_at(memory.counts, memory.n_strips * LANES, np.int32(0))
    for k in range(first, first + number):
        counts[events[2 * k + 1]] += 1


@njit(cache=True, error_model="numpy")
def _count_limited(memory: Any) -> int:
    """Channels that reached the amplitude limit; forgets them."""
    limited = 0
    for s in range(memory.n_strips):
        word = array_at(memory.state + s * STRIP_BYTES + LIMITED_ROW * LANES * 4, LANES // 32, np.uint32(0))
        bits = word[0]
        while bits:
            bits &= bits - np.uint32(1)
            limited += 1
        word[0] = 0
    return limited


@njit(cache=True, error_model="numpy")
def excuse_groups(memory: Any) -> None:
    """Treat the channels of a group that had no reference in the block like channels at the rails."""
    too_few = array_at(memory.too_few, memory.n_groups, np.int32(0))
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    for g in range(memory.n_groups):
        if too_few[g]:
            too_few[g] = 0
            for c in range(memory.n_strips * LANES):
                if memory.group == 0 or read(memory.group + 4 * c, np.int32(0)) == g:
                    row = memory.state + c // LANES * STRIP_BYTES + RAILING_ROW * LANES * 4
                    array_at(row, LANES, np.int32(0))[c % LANES] = integers[SETTLING_BLOCKS]


@njit(cache=True, error_model="numpy")
def interrupt(memory: Any) -> None:
    """Contiguous samples end here, perhaps inside a block."""
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    if integers[POSITION] == integers[BLOCK_START]:
        return  # nothing of it came
    close_block(memory)
    for s in range(memory.n_strips):
        look_at_strip(memory.variant, memory.rails, integers[SETTLING_BLOCKS], memory.state + s * STRIP_BYTES)


@njit(cache=True, error_model="numpy")
def pass_over(memory: Any, blocks: int) -> None:
    """So many blocks are missing: a channel that stood still is taken to have done so in them."""
    for s in range(memory.n_strips):
        still = array_at(memory.state + s * STRIP_BYTES + STILL_ROW * LANES * 4, LANES, np.int32(0))
        for lane in range(LANES):
            still[lane] = min(still[lane] + blocks, FOREVER) if still[lane] > 0 else 0


@njit(cache=True, error_model="numpy")
def take_bin(memory: Any, known: Any, counts: Any, power: Any, status: Any, numbers: Any) -> bool:
    """Write what the open bin holds, and make ready for the next.

    Args:
        memory: The front end's `Memory`.
        known: Status of each channel so far, uint8 `(n_channels,)`.
        counts: Crossings, uint16 `(n_channels,)`.
        power: Mean power of observed samples, float32 `(n_channels,)`, 0 where there are none.
        status: Like `known`, with what raw values showed of dead and railing channels.
        numbers: int64 `(4,)`: samples observed and in artefacts, channels with any status, and channels at the rails.

    Returns:
        Whether a channel died or came back.
    """
    integers = array_at(memory.integers, N_INTEGERS, np.int64(0))
    padded = memory.n_strips * LANES
    sums = array_at(memory.power, padded, np.float64(0))
    crossings = array_at(memory.counts, padded, np.int32(0))
    share = 1.0 / max(integers[OBSERVED], 1)
    for c in range(len(counts)):
        counts[c] = crossings[c]
        power[c] = sums[c] * share
    for c in range(padded):
        crossings[c] = 0
        sums[c] = 0.0
    past, dead_blocks = -np.int32(integers[BLOCKS_IN_BIN]), np.int32(integers[DEAD_BLOCKS])
    length = np.int32(integers[BIN_END] - integers[BIN_START])
    numbers[0], numbers[1], flagged, at_rail = integers[OBSERVED], integers[ARTEFACT], 0, 0
    changed = np.uint8(0)
    for s in range(memory.n_strips):
        rows = memory.state + s * STRIP_BYTES
        until = array_at(rows + UNTIL_ROW * LANES * 4, LANES, np.int32(0))
        railing = array_at(rows + RAILING_ROW * LANES * 4, LANES, np.int32(0))
        still = array_at(rows + STILL_ROW * LANES * 4, LANES, np.int32(0))
        for lane in range(LANES):
            until[lane] = max(until[lane] - length, 0)
        first = s * LANES
        for lane in range(min(LANES, len(counts) - first)):
            before = known[first + lane] & np.uint8(255 - RAILING_BIT - DEAD_BIT)
            at_rails = np.uint8(RAILING_BIT) if railing[lane] > past else np.uint8(0)
            dead = np.uint8(DEAD_BIT) if still[lane] >= dead_blocks else np.uint8(0)
            changed |= (known[first + lane] & np.uint8(DEAD_BIT)) ^ dead
            status[first + lane] = before | at_rails | dead
            flagged += 1 if before | at_rails | dead else 0
            at_rail += 1 if at_rails else 0
    numbers[2], numbers[3] = flagged, at_rail
    integers[BLOCKS_IN_BIN] = integers[N_COLLECTED] = integers[N_EVENTS] = 0
    integers[OBSERVED] = integers[ARTEFACT] = 0
    return bool(changed != 0)

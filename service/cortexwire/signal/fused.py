"""The fused front end: reference, scale, filter, detect, square and collect, one pass over a run of samples.

A run lies inside one bin. It is cut at the edges of absolute 1 ms blocks: at each edge the block's crossings and
power join the bin, unless the block was an artefact, and the filters synchronise. Everything that is summed is
summed sample by sample within a block and block by block within a bin, wherever packets were cut.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.experimental import structref

from cortexwire.signal.referencing import reference_offsets
from cortexwire.signal.strip import (
    BEYOND_ROW,
    DEAD_ROW,
    EVENT,
    LANES,
    LIMIT_ROW,
    POWER_ROW,
    STATE_ROWS,
    THRESHOLD_ROWS,
    run_strip,
)

EVENT_BYTES = EVENT.itemsize
MAX_BLOCK = 64
"""Most samples in one block; 1 ms at 50 kHz has 50."""
(
    POSITION, BLOCK_NUM, BLOCK_DEN, IN_BLOCK, N_EVENTS, N_COLLECTED, OBSERVED, ARTEFACT, HOLD_UNTIL, HOLD_SAMPLES,
    ARTEFACT_CHANNELS, REFRACTORY, MODE, OFFSET_PER_CHANNEL, BLANK_FROM, BLANK_UNTIL, BIN_START, N_FIELDS,
) = range(18)  # fmt: skip
"""Fields of the integer state: next sample index; samples per block as a fraction; samples and crossings in the
open block; crossings kept in the bin; observed and artefact samples of the bin; end, and length, of what follows an
artefact; number of channels that make one; refractory samples; reference mode; whether each channel has an offset of
its own; first and end sample of an external blanking; first sample of the bin."""


@structref.register
class _MemoryType(types.StructRef):
    """Compiled type of `Memory`; its field types choose the kernel's variant."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Forget literal types."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Memory(structref.StructRefProxy):  # type: ignore[misc]  # numba has no types
    """Everything that the fused front end keeps between runs, in one object that is cheap to hand over.

    Fields:
        variant: `variant_token` of the kernel.
        sections: `SECTION_WORDS` float32 a section.
        high_pass: Which numerators the sections have.
        scale: Microvolts per raw unit times the filter's gain, with the polarity's sign.
        rails: Lowest and highest raw value.
        integers: See the field numbers above.
        state: Strips' state, `(n_strips, STATE_ROWS, LANES)`; `words` is the same memory as int32.
        thresholds: `(n_strips, THRESHOLD_ROWS, LANES)`.
        live: Channels that take part in each group's reference, `(n_groups, padded channels)`.
        group: Group of each channel, or empty.
        scratch: Work space of the raw type.
        too_few: One flag a group.
        offsets: Work space.
        events: Crossings of the open block; `sample` counts from the bin's start.
        collected: Crossings kept in the open bin.
        counts: Crossings of the open bin, `(padded channels,)`.
        power: Power sum of the open bin, `(padded channels,)`.
    """


MEMORY_FIELDS = (
    "variant", "sections", "high_pass", "scale", "rails", "integers", "state", "words", "thresholds", "live", "group",
    "scratch", "too_few", "offsets", "events", "collected", "counts", "power",
)  # fmt: skip
structref.define_proxy(Memory, _MemoryType, list(MEMORY_FIELDS))


@njit(cache=True, error_model="numpy")
def _begin(memory: Any, raw: Any) -> None:
    """Set the filters to the steady state of a constant input equal to the first sample."""
    state = memory.state
    per_channel = memory.integers[OFFSET_PER_CHANNEL]
    for s in range(state.shape[0]):
        for row in range(POWER_ROW + 1):
            for lane in range(LANES):
                state[s, row, lane] = 0.0
        for lane in range(LANES):
            c = s * LANES + lane
            offset = memory.offsets[c] if per_channel else memory.offsets[0]
            x = np.float32(np.float32(raw[0, c]) * memory.scale + offset)
            state[s, 0, lane] = -x
            state[s, 1, lane] = x if memory.high_pass else -x
            memory.words[s, BEYOND_ROW, lane] = 0
            memory.words[s, DEAD_ROW, lane] = 0
            memory.words[s, LIMIT_ROW, lane] = 0


@njit(cache=True, error_model="numpy")
def close_block(memory: Any, observe: bool) -> None:
    """End the open block: join it to the bin, or count it as unobserved where it was an artefact."""
    integers, state, words = memory.integers, memory.state, memory.words
    n, n_events = integers[IN_BLOCK], integers[N_EVENTS]
    limited = 0
    for s in range(state.shape[0]):
        row = words[s, LIMIT_ROW]
        for lane in range(LANES):
            limited += row[lane]
    start, stop = integers[POSITION] - n, integers[POSITION]
    artefact = n_events >= integers[ARTEFACT_CHANNELS] or limited >= integers[ARTEFACT_CHANNELS]
    if artefact and observe:
        integers[HOLD_UNTIL] = stop + integers[HOLD_SAMPLES]
    if start < integers[HOLD_UNTIL] or (start < integers[BLANK_UNTIL] and stop > integers[BLANK_FROM]):
        artefact = True
    keep = observe and not artefact
    if keep:
        integers[OBSERVED] += n
        for k in range(n_events):
            event = memory.events[k]
            memory.counts[event["channel"]] += 1
            memory.collected[integers[N_COLLECTED]] = event
            integers[N_COLLECTED] += 1
    elif observe:
        integers[ARTEFACT] += n
    for s in range(state.shape[0]):
        power = state[s, POWER_ROW]
        total = memory.power[s * LANES : (s + 1) * LANES]
        row = words[s, LIMIT_ROW]
        for lane in range(LANES):
            total[lane] += np.float64(power[lane]) if keep else 0.0
            power[lane] = 0.0
            row[lane] = 0
    integers[IN_BLOCK] = 0
    integers[N_EVENTS] = 0


@njit(cache=True, error_model="numpy")
def run_front_end(memory: Any, raw: Any, filtered: Any, restart: bool, observe: bool, closes: bool) -> None:
    """Take one run of samples that lies inside one bin.

    Args:
        memory: The front end's `Memory`.
        raw: Samples, `(n, padded channels)`, C-contiguous int16 or float32 in raw units.
        filtered: Where filtered samples go, `(n, padded channels)` in uV times the polarity, or empty.
        restart: Begin at the steady state of the first sample.
        observe: False while the filter settles: nothing is collected.
        closes: The run ends a bin, a settling or a stretch of signal, so the open block ends with it.
    """
    integers, state, offsets, events = memory.integers, memory.state, memory.offsets, memory.events
    n = raw.shape[0]
    per_channel = integers[OFFSET_PER_CHANNEL]
    offset_stride = memory.live.shape[1] * 4 if per_channel else 4
    done = 0
    while done < n:
        position = integers[POSITION]
        block = ((position + 1) * integers[BLOCK_DEN] - 1) // integers[BLOCK_NUM]
        edge = (block + 1) * integers[BLOCK_NUM] // integers[BLOCK_DEN]
        m = min(edge - position, n - done)
        piece = raw[done : done + m]
        reference_offsets(
            integers[MODE], piece, memory.live, memory.group, memory.rails, memory.scale, memory.scratch,
            memory.too_few, offsets,
        )  # fmt: skip
        if restart and done == 0:
            _begin(memory, piece)
        ends = position + m == edge
        known = integers[N_EVENTS]
        n_events = known
        target = filtered.ctypes.data + done * filtered.strides[0] if filtered.size else 0
        for s in range(state.shape[0]):
            n_events += run_strip(
                memory.variant,
                piece.ctypes.data + s * LANES * raw.itemsize,
                raw.strides[0],
                m,
                state.ctypes.data + s * STATE_ROWS * LANES * 4,
                memory.sections,
                memory.scale,
                offsets.ctypes.data + (s * LANES * 4 if per_channel else 0),
                offset_stride,
                memory.thresholds.ctypes.data + s * THRESHOLD_ROWS * LANES * 4,
                integers[REFRACTORY],
                1 if ends else 0,
                events.ctypes.data + n_events * EVENT_BYTES,
                s * LANES,
                target + s * LANES * 4 if target else 0,
                filtered.strides[0],
            )
        for k in range(known, n_events):
            events[k]["sample"] += np.int32(position - integers[BIN_START])
        integers[N_EVENTS] = n_events
        integers[IN_BLOCK] += m
        integers[POSITION] += m
        done += m
        if ends or (closes and done == n):
            close_block(memory, observe)

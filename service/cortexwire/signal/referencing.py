"""Common references, sample by sample, for the fused front end.

Int16 sums and order statistics are exact, so neither the order of channels nor the cut of packets shows in them.
Channels that are left out, and channels at the rails in that very sample, do not take part. What the filter is
given is the reference's own first step through it, as for the raw values (see `strip`): the difference over two
samples, or the second difference.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from cortexwire.native.addresses import array_at
from cortexwire.signal.memory import MAX_BLOCK
from cortexwire.signal.vectors import BITS, I16, I32, I64, LANES, Emitter, read, vector

MIN_LIVE = 8
"""Fewest live channels that make a common reference."""
NONE, MEAN, MEDIAN = 0, 1, 2
"""Codes of the reference modes in compiled code."""
AHEAD_BYTES = 4096
"""How far ahead samples are fetched from memory; beyond a page the processor does not do it by itself."""
LEVELS = 7
"""Levels that one pass over a sample counts up to."""
NEAR = LEVELS + 1
"""Spacing of the levels of a first look: one more look of spacing 1 then finds the value."""
LOWEST, ABSENT = -32768, 32767
"""The reach of int16. Both are rails, so no value that takes part has either; the higher stands for the others."""
HIGHEST = ABSENT - 1
"""The highest value that can take part."""


def _used(emit: Emitter, row: ir.Value, live: ir.Value, rails: Sequence[ir.Value], k: ir.Value) -> Sequence[ir.Value]:
    """The k-th vector of a sample, and the mask of its lanes that take part."""
    builder = emit.builder
    place = emit.at(row, builder.mul(k, ir.Constant(I64, 2 * LANES)))
    emit.prefetch(emit.at(place, AHEAD_BYTES))
    x = emit.load(place, vector(I16), align=2)
    used = emit.mask(emit.load(emit.at(live, builder.mul(k, ir.Constant(I64, LANES // 8))), BITS))
    for sign, rail in zip("><", rails, strict=True):
        used = builder.and_(used, emit.compare(sign, x, rail))
    return x, used


def _increment(emit: Emitter, slot: ir.Value, mask: ir.Value) -> None:
    kind = vector(I16)
    value = emit.builder.add(emit.builder.load(slot, typ=kind), emit.builder.zext(mask, kind))
    emit.builder.store(value, slot)


def _total(emit: Emitter, slot: ir.Value) -> ir.Value:
    """Sum of a variable's int16 lanes as a 64-bit integer."""
    return emit.builder.sext(emit.reduce(emit.builder.load(slot, typ=vector(I16))), I64)


def _live_sums(
    typingctx: Any,
    source: Any,
    n_samples: Any,
    n_strips: Any,
    live: Any,
    rails: Any,
    totals: Any,
    numbers: Any,
) -> Any:
    """Sum and number of the int16 values of each sample that are live and strictly between two rails.

    `source`, `live` (one bit a channel), `totals` and `numbers` (int32, one a sample) are addresses, the rails
    int16. Exact, so independent of order.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        source, n_samples, n_strips, live, rails, totals, numbers = args
        emit = Emitter(builder)
        bounds = [emit.splat(builder.extract_value(rails, i)) for i in range(2)]
        total, number = emit.slot(emit.constant(I32, 0)), emit.slot(ir.Constant(BITS, 0))
        sample_bytes = builder.mul(n_strips, ir.Constant(I64, 2 * LANES))
        with cgutils.for_range(builder, n_samples, intp=I64) as sample:
            builder.store(emit.constant(I32, 0), total)
            builder.store(ir.Constant(BITS, 0), number)
            row = emit.at(source, builder.mul(sample.index, sample_bytes))
            with cgutils.for_range(builder, n_strips, intp=I64) as strip:
                x, used = _used(emit, row, live, bounds, strip.index)
                x = builder.sext(builder.select(used, x, emit.constant(I16, 0)), vector(I32))
                builder.store(builder.add(builder.load(total, typ=vector(I32)), x), total)
                some = builder.ctpop(emit.bits(used))
                builder.store(builder.add(builder.load(number, typ=BITS), some), number)
            offset = builder.mul(sample.index, ir.Constant(I64, 4))
            emit.store(emit.reduce(builder.load(total, typ=vector(I32))), emit.at(totals, offset))
            emit.store(builder.load(number, typ=BITS), emit.at(numbers, offset))
        return context.get_dummy_value()

    return types.void(source, n_samples, n_strips, live, rails, totals, numbers), codegen


def _levels(emit: Emitter, base: ir.Value, step: ir.Value) -> list[ir.Value]:
    """Vectors of the levels base, base + step, ..., within the reach of int16."""
    builder = emit.builder
    levels = []
    for k in range(LEVELS):
        level = builder.add(base, builder.mul(step, ir.Constant(I64, k)))
        for sign, end in ((">", ABSENT), ("<", LOWEST)):
            bound = ir.Constant(I64, end)
            level = builder.select(builder.icmp_signed(sign, level, bound), bound, level)
        levels.append(emit.splat(builder.trunc(level, I16)))
    return levels


def _sort_out(typingctx: Any, row: Any, n_strips: Any, live: Any, rails: Any, values: Any, base: Any, step: Any) -> Any:
    """Copy one sample's values to `values`, with `ABSENT` where a channel does not take part.

    Returns:
        How many values do not exceed each of `LEVELS` levels, and how many take part.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        row, n_strips, live, rails, values, base, step = args
        emit = Emitter(builder)
        bounds = [emit.splat(builder.extract_value(rails, i)) for i in range(2)]
        levels = _levels(emit, base, step)
        counts = [emit.slot(emit.constant(I16, 0)) for _ in range(LEVELS + 1)]
        with cgutils.for_range(builder, n_strips, intp=I64) as loop:
            x, used = _used(emit, row, live, bounds, loop.index)
            x = builder.select(used, x, emit.constant(I16, ABSENT))
            emit.store(x, emit.at(values, builder.mul(loop.index, ir.Constant(I64, 2 * LANES))), align=2)
            for level, count in zip(levels, counts[:LEVELS], strict=True):
                _increment(emit, count, emit.compare("<=", x, level))
            _increment(emit, counts[LEVELS], used)
        return context.make_tuple(builder, signature.return_type, [_total(emit, count) for count in counts])

    arguments = (row, n_strips, live, rails, values, base, step)
    return types.UniTuple(types.int64, LEVELS + 1)(*arguments), codegen


def _count_up_to(typingctx: Any, values: Any, n_strips: Any, base: Any, step: Any) -> Any:
    """How many of the int16 at address `values` do not exceed each of `LEVELS` levels."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        values, n_strips, base, step = args
        emit = Emitter(builder)
        levels = _levels(emit, base, step)
        counts = [emit.slot(emit.constant(I16, 0)) for _ in range(LEVELS)]
        with cgutils.for_range(builder, n_strips, intp=I64) as loop:
            offset = builder.mul(loop.index, ir.Constant(I64, 2 * LANES))
            x = emit.load(emit.at(values, offset), vector(I16), align=2)
            for level, count in zip(levels, counts, strict=True):
                _increment(emit, count, emit.compare("<=", x, level))
        return context.make_tuple(builder, signature.return_type, [_total(emit, count) for count in counts])

    return types.UniTuple(types.int64, LEVELS)(values, n_strips, base, step), codegen


live_sums: Any = intrinsic(_live_sums)
sort_out: Any = intrinsic(_sort_out)
count_up_to: Any = intrinsic(_count_up_to)


@njit(cache=True, error_model="numpy")
def _next_above(values: NDArray[np.int16], level: int) -> int:
    lowest = np.int32(ABSENT)
    for i in range(len(values)):
        value = np.int32(values[i])
        lowest = min(lowest, value if value > level else np.int32(ABSENT))
    return int(lowest)


@njit(cache=True, error_model="numpy")
def _median(memory: Any, sample: int, live: int, guess: Any) -> tuple[float, int]:
    """Median of the int16 that take part, by counting up to levels that close in on it from a guess."""
    n_strips, values = memory.n_strips, memory.values
    base, step = guess - NEAR * (LEVELS // 2), NEAR
    found = sort_out(sample, n_strips, live, memory.rails, values, base, step)
    counts, number = found[:LEVELS], found[LEVELS]
    if number == 0:
        return 0.0, 0
    rank = (number + 1) // 2
    # The value is above `low` and at most `high`, up to which there are `count` values.
    low, high, count = LOWEST, HIGHEST, number
    while True:
        for k in range(LEVELS):
            level = base + k * step
            if counts[k] >= rank:
                if level < high:
                    high, count = level, counts[k]
                break
            low = max(low, level)
        if high - low <= 1:
            break
        wider = step * NEAR
        if high - low <= NEAR:
            base, step = low + 1, 1
        elif high == HIGHEST and low + LEVELS * wider < high:
            base, step = low + wider, wider
        elif low == LOWEST and high - LEVELS * wider > low:
            base, step = high - LEVELS * wider, wider
        else:
            step = (high - low + LEVELS) // NEAR
            base = low + step
        counts = count_up_to(values, n_strips, base, step)
    if number % 2 or count > rank:
        return float(high), number
    for k in range(LEVELS):
        if step == 1 and high < base + k <= HIGHEST and counts[k] > rank:
            return 0.5 * (high + base + k), number
    return 0.5 * (high + _next_above(array_at(values, n_strips * LANES, np.int16(0)), high)), number


@njit(cache=True, error_model="numpy")
def _medians(memory: Any, source: int, n_samples: int, live: int, references: Any, numbers: Any) -> None:
    sample_bytes = memory.n_strips * LANES * 2
    for i in range(n_samples):
        guess = np.int64(references[i + 1])
        references[i + 2], numbers[i] = _median(memory, source + i * sample_bytes, live, guess)


@njit(cache=True, error_model="numpy")
def _means(memory: Any, source: int, n_samples: int, live: int, references: Any, numbers: Any) -> None:
    totals = array_at(memory.totals, n_samples, np.int32(0))
    n_strips = memory.n_strips
    live_sums(source, n_samples, n_strips, live, memory.rails, memory.totals, np.int64(numbers.ctypes.data))
    for i in range(n_samples):
        references[i + 2] = np.float64(totals[i]) / np.float64(max(numbers[i], 1))


def _find_references(
    memory: Any, mode: Any, source: Any, n_samples: Any, live: Any, references: Any, numbers: Any
) -> Any:
    """Mean or median, and number, of the values of each sample that take part; see the overloads."""
    raise RuntimeError("compiled code only")


@overload(_find_references)
def _overload_find_references(
    memory: Any, mode: Any, source: Any, n_samples: Any, live: Any, references: Any, numbers: Any
) -> Any:
    if memory.field_dict["rails"].dtype == types.int16:

        def exact(memory: Any, mode: Any, source: Any, n_samples: Any, live: Any, references: Any, numbers: Any) -> Any:
            if mode == MEDIAN:
                _medians(memory, source, n_samples, live, references, numbers)
            else:
                _means(memory, source, n_samples, live, references, numbers)

        return exact

    def in_order(memory: Any, mode: Any, source: Any, n_samples: Any, live: Any, references: Any, numbers: Any) -> Any:
        low, high = memory.rails
        padded = memory.n_strips * LANES
        values = array_at(memory.values, padded, low)
        for i in range(n_samples):
            number = 0
            total = 0.0
            for c in range(padded):
                x = read(source + 4 * (i * padded + c), low)
                bits = read(live + c // LANES * (LANES // 8), np.uint32(0))
                if bits >> np.uint32(c % LANES) & np.uint32(1) and low < x < high:
                    values[number] = x
                    total += x
                    number += 1
            references[i + 2] = total / max(number, 1)
            if mode == MEDIAN and number:
                references[i + 2] = np.median(values[:number])
            numbers[i] = number

    return in_order


@njit(cache=True, error_model="numpy")
def reference_offsets(memory: Any, mode: int, source: int, n_samples: int, restart: bool) -> None:
    """Write `-scale * (reference's difference)` for every sample, or every sample and channel where there are groups.

    Args:
        memory: The front end's `Memory`.
        mode: `MEAN` or `MEDIAN`.
        source: Address of samples, `(n_samples, padded channels)`, in raw units.
        n_samples: Their number.
        restart: Take the first sample's reference for all that went before.
    """
    padded = memory.n_strips * LANES
    numbers = array_at(memory.numbers, n_samples, np.int32(0))
    too_few = array_at(memory.too_few, memory.n_groups, np.int32(0))
    offsets = array_at(memory.offsets, n_samples * (padded if memory.group else 1), np.float32(0))
    scale = np.float64(memory.scale)
    for g in range(memory.n_groups):
        live = memory.live + g * memory.n_strips * (LANES // 8)
        references = array_at(memory.references + g * (MAX_BLOCK + 2) * 8, n_samples + 2, np.float64(0))
        _find_references(memory, mode, source, n_samples, live, references, numbers)
        for i in range(n_samples):
            if numbers[i] < MIN_LIVE:
                too_few[g] = 1
                references[i + 2] = 0.0
        if restart:
            references[0] = references[1] = references[2]
        for i in range(n_samples):
            if memory.high_pass:
                difference = (references[i + 2] - references[i + 1]) - (references[i + 1] - references[i])
            else:
                difference = references[i + 2] - references[i]
            if memory.group == 0:
                offsets[i] = -scale * difference
            else:
                group = array_at(memory.group, padded, np.int32(0))
                for c in range(padded):
                    if group[c] == g:
                        offsets[i * padded + c] = -scale * difference
        references[0], references[1] = references[n_samples], references[n_samples + 1]

"""The inner loop of the fused front end, written once as LLVM vector code.

A strip is `LANES` neighbouring channels. While a run of samples passes through, the whole state of the strip
(filter memories, power sums, last raw values) stays in vector registers, which no arrangement of plain loops made
the compiler do. A sample is read and scaled while the one before it is filtered, since there each section waits for
the one before. Every multiply-add is an explicit fused one, so the same samples give the same bits however they are
cut into runs.

The filter's zeros at 0 Hz are applied first and to raw values: a band-pass takes `x[n] - x[n - 2]`, a high-pass
the second difference, which is exact for integers. Offsets and slow potentials, however large, are gone before
anything is rounded, and a filter at rest has a memory of zeros.

At given sample indices the filter's memory is rounded to a grid that is fine against the noise of the channel
(`_synchronise`). Two filters that started differently, one of them behind a gap, then do not merely approach each
other: within some milliseconds they hold the same bits. Rounding acts on s1 and s2 + Re(pole) s1, the
coordinates in which a section's memory turns, so that it is not amplified.
"""

from collections.abc import Sequence
from enum import IntFlag
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cortexwire.signal.vectors import BITS, F32, I1, I16, I32, I64, LANES, Emitter, vector

MAX_SECTIONS = 8
(
    LOW_ROW, HIGH_ROW, LAST_ROW, BEFORE_ROW, REST_ROW, STILL_ROW, RAILING_ROW, BEYOND_ROW, UNTIL_ROW, LIMITED_ROW,
    GATE_ROW, THRESHOLD_ROW, LIMIT_ROW, GRID_ROW, STATE_ROWS,
) = range(2 * MAX_SECTIONS, 2 * MAX_SECTIONS + 15)  # fmt: skip
"""Rows of `LANES` 32-bit words behind the filter's memories, `STATE_ROWS` in all.

Raw values: extremes of the open block, the last two, that at the last block's end. Integers: blocks without a change
of the raw value; blocks until a channel that was at the rails has settled. One bit a channel: beyond the threshold;
reached the amplitude limit in the open block. First sample of the bin at which a channel may cross again.
Settings: higher of threshold and limit, threshold, limit (all reached from above), and rounding constant."""

EVENT = np.dtype([("sample", "<i4"), ("channel", "<i4")])
"""One threshold crossing: sample within the bin, channel."""
SECTION_WORDS = 5
"""Words that describe one section: -a1, -a2, Re(pole), and the grid of each coordinate over the channel's grid."""
STRIPS_AHEAD = 2
"""How many strips ahead samples are fetched from memory: the steps from sample to sample are too long for the
processor to see a pattern in them."""
FOREVER = 2**30
"""Where counts of blocks stop."""


class Variant(IntFlag):
    """What a kernel is compiled for; each combination is its own machine code."""

    FLOAT_INPUT = 1
    HIGH_PASS = 2
    MEAN_ABSOLUTE = 4
    CHANNEL_OFFSETS = 8


def variant_token(variant: Variant) -> tuple[int, ...]:
    """Carry a variant into compiled code as the length of a tuple, which is part of its numba type."""
    return (0,) * (int(variant) + 1)


def _variant(token: Any) -> Variant:
    return Variant(len(token) - 1)


class _Strip:
    """One strip's rows, and how its raw values are stored."""

    def __init__(self, emit: Emitter, variant: Variant, address: ir.Value) -> None:
        self.emit = emit
        self.address = address
        self.floats = Variant.FLOAT_INPUT in variant
        self.raw = vector(F32 if self.floats else I16)
        self.raw_align = 4 if self.floats else 2
        self.widened = self.raw if self.floats else vector(I32)

    def row(self, index: int) -> ir.Value:
        return self.emit.at(self.address, index * LANES * 4)

    def get(self, index: int, kind: ir.Type | None = None) -> ir.Value:
        return self.emit.load(self.row(index), kind or vector(F32))

    def put(self, index: int, value: ir.Value) -> None:
        self.emit.store(value, self.row(index))

    def raw_at(self, address: ir.Value) -> ir.Value:
        return self.emit.load(address, self.raw, self.raw_align)

    def wide(self, raw: ir.Value) -> ir.Value:
        """Raw values of which differences are taken: as they are, or as 32-bit integers."""
        return raw if self.floats else self.emit.builder.sext(raw, self.widened)

    def forget_extremes(self) -> None:
        top, bottom = (float("inf"), float("-inf")) if self.floats else (32767, -32768)
        self.put(LOW_ROW, self.emit.constant(self.raw.element, top))
        self.put(HIGH_ROW, self.emit.constant(self.raw.element, bottom))

    def look(self, rails: ir.Value, settling: ir.Value, blocks: ir.Value) -> None:
        """Judge the extremes of the raw values since the last look, `blocks` (0 or 1) blocks later."""
        emit, builder = self.emit, self.emit.builder
        low, high, rest = (self.get(row, self.raw) for row in (LOW_ROW, HIGH_ROW, REST_ROW))
        rail_low, rail_high = (emit.splat(builder.extract_value(rails, i)) for i in range(2))
        railed = builder.or_(emit.compare("<=", low, rail_low), emit.compare(">=", high, rail_high))
        passed = emit.splat(builder.trunc(blocks, I32))
        left = builder.sub(self.get(RAILING_ROW, vector(I32)), passed)
        left = emit.larger(left, emit.constant(I32, -FOREVER))
        self.put(RAILING_ROW, builder.select(railed, emit.splat(builder.trunc(settling, I32)), left))
        moved = builder.or_(emit.compare("<", low, high), emit.compare("<", low, rest))
        moved = builder.or_(moved, emit.compare("<", rest, high))
        still = builder.add(self.get(STILL_ROW, vector(I32)), passed)
        still = emit.smaller(still, emit.constant(I32, FOREVER))
        self.put(STILL_ROW, builder.select(moved, emit.constant(I32, 0), still))
        self.put(REST_ROW, self.get(LAST_ROW, self.raw))
        self.forget_extremes()


def _begin_strip(typingctx: Any, variant: Any, raw: Any, state: Any) -> Any:
    """Set a strip to the steady state of a constant input equal to its first sample (addresses `raw`, `state`)."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, raw, state = args
        strip = _Strip(Emitter(builder), _variant(variant), state)
        for row in (*range(2 * MAX_SECTIONS), BEYOND_ROW, UNTIL_ROW, LIMITED_ROW):
            strip.put(row, strip.emit.constant(F32, 0.0))
        strip.put(RAILING_ROW, strip.emit.constant(I32, -FOREVER))
        for row in (LAST_ROW, BEFORE_ROW):
            strip.put(row, strip.raw_at(raw))
        strip.forget_extremes()
        return context.get_dummy_value()

    return types.void(variant, raw, state), codegen


def _look_at_strip(typingctx: Any, variant: Any, rails: Any, settling: Any, state: Any) -> Any:
    """Judge the raw values of a block that a gap cut short; `settling` in blocks, `state` an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, rails, settling, state = args
        _Strip(Emitter(builder), _variant(variant), state).look(rails, settling, ir.Constant(I64, 0))
        return context.get_dummy_value()

    return types.void(variant, rails, settling, state), codegen


def _section(
    emit: Emitter, high_pass: bool, first: bool, x: ir.Value, memory: Sequence[ir.Value], a: Sequence[ir.Value]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """One biquad, transposed direct form II, with -a1 and -a2 given; returns output and new memory.

    The numerator is (1, 0, -1) or, for a high-pass, (1, -2, 1); of the first section it is (1, 0, 0), since its
    zeros were applied to the raw values. The filter's gain is in the input's scale.
    """
    builder = emit.builder
    y = builder.fadd(x, memory[0])
    if first:
        return y, emit.fma(a[0], y, memory[1]), builder.fmul(a[1], y)
    if high_pass:
        return y, emit.fma(a[0], y, emit.fma(emit.constant(F32, -2.0), x, memory[1])), emit.fma(a[1], y, x)
    return y, emit.fma(a[0], y, memory[1]), emit.fma(a[1], y, builder.fneg(x))


def _synchronise(emit: Emitter, memory: Sequence[ir.Value], section: Sequence[ir.Value], grid: ir.Value) -> None:
    """Round one section's memory to its grid; adding and taking away 1.5 x 2^23 grid steps rounds."""
    builder = emit.builder
    first, second = (builder.load(slot, typ=vector(F32)) for slot in memory)
    _, _, real, first_grid, second_grid = section
    constants = builder.fmul(grid, first_grid), builder.fmul(grid, second_grid)
    turned = emit.fma(real, first, second)
    first = builder.fsub(builder.fadd(first, constants[0]), constants[0])
    turned = builder.fsub(builder.fadd(turned, constants[1]), constants[1])
    builder.store(first, memory[0])
    builder.store(emit.fma(builder.fneg(real), first, turned), memory[1])


def _run_strip(
    typingctx: Any,
    variant: Any,
    sections: Any,
    scale: Any,
    rails: Any,
    raw: Any,
    raw_stride: Any,
    n_samples: Any,
    offsets: Any,
    offset_stride: Any,
    state: Any,
    power: Any,
    first_sample: Any,
    refractory: Any,
    ends: Any,
    settling: Any,
    events: Any,
    channel: Any,
    filtered: Any,
    filtered_stride: Any,
) -> Any:
    """Pass one run of samples through one strip; returns how many crossings were written.

    Args:
        typingctx: numba's.
        variant: A `variant_token`.
        sections: `SECTION_WORDS` float32 a section.
        scale: Microvolts per raw unit times the filter's gain, float32; negative for positive-going crossings.
        rails: Lowest and highest raw value, in the raw type.
        raw: Address of the strip's first sample; the strides that follow it are in bytes, as are all strides.
        raw_stride: From sample to sample.
        n_samples: Length of the run, at least 1.
        offsets: Address of what is added after scaling: float32, one a sample, or `LANES` a sample.
        offset_stride: From sample to sample.
        state: Address of the strip's rows.
        power: Address of the open block's power sums, float32.
        first_sample: The run's first sample, counted from the bin's start.
        refractory: In samples.
        ends: 1 where a block ends with the run.
        settling: Blocks in which the filter settles.
        events: Address at which `EVENT`s are written.
        channel: The strip's first channel.
        filtered: Address at which filtered samples are written, or 0.
        filtered_stride: From sample to sample.
    """
    n_sections = len(sections) // SECTION_WORDS
    flags = _variant(variant)
    high_pass = Variant.HIGH_PASS in flags

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        (_, sections, scale, rails, raw, raw_stride, n, offsets, offset_stride, state, power, first_sample, refractory,
         ends, settling, events, channel, filtered, filtered_stride) = args  # fmt: skip
        emit = Emitter(builder)
        strip = _Strip(emit, flags, state)
        words = [emit.splat(builder.extract_value(sections, i)) for i in range(SECTION_WORDS * n_sections)]
        described = [words[i : i + SECTION_WORDS] for i in range(0, len(words), SECTION_WORDS)]
        scale = emit.splat(scale)
        gate = strip.get(GATE_ROW)
        kept = {row: emit.slot(strip.get(row)) for row in range(2 * n_sections)}
        kept |= {row: emit.slot(strip.get(row, strip.raw)) for row in (LOW_ROW, HIGH_ROW)}
        earlier = {row: emit.slot(strip.wide(strip.get(row, strip.raw))) for row in (LAST_ROW, BEFORE_ROW)}
        beyond = emit.slot(strip.get(BEYOND_ROW, BITS))
        total = emit.slot(emit.load(power, vector(F32)))
        n_events = emit.slot(ir.Constant(I64, 0))
        writes = emit.is_set(filtered)

        def get(row: int) -> ir.Value:
            return builder.load(kept[row], typ=strip.raw if row in (LOW_ROW, HIGH_ROW) else vector(F32))

        def scaled(index: ir.Value) -> ir.Value:
            """Read one sample: extremes, differences, scale, offset."""
            here = emit.at(raw, builder.mul(index, raw_stride))
            x = strip.raw_at(here)
            emit.prefetch(emit.at(here, STRIPS_AHEAD * LANES * strip.raw_align))
            builder.store(emit.smaller(x, get(LOW_ROW)), kept[LOW_ROW])
            builder.store(emit.larger(x, get(HIGH_ROW)), kept[HIGH_ROW])
            last, before_last = (builder.load(earlier[row], typ=strip.widened) for row in (LAST_ROW, BEFORE_ROW))
            x = strip.wide(x)
            y = _differences(strip, high_pass, x, last, before_last)
            builder.store(last, earlier[BEFORE_ROW])
            builder.store(x, earlier[LAST_ROW])
            offset_at = emit.at(offsets, builder.mul(index, offset_stride))
            per_channel = Variant.CHANNEL_OFFSETS in flags
            offset = emit.load(offset_at, vector(F32) if per_channel else F32)
            return emit.fma(y, scale, offset if per_channel else emit.splat(offset))

        coming = emit.slot(scaled(ir.Constant(I64, 0)))
        with cgutils.for_range(builder, n, intp=I64) as loop:
            y = builder.load(coming, typ=vector(F32))
            following = builder.add(loop.index, ir.Constant(I64, 1))
            with builder.if_then(builder.icmp_signed("<", following, n), likely=True):
                builder.store(scaled(following), coming)
            for k, section in enumerate(described):
                memory = get(2 * k), get(2 * k + 1)
                y, first, second = _section(emit, high_pass, k == 0, y, memory, section)
                builder.store(first, kept[2 * k])
                builder.store(second, kept[2 * k + 1])
            sum_so_far = builder.load(total, typ=vector(F32))
            if Variant.MEAN_ABSOLUTE in flags:
                builder.store(builder.fadd(sum_so_far, emit.absolute(y)), total)
            else:
                builder.store(emit.fma(y, y, sum_so_far), total)
            with builder.if_then(writes, likely=False):
                emit.store(y, emit.at(filtered, builder.mul(loop.index, filtered_stride)))
            reached = emit.is_set(emit.bits(emit.compare("<=", y, gate)))
            before = builder.load(beyond, typ=BITS)
            builder.store(ir.Constant(BITS, 0), beyond)
            with builder.if_then(reached, likely=False):
                now = emit.bits(emit.compare("<=", y, strip.get(THRESHOLD_ROW)))
                builder.store(now, beyond)
                sample = builder.trunc(builder.add(first_sample, loop.index), I32)
                until = strip.get(UNTIL_ROW, vector(I32))
                free = emit.bits(emit.compare("<=", until, emit.splat(sample)))
                crossing = builder.and_(builder.and_(now, builder.not_(before)), free)
                again = emit.splat(builder.add(sample, builder.trunc(refractory, I32)))
                strip.put(UNTIL_ROW, builder.select(emit.mask(crossing), again, until))
                over = emit.bits(emit.compare("<=", y, strip.get(LIMIT_ROW)))
                strip.put(LIMITED_ROW, builder.or_(strip.get(LIMITED_ROW, BITS), over))
                _write_events(emit, crossing, sample, builder.trunc(channel, I32), events, n_events)

        ending = emit.is_set(ends)
        with builder.if_then(ending):
            grid = strip.get(GRID_ROW)
            for k, section in enumerate(described):
                _synchronise(emit, (kept[2 * k], kept[2 * k + 1]), section, grid)
        for row in kept:
            strip.put(row, get(row))
        for row, slot in earlier.items():
            value = builder.load(slot, typ=strip.widened)
            strip.put(row, value if strip.floats else builder.trunc(value, strip.raw))
        strip.put(BEYOND_ROW, builder.load(beyond, typ=BITS))
        emit.store(builder.load(total, typ=vector(F32)), power)
        with builder.if_then(ending):
            strip.look(rails, settling, ir.Constant(I64, 1))
        return builder.load(n_events, typ=I64)

    arguments = (variant, sections, scale, rails, raw, raw_stride, n_samples, offsets, offset_stride, state, power,
                 first_sample, refractory, ends, settling, events, channel, filtered, filtered_stride)  # fmt: skip
    return types.int64(*arguments), codegen


def _differences(strip: _Strip, high_pass: bool, x: ir.Value, last: ir.Value, before: ir.Value) -> ir.Value:
    """What the zeros of the first section make of widened raw values, as float32."""
    builder = strip.emit.builder
    subtract = builder.fsub if strip.floats else builder.sub
    difference = subtract(subtract(x, last), subtract(last, before)) if high_pass else subtract(x, before)
    return difference if strip.floats else builder.sitofp(difference, vector(F32))


def _write_events(
    emit: Emitter,
    crossing: ir.Value,
    sample: ir.Value,
    channel: ir.Value,
    events: ir.Value,
    n_events: ir.Value,
) -> None:
    """Append one event for each set bit, lowest channel first."""
    builder = emit.builder
    rest = emit.slot(builder.zext(crossing, I64) if LANES < 64 else crossing)
    head, body, done = (builder.append_basic_block(name) for name in ("events", "event", "events.end"))
    builder.branch(head)
    builder.position_at_end(head)
    bits = builder.load(rest, typ=I64)
    builder.cbranch(emit.is_set(bits), body, done)
    builder.position_at_end(body)
    lane = builder.trunc(builder.cttz(bits, ir.Constant(I1, 1)), I32)
    index = builder.load(n_events, typ=I64)
    target = emit.at(events, builder.mul(index, ir.Constant(I64, EVENT.itemsize)))
    emit.store(sample, target)
    emit.store(builder.add(channel, lane), emit.at(target, 4))
    builder.store(builder.add(index, ir.Constant(I64, 1)), n_events)
    builder.store(builder.and_(bits, builder.sub(bits, ir.Constant(I64, 1))), rest)
    builder.branch(head)
    builder.position_at_end(done)


begin_strip: Any = intrinsic(_begin_strip)
look_at_strip: Any = intrinsic(_look_at_strip)
run_strip: Any = intrinsic(_run_strip)

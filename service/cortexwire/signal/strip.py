"""The inner loop of the fused front end, written once as LLVM vector code.

A strip is `LANES` neighbouring channels. While a run of samples passes through, the whole state of the strip
(filter memories, power sums, "was beyond the threshold") stays in vector registers, which no arrangement of
plain loops made the compiler do. `numba.extending.intrinsic` places this code inside ordinary numba functions,
so it is compiled for the processor at hand and cached with them.

Every multiply-add is an explicit fused one. Nothing is left to the compiler's taste, so the same samples give
the same bits however they are cut into runs.

At given sample indices the filter's memory is rounded to a grid that is fine against the noise of the channel
(`synchronise`). Two filters that started differently, one of them behind a gap, then do not merely approach each
other: within some milliseconds they hold the same bits. Rounding acts on the rotating coordinates of each
section (s1 and s2 + Re(pole) s1), in which it is not amplified.
"""

from collections.abc import Sequence
from enum import IntFlag
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32
"""Channels that one strip holds; arrays are padded to a multiple of it."""
MAX_SECTIONS = 8
POWER_ROW, BEYOND_ROW, DEAD_ROW, LIMIT_ROW, LOW_ROW, HIGH_ROW = range(2 * MAX_SECTIONS, 2 * MAX_SECTIONS + 6)
"""Rows behind the filter's memories: power sum, beyond threshold (0 or 1), dead time left in samples, amplitude
limit reached (0 or 1), lowest and highest raw value."""
STATE_ROWS = HIGH_ROW + 1
"""Rows of `LANES` 32-bit words that one strip keeps between runs."""

EVENT = np.dtype([("sample", "<i4"), ("channel", "<i4")])
"""One threshold crossing: sample within the run, channel."""
SECTION_WORDS = 5
"""Words that describe one section: -a1, -a2, Re(pole), and the grid of each coordinate over the channel's grid."""
THRESHOLD_ROWS = 3
"""Rows of a strip's thresholds: crossing, amplitude limit (both reached from above), rounding constant."""


class Variant(IntFlag):
    """What a kernel is compiled for; each combination is its own machine code."""

    FLOAT_INPUT = 1
    HIGH_PASS = 2
    MEAN_ABSOLUTE = 4
    CHANNEL_OFFSETS = 8


def variant_token(variant: Variant) -> tuple[int, ...]:
    """Carry a variant into compiled code as the length of a tuple, which is part of its numba type."""
    return (0,) * (int(variant) + 1)


_F32 = ir.FloatType()
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def _vector(element: ir.Type) -> ir.VectorType:
    return ir.VectorType(element, LANES)


class _Emitter:
    """The few vector operations that the strip needs, over one IR builder."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def splat(self, scalar: ir.Value) -> ir.Value:
        vector = _vector(scalar.type)
        lane = self.builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(
            lane, ir.Constant(vector, ir.Undefined), ir.Constant(_vector(_I32), [0] * LANES)
        )

    def constant(self, element: ir.Type, value: float) -> ir.Constant:
        return ir.Constant(_vector(element), [value] * LANES)

    def load(self, address: ir.Value, vector: ir.Type, align: int = 4) -> ir.Value:
        return self.builder.load(self.builder.inttoptr(address, vector.as_pointer()), align=align, typ=vector)

    def store(self, value: ir.Value, address: ir.Value, align: int = 4) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=align)

    def at(self, address: ir.Value, offset_bytes: ir.Value | int) -> ir.Value:
        offset = ir.Constant(_I64, offset_bytes) if isinstance(offset_bytes, int) else offset_bytes
        return self.builder.add(address, offset)

    def row(self, address: ir.Value, index: int) -> ir.Value:
        return self.at(address, index * LANES * 4)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.call("fma", a, b, c)

    def call(self, name: str, *operands: ir.Value) -> ir.Value:
        """Call LLVM's vector intrinsic of that name (llvmlite declares only the scalar ones)."""
        vector = _vector(_F32)
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(vector, [vector] * len(operands)),
            f"llvm.{name}.v{LANES}f32",
        )
        return self.builder.call(function, operands)

    def reduce(self, value: ir.Value) -> ir.Value:
        """Sum the lanes of a vector of 64-bit integers."""
        vector = _vector(_I64)
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(_I64, [vector]), f"llvm.vector.reduce.add.v{LANES}i64"
        )
        return self.builder.call(function, [value])

    def bound(self, slot: ir.Value, value: ir.Value, sign: str) -> None:
        """Keep in `slot` the lane-wise minimum (`<`) or maximum (`>`) of itself and `value`."""
        kept = self.get(slot, value.type)
        compare = (
            self.builder.fcmp_ordered if value.type.element == _F32 else self.builder.icmp_signed
        )
        self.builder.store(self.builder.select(compare(sign, value, kept), value, kept), slot)

    def any(self, mask: ir.Value) -> ir.Value:
        bits = self.builder.bitcast(mask, ir.IntType(LANES))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def variable(self, value: ir.Value) -> ir.Value:
        slot = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, slot)
        return slot

    def get(self, slot: ir.Value, vector: ir.Type) -> ir.Value:
        return self.builder.load(slot, typ=vector)


def _section(
    emit: _Emitter, high_pass: bool, x: ir.Value, memory: tuple[ir.Value, ir.Value], a: Sequence[ir.Value]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """One biquad, transposed direct form II, with -a1 and -a2 given.

    The numerator is (1, 0, -1) or, for a high-pass, (1, -2, 1); the filter's gain is in the input's scale.
    """
    builder = emit.builder
    y = builder.fadd(x, memory[0])
    if high_pass:
        first = emit.fma(a[0], y, emit.fma(emit.constant(_F32, -2.0), x, memory[1]))
        return y, first, emit.fma(a[1], y, x)
    return y, emit.fma(a[0], y, memory[1]), emit.fma(a[1], y, builder.fneg(x))


def _synchronise(
    emit: _Emitter, memory: Sequence[ir.Value], section: Sequence[ir.Value], grid: ir.Value
) -> None:
    """Round one section's memory to its grid; adding and taking away 1.5 x 2^23 grid steps rounds."""
    builder = emit.builder
    first, second = (emit.get(slot, _vector(_F32)) for slot in memory)
    _, _, real, first_grid, second_grid = section
    constants = builder.fmul(grid, first_grid), builder.fmul(grid, second_grid)
    turned = emit.fma(real, first, second)
    first = builder.fsub(builder.fadd(first, constants[0]), constants[0])
    turned = builder.fsub(builder.fadd(turned, constants[1]), constants[1])
    builder.store(first, memory[0])
    builder.store(emit.fma(builder.fneg(real), first, turned), memory[1])


@intrinsic
def run_strip(  # noqa: PLR0913
    typingctx: Any,
    variant: Any,
    raw: Any,
    raw_stride: Any,
    n_samples: Any,
    state: Any,
    sections: Any,
    scale: Any,
    offsets: Any,
    offset_stride: Any,
    thresholds: Any,
    refractory: Any,
    synchronise: Any,
    events: Any,
    channel: Any,
    filtered: Any,
    filtered_stride: Any,
) -> Any:
    """Pass one run of samples through one strip; returns how many crossings were written.

    All arguments but `variant`, `sections` and `scale` are 64-bit integers, addresses and strides in bytes:
    `raw` the strip's first sample; `state` its `STATE_ROWS` rows; `scale` microvolts per bit times the filter's
    gain, negative where positive-going crossings are wanted; `offsets` what is added after scaling, one float32
    a sample (or one row of `LANES` a sample); `thresholds` its `THRESHOLD_ROWS` rows; `refractory` in samples;
    `synchronise` 1 where the run ends at an index at which the memory is rounded; `events` where `EVENT`s go;
    `filtered` where filtered samples go, or 0.
    """
    n_sections = len(sections) // SECTION_WORDS
    flags = Variant(len(variant) - 1)
    high_pass = bool(flags & Variant.HIGH_PASS)
    vec_f32, vec_i32, vec_i1 = _vector(_F32), _vector(_I32), _vector(_I1)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        (_, raw, raw_stride, n, state, sections, scale, offsets, offset_stride, thresholds, refractory,
         synchronise, events, channel, filtered, filtered_stride) = args  # fmt: skip
        emit = _Emitter(builder)
        words = [emit.splat(builder.extract_value(sections, i)) for i in range(SECTION_WORDS * n_sections)]
        described = [words[i : i + SECTION_WORDS] for i in range(0, len(words), SECTION_WORDS)]
        scale = emit.splat(scale)
        threshold = emit.load(thresholds, vec_f32)
        limit = emit.load(emit.row(thresholds, 1), vec_f32)
        refractory = builder.trunc(refractory, _I32)
        channel = builder.trunc(channel, _I32)
        memories = [emit.variable(emit.load(emit.row(state, i), vec_f32)) for i in range(2 * n_sections)]
        power = emit.variable(emit.load(emit.row(state, POWER_ROW), vec_f32))
        zero = emit.constant(_I32, 0)
        beyond = emit.variable(
            builder.icmp_signed("!=", emit.load(emit.row(state, BEYOND_ROW), vec_i32), zero)
        )
        dead = emit.variable(emit.load(emit.row(state, DEAD_ROW), vec_i32))
        limited = emit.variable(emit.load(emit.row(state, LIMIT_ROW), vec_i32))
        floats = bool(flags & Variant.FLOAT_INPUT)
        vec_raw = vec_f32 if floats else _vector(_I16)
        lowest, highest = (emit.load(emit.row(state, row), vec_f32 if floats else vec_i32)
                           for row in (LOW_ROW, HIGH_ROW))  # fmt: skip
        bounds = [emit.variable(v if floats else builder.trunc(v, vec_raw)) for v in (lowest, highest)]
        n_events = emit.variable(ir.Constant(_I64, 0))
        writes = builder.icmp_signed("!=", filtered, ir.Constant(_I64, 0))

        with cgutils.for_range(builder, n, intp=_I64) as loop:
            address = emit.at(raw, builder.mul(loop.index, raw_stride))
            x = emit.load(address, vec_raw, align=4 if floats else 2)
            emit.bound(bounds[0], x, "<")
            emit.bound(bounds[1], x, ">")
            if not floats:
                x = builder.sitofp(x, vec_f32)
            offset_at = emit.at(offsets, builder.mul(loop.index, offset_stride))
            if flags & Variant.CHANNEL_OFFSETS:
                offset = emit.load(offset_at, vec_f32)
            else:
                offset = emit.splat(
                    builder.load(builder.inttoptr(offset_at, _F32.as_pointer()), align=4, typ=_F32)
                )
            y = emit.fma(x, scale, offset)
            for k, section in enumerate(described):
                memory = emit.get(memories[2 * k], vec_f32), emit.get(memories[2 * k + 1], vec_f32)
                y, first, second = _section(emit, high_pass, y, memory, section)
                builder.store(first, memories[2 * k])
                builder.store(second, memories[2 * k + 1])
            total = emit.get(power, vec_f32)
            if flags & Variant.MEAN_ABSOLUTE:
                builder.store(builder.fadd(total, emit.call("fabs", y)), power)
            else:
                builder.store(emit.fma(y, y, total), power)
            with builder.if_then(writes, likely=False):
                emit.store(y, emit.at(filtered, builder.mul(loop.index, filtered_stride)))
            now = builder.fcmp_ordered("<=", y, threshold)
            with builder.if_then(emit.any(now), likely=False):
                sample = builder.trunc(loop.index, _I32)
                here = emit.splat(sample)
                fresh = builder.and_(now, builder.not_(emit.get(beyond, vec_i1)))
                free = builder.icmp_signed("<=", emit.get(dead, vec_i32), here)
                crossing = builder.and_(fresh, free)
                until = emit.splat(builder.add(sample, refractory))
                builder.store(builder.select(crossing, until, emit.get(dead, vec_i32)), dead)
                over = builder.zext(builder.fcmp_ordered("<=", y, limit), vec_i32)
                builder.store(builder.or_(emit.get(limited, vec_i32), over), limited)
                _write_events(emit, crossing, sample, channel, events, n_events)
            builder.store(now, beyond)

        with builder.if_then(builder.icmp_signed("!=", synchronise, ir.Constant(_I64, 0))):
            grid = emit.load(emit.row(thresholds, 2), vec_f32)
            for k, section in enumerate(described):
                _synchronise(emit, memories[2 * k : 2 * k + 2], section, grid)
        for i, slot in enumerate(memories):
            emit.store(emit.get(slot, vec_f32), emit.row(state, i))
        emit.store(emit.get(power, vec_f32), emit.row(state, POWER_ROW))
        emit.store(builder.zext(emit.get(beyond, vec_i1), vec_i32), emit.row(state, BEYOND_ROW))
        left = builder.sub(emit.get(dead, vec_i32), emit.splat(builder.trunc(n, _I32)))
        left = builder.select(builder.icmp_signed(">", left, zero), left, zero)
        emit.store(left, emit.row(state, DEAD_ROW))
        emit.store(emit.get(limited, vec_i32), emit.row(state, LIMIT_ROW))
        for slot, row in zip(bounds, (LOW_ROW, HIGH_ROW), strict=True):
            value = emit.get(slot, vec_raw)
            emit.store(value if floats else builder.sext(value, vec_i32), emit.row(state, row))
        return builder.load(n_events, typ=_I64)

    arguments = (variant, raw, raw_stride, n_samples, state, sections, scale, offsets, offset_stride, thresholds,
                 refractory, synchronise, events, channel, filtered, filtered_stride)  # fmt: skip
    return types.int64(*arguments), codegen


@intrinsic
def live_sum(typingctx: Any, row: Any, n_strips: Any, live: Any, low: Any, high: Any) -> Any:
    """Sum and number of the int16 values of one sample that are live and strictly between two rails.

    `row` and `live` (int16, 0 for a channel that is left out) are addresses, the rest 64-bit integers. Exact,
    and therefore independent of order.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        row, n_strips, live, low, high = args
        emit = _Emitter(builder)
        vec_i16, vec_i32 = _vector(_I16), _vector(_I32)
        low, high = (emit.splat(builder.trunc(rail, _I16)) for rail in (low, high))
        none = emit.constant(_I16, 0)
        total = emit.variable(emit.constant(_I32, 0))
        number = emit.variable(none)
        with cgutils.for_range(builder, n_strips, intp=_I64) as loop:
            offset = builder.mul(loop.index, ir.Constant(_I64, 2 * LANES))
            x = emit.load(emit.at(row, offset), vec_i16, align=2)
            used = builder.icmp_signed("!=", emit.load(emit.at(live, offset), vec_i16, align=2), none)
            used = builder.and_(used, builder.icmp_signed(">", x, low))
            used = builder.and_(used, builder.icmp_signed("<", x, high))
            wide = builder.sext(builder.select(used, x, none), vec_i32)
            builder.store(builder.add(emit.get(total, vec_i32), wide), total)
            builder.store(builder.add(emit.get(number, vec_i16), builder.zext(used, vec_i16)), number)
        sums = [builder.sext(emit.get(slot, vector), _vector(_I64)) for slot, vector in
                ((total, vec_i32), (number, vec_i16))]  # fmt: skip
        return context.make_tuple(builder, signature.return_type, [emit.reduce(v) for v in sums])

    return types.UniTuple(types.int64, 2)(row, n_strips, live, low, high), codegen


def _write_events(
    emit: _Emitter,
    crossing: ir.Value,
    sample: ir.Value,
    channel: ir.Value,
    events: ir.Value,
    n_events: ir.Value,
) -> None:
    """Append one event for each set lane, lowest channel first."""
    builder = emit.builder
    lanes = ir.IntType(LANES)
    rest = emit.variable(builder.bitcast(crossing, lanes))
    head = builder.append_basic_block("events")
    body = builder.append_basic_block("event")
    done = builder.append_basic_block("events.end")
    builder.branch(head)
    builder.position_at_end(head)
    bits = builder.load(rest, typ=lanes)
    builder.cbranch(builder.icmp_unsigned("!=", bits, ir.Constant(lanes, 0)), body, done)
    builder.position_at_end(body)
    lane = builder.cttz(bits, ir.Constant(_I1, 1))
    index = builder.load(n_events, typ=_I64)
    target = emit.at(events, builder.mul(index, ir.Constant(_I64, EVENT.itemsize)))
    builder.store(sample, builder.inttoptr(target, _I32.as_pointer()), align=4)
    builder.store(
        builder.add(channel, lane), builder.inttoptr(emit.at(target, 4), _I32.as_pointer()), align=4
    )
    builder.store(builder.add(index, ir.Constant(_I64, 1)), n_events)
    builder.store(builder.and_(bits, builder.sub(bits, ir.Constant(lanes, 1))), rest)
    builder.branch(head)
    builder.position_at_end(done)

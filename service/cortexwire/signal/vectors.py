"""Vector code for the kernels: the few LLVM operations that they need, over `LANES` neighbouring channels.

`numba.extending.intrinsic` places what is written here inside ordinary numba functions, so it is compiled for the
processor at hand and cached with them. Nothing is left to the compiler's taste: a multiply-add is fused exactly
where `fma` is written.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32
"""Channels that one vector holds; arrays are padded to a multiple of it."""

F32 = ir.FloatType()
I1, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
BITS = ir.IntType(LANES)
"""A mask as an integer, one bit a lane."""


def vector(element: ir.Type) -> ir.VectorType:
    """The type of `LANES` elements."""
    return ir.VectorType(element, LANES)


class Emitter:
    """Writes vector operations through one IR builder. Addresses are 64-bit integers, offsets bytes."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def splat(self, scalar: ir.Value) -> ir.Value:
        """The scalar in every lane."""
        kind = vector(scalar.type)
        lane = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(lane, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32), [0] * LANES))

    def constant(self, element: ir.Type, value: float) -> ir.Constant:
        """The number in every lane."""
        return ir.Constant(vector(element), [value] * LANES)

    def at(self, address: ir.Value, offset: ir.Value | int) -> ir.Value:
        """An address some bytes on."""
        return self.builder.add(address, ir.Constant(I64, offset) if isinstance(offset, int) else offset)

    def load(self, address: ir.Value, kind: ir.Type, align: int = 4) -> ir.Value:
        """Read a scalar or vector."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=align, typ=kind)

    def store(self, value: ir.Value, address: ir.Value, align: int = 4) -> None:
        """Write a scalar or vector."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=align)

    def slot(self, value: ir.Value) -> ir.Value:
        """A variable that begins with this value; the optimiser keeps it in registers."""
        place = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, place)
        return place

    def call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        """Call LLVM's own function of that name."""
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, operands)

    def prefetch(self, address: ir.Value) -> None:
        """Begin to bring a line of memory near; no address is a fault."""
        place = self.builder.inttoptr(address, ir.IntType(8).as_pointer())
        read, keep, data = (ir.Constant(I32, code) for code in (0, 3, 1))
        kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, (place, read, keep, data))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """`a * b + c`, rounded once."""
        return self.call(f"llvm.fma.v{LANES}f32", a.type, a, b, c)

    def absolute(self, a: ir.Value) -> ir.Value:
        """`|a|`."""
        return self.call(f"llvm.fabs.v{LANES}f32", a.type, a)

    def reduce(self, value: ir.Value) -> ir.Value:
        """Sum of the lanes of integers."""
        element = value.type.element
        return self.call(f"llvm.vector.reduce.add.v{LANES}i{element.width}", element, value)

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Lane by lane the lesser of two."""
        return self.builder.select(self.compare("<", a, b), a, b)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Lane by lane the greater of two."""
        return self.builder.select(self.compare(">", a, b), a, b)

    def compare(self, sign: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """Mask of the lanes in which the comparison holds; none does with a NaN."""
        floats = a.type.element == F32
        return self.builder.fcmp_ordered(sign, a, b) if floats else self.builder.icmp_signed(sign, a, b)

    def bits(self, mask: ir.Value) -> ir.Value:
        """A mask as an integer."""
        return self.builder.bitcast(mask, BITS)

    def mask(self, bits: ir.Value) -> ir.Value:
        """An integer as a mask."""
        return self.builder.bitcast(bits, vector(I1))

    def is_set(self, scalar: ir.Value) -> ir.Value:
        """Whether an integer is not 0."""
        return self.builder.icmp_unsigned("!=", scalar, ir.Constant(scalar.type, 0))


def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c` of float32 scalars, rounded once, as the kernels do it."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


fma: Any = intrinsic(_fma)


def _read(typingctx: Any, address: Any, like: Any) -> Any:
    """The scalar of `like`'s type at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        kind = context.get_value_type(signature.return_type)
        return Emitter(builder).load(args[0], kind)

    return like(address, like), codegen


read: Any = intrinsic(_read)


def _bring(typingctx: Any, address: Any, n_bytes: Any) -> Any:
    """Begin to bring so many bytes of memory near, in order."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        emit = Emitter(builder)
        lines = builder.lshr(builder.add(args[1], ir.Constant(I64, 63)), ir.Constant(I64, 6))
        with cgutils.for_range(builder, lines, intp=I64) as loop:
            emit.prefetch(emit.at(args[0], builder.shl(loop.index, ir.Constant(I64, 6))))
        return context.get_dummy_value()

    return types.void(address, n_bytes), codegen


bring: Any = intrinsic(_bring)

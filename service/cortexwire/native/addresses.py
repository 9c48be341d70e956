"""Arrays at bare addresses, for compiled code.

numba counts references to every array that it takes out of an object or is given, which costs more than the work on
small ones. Kernels get addresses instead; whoever owns the arrays keeps them alive.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


def _array_at(typingctx: Any, address: Any, length: Any, like: Any) -> Any:
    """The array of that length, and of the scalar `like`'s type, at an address; nobody owns it."""
    kind = types.Array(like, 1, "C")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        element = context.get_data_type(like)
        item_bytes = context.get_constant(types.intp, context.get_abi_sizeof(element))
        array = context.make_array(kind)(context, builder)
        populate_array(
            array,
            data=builder.inttoptr(args[0], element.as_pointer()),
            shape=[args[1]],
            strides=[item_bytes],
            itemsize=item_bytes,
            meminfo=None,
        )
        return array._getvalue()

    return kind(address, types.intp, like), codegen


array_at: Any = intrinsic(_array_at)

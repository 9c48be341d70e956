"""Two-dimensional recordings read by rows, time first, however the file stores them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Matrix(Protocol):
    """Rows are instants, columns are channels."""

    @property
    def n_rows(self) -> int:
        """Number of instants."""
        ...

    @property
    def n_columns(self) -> int:
        """Number of channels."""
        ...

    def rows(self, start: int, stop: int) -> Array:
        """Rows `[start, stop)`, `(stop - start, n_columns)`, not to be written to."""
        ...


class ArrayMatrix:
    """A matrix that lies in memory, `(n_rows, n_columns)`."""

    def __init__(self, values: Array) -> None:
        view = values.view()
        view.flags.writeable = False
        self._values = view
        self.n_rows, self.n_columns = view.shape

    def rows(self, start: int, stop: int) -> Array:
        """Rows `[start, stop)`, a view."""
        return self._values[start:stop]


class BlockMatrix:
    """A matrix that lies in files, read in whole blocks of rows of which the last few are kept.

    Short sequential reads, as packets make them, touch the file once per block, and no file stays open.

    Args:
        n_rows: Number of instants.
        n_columns: Number of channels.
        read: Reads rows `[start, stop)` from the file.
        block_rows: Rows per block; by default about 8 MiB of 2-byte samples.
    """

    _KEPT = 2

    def __init__(
        self, n_rows: int, n_columns: int, read: Callable[[int, int], Array], block_rows: int | None = None
    ) -> None:
        self.n_rows = n_rows
        self.n_columns = n_columns
        self._read = read
        self._block_rows = block_rows or max(1, 4 * 2**20 // max(1, n_columns))
        self._blocks: OrderedDict[int, Array] = OrderedDict()

    def rows(self, start: int, stop: int) -> Array:
        """Rows `[start, stop)`; a view where they lie in one block."""
        first, last = start // self._block_rows, max(start, stop - 1) // self._block_rows
        parts = []
        for number in range(first, last + 1):
            base = number * self._block_rows
            parts.append(self._block(number)[max(0, start - base) : max(0, stop - base)])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _block(self, number: int) -> Array:
        block = self._blocks.get(number)
        if block is None:
            start = number * self._block_rows
            block = np.ascontiguousarray(self._read(start, min(self.n_rows, start + self._block_rows)))
            block.flags.writeable = False
            self._blocks[number] = block
            if len(self._blocks) > self._KEPT:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block

"""Memory that a session reads and writes in place, beside the array through which we see it."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import DTypeLike, NDArray

_ALIGNMENT = 64


class Tensor:
    """A fixed buffer for one graph tensor.

    On the CPU `value` aliases `host`, so nothing is ever copied; both must live as long as a binding uses
    them. On another device `push` and `pull` copy.

    Attributes:
        host: The array, zero at first, C-ordered and aligned to 64 bytes.
        value: The `OrtValue` to bind.
    """

    __slots__ = ("_remote", "host", "value")

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, device: str) -> None:
        self.host = aligned_zeros(shape, np.dtype(dtype))
        self.value: Any = onnxruntime.OrtValue.ortvalue_from_numpy(self.host, device, 0)
        self._remote = device != "cpu"

    def push(self) -> None:
        """Make the device see what `host` holds."""
        if self._remote:
            self.value.update_inplace(self.host)

    def pull(self) -> None:
        """Make `host` hold what the device wrote."""
        if self._remote:
            np.copyto(self.host, self.value.numpy())


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros, C-ordered, that begin at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    skip = -raw.ctypes.data % _ALIGNMENT
    return raw[skip : skip + size].view(dtype).reshape(shape)

"""The newest seconds in memory of fixed size: rows of arrays, numbered for ever, of which the last ones are kept.

A viewer remembers the number of the first row that it has not seen, so one copy of the rows serves all of them.
"""

from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cortexwire.wire import Clock, OutKind, Output

KEPT_BINS: Final = 4096
"""Decoded bins in memory: 2 s of outputs a millisecond apart, and more."""
KEPT_ROWS: Final = 4096
"""Rows of columns in memory."""
KEPT_MESSAGES: Final = 512
"""Whole output messages in memory."""
_BIN_MODULUS: Final = 2**31
_US: Final = 1e-3


class Field(NamedTuple):
    """One column of a ring: its type and the shape of an entry."""

    dtype: DTypeLike
    shape: tuple[int, ...] = ()


class Ring:
    """Rows of several arrays, the last `kept` of them; the first row ever is number 0.

    Attributes:
        written: Rows ever put in, the number of the next one.

    Args:
        kept: Rows in memory.
        fields: What a row has, besides `t_ns`: when it was put in.
    """

    def __init__(self, kept: int, fields: dict[str, Field]) -> None:
        self.written = 0
        self._kept = kept
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((kept, *shape), dtype)
            for name, (dtype, shape) in (fields | {"t_ns": Field(np.int64)}).items()
        }

    def put(self, t_ns: int, **values: Any) -> None:
        """Put one row in, over the oldest."""
        at = self.written % self._kept
        for name, value in values.items():
            self._arrays[name][at] = value
        self._arrays["t_ns"][at] = t_ns
        self.written += 1

    def since(self, row: int, oldest_ns: int) -> dict[str, NDArray[Any]]:
        """Copies of the rows from `row` on that are still kept and not older than `oldest_ns`, oldest first."""
        first = max(row, self.written - self._kept, 0)
        places = np.arange(first, self.written) % self._kept
        times = self._arrays["t_ns"][places]
        places = places[np.count_nonzero(times < oldest_ns) :]
        return {name: array[places] for name, array in self._arrays.items()}


class Outputs:
    """What the engine sent: decoded bins as rows, and the newest messages whole.

    Attributes:
        bins: Rows `bin` int32 (modulo 2^31), `velocity` float32 (2), `validity` uint8, `flags` int32, `latency_us`
            float32 (received to published, NaN where unknown) and `counts` uint8 `(n_channels,)`, saturated.
        messages: The newest outputs, oldest first.
        last: The newest of all.
    """

    def __init__(self) -> None:
        self.messages: deque[Output] = deque(maxlen=KEPT_MESSAGES)
        self.last: Output | None = None
        self.bins = _bins(0)
        self._n_channels = 0

    def put(self, output: Output, t_ns: int) -> None:
        """Take one output."""
        self.messages.append(output)
        self.last = output
        velocity = output.tensors.get("velocity")
        if output.kind is not OutKind.DECODED or velocity is None or velocity.shape != (2,):
            return
        counts = output.tensors.get("counts")
        n_channels = 0 if counts is None else counts.size
        if n_channels != self._n_channels:
            written = self.bins.written
            self.bins, self._n_channels = _bins(n_channels), n_channels
            self.bins.written = written
        self.bins.put(
            t_ns,
            bin=output.bin % _BIN_MODULUS,
            velocity=velocity,
            validity=output.validity,
            flags=output.flags,
            latency_us=latency_us(output),
            counts=() if counts is None else np.minimum(counts.ravel(), 255),
        )


def _bins(n_channels: int) -> Ring:
    return Ring(
        KEPT_BINS,
        {
            "bin": Field(np.int32),
            "velocity": Field(np.float32, (2,)),
            "validity": Field(np.uint8),
            "flags": Field(np.int32),
            "latency_us": Field(np.float32),
            "counts": Field(np.uint8, (n_channels,)),
        },
    )


def latency_us(output: Output) -> float:
    """Time from receipt to publication in microseconds, NaN where it was not measured."""
    if not output.clocks.received == output.clocks.published == Clock.MONOTONIC:
        return float("nan")
    return (output.times.published_ns - output.times.received_ns) * _US


class ColumnRows:
    """What the rig says beside the signal, such as the intended velocity.

    Attributes:
        names: Names of the columns.
        rows: Rows `sample` int64 and `values` float32 `(n_columns,)`.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.rows = _rows(0)

    def name(self, names: tuple[str, ...]) -> None:
        """Take the names that a descriptor gives; other names begin anew."""
        if names != self.names:
            written = self.rows.written
            self.names, self.rows = names, _rows(len(names))
            self.rows.written = written

    def put(self, t_ns: int, samples: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Take the rows of one packet; those that the descriptor does not name are left out."""
        if values.shape[1] != len(self.names):
            return
        for sample, row in zip(samples.tolist(), values, strict=True):
            self.rows.put(t_ns, sample=sample, values=row)


def _rows(n_columns: int) -> Ring:
    return Ring(KEPT_ROWS, {"sample": Field(np.int64), "values": Field(np.float32, (n_columns,))})

"""The stages of a bin's way from the rig to a subscriber, from the times that its output carries.

One packet closes a bin: the one that holds its last sample. Each stage counts from the stamp before it, so they add up:

```text
due ... sent | transport_in | received_to_binned | binned_to_decoded | decoded_to_published | transport_out | heard
```
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.child import ROW

Micros = NDArray[np.float64]

STAGES: Final = {
    "transport_in": ("sent_ns", "received_ns"),
    "received_to_binned": ("received_ns", "binned_ns"),
    "binned_to_decoded": ("binned_ns", "decoded_ns"),
    "decoded_to_published": ("decoded_ns", "published_ns"),
    "transport_out": ("published_ns", "heard_ns"),
}
"""What follows upon what; `transport_out` includes writing the output message and handing it to the socket."""
SPANS: Final = {
    "received_to_published": ("received_ns", "published_ns"),
    "sent_to_published": ("sent_ns", "published_ns"),
}
"""Several stages together: the first of these is all that is computed once the closing packet is there."""
_BUCKETS: Final = 150


class Rows:
    """What a subscriber noted, as columns.

    Args:
        rows: As `cortexwire.bench.child.ROW` says, one for each decoded output.

    Attributes:
        table: int64 `(n_bins, len(ROW))`.
    """

    def __init__(self, rows: Sequence[Sequence[int]] | NDArray[np.int64]) -> None:
        self.table = np.array(rows, np.int64).reshape(-1, len(ROW))

    def column(self, name: str) -> NDArray[np.int64]:
        """One column by its name."""
        return self.table[:, ROW.index(name)]

    def heard_between(self, began_ns: int, ended_ns: int) -> "Rows":
        """Only the outputs that came within a time."""
        heard = self.column("heard_ns")
        return Rows(self.table[(heard >= began_ns) & (heard <= ended_ns)])

    def span_us(self, first: str, last: str) -> Micros:
        """From one stamp to another, microseconds."""
        return np.asarray((self.column(last) - self.column(first)) / 1e3, np.float64)

    def stages_us(self) -> dict[str, Micros]:
        """Every stage and span by name."""
        return {name: self.span_us(*ends) for name, ends in {**STAGES, **SPANS}.items()}

    def packet_wait_ms(self, packet_samples: int, rate_hz: float) -> NDArray[np.float64]:
        """How long the last sample of each bin waited for the rest of its packet, milliseconds.

        Zero where bins end with packets, as they do with any packet whose length divides the bin's.
        """
        return (-self.column("end_sample") % packet_samples) / rate_hz * 1e3


def data_age_ms(bin_ms: float, wait_ms: NDArray[np.float64], due_to_received_us: Micros) -> dict[str, float]:
    """Mean age of the samples behind an output when a subscriber has it, and what it is made of.

    A bin's samples are half a bin old on average when its last one is acquired; that one waits for its packet to fill;
    then the packet is due, and the service's latency, counted from the schedule, is added.

    Returns:
        `mean`, `half_bin`, `packet_wait` and `service` in milliseconds; the last three add up to the first.
    """
    parts = {
        "half_bin": bin_ms / 2,
        "packet_wait": float(wait_ms.mean()) if wait_ms.size else 0.0,
        "service": float(due_to_received_us.mean()) / 1e3 if due_to_received_us.size else 0.0,
    }
    return {name: round(value, 3) for name, value in {"mean": sum(parts.values()), **parts}.items()}


def timeline(at_ns: NDArray[np.int64], stages_us: Mapping[str, Micros], buckets: int = _BUCKETS) -> dict[str, Any]:
    """A series of every stage over the run, thinned to at most so many points.

    Returns:
        `at_s`, and for each stage its median and its largest in each stretch of time, in microseconds.
    """
    n = len(at_ns)
    if not n:
        return {"at_s": [], "median_us": {}, "max_us": {}}
    edges = np.unique(np.linspace(0, n, min(n, buckets) + 1).astype(int))
    pairs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    seconds = (at_ns - at_ns[0]) / 1e9
    return {
        "at_s": [round(float(seconds[a]), 3) for a, _ in pairs],
        "median_us": {
            name: [round(float(np.median(values[a:b])), 1) for a, b in pairs] for name, values in stages_us.items()
        },
        "max_us": {name: [round(float(values[a:b].max()), 1) for a, b in pairs] for name, values in stages_us.items()},
    }

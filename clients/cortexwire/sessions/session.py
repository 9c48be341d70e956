"""What a recorded session is: one signal, kinematics columns and trials on one sample clock.

Readers make sessions; replay, training and the offline pipeline take them. Reading is by sample range and
lazy, and what a range holds never depends on how the recording is cut into ranges.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cortexwire.types import Counts, Rate, Raw
from cortexwire.wire import Descriptor

Kind = Literal["wideband", "events", "counts"]

SPIKE_DTYPE = np.dtype([("sample", "<i8"), ("channel", "<u2"), ("unit", "<u2")])
"""One event: absolute sample index, channel, unit (0 = unsorted)."""
TRIAL_DTYPE = np.dtype([("start", "<i8"), ("stop", "<i8")])
"""One trial: its samples are `[start, stop)`."""

Spikes = NDArray[np.void]
"""Structured array of `SPIKE_DTYPE`, sorted by (sample, channel)."""
Trials = NDArray[np.void]
"""Structured array of `TRIAL_DTYPE`, in order."""
StructuredDType = np.dtype[Any]

DEFAULT_COLUMN_MS = 10.0


class Session(Protocol):
    """A recording on one sample clock; sample 0 is its first sample."""

    @property
    def name(self) -> str:
        """What the recording is called."""
        ...

    @property
    def kind(self) -> Kind:
        """Which of `wideband`, `events` and `counts` can be read."""
        ...

    @property
    def rate(self) -> Rate:
        """Sample rate of the clock."""
        ...

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        ...

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        ...

    @property
    def uv_per_bit(self) -> float:
        """Microvolts per unit of a wideband sample; 1.0 where there is none."""
        ...

    @property
    def descriptor(self) -> Descriptor:
        """Ordered electrode identities, scale, reference and column names, as on the wire."""
        ...

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the kinematics columns, in order."""
        ...

    @property
    def trials(self) -> Trials:
        """Trials in samples, possibly none."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What had to be assumed to read the recording, one sentence each."""
        ...

    def wideband(self, start: int, stop: int) -> Raw:
        """Samples `[start, stop)`, `(n, n_channels)`, int16 or float32, not to be written to."""
        ...

    def events(self, start: int, stop: int) -> Spikes:
        """Events in `[start, stop)`, sorted by (sample, channel)."""
        ...

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Recorded bins that begin in `[start, stop)`: edges `(n + 1,)`, counts `(n, n_channels)`."""
        ...

    def column_rows(
        self, start: int, stop: int, column_ms: float = DEFAULT_COLUMN_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Column rows in `[start, stop)` as they go over the wire.

        Returns:
            Samples `(n,)`, the last sample of each period of `column_ms`, and values `(n, n_columns)`. Rows
            in which no column is defined are left out.
        """
        ...

    def columns_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Columns at any `samples` `(n,)`: `(n, n_columns)`, NaN where undefined."""
        ...

"""A session put together from its parts: any signal, kinematics, trials."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.grid import RowGrid, row_width
from cortexwire.sessions.kinematics import JoinedKinematics, Kinematics
from cortexwire.sessions.session import DEFAULT_COLUMN_MS, TRIAL_DTYPE, Kind, Spikes, Trials
from cortexwire.sessions.signals import CountSignal, EventSignal, PlacedCounts, WidebandSignal
from cortexwire.types import Counts, Rate, Raw
from cortexwire.wire import Descriptor

Signal = WidebandSignal | CountSignal | PlacedCounts | EventSignal


@dataclass(frozen=True)
class RecordedSession:
    """A `Session` whose signal is read by one of the readers of `signals`.

    Attributes:
        name: What the recording is called.
        rate: Sample rate.
        signal: The signal.
        descriptor: Identities, scale, reference and column names.
        kinematics: The columns, or none.
        trials: Trials in samples.
        problems: What had to be assumed.
        gaps: Samples that were never recorded, `[start, stop)` each, `(n, 2)`, in order.
    """

    name: str
    rate: Rate
    signal: Signal
    descriptor: Descriptor
    kinematics: Kinematics | JoinedKinematics | None = None
    trials: Trials = field(default_factory=lambda: np.zeros(0, TRIAL_DTYPE))
    problems: tuple[str, ...] = ()
    gaps: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @property
    def kind(self) -> Kind:
        """Which kind of signal can be read."""
        if isinstance(self.signal, WidebandSignal):
            return "wideband"
        return "counts" if isinstance(self.signal, CountSignal) else "events"

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.signal.n_channels

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.signal.n_samples

    @property
    def uv_per_bit(self) -> float:
        """Microvolts per unit of a wideband sample."""
        return self.descriptor.uv_per_bit

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the kinematics columns."""
        return self.descriptor.columns

    @property
    def column_units(self) -> tuple[str, ...]:
        """Units of the kinematics columns, in words."""
        return tuple(column.unit for column in self.kinematics.columns) if self.kinematics else ()

    def wideband(self, start: int, stop: int) -> Raw:
        """Samples `[start, stop)`, as `Session.wideband`.

        Raises:
            SessionError: The range leaves the recording, or the recording is of another kind.
        """
        if not isinstance(self.signal, WidebandSignal):
            raise self._other_kind("wideband")
        return self.signal.read(*self._range(start, stop))

    def events(self, start: int, stop: int) -> Spikes:
        """Events in `[start, stop)`, as `Session.events`.

        Raises:
            SessionError: The range leaves the recording, or the recording is of another kind.
        """
        if not isinstance(self.signal, EventSignal | PlacedCounts):
            raise self._other_kind("events")
        return self.signal.read(*self._range(start, stop))

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Recorded bins that begin in `[start, stop)`, as `Session.counts`; also of counts given as events.

        Raises:
            SessionError: The range leaves the recording, or nothing was recorded as counts.
        """
        signal = self.signal.counts if isinstance(self.signal, PlacedCounts) else self.signal
        if not isinstance(signal, CountSignal):
            raise self._other_kind("counts")
        return signal.read(*self._range(start, stop))

    def column_rows(
        self, start: int, stop: int, column_ms: float = DEFAULT_COLUMN_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Column rows in `[start, stop)`, as `Session.column_rows`."""
        grid = RowGrid(self.rate, max(row_width(column_ms), 1000 / self.rate.fraction))
        # A row stands at the last sample of its period: a bin that ends with a period has its target.
        samples = grid.edges(np.arange(grid.row_of(start) + 1, grid.row_of(stop) + 1)) - 1
        values = self.columns_at(samples)
        defined = ~np.isnan(values).all(axis=1)
        return samples[defined], values[defined].astype(np.float32)

    def columns_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Columns at any samples, as `Session.columns_at`."""
        if self.kinematics is None:
            return np.empty((len(samples), 0))
        return self.kinematics.at(np.asarray(samples, np.int64))

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        if not 0 <= start <= stop <= self.n_samples:
            raise SessionError(
                f"session {self.name!r}: expected a range within [0, {self.n_samples}), got [{start}, {stop})"
            )
        return start, stop

    def _other_kind(self, wanted: str) -> SessionError:
        return SessionError(f"session {self.name!r}: expected a recording of {wanted}, got {self.kind}")

"""Bins as they are assembled from any kind of input: which samples they saw, and what was counted.

`BinSource` owns the position on the sample axis and the arithmetic of missing samples; its finals collect from
wideband samples, or from spike events and pre-binned counts.
"""

from abc import ABC, abstractmethod

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.signal.bins import BinClock
from cortexwire.signal.blanking import Blanking
from cortexwire.types import Counts

MASKED, DEAD, RAILING, DISABLED = 1, 2, 4, 8
"""Bits of a channel's status; a channel with any of them enters the decoder at its training mean."""


class Bin(msgspec.Struct, gc=False):
    """One closed bin.

    Attributes:
        index: Bin number within the epoch.
        start: First sample.
        end: One past the last sample.
        counts: Crossings in observed samples, `(n_channels,)`.
        power: Mean square (uV^2) or mean absolute value (uV) of observed samples, `(n_channels,)`; None where not
            taken.
        observed: Samples that were seen, settled and free of artefacts.
        missing: Samples that never came.
        artefact: Samples in artefacts or blanked.
        status: Status bits of each channel, `(n_channels,)`.
        flagged: Channels with any status bit.
        railing: Channels at the rails.
    """

    index: int
    start: int
    end: int
    counts: Counts
    power: NDArray[np.float32] | None
    observed: int
    missing: int
    artefact: int
    status: NDArray[np.uint8]
    flagged: int = 0
    railing: int = 0

    @property
    def observed_fraction(self) -> float:
        """Share of the bin's samples that were observed."""
        return self.observed / (self.end - self.start)


class BinSource(ABC):
    """Walks along the sample axis and closes bins; subclasses collect what is in them."""

    def __init__(self, clock: BinClock, n_channels: int) -> None:
        self.clock = clock
        self.n_channels = n_channels
        self.position = -1
        self._index = 0
        self._end = 0
        self._missing = 0

    @property
    def index(self) -> int:
        """The open bin."""
        return self._index

    @property
    def until_edge(self) -> int:
        """Samples that the open bin still takes."""
        return self._end - self.position

    def begin(self, sample_index: int) -> None:
        """Start at `sample_index`, at the start of a stream or behind a gap too long to fill."""
        self._open(self.clock.bin_of(sample_index))
        self._missing = sample_index - self.clock.start(self._index)
        self.position = sample_index
        self._resume()

    def gap(self, stop: int) -> list[Bin]:
        """Samples from the present position to `stop` are missing; returns the bins that end on the way."""
        self._interrupt()
        closed = []
        while self._end <= stop:
            self._miss(self._end)
            closed.append(self._close())
        self._miss(stop)
        self._resume()
        return closed

    def _miss(self, stop: int) -> None:
        self._pass_over(stop)
        self._missing += stop - self.position
        self.position = stop

    def _open(self, index: int) -> None:
        self._index = index
        self._end = self.clock.start(index + 1)
        self._missing = 0
        self._clear(self.clock.start(index))

    def _close(self) -> Bin:
        start = self.clock.start(self._index)
        closed = self._collect(self._index, start, self._end, self._missing)
        self._open(self._index + 1)
        return closed

    @abstractmethod
    def mask(self, channels: tuple[int, ...]) -> None:
        """Leave out exactly these channels from now on."""

    @abstractmethod
    def blank(self, start: int, stop: int) -> None:
        """Samples in `[start, stop)` are unobserved; replaces what was said of `start` and later."""

    @abstractmethod
    def _clear(self, start: int) -> None:
        """Forget what the last bin held; a bin that begins at `start` opens."""

    @abstractmethod
    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        """The open bin's content."""

    @abstractmethod
    def _interrupt(self) -> None:
        """The stretch of contiguous samples ends here."""

    @abstractmethod
    def _pass_over(self, stop: int) -> None:
        """Samples from `position` to `stop`, which lie in the open bin, are missing."""

    @abstractmethod
    def _resume(self) -> None:
        """A stretch of contiguous samples begins at `position`."""


class EventBins(BinSource):
    """Bins from spike events or from counts that were binned at the source."""

    def __init__(self, clock: BinClock, n_channels: int, masked: tuple[int, ...] = ()) -> None:
        super().__init__(clock, n_channels)
        self._counts: NDArray[np.int64] = np.zeros(n_channels, np.int64)
        self._status: NDArray[np.uint8] = np.zeros(n_channels, np.uint8)
        self._blanking = Blanking()
        self._blanked = 0
        self.mask(masked)

    def mask(self, channels: tuple[int, ...]) -> None:
        """Leave out exactly these channels from now on.

        Raises:
            ConfigError: A channel does not exist.
        """
        unknown = [c for c in channels if not 0 <= c < self.n_channels]
        if unknown:
            raise ConfigError(f"masked: expected channels 0 to {self.n_channels - 1}, got {unknown[0]}")
        self._status[:] = 0
        self._status[list(channels)] = MASKED
        self._flagged = int(np.count_nonzero(self._status))

    def blank(self, start: int, stop: int) -> None:
        """Samples in `[start, stop)` are unobserved; replaces what was said of `start` and later."""
        self._blanking.add(start, stop, self.position)

    def push_events(self, n_samples: int, offsets: NDArray[np.int64], channels: NDArray[np.int64]) -> list[Bin]:
        """Take the next `n_samples` samples, in which these channels fired at these offsets from the first."""
        closed: list[Bin] = []
        first, stop = self.position, self.position + n_samples
        samples = offsets + first
        while True:
            upto = min(self._end, stop)
            inside = (samples >= self.position) & (samples < upto)
            for blank_from, blank_until in self._blanking.within(self.position, upto):
                self._blanked += blank_until - blank_from
                inside &= (samples < blank_from) | (samples >= blank_until)
            if inside.any():
                np.add.at(self._counts, channels[inside], 1)
            self.position = upto
            if upto == self._end:
                closed.append(self._close())
            if upto == stop:
                return closed

    def push_counts(self, n_samples: int, counts: Counts) -> list[Bin]:
        """Take counts of the next `n_samples` samples, which must lie inside one bin.

        Where a part of them is blanked, all are: nobody can tell which counts fell into it.

        Raises:
            ValueError: They reach across a bin's edge.
        """
        stop = self.position + n_samples
        if stop > self._end:
            raise ValueError(
                f"expected counts within one bin, got samples {self.position} to {stop} across the edge at {self._end}"
            )
        if self._blanking.within(self.position, stop):
            self._blanked += n_samples
        else:
            self._counts += counts
        self.position = stop
        return [self._close()] if stop == self._end else []

    def _clear(self, start: int) -> None:
        self._counts[:] = 0
        self._blanked = 0

    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        return Bin(
            index,
            start,
            end,
            np.minimum(self._counts, 65535).astype(np.uint16),
            None,
            end - start - missing - self._blanked,
            missing,
            self._blanked,
            self._status.copy(),
            self._flagged,
        )

    def _interrupt(self) -> None:
        pass

    def _pass_over(self, stop: int) -> None:
        pass

    def _resume(self) -> None:
        pass

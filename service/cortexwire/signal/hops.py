"""Bins that overlap: what a bin's worth of samples held at every hop, beside the bins themselves.

Nothing is binned twice. The bins are assembled as they are without finer output; at a hop's edge inside one, what it
holds so far is looked at, and what the bin before it held after the same hop is added. So finer output changes no bin,
and no threshold, mask or status that follows from bins.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal import memory, strip
from cortexwire.signal.binning import DEAD, RAILING, Bin, EventBins
from cortexwire.signal.bins import BinClock
from cortexwire.signal.wideband import WidebandBins


class Held(NamedTuple):
    """What a bin holds, closed or still open.

    Attributes:
        counts: Crossings, `(n_channels,)`.
        power: Sum over observed samples, `(n_channels,)`; None where none is taken.
        observed: Samples that were seen, settled and free of artefacts.
        missing: Samples that never came.
        artefact: Samples in artefacts or blanked.
        blocks: Blocks of samples that came.
    """

    counts: NDArray[np.int64]
    power: NDArray[np.float64] | None
    observed: int
    missing: int
    artefact: int
    blocks: int

    def without(self, other: "Held") -> "Held":
        """What came after the bin held `other`."""
        return Held(
            self.counts - other.counts,
            None if self.power is None or other.power is None else self.power - other.power,
            self.observed - other.observed,
            self.missing - other.missing,
            self.artefact - other.artefact,
            self.blocks - other.blocks,
        )

    def joined(self, other: "Held") -> "Held":
        """This and what came after it."""
        return Held(
            self.counts + other.counts,
            None if self.power is None or other.power is None else self.power + other.power,
            self.observed + other.observed,
            self.missing + other.missing,
            self.artefact + other.artefact,
            self.blocks + other.blocks,
        )


class EventHops(EventBins):
    """Bins of events or counts that can be looked at while they are open.

    Attributes:
        closed: What the last bin held.
    """

    closed: Held

    def held(self) -> Held:
        """What the open bin holds."""
        seen = self.position - self.clock.start(self._index)
        observed = seen - self._missing - self._blanked
        return Held(self._counts.copy(), None, observed, self._missing, self._blanked, 0)

    def status_over(self, blocks: int) -> NDArray[np.uint8]:
        """Status of each channel, `(n_channels,)`."""
        return self._status.copy()

    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        self.closed = self.held()
        return super()._collect(index, start, end, missing)


class WidebandHops(WidebandBins):
    """Bins of wideband that can be looked at while they are open, between two blocks.

    Attributes:
        closed: What the last bin held.
    """

    closed: Held

    def held(self) -> Held:
        """What the open bin holds."""
        n, integers = self.n_channels, self._integers
        return Held(
            self._arrays["counts"][:n].astype(np.int64),
            self._arrays["power"][:n].copy(),
            int(integers[memory.OBSERVED]),
            self._missing,
            int(integers[memory.ARTEFACT]),
            int(integers[memory.BLOCKS_IN_BIN]),
        )

    def status_over(self, blocks: int) -> NDArray[np.uint8]:
        """Status of each channel over the last blocks, `(n_channels,)`, as a bin of so many would have it."""
        railing, still = (
            self._words[:, row].reshape(-1)[: self.n_channels] for row in (strip.RAILING_ROW, strip.STILL_ROW)
        )
        status = self._status & ~np.uint8(RAILING | DEAD)
        status[railing > -blocks] |= RAILING
        status[still >= self._integers[memory.DEAD_BLOCKS]] |= DEAD
        return status

    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        self.closed = self.held()
        return super()._collect(index, start, end, missing)


class SlidingBins:
    """Joins the rest of the last bin with what the open one holds.

    Args:
        hops: Where hops lie.
        parts: Hops in a bin.
        n_channels: Channels.
        with_power: Whether bins have band power even where nothing was observed.
    """

    def __init__(self, hops: BinClock, parts: int, n_channels: int, with_power: bool) -> None:
        self._hops = hops
        self._parts = parts
        self._nothing = Held(np.zeros(n_channels, np.int64), np.zeros(n_channels), 0, 0, 0, 0)
        self._with_power = with_power
        self.begin(0)

    def begin(self, sample_index: int) -> None:
        """The stream begins here, or goes on after too long a gap: whatever was before is missing."""
        first = self._hops.bin_of(sample_index)
        start = first - first % self._parts
        self._total: Held | None = None
        self._status: NDArray[np.uint8] = np.zeros(len(self._nothing.counts), np.uint8)
        self._before: list[Held] = []
        self._now = [self._missing(start, hop) for hop in range(start, first)]

    def turn(self, total: Held, status: NDArray[np.uint8]) -> None:
        """The open bin was closed.

        Args:
            total: What it held.
            status: Its channels' status.
        """
        self._total, self._status = total, status & ~np.uint8(RAILING)
        self._before, self._now = self._now, []

    def join(self, hop: int, source: EventHops | WidebandHops) -> Bin:
        """The bin that ends with a hop, which is not the last of the open bin.

        Args:
            hop: Number of the hop, which becomes the bin's.
            source: What the open bin is in.
        """
        held = source.held()
        part = (hop + 1) % self._parts
        self._now.append(held)
        first = hop + 1 - self._parts
        total = self._total
        rest = self._missing(first, hop - part) if total is None else total.without(self._before[part - 1])
        joined = rest.joined(held)
        start, end = self._hops.start(first), self._hops.start(hop + 1)
        status = source.status_over(joined.blocks) | self._status
        if joined.missing == end - start:
            status &= ~np.uint8(RAILING)
        flagged = int(np.count_nonzero(status))
        railing = int(np.count_nonzero(status & RAILING)) if flagged else 0
        counts = np.minimum(joined.counts, 65535).astype(np.uint16)
        return Bin(
            hop,
            start,
            end,
            counts,
            self._power(joined),
            joined.observed,
            joined.missing,
            joined.artefact,
            status,
            flagged,
            railing,
        )

    def _power(self, joined: Held) -> NDArray[np.float32] | None:
        if joined.power is None or not (joined.observed or self._with_power):
            return None
        return np.maximum(joined.power * (1.0 / max(joined.observed, 1)), 0.0).astype(np.float32)

    def _missing(self, first: int, last: int) -> Held:
        """Hops of which nothing came."""
        return self._nothing._replace(missing=self._hops.start(last + 1) - self._hops.start(first))

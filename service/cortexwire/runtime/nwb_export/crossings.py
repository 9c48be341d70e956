"""Every threshold crossing of a recording, and what was observed of it, from the signal chain that runs live."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.pipeline.bin_stage import BinStage, Closed, Event, Started
from cortexwire.signal.binning import DEAD, DISABLED, MASKED, Bin

CROSSING_DTYPE = np.dtype([("sample", "<i8"), ("channel", "<u2")])
_UNABLE = MASKED | DEAD | DISABLED
"""A channel with one of these cannot cross."""
Label = Literal["partial", "stale", "missing"]


@dataclass(frozen=True)
class Stretch:
    """Samples `[start, stop)` of which the same has to be said.

    Attributes:
        label: `partial`: at least half of each bin was observed; `stale`: less; `missing`: nothing came.
        observed: Samples observed, summed over its bins.
        missing: Samples that never came.
        artefact: Samples in artefacts, or blanked.
    """

    start: int
    stop: int
    label: Label
    observed: int
    missing: int
    artefact: int


@dataclass(frozen=True, eq=False)
class Crossings:
    """What the signal chain found.

    Attributes:
        crossings: Structured `CROSSING_DTYPE`, by sample, then channel.
        thresholds_uv: Thresholds in force at the end, NaN where a channel has none, `(n_channels,)`.
        observed: For each channel the samples `[start, stop)` at which crossings could be seen, `(n, 2)`, to a bin.
        stretches: Where bins were not observed whole.
        bins: Number of bins after calibration.
        notes: What the chain had to say.
    """

    crossings: NDArray[np.void]
    thresholds_uv: NDArray[np.float64]
    observed: tuple[NDArray[np.int64], ...]
    stretches: tuple[Stretch, ...]
    bins: int
    notes: tuple[str, ...] = ()


def find_crossings(
    stage: BinStage, frames: Iterable[bytes], progress: Callable[[int], Any] = lambda _sample: None
) -> Crossings:
    """Send packets through a signal chain and keep what it finds.

    Whoever has commands for the chain (masks, thresholds) gives them to `stage` while it gives the frames.

    Args:
        stage: A fresh chain for a stream of samples.
        frames: Packets of one epoch.
        progress: Told the last sample of each bin.
    """
    keeper = CrossingKeeper(stage.stream.n_channels, progress)
    keeper.follow(stage)
    for frame in frames:
        stage.take(frame, keeper)
    stage.take_held(keeper)
    return keeper.result()


class CrossingKeeper:
    """Takes the events of a chain, or of one after the other where an engine began anew within a stream.

    Args:
        n_channels: Number of channels.
        progress: Told the last sample of each bin.
        epoch: The stream to keep; the first that comes if None.
        first_sample: Index in the epoch from which samples are counted; bins that begin before it are left out.
    """

    def __init__(
        self,
        n_channels: int,
        progress: Callable[[int], Any] = lambda _sample: None,
        epoch: int | None = None,
        first_sample: int = 0,
    ) -> None:
        self._n_channels = n_channels
        self._progress = progress
        self._epoch = epoch
        self._first = first_sample
        self._stage: BinStage | None = None
        self._wanted = False
        self._found: list[NDArray[np.void]] = []
        self._bins = 0
        self._able: NDArray[np.bool_] = np.zeros(n_channels, np.bool_)
        self._since: NDArray[np.int64] = np.zeros(n_channels, np.int64)
        self._observed: list[list[tuple[int, int]]] = [[] for _ in range(n_channels)]
        self._last = 0
        self._stretches: list[Stretch] = []
        self._thresholds: NDArray[np.float64] | None = None
        self._notes: list[str] = []

    def follow(self, stage: BinStage) -> None:
        """Take the events of this chain from here on; what the last one remembered is over."""
        self._leave()
        self._stage, self._wanted = stage, False

    def append(self, event: Event, /) -> None:
        """Take one event as it happens."""
        if isinstance(event, Started):
            self._epoch = event.epoch if self._epoch is None else self._epoch
            self._wanted = event.epoch == self._epoch
        if not (isinstance(event, Closed) and self._wanted):
            return
        closed = event.bin
        self._progress(closed.end)
        if not event.calibrated or closed.start < self._first or self._stage is None:
            return
        self._bins += 1
        events = self._stage.crossings_of(closed)
        if len(events):
            kept = np.zeros(len(events), CROSSING_DTYPE)
            kept["sample"] = events["sample"] + np.int64(closed.start - self._first)
            kept["channel"] = events["channel"]
            self._found.append(kept)
        start, stop = closed.start - self._first, closed.end - self._first
        self._watch(closed, start, stop)
        self._label(closed, start, stop)

    def result(self) -> Crossings:
        """What was kept."""
        self._leave()
        thresholds = np.full(self._n_channels, np.nan) if self._thresholds is None else self._thresholds
        return Crossings(
            np.concatenate(self._found) if self._found else np.zeros(0, CROSSING_DTYPE),
            np.where(np.isfinite(thresholds), thresholds, np.nan),
            tuple(np.array(each, np.int64).reshape(-1, 2) for each in self._observed),
            tuple(self._stretches),
            self._bins,
            tuple(self._notes),
        )

    def _leave(self) -> None:
        """The chain that was followed is over."""
        self._shut(np.ones(self._n_channels, np.bool_))
        if self._stage is not None:
            found = self._stage.thresholds_uv
            self._thresholds = self._thresholds if found is None else found
            self._notes += self._stage.notes

    def _watch(self, closed: Bin, start: int, stop: int) -> None:
        """Extend what each channel has observed, or end it."""
        if start != self._last:
            self._shut(np.ones(self._n_channels, np.bool_))
        able = (closed.counts > 0) | ((closed.status & _UNABLE == 0) & (closed.observed > 0))
        self._shut(~able)
        begun = able & ~self._able
        self._since[begun] = start
        self._able |= begun
        self._last = stop

    def _shut(self, which: NDArray[np.bool_]) -> None:
        for channel in np.flatnonzero(which & self._able).tolist():
            self._observed[channel].append((int(self._since[channel]), self._last))
        self._able &= ~which

    def _label(self, closed: Bin, start: int, stop: int) -> None:
        length = closed.end - closed.start
        if closed.observed == length:
            return
        label: Label = "missing" if closed.missing == length else "stale" if 2 * closed.observed < length else "partial"
        one = Stretch(start, stop, label, closed.observed, closed.missing, closed.artefact)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.stop == one.start and last.label == label:
            sums = (getattr(last, name) + getattr(one, name) for name in ("observed", "missing", "artefact"))
            self._stretches[-1] = Stretch(last.start, one.stop, label, *sums)
        else:
            self._stretches.append(one)

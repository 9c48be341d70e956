"""Every threshold crossing of a recording, and what was observed of it, from the signal chain that runs live."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.pipeline.bin_stage import BinStage, Closed, Event
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
    keeper = _Keeper(stage, progress)
    for frame in frames:
        stage.take(frame, keeper)
    stage.take_held(keeper)
    return keeper.result()


class _Keeper:
    """Takes the events of a chain."""

    def __init__(self, stage: BinStage, progress: Callable[[int], Any]) -> None:
        self._stage = stage
        self._progress = progress
        self._found: list[NDArray[np.void]] = []
        self._bins = 0
        self._open: list[list[int]] = []
        self._able: NDArray[np.bool_] = np.zeros(stage.stream.n_channels, np.bool_)
        self._since: NDArray[np.int64] = np.zeros(stage.stream.n_channels, np.int64)
        self._observed: list[list[tuple[int, int]]] = [[] for _ in range(stage.stream.n_channels)]
        self._last = 0
        self._stretches: list[Stretch] = []

    def append(self, event: Event, /) -> None:
        """Take one event as it happens."""
        if not isinstance(event, Closed):
            return
        closed = event.bin
        self._progress(closed.end)
        if not event.calibrated:
            return
        self._bins += 1
        events = self._stage.crossings_of(closed)
        if len(events):
            kept = np.zeros(len(events), CROSSING_DTYPE)
            kept["sample"], kept["channel"] = events["sample"] + np.int64(closed.start), events["channel"]
            self._found.append(kept)
        self._watch(closed)
        self._label(closed)

    def result(self) -> Crossings:
        """What was kept."""
        self._shut(np.ones(len(self._able), np.bool_))
        thresholds = self._stage.thresholds_uv
        if thresholds is None:
            thresholds = np.full(len(self._able), np.nan)
        return Crossings(
            np.concatenate(self._found) if self._found else np.zeros(0, CROSSING_DTYPE),
            np.where(np.isfinite(thresholds), thresholds, np.nan),
            tuple(np.array(each, np.int64).reshape(-1, 2) for each in self._observed),
            tuple(self._stretches),
            self._bins,
            tuple(self._stage.notes),
        )

    def _watch(self, closed: Bin) -> None:
        """Extend what each channel has observed, or end it."""
        if closed.start != self._last:
            self._shut(np.ones(len(self._able), np.bool_))
        able = (closed.counts > 0) | ((closed.status & _UNABLE == 0) & (closed.observed > 0))
        self._shut(~able)
        begun = able & ~self._able
        self._since[begun] = closed.start
        self._able |= begun
        self._last = closed.end

    def _shut(self, which: NDArray[np.bool_]) -> None:
        for channel in np.flatnonzero(which & self._able).tolist():
            self._observed[channel].append((int(self._since[channel]), self._last))
        self._able &= ~which

    def _label(self, closed: Bin) -> None:
        length = closed.end - closed.start
        if closed.observed == length:
            return
        label: Label = "missing" if closed.missing == length else "stale" if 2 * closed.observed < length else "partial"
        one = Stretch(closed.start, closed.end, label, closed.observed, closed.missing, closed.artefact)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.stop == one.start and last.label == label:
            sums = (getattr(last, name) + getattr(one, name) for name in ("observed", "missing", "artefact"))
            self._stretches[-1] = Stretch(last.start, one.stop, label, *sums)
        else:
            self._stretches.append(one)

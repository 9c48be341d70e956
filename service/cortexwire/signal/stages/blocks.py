"""Blocks and bins: what was detected is joined block by block, and artefacts are left out of the bin."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import Bin
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.signal.scalar import add_power
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.signal.stages.threshold import Detected
from cortexwire.types import Rate


class Blocks:
    """Counts crossings and sums power of a contiguous stream.

    A block whose crossings (or channels at the amplitude limit) reach `artefact_channels` is unobserved, and so is
    every block that begins less than `hold_ms` behind it.

    Args:
        settings: The chain's settings.
        rate: Sample rate.
        blocks: Where blocks begin; every bin begins with one.
        n_channels: Channels per sample.
        settling: Samples at the start that are unobserved.
        start: Sample index of the first sample.

    Attributes:
        artefact_channels: How many channels at once are an artefact.
    """

    def __init__(
        self,
        settings: FrontEndSettings,
        rate: Rate,
        blocks: BinClock,
        n_channels: int,
        settling: int,
        start: int = 0,
    ) -> None:
        self.artefact_channels = settings.artefact.channels(n_channels)
        self._bins = BinClock(rate, settings.bin_ms)
        self._blocks = blocks
        self._n_channels = n_channels
        self._settling = settling
        self._hold = samples_in(rate, settings.artefact.hold_ms)
        self._mean_absolute = settings.power == "mean_absolute"
        self.reset(start)

    def reset(self, start: int = 0) -> None:
        """Begin at sample index `start`, with nothing counted."""
        self._position = start
        self._settled_at = start + self._settling
        self._hold_until = 0
        self._missing = start - self._bins.start(self._bins.bin_of(start))
        self._empty_block()
        self._block_crossings = 0
        self._block_limited: NDArray[np.bool_] = np.zeros(self._n_channels, np.bool_)
        self._empty_bin()

    def process(self, chunk: Detected) -> list[Bin]:
        """Take what was detected in the next samples; returns the bins that they complete."""
        closed = []
        done, n = 0, len(chunk.filtered)
        while done < n:
            block, bin_ = (clock.bin_of(self._position) for clock in (self._blocks, self._bins))
            stop = self._blocks.start(block + 1)
            if self._position < self._settled_at < stop:
                stop = self._settled_at
            m = min(stop - self._position, n - done)
            rows = slice(done, done + m)
            self._add(Detected(chunk.filtered[rows], chunk.crossings[rows], chunk.limited[rows]))
            done += m
            if self._position == self._blocks.start(block + 1):
                self._end_block(self._blocks.start(block))
            elif self._position == self._settled_at:
                self._empty_block()
            if self._position == self._bins.start(bin_ + 1):
                closed.append(self._end_bin(bin_))
        return closed

    def _empty_block(self) -> None:
        self._from = self._position
        self._block_counts: NDArray[np.int64] = np.zeros(self._n_channels, np.int64)
        self._block_power: NDArray[np.float32] = np.zeros(self._n_channels, np.float32)

    def _empty_bin(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(self._n_channels, np.int64)
        self._power: NDArray[np.float64] = np.zeros(self._n_channels)
        self._observed = self._artefact = 0

    def _add(self, piece: Detected) -> None:
        self._position += len(piece.filtered)
        add_power(piece.filtered, self._mean_absolute, self._block_power)
        self._block_counts += piece.crossings.sum(axis=0)
        self._block_crossings += int(piece.crossings.sum())
        self._block_limited |= piece.limited.any(axis=0)

    def _end_block(self, start: int) -> None:
        at_once = max(self._block_crossings, int(np.count_nonzero(self._block_limited)))
        if at_once >= self.artefact_channels:
            self._hold_until = self._position + self._hold
        if self._from >= self._settled_at:
            if start < self._hold_until:
                self._artefact += self._position - self._from
            else:
                self._observed += self._position - self._from
                self._counts += self._block_counts
                self._power += self._block_power.astype(np.float64)
        self._empty_block()
        self._block_crossings = 0
        self._block_limited[:] = False

    def _end_bin(self, index: int) -> Bin:
        power = (self._power * (1.0 / max(self._observed, 1))).astype(np.float32)
        closed = Bin(
            index,
            self._bins.start(index),
            self._position,
            self._counts.astype(np.uint16),
            power,
            self._observed,
            self._missing,
            self._artefact,
            np.zeros(self._n_channels, np.uint8),
        )
        self._missing = 0
        self._empty_bin()
        return closed

"""The stages in a row, which is what the fused front end has to equal."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import DEAD, Bin
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.signal.groups import reference_groups
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.signal.stages import Blocks, Filter, Health, Reference, Threshold
from cortexwire.types import Rate, Raw
from tests.signal.streams import UV_PER_BIT


class StageChain:
    """All stages over one contiguous stream; channels that die leave at the edge of a bin."""

    def __init__(
        self,
        settings: FrontEndSettings,
        rate: Rate,
        threshold_uv: NDArray[np.float64],
        grid_uv: NDArray[np.float32],
        rails: tuple[float, float],
        banks: tuple[str, ...] = (),
        start: int = 0,
    ) -> None:
        n = len(threshold_uv)
        design = settings.filter.design
        assert design is not None
        high_pass = settings.filter.kind == "highpass"
        self._sign = -np.sign(threshold_uv[0])
        self._clock = BinClock(rate, settings.bin_ms)
        blocks = self._clock.divided(int(np.ceil(settings.bin_ms)))
        groups, _ = reference_groups(settings.reference, n, n, banks)
        refractory = samples_in(rate, settings.threshold.refractory_ms)
        settling = design.settling_samples + refractory
        dead = round(settings.dead_after_s * rate.hz * blocks.den / blocks.num)
        limit = settings.artefact.amplitude_uv
        self.reference = Reference(
            settings.reference, groups, n, UV_PER_BIT * design.gain * self._sign, rails, high_pass
        )
        self.filter = Filter(design, high_pass, blocks, grid_uv, start)
        self.threshold = Threshold(-np.abs(threshold_uv), refractory, -np.inf if limit is None else -limit)
        self.blocks = Blocks(settings, rate, blocks, n, settling, start)
        self.health = Health(rails, settling // blocks.longest, dead, self._clock, blocks, n, start)
        self._settings = settings
        self._thresholds = self.threshold.thresholds.copy()
        self._position = start
        self.filtered: list[NDArray[np.float32]] = []
        self.crossings: list[NDArray[np.bool_]] = []

    def push(self, samples: Raw) -> list[Bin]:
        """Take samples as `WidebandBins` does."""
        closed: list[Bin] = []
        done = 0
        while done < len(samples):
            edge = self._clock.start(self._clock.bin_of(self._position) + 1)
            piece = samples[done : done + edge - self._position]
            detected = self.threshold.process(self.filter.process(self.reference.process(piece)))
            self.filtered.append(detected.filtered * np.float32(self._sign))
            self.crossings.append(detected.crossings)
            bins = self.blocks.process(detected)
            for made, status in zip(bins, self.health.process(piece), strict=True):
                made.status = status
                self._use(status & DEAD == 0)
            closed += bins
            done += len(piece)
            self._position += len(piece)
        return closed

    def _use(self, alive: NDArray[np.bool_]) -> None:
        self.reference.live = alive
        self.threshold.thresholds = np.where(alive, self._thresholds, np.float32(-np.inf))
        self.blocks.artefact_channels = self._settings.artefact.channels(int(alive.sum()))

"""Bins from wideband samples: the fused front end with its state, thresholds and channel health."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.signal import fused, strip
from cortexwire.signal.binning import DEAD, DISABLED, MASKED, RAILING, Bin, BinSource
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.signal.groups import reference_groups
from cortexwire.signal.referencing import MEAN, MEDIAN, MIN_LIVE, NONE
from cortexwire.signal.settings import FilterDesign, FrontEndSettings
from cortexwire.types import Rate, Raw

GRID_OF_RMS = 4e-4
"""Rounding grid of the filtered signal over its RMS; a power of two at or below is taken."""
NEVER = -np.inf
"""The threshold of a channel that cannot cross."""


class WidebandBins(BinSource):
    """Reference, filter, thresholds and bins of a stream of wideband samples.

    Memory between calls is bounded: the filters' state and one open bin. Samples are not kept.

    Args:
        settings: The chain, with a designed filter for this rate.
        rate: Sample rate.
        n_channels: Channels per sample.
        uv_per_bit: Microvolts per raw unit.
        dtype: `int16` or `float32`.
        banks: Bank of each channel, where references are per bank.

    Raises:
        ConfigError: The settings do not fit the stream.
    """

    def __init__(
        self,
        settings: FrontEndSettings,
        rate: Rate,
        n_channels: int,
        uv_per_bit: float,
        dtype: np.dtype[np.int16] | np.dtype[np.float32],
        banks: tuple[str, ...] = (),
    ) -> None:
        super().__init__(BinClock(rate, settings.bin_ms), n_channels)
        design = _fitting_design(settings.filter.design, rate)
        padded = -(-n_channels // strip.LANES) * strip.LANES
        n_strips = padded // strip.LANES
        threshold = settings.threshold
        level = threshold.absolute_uv if threshold.mode == "absolute" else threshold.multiplier
        self.settings = settings
        self.settling_samples = design.settling_samples + samples_in(rate, threshold.refractory_ms)
        self.rms_uv: NDArray[np.float32] = np.full(n_channels, np.nan, np.float32)
        self.thresholds_uv: NDArray[np.float64] = np.full(n_channels, NEVER)
        self._sign = 1.0 if level < 0 else -1.0
        self._dtype = dtype
        self._padded = padded
        self._high_pass = settings.filter.kind == "highpass"
        mode = {"none": NONE, "mean": MEAN, "median": MEDIAN}[settings.reference.mode]
        self._groups, self._group_of = reference_groups(settings.reference, n_channels, padded, banks)
        variant = strip.Variant(0)
        variant |= strip.Variant.FLOAT_INPUT if dtype == np.float32 else strip.Variant(0)
        variant |= strip.Variant.HIGH_PASS if self._high_pass else strip.Variant(0)
        variant |= strip.Variant.MEAN_ABSOLUTE if settings.power == "mean_absolute" else strip.Variant(0)
        variant |= strip.Variant.CHANNEL_OFFSETS if len(self._group_of) else strip.Variant(0)

        block = BinClock(rate, 1.0)
        refractory = samples_in(rate, threshold.refractory_ms)
        integers = np.zeros(fused.N_FIELDS, np.int64)
        integers[fused.BLOCK_NUM], integers[fused.BLOCK_DEN] = block.num, block.den
        integers[fused.REFRACTORY] = refractory
        integers[fused.MODE] = mode
        integers[fused.OFFSET_PER_CHANNEL] = int(len(self._group_of) > 0)
        integers[fused.HOLD_SAMPLES] = samples_in(rate, settings.artefact.hold_ms)
        self._integers = integers
        self._state = np.zeros((n_strips, strip.STATE_ROWS, strip.LANES), np.float32)
        self._words = self._state.view(np.int32)
        self._threshold_rows = np.full((n_strips, strip.THRESHOLD_ROWS, strip.LANES), NEVER, np.float32)
        self._threshold_rows[:, 2] = 0.0
        if settings.artefact.amplitude_uv is not None:
            self._threshold_rows[:, 1] = -settings.artefact.amplitude_uv
        self._live = np.zeros((len(self._groups), padded), np.int16)
        self._too_few = np.zeros(len(self._groups), np.int32)
        self._scratch = np.zeros(padded + len(self._groups), dtype)
        self._offsets = np.zeros(fused.MAX_BLOCK * (padded if len(self._group_of) else 1), np.float32)
        per_block = -(-fused.MAX_BLOCK // refractory) + 1
        self._events = np.zeros(padded * per_block, strip.EVENT)
        in_bin = self.clock.longest // refractory + self.clock.longest // max(block.num // block.den, 1) + 4
        self._collected = np.zeros(padded * in_bin, strip.EVENT)
        self._counts = np.zeros(padded, np.int32)
        self._power = np.zeros(padded, np.float64)
        self._no_output = np.zeros((0, 0), np.float32)
        self.filtered: NDArray[np.float32] | None = None
        self._restart = True
        self._settled_at = 0
        self._status: NDArray[np.uint8] = np.zeros(n_channels, np.uint8)
        self._still: NDArray[np.int64] = np.zeros(n_channels, np.int64)
        self._railing_bins: NDArray[np.int64] = np.zeros(n_channels, np.int64)
        self._dead_bins = max(1, round(settings.dead_after_s * 1000 / settings.bin_ms))
        self._settling_bins = -(-self.settling_samples // self.clock.start(1)) if self.clock.start(1) else 1
        info = np.iinfo(np.int16)
        rails = settings.rails
        self._rails = (
            (float(rails.low), float(rails.high))
            if dtype == np.int16 or (rails.low, rails.high) != (info.min, info.max)
            else (-np.inf, np.inf)
        )
        self._memory = fused.Memory(
            strip.variant_token(variant),
            _section_words(design),
            self._high_pass,
            np.float32(uv_per_bit * design.gain * self._sign),
            self._rails,
            integers,
            self._state,
            self._words,
            self._threshold_rows,
            self._live,
            self._group_of,
            self._scratch,
            self._too_few,
            self._offsets,
            self._events,
            self._collected,
            self._counts,
            self._power,
        )
        self.mask(settings.masked)

    @property
    def status(self) -> NDArray[np.uint8]:
        """Status bits of each channel, `(n_channels,)`."""
        return self._status

    @property
    def settled_at(self) -> int:
        """First sample at which the filters have settled."""
        return self._settled_at

    @property
    def crossings(self) -> NDArray[np.void]:
        """Crossings of the open bin that were kept so far, ordered by sample, then channel."""
        kept = self._collected[: self._integers[fused.N_COLLECTED]]
        return kept[np.lexsort((kept["channel"], kept["sample"]))]

    def mask(self, channels: tuple[int, ...]) -> None:
        """Leave out exactly these channels from now on.

        Raises:
            ConfigError: A channel does not exist, or a reference keeps fewer than 8 live channels.
        """
        unknown = [c for c in channels if not 0 <= c < self.n_channels]
        if unknown:
            raise ConfigError(f"masked: expected channels 0 to {self.n_channels - 1}, got {unknown[0]}")
        status = self._status & ~np.uint8(MASKED)
        status[list(channels)] |= MASKED
        if self.settings.reference.mode != "none":
            for name, group in self._groups.items():
                live = int(np.count_nonzero(status[group] & MASKED == 0))
                if live < MIN_LIVE:
                    raise ConfigError(
                        f"reference group {name!r}: expected at least {MIN_LIVE} live channels, got {live}"
                    )
        self._status = status
        self._update_live()

    def begin(self, sample_index: int) -> None:
        """Start at `sample_index`; what an artefact of another stretch left unobserved lies on another sample axis."""
        self._integers[fused.HOLD_UNTIL] = 0
        super().begin(sample_index)

    def blank(self, start: int, stop: int) -> None:
        """Samples in `[start, stop)` are unobserved."""
        self._integers[fused.BLANK_FROM], self._integers[fused.BLANK_UNTIL] = start, stop

    def set_thresholds(self, thresholds_uv: NDArray[np.float64], rms_uv: NDArray[np.float32]) -> None:
        """Take thresholds from here on; a channel whose threshold is not finite is disabled.

        Args:
            thresholds_uv: Signed thresholds, `(n_channels,)`.
            rms_uv: Noise of each channel, which sets the rounding grid; not finite where unknown.

        Raises:
            ConfigError: Their number or a sign does not fit.
        """
        if thresholds_uv.shape != (self.n_channels,):
            raise ConfigError(f"thresholds: expected {self.n_channels} values, got {thresholds_uv.shape}")
        finite = np.isfinite(thresholds_uv)
        wrong = np.flatnonzero(finite & (thresholds_uv * self._sign >= 0))
        if len(wrong):
            sign = "negative" if self._sign > 0 else "positive"
            raise ConfigError(
                f"thresholds: expected {sign} values, got {thresholds_uv[wrong[0]]:g} uV at channel {wrong[0]}"
            )
        self.thresholds_uv = thresholds_uv.astype(np.float64)
        self.rms_uv = rms_uv.astype(np.float32)
        rows = np.full(self._padded, NEVER, np.float32)
        rows[: self.n_channels] = np.where(finite, -np.abs(thresholds_uv), NEVER)
        noise = np.where(np.isfinite(rms_uv) & (rms_uv > 0), rms_uv, np.abs(thresholds_uv) / 4.5)
        grid = np.zeros(self._padded, np.float64)
        known = np.isfinite(noise) & (noise > 0)
        grid[: self.n_channels][known] = 2.0 ** np.floor(np.log2(GRID_OF_RMS * noise[known]))
        shape = (len(self._state), strip.LANES)
        self._threshold_rows[:, 0] = rows.reshape(shape)
        self._threshold_rows[:, 2] = (1.5 * 2**23 * grid).astype(np.float32).reshape(shape)
        self._status = np.where(finite, self._status & ~np.uint8(DISABLED), self._status | DISABLED)
        self._update_live()

    def push(self, samples: Raw) -> list[Bin]:
        """Take the next samples, `(n, n_channels)`, C-contiguous; returns the bins that they complete."""
        closed: list[Bin] = []
        if self._padded != self.n_channels:
            wide = np.zeros((len(samples), self._padded), self._dtype)
            wide[:, : self.n_channels] = samples
            samples = wide
        samples = samples.view()
        samples.flags.writeable = False
        done, n = 0, len(samples)
        while done < n:
            settling = self.position < self._settled_at
            stop = min(self._end, self._settled_at) if settling else self._end
            m = min(n - done, stop - self.position)
            self._run(samples[done : done + m], not settling, self.position + m == stop)
            done += m
            self.position += m
            if self.position == self._end:
                closed.append(self._close())
        return closed

    def _run(self, samples: Raw, observe: bool, closes: bool) -> None:
        out = self._no_output
        if self.filtered is not None:
            out = self.filtered = np.empty(samples.shape, np.float32)
        fused.run_front_end(self._memory, samples, out, self._restart, observe, closes)
        self._restart = False

    def _interrupt(self) -> None:
        fused.close_block(self._memory, self.position >= self._settled_at)

    def _resume(self) -> None:
        self._restart = True
        self._integers[fused.POSITION] = self.position
        self._integers[fused.IN_BLOCK] = self._integers[fused.N_EVENTS] = 0
        self._settled_at = self.position + self.settling_samples

    def _clear(self, start: int) -> None:
        integers = self._integers
        integers[fused.OBSERVED] = integers[fused.ARTEFACT] = integers[fused.N_COLLECTED] = 0
        integers[fused.BIN_START] = start
        self._counts[:] = 0
        self._power[:] = 0.0
        bounds = self._state if self._dtype == np.float32 else self._words
        top = np.inf if self._dtype == np.float32 else 32767
        bounds[:, strip.LOW_ROW], bounds[:, strip.HIGH_ROW] = top, -top if top == np.inf else -32768

    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        integers = self._integers
        observed = int(integers[fused.OBSERVED])
        power = None
        if observed:
            power = (self._power[: self.n_channels] / observed).astype(np.float32)
        elif "band_power" in self.settings.features:
            power = np.zeros(self.n_channels, np.float32)
        status = self._status.copy()
        if missing < end - start:
            status |= self._health()
        return Bin(
            index,
            start,
            end,
            self._counts[: self.n_channels].astype(np.uint16),
            power,
            observed,
            missing,
            int(integers[fused.ARTEFACT]),
            status,
        )

    def _health(self) -> NDArray[np.uint8]:
        """Look at the raw extremes of the bin: channels at the rails, and channels that stand still."""
        bounds = self._state if self._dtype == np.float32 else self._words
        low = bounds[:, strip.LOW_ROW].ravel()[: self.n_channels]
        high = bounds[:, strip.HIGH_ROW].ravel()[: self.n_channels]
        railed = (low <= self._rails[0]) | (high >= self._rails[1])
        for g, group in enumerate(self._groups.values()):
            if self._too_few[g]:
                railed[group] = True
        self._too_few[:] = 0
        self._railing_bins -= self._railing_bins > 0
        self._railing_bins[railed] = 1 + self._settling_bins
        self._still = np.where(low == high, self._still + 1, 0)
        dead = self._still >= self._dead_bins
        known = self._status & DEAD != 0
        if (dead != known).any():
            self._status = np.where(dead, self._status | DEAD, self._status & ~np.uint8(DEAD))
            self._update_live()
        railing = np.where(self._railing_bins > 0, np.uint8(RAILING), np.uint8(0))
        return railing | (self._status & DEAD)

    def _update_live(self) -> None:
        """Settle which channels take part in references, and how many crossings at once are an artefact."""
        usable = self._status & (MASKED | DEAD) == 0
        for g, group in enumerate(self._groups.values()):
            self._live[g] = 0
            self._live[g, group[usable[group]]] = -1
        crossing = np.count_nonzero(self._status & (MASKED | DEAD | DISABLED) == 0)
        share = self.settings.artefact.channel_share
        self._integers[fused.ARTEFACT_CHANNELS] = max(int(np.ceil(share * crossing)), 2)


def _fitting_design(design: FilterDesign | None, rate: Rate) -> FilterDesign:
    if design is None:
        raise ConfigError("front_end.filter.design: expected a designed filter, got none")
    if design.rate_hz != rate.hz:
        raise ConfigError(
            f"front_end.filter.design: designed for {design.rate_hz:g} Hz, the stream has {rate.hz:g} Hz"
        )
    return design


def _section_words(design: FilterDesign) -> tuple[np.float32, ...]:
    """The kernel's description of each section; see `strip.SECTION_WORDS`."""
    words: list[float] = []
    for (a1, a2), grid in zip(design.sections, design.grid, strict=True):
        imaginary = max(a2 - a1 * a1 / 4, 1e-12) ** 0.5
        words += [-a1, -a2, -a1 / 2, grid, grid * 2.0 ** np.floor(np.log2(imaginary))]
    return tuple(np.float32(word) for word in words)

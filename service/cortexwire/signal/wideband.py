"""Bins from wideband samples: the fused front end with its state, thresholds and channel health."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.signal import blocks, fused, memory, strip
from cortexwire.signal.binning import DEAD, DISABLED, MASKED, RAILING, Bin, BinSource
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.signal.blanking import MOST, Blanking
from cortexwire.signal.groups import reference_groups
from cortexwire.signal.memory import MAX_BLOCK, make_memory
from cortexwire.signal.referencing import MEAN, MEDIAN, MIN_LIVE, NONE
from cortexwire.signal.settings import FilterDesign, FrontEndSettings
from cortexwire.signal.vectors import LANES
from cortexwire.types import Counts, Rate, Raw

GRID_OF_RMS = 1e-4
"""Rounding grid of the filtered signal over its RMS; a power of two at or below is taken."""
NEVER = -np.inf
"""The threshold of a channel that cannot cross."""


class CrossingListener(Protocol):
    """Who is told of crossings before their bin is closed."""

    def listen(self, n_kept: int, crossings: int, most: int) -> None:
        """Learn where the crossings of the open bin lie: addresses of their number (int64) and of the `EVENT`s."""

    def follow(self) -> None:
        """Look at what was kept since the last call."""


class WidebandBins(BinSource):
    """Reference, filter, thresholds and bins of a stream of wideband samples.

    Memory between calls is bounded: the filters' state and one open bin. Samples are not kept. Making one compiles
    its kernels, or finds them in numba's cache.

    Args:
        settings: The chain, with a designed filter for this rate.
        rate: Sample rate.
        n_channels: Channels per sample.
        uv_per_bit: Microvolts per raw unit.
        dtype: `int16` or `float32`.
        banks: Bank of each channel, where references are per bank.

    Attributes:
        settling_samples: Samples behind a start or a gap that are unobserved.
        settled_at: First sample at which the filters have settled.
        filtered: None, or, where any array was put there, the filtered samples of the last `push` in microvolts,
            `(n, n_channels)`.

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
        threshold = settings.threshold
        level = threshold.absolute_uv if threshold.mode == "absolute" else threshold.multiplier
        self.settings = settings
        self.settled_at = 0
        self.settling_samples = design.settling_samples + samples_in(rate, threshold.refractory_ms)
        self.rms_uv: NDArray[np.float32] = np.full(n_channels, np.nan, np.float32)
        self.thresholds_uv: NDArray[np.float64] = np.full(n_channels, NEVER)
        self.filtered: NDArray[np.float32] | None = None
        self._sign = 1.0 if level < 0 else -1.0
        self._dtype = dtype
        self._blanking = Blanking()
        self._status: NDArray[np.uint8] = np.zeros(n_channels, np.uint8)
        self._no_output: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._numbers: NDArray[np.int64] = np.zeros(4, np.int64)
        self._takes_power = "band_power" in settings.features
        self._follow: Callable[[], None] | None = None
        self._blocks = self.clock.divided(math.ceil(Fraction(str(settings.bin_ms))))

        n_strips = -(-n_channels // LANES)
        self._padded = padded = n_strips * LANES
        self._groups, self._group_of = reference_groups(settings.reference, n_channels, padded, banks)
        self._integers = self._make_integers(rate)
        self._state = np.zeros((n_strips, strip.STATE_ROWS, LANES), np.float32)
        self._words = self._state.view(np.int32)
        self._live = np.zeros((len(self._groups), n_strips), np.uint32)
        self._too_few = np.zeros(len(self._groups), np.int32)
        self._blanks = np.zeros((MOST, 2), np.int64)
        refractory = int(self._integers[memory.REFRACTORY])
        most = self.clock.longest // refractory + MAX_BLOCK // refractory + 4
        self._events = np.zeros(padded * most, strip.EVENT)
        groups = len(self._groups)
        wide = np.zeros((MAX_BLOCK if padded != n_channels else 0, padded), dtype)
        self._arrays: dict[str, NDArray[Any]] = {
            "integers": self._integers,
            "state": self._state,
            "live": self._live,
            "group": self._group_of,
            "values": np.zeros(padded, dtype),
            "wide": wide,
            "totals": np.zeros(MAX_BLOCK, np.int32),
            "numbers": np.zeros(MAX_BLOCK, np.int32),
            "references": np.zeros((groups, 2 + MAX_BLOCK)),
            "too_few": self._too_few,
            "offsets": np.zeros(MAX_BLOCK * (padded if len(self._group_of) else 1), np.float32),
            "blanks": self._blanks,
            "events": self._events,
            "counts": np.zeros(padded, np.int32),
            "block_power": np.zeros(padded, np.float32),
            "power": np.zeros(padded),
        }
        self._memory = make_memory(
            strip.variant_token(self._variant()),
            tuple(np.float32(word) for section in design.words for word in section),
            settings.filter.kind == "highpass",
            np.float32(uv_per_bit * design.gain * self._sign),
            _rails(settings, dtype),
            n_strips,
            groups,
            *(array.ctypes.data if array.size else 0 for array in self._arrays.values()),
        )
        self._compile()
        self._state[:, [strip.GATE_ROW, strip.THRESHOLD_ROW, strip.LIMIT_ROW]] = NEVER
        self.mask(settings.masked)

    @property
    def status(self) -> NDArray[np.uint8]:
        """Status bits of each channel, `(n_channels,)`."""
        return self._status

    @property
    def crossings(self) -> NDArray[np.void]:
        """Crossings of the open bin that were kept so far, ordered by sample, then channel."""
        kept = self._events[: self._integers[memory.N_COLLECTED]]
        return kept[np.lexsort((kept["channel"], kept["sample"]))]

    def crossings_of(self, closed: Bin) -> NDArray[np.void]:
        """Crossings of the bin that was closed last, ordered by sample, then channel, until more samples come."""
        kept = self._events[: int(closed.counts.sum(dtype=np.int64))].copy()
        return kept[np.lexsort((kept["channel"], kept["sample"]))]

    def listen(self, listener: CrossingListener | None) -> None:
        """Tell a listener, and no other, from here on of crossings as they are kept."""
        if listener is None:
            self._follow = None
            return
        kept = self._integers[memory.N_COLLECTED :]
        listener.listen(kept.ctypes.data, self._events.ctypes.data, len(self._events))
        self._follow = listener.follow

    def reset(self) -> None:
        """Forget the stream and what was learnt about channels; masks and thresholds stay."""
        self.position = -1
        self._take_bin()
        self._state[:, : strip.GATE_ROW] = 0.0
        self._too_few[:] = 0
        self.blank(0, 0)
        self._status = self._status & ~np.uint8(DEAD)
        self._update_live()

    def begin(self, sample_index: int) -> None:
        """Start at `sample_index`, at the start of a stream or behind a gap too long to fill.

        What is known of channels stays, since most streams begin where another ended.
        """
        self._take_bin()
        if sample_index >= self.position >= 0:
            blocks.pass_over(self._memory, self._blocks.bin_of(sample_index) - self._blocks.bin_of(self.position))
        else:
            self._integers[memory.HOLD_UNTIL] = 0
        super().begin(sample_index)

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

    def blank(self, start: int, stop: int) -> None:
        """Samples in `[start, stop)` are unobserved; replaces what was said of `start` and later."""
        self._blanking.add(start, stop, self.position)
        stretches = self._blanking.stretches
        self._integers[memory.N_BLANKS] = len(stretches)
        self._blanks[: len(stretches)] = np.array(stretches, np.int64).reshape(-1, 2)

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
            c = wrong[0]
            raise ConfigError(f"thresholds: expected {sign} values, got {thresholds_uv[c]:g} uV at channel {c}")
        self.thresholds_uv = thresholds_uv.astype(np.float64)
        self.rms_uv = rms_uv.astype(np.float32)
        noise = np.where(np.isfinite(rms_uv) & (rms_uv > 0), rms_uv, np.abs(thresholds_uv) / 4.5)
        known = np.isfinite(noise) & (noise > 0)
        grid = np.zeros(self.n_channels)
        grid[known] = 2.0 ** np.floor(np.log2(GRID_OF_RMS * noise[known]))
        self._set_row(strip.GRID_ROW, 1.5 * 2**23 * grid, 0.0)
        self._status = np.where(finite, self._status & ~np.uint8(DISABLED), self._status | np.uint8(DISABLED))
        self._update_live()

    def push(self, samples: Raw) -> list[Bin]:
        """Take the next samples, `(n, n_channels)`, C-contiguous; returns the bins that they complete.

        Raises:
            ConfigError: The samples are not of the stream's type and number of channels.
        """
        n, n_channels = samples.shape
        if n_channels != self.n_channels or samples.dtype is not self._dtype:
            raise ConfigError(
                f"samples: expected {self.n_channels} channels of {self._dtype}, got {n_channels} of {samples.dtype}"
            )
        if samples.flags.writeable:  # read-only and other arrays are different types to compiled code
            samples = samples.view()
            samples.flags.writeable = False
        flat = samples.reshape(-1)
        output = self._no_output
        if self.filtered is not None:
            output = np.empty((n, self._padded), np.float32)
        closed: list[Bin] = []
        done = 0
        while done < n:
            taken = self._run(self._memory, flat, 0, done, n, output)
            done += taken
            self.position += taken
            if self._follow is not None:
                self._follow()
            if self.position == self._end:
                closed.append(self._close())
        if self.filtered is not None:
            self.filtered = np.float32(self._sign) * output[:, : self.n_channels]
        return closed

    def run(self, raw: NDArray[np.int16], start: int, n_samples: int) -> Bin | None:
        """Take samples that reach the end of the open bin at most; returns the bin if they complete it.

        Nothing is looked at that `push` looks at: for packets that are known to go on as the last one did.

        Args:
            raw: Values of the stream's type one after the other, read-only.
            start: Where in them the samples begin.
            n_samples: How many there are.
        """
        self._run(self._memory, raw, start, 0, n_samples, self._no_output)
        self.position += n_samples
        if self._follow is not None:
            self._follow()
        return self._close() if self.position == self._end else None

    def _interrupt(self) -> None:
        blocks.interrupt(self._memory)

    def _pass_over(self, stop: int) -> None:
        ended = self._blocks.bin_of(stop) - self._blocks.bin_of(self.position)
        blocks.pass_over(self._memory, ended)

    def _resume(self) -> None:
        block = self._blocks.bin_of(self.position)
        self.settled_at = self.position + self.settling_samples
        for field, value in (
            (memory.POSITION, self.position),
            (memory.SEEN_FROM, self.position),
            (memory.SETTLED_AT, self.settled_at),
            (memory.BLOCK_REST, block * self._blocks.num % self._blocks.den),
            (memory.BLOCK_START, self._blocks.start(block)),
            (memory.BLOCK_END, self._blocks.start(block + 1)),
            (memory.N_EARLIER, 0),
            (memory.N_EVENTS, 0),
            (memory.RESTART, 1),
        ):
            self._integers[field] = value

    def _clear(self, start: int) -> None:
        self._integers[memory.BIN_START], self._integers[memory.BIN_END] = start, self._end

    def _collect(self, index: int, start: int, end: int, missing: int) -> Bin:
        counts, power, status = self._take_bin()
        observed, artefact, flagged, railing = self._numbers.tolist()
        if railing and missing == end - start:
            status &= ~np.uint8(RAILING)
            flagged, railing = int(np.count_nonzero(status)), 0
        taken = power if observed or self._takes_power else None
        return Bin(index, start, end, counts, taken, observed, missing, artefact, status, flagged, railing)

    def _take_bin(self) -> tuple[Counts, NDArray[np.float32], NDArray[np.uint8]]:
        """Empty the open bin: counts, mean power and status."""
        counts = np.empty(self.n_channels, np.uint16)
        power = np.empty(self.n_channels, np.float32)
        status = np.empty(self.n_channels, np.uint8)
        if self._take(self._memory, self._status, counts, power, status, self._numbers):
            self._status = status & ~np.uint8(RAILING)
            self._update_live()
        return counts, power, status

    def _variant(self) -> strip.Variant:
        variant = strip.Variant(0)
        for flag, wanted in (
            (strip.Variant.FLOAT_INPUT, self._dtype == np.float32),
            (strip.Variant.HIGH_PASS, self.settings.filter.kind == "highpass"),
            (strip.Variant.MEAN_ABSOLUTE, self.settings.power == "mean_absolute"),
            (strip.Variant.CHANNEL_OFFSETS, len(self._group_of) > 0),
        ):
            variant |= flag if wanted else strip.Variant(0)
        return variant

    def _make_integers(self, rate: Rate) -> NDArray[np.int64]:
        settings, block = self.settings, self._blocks
        blocks_per_s = rate.fraction / Fraction(block.num, block.den)
        integers = np.zeros(memory.N_INTEGERS, np.int64)
        for field, value in (
            (memory.BLOCK_NUM, block.num),
            (memory.BLOCK_DEN, block.den),
            (memory.HOLD_SAMPLES, samples_in(rate, settings.artefact.hold_ms)),
            (memory.REFRACTORY, samples_in(rate, settings.threshold.refractory_ms)),
            (memory.SETTLING_BLOCKS, self.settling_samples // block.longest),
            (memory.DEAD_BLOCKS, max(1, round(settings.dead_after_s * blocks_per_s))),
            (memory.MODE, {"none": NONE, "mean": MEAN, "median": MEDIAN}[settings.reference.mode]),
            (memory.HAS_LIMIT, settings.artefact.amplitude_uv is not None),
            (memory.N_CHANNELS, self.n_channels),
        ):
            integers[field] = value
        return integers

    def _compile(self) -> None:
        """Compile the kernels for this stream, and keep their entry points, which cost least to call."""
        raw = np.zeros(0, self._dtype)
        raw.flags.writeable = False
        words = tuple(np.zeros(0, kind) for kind in (np.uint8, np.uint16, np.float32, np.uint8, np.int64))
        self._run = fused.run_front_end.compile(tuple(map(typeof, (self._memory, raw, 0, 0, 0, self._no_output))))
        self._take = blocks.take_bin.compile(tuple(map(typeof, (self._memory, *words))))
        blocks.interrupt.compile((typeof(self._memory),))
        blocks.pass_over.compile((typeof(self._memory), typeof(0)))

    def _set_row(self, row: int, values: NDArray[np.float64], rest: float) -> None:
        """Write one value a channel into the strips' rows, and `rest` behind the last channel."""
        wide = np.full(self._padded, rest, np.float32)
        wide[: self.n_channels] = values
        self._state[:, row] = wide.reshape(-1, LANES)

    def _update_live(self) -> None:
        """Settle which channels cross and take part in references, and how many crossings are an artefact."""
        usable = self._status & (MASKED | DEAD) == 0
        for g, group in enumerate(self._groups.values()):
            live = np.zeros(self._padded, np.uint8)
            live[group[usable[group]]] = 1
            self._live[g] = np.packbits(live, bitorder="little").view(np.uint32)
        limit = self.settings.artefact.amplitude_uv
        limits = np.where(usable, NEVER if limit is None else -limit, NEVER)
        crossing = usable & (self._status & DISABLED == 0)
        thresholds = np.where(crossing, -np.abs(self.thresholds_uv), NEVER)
        self._set_row(strip.THRESHOLD_ROW, thresholds, NEVER)
        self._set_row(strip.LIMIT_ROW, limits, NEVER)
        self._set_row(strip.GATE_ROW, np.maximum(thresholds, limits), NEVER)
        channels = self.settings.artefact.channels(int(np.count_nonzero(crossing)))
        self._integers[memory.ARTEFACT_CHANNELS] = channels


def _fitting_design(design: FilterDesign | None, rate: Rate) -> FilterDesign:
    if design is None:
        raise ConfigError("front_end.filter.design: expected a designed filter, got none")
    if design.rate_hz != rate.hz:
        raise ConfigError(f"front_end.filter.design: designed for {design.rate_hz:g} Hz, the stream has {rate.hz:g} Hz")
    return design


def _rails(
    settings: FrontEndSettings, dtype: np.dtype[np.int16] | np.dtype[np.float32]
) -> tuple[np.int16, np.int16] | tuple[np.float32, np.float32]:
    """Rails in the raw type; the reach of int16 says nothing of float32."""
    reach = np.iinfo(np.int16)
    low, high = settings.rails.low, settings.rails.high
    if dtype == np.int16:
        return np.int16(max(low, reach.min)), np.int16(min(high, reach.max))
    whole = (low, high) == (reach.min, reach.max)
    return np.float32(-np.inf if whole else low), np.float32(np.inf if whole else high)

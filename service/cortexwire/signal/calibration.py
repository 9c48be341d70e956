"""Thresholds from minutes of signal: what noise is measured on, and the formula that turns it into thresholds.

Only observed samples count. A bin in which many channels are far above their own usual power is an artefact that
no threshold could yet detect, and is left out too. A calibration ends at the first bin edge at which enough clean
signal has been seen, so where it ends depends on sample indices alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.signal.binning import MASKED, Bin
from cortexwire.signal.bins import samples_in
from cortexwire.signal.settings import ArtefactSettings, ThresholdSettings
from cortexwire.types import Rate

OUTLIER_POWER = 4.0
"""A channel's power in a bin over its median power that makes it loud."""
MAD_TO_SIGMA = 0.6744897501960817
"""Median absolute value of a standard normal variable."""


class Noise(NamedTuple):
    """Noise of each channel, `(n_channels,)`, in microvolts.

    Attributes:
        rms_uv: Root mean square of the filtered signal.
        sigma_uv: What thresholds are multiples of: the RMS, or the median absolute value / 0.6745.
        clean_s: Seconds of signal that it was measured on.
    """

    rms_uv: NDArray[np.float32]
    sigma_uv: NDArray[np.float64]
    clean_s: float


class Calibration:
    """Gathers bins until there is enough clean signal.

    Args:
        settings: What is wanted.
        artefacts: Share of loud channels that makes a bin an artefact.
        rate: Sample rate.
        seconds: Clean signal to gather; None takes the setting's.
    """

    def __init__(
        self,
        settings: ThresholdSettings,
        artefacts: ArtefactSettings,
        rate: Rate,
        seconds: float | None = None,
    ) -> None:
        self.wants_samples = settings.mode == "mad"
        self._settings = settings
        self._share = artefacts.channel_share
        self._rate = rate
        self._needed = samples_in(rate, 1000 * (settings.calibration_s if seconds is None else seconds))
        self._powers: list[NDArray[np.float32]] = []
        self._samples: list[NDArray[np.float32]] = []
        self._observed: list[int] = []
        self._gathered = 0

    @property
    def progress(self) -> float:
        """Share of the wanted signal that has been seen, artefacts included; at most 1."""
        return min(1.0, self._gathered / self._needed)

    def add(self, closed: Bin, samples: NDArray[np.float32] | None = None) -> None:
        """Take a bin, and filtered samples of it, `(n, n_channels)`, where `wants_samples`."""
        if closed.power is None or not closed.observed:
            return
        self._powers.append(closed.power)
        self._observed.append(closed.observed)
        self._samples.append(np.empty((0, len(closed.power)), np.float32) if samples is None else samples)
        self._gathered += closed.observed

    def finish(self, enough: bool = False) -> Noise | None:
        """Measure the noise; None while there is too little clean signal, unless `enough` says to take it."""
        if not self._observed or (self._gathered < self._needed and not enough):
            return None
        power = np.stack(self._powers).astype(np.float64)
        observed = np.array(self._observed)
        clean = np.mean(power > OUTLIER_POWER * np.median(power, axis=0), axis=1) < self._share
        if not clean.any() or (observed[clean].sum() < self._needed and not enough):
            return None
        weights = observed[clean] / observed[clean].sum()
        rms = np.sqrt(weights @ power[clean])
        sigma = rms
        if self.wants_samples:
            kept = np.concatenate([s for s, ok in zip(self._samples, clean, strict=True) if ok])
            sigma = np.median(np.abs(kept), axis=0).astype(np.float64) / MAD_TO_SIGMA
        return Noise(rms.astype(np.float32), sigma, float(observed[clean].sum() / self._rate.fraction))


def thresholds_from(settings: ThresholdSettings, noise: Noise) -> NDArray[np.float64]:
    """Signed thresholds in microvolts, `(n_channels,)`; NaN disables a channel.

    `threshold_uv = multiplier * sigma_uv`, and none for channels whose RMS is outside the noise floor and ceiling.
    """
    usable = (noise.rms_uv >= settings.noise_floor_uv) & (noise.rms_uv <= settings.noise_ceiling_uv)
    return np.where(usable, settings.multiplier * noise.sigma_uv, np.nan)


def known_thresholds(
    settings: ThresholdSettings, n_channels: int, from_file: tuple[float, ...] | None
) -> NDArray[np.float64] | None:
    """Thresholds that need no calibration: a file's before the bundle's own values, before one absolute value.

    Raises:
        ConfigError: Their number does not fit.
    """
    for where, values in (
        ("thresholds file", from_file),
        ("front_end.threshold.values_uv", settings.values_uv),
    ):
        if values is not None:
            if len(values) != n_channels:
                raise ConfigError(f"{where}: expected {n_channels} thresholds, got {len(values)}")
            return np.array(values, np.float64)
    return np.full(n_channels, settings.absolute_uv) if settings.mode == "absolute" else None


class Adaptation:
    """Slow adaptation: a running mean square that moves only at fixed bins, and only from unmarked bins.

    Args:
        settings: Interval and weight.
        bin_ms: Width of a bin.
        noise: Where it starts.

    Raises:
        ConfigError: The interval is shorter than a bin.
    """

    def __init__(self, settings: ThresholdSettings, bin_ms: float, noise: Noise) -> None:
        if settings.adapt_every_s is None:
            raise ConfigError("threshold.adapt_every_s: expected an interval, got none")
        self._every = round(settings.adapt_every_s * 1000 / bin_ms)
        if self._every < 1:
            raise ConfigError(f"threshold.adapt_every_s: expected at least one bin, got {bin_ms} ms bins")
        self._settings = settings
        self._scale = noise.sigma_uv / np.maximum(noise.rms_uv, 1e-9)
        self._mean_square = noise.rms_uv.astype(np.float64) ** 2
        self._sum = np.zeros_like(self._mean_square)
        self._bins = 0

    def add(self, closed: Bin) -> Noise | None:
        """Take a bin; returns the new noise where the bin ends an interval in which there was anything to learn."""
        if closed.power is not None and closed.observed == closed.end - closed.start:
            self._sum += np.where(closed.status & ~np.uint8(MASKED) == 0, closed.power, self._mean_square)
            self._bins += 1
        if (closed.index + 1) % self._every or not self._bins:
            return None
        weight = self._settings.adapt_weight
        self._mean_square = (1 - weight) * self._mean_square + weight * self._sum / self._bins
        self._sum[:] = 0
        self._bins = 0
        rms = np.sqrt(self._mean_square)
        return Noise(rms.astype(np.float32), rms * self._scale, 0.0)

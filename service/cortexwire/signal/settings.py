"""Settings of the signal chain; a bundle carries them as the JSON object `front_end`."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReferenceSettings(Settings):
    """What is taken away from every channel before the filter."""

    mode: Literal["none", "mean", "median"] = "none"
    groups: Literal["all", "bank"] | dict[str, tuple[int, ...]] = Field(
        default="all", description="One reference for all channels, one per bank, or one per named list of channels"
    )


class FilterDesign(Settings):
    """A designed filter as second-order sections; made by `signal.design`, so that serving needs no scipy.

    Each section is (a1, a2); numerators are (1, 0, -1) for a band-pass and (1, -2, 1) for a high-pass.
    """

    rate_hz: float
    sections: tuple[tuple[float, float], ...]
    gain: float
    grids: tuple[tuple[float, float], ...] = Field(
        description="Rounding grids of each section's memory over that of the output"
    )
    settling_samples: int = Field(ge=0)

    @property
    def words(self) -> tuple[tuple[float, float, float, float, float], ...]:
        """What kernels take of each section: -a1, -a2, Re(pole), and both grids."""
        return tuple((-a1, -a2, -a1 / 2, *grids) for (a1, a2), grids in zip(self.sections, self.grids, strict=True))


class FilterSettings(Settings):
    """A causal Butterworth filter, named as `scipy.signal.butter(order, band)` names it."""

    kind: Literal["bandpass", "highpass"] = "bandpass"
    order: Annotated[int, Field(ge=2, le=8, multiple_of=2)] = 4
    low_hz: float = Field(default=250.0, gt=0)
    high_hz: float = Field(default=5000.0, gt=0, description="Upper edge; not used by a high-pass")
    design: FilterDesign | None = None


class ThresholdSettings(Settings):
    """How thresholds are found; their sign is the sign of the spikes' first phase."""

    mode: Literal["rms", "mad", "absolute"] = "rms"
    multiplier: float = Field(default=-4.5, description="Times RMS, or times MAD / 0.6745; signed")
    absolute_uv: float = Field(default=-50.0, description="The threshold where mode is `absolute`; signed")
    values_uv: tuple[float, ...] | None = Field(default=None, description="Fixed thresholds, one a channel")
    refractory_ms: float = Field(default=1.0, gt=0)
    calibration_s: float = Field(default=10.0, gt=0, description="Clean signal that a calibration takes")
    noise_floor_uv: float = Field(default=0.5, ge=0, description="Channels with a lower RMS are disabled")
    noise_ceiling_uv: float = Field(default=500.0, gt=0, description="Channels with a higher RMS are disabled")
    adapt_every_s: float | None = Field(default=None, gt=0, description="Slow adaptation at fixed sample indices")
    adapt_weight: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest interval's mean square")

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.multiplier == 0 or self.absolute_uv == 0:
            raise ValueError("expected a threshold with a sign, got 0")
        return self


class ArtefactSettings(Settings):
    """Which milliseconds count as unobserved because something other than neurons speaks in them."""

    channel_share: float = Field(default=0.4, gt=0, le=1, description="Share of live channels that cross within 1 ms")
    amplitude_uv: float | None = Field(
        default=None, gt=0, description="Filtered amplitude, towards the threshold, that a share of channels reaches"
    )
    hold_ms: float = Field(default=1.0, ge=0, description="What follows an artefact and is unobserved too")

    def channels(self, live: int) -> int:
        """How many of the live channels make an artefact; one alone never does."""
        return max(math.ceil(self.channel_share * live), 2)


class RailSettings(Settings):
    """Raw values at which a converter is saturated; the reach of int16 by default."""

    low: int = -32768
    high: int = 32767


class FrontEndSettings(Settings):
    """The whole signal chain from samples to features."""

    bin_ms: float = Field(default=20.0, gt=0)
    features: tuple[Literal["counts", "band_power"], ...] = ("counts",)
    power: Literal["mean_square", "mean_absolute"] = "mean_square"
    reference: ReferenceSettings = ReferenceSettings()
    filter: FilterSettings = FilterSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    artefact: ArtefactSettings = ArtefactSettings()
    rails: RailSettings = RailSettings()
    masked: tuple[int, ...] = Field(default=(), description="Channels that are left out of everything")
    dead_after_s: float = Field(default=0.5, gt=0, description="A channel whose raw value stays still so long is dead")

    @model_validator(mode="after")
    def _some_feature(self) -> Self:
        if not self.features or len(set(self.features)) != len(self.features):
            raise ValueError(f"expected one or two different features, got {self.features}")
        return self

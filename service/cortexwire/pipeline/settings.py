"""Settings of the pipeline's own parts, each checked by itself before anything starts.

They are frozen: what changes while the engine runs (gain, offset, thresholds, masks) changes by a command, so
that a log of packets, ticks and commands reproduces every output.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Matrix = tuple[tuple[Finite, Finite], tuple[Finite, Finite]]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IntakeSettings(_Settings):
    """How packets are put in order and when a stream counts as interrupted or restarted."""

    reorder_window_packets: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Packets held back while waiting for an earlier one; 0 never waits, so that a "
        "missing packet is a gap at once and costs no latency.",
    )
    restart_run_packets: int = Field(
        default=32,
        ge=2,
        le=4096,
        description="Consecutive packets with consecutive sequence numbers below the expected one, or with "
        "consecutive samples below the expected one, that mean that the rig restarted without drawing a new epoch.",
    )
    reset_after_ms: Positive = Field(
        default=500.0,
        description="Length of a stretch without data after which the decoder's state is reset and no "
        "further safe outputs are made.",
    )


class DeadlineSettings(_Settings):
    """When a bin that has not been decoded is replaced, as a command, by a safe output."""

    deadline_ms: Positive | None = Field(
        default=20.0,
        description="Time after the end of a bin, on the host's clock, at which its safe output is due. Must "
        "exceed the length of a packet plus the jitter of its arrival. None: no deadlines.",
    )
    clock_window_s: Positive = Field(
        default=2.0,
        description="Length of each of the two windows in which the least delay of a packet is taken to "
        "relate the stream's sample clock to the host's clock.",
    )


class SafetySettings(_Settings):
    """What a safe output says: hold, then linear decay, then neutral."""

    hold_ms: NonNegative = Field(
        default=100.0, description="Stream time for which the last good command is held unchanged."
    )
    decay_ms: NonNegative = Field(
        default=200.0, description="Stream time after the hold in which it decays linearly to zero."
    )
    valid_for_ms: Positive = Field(
        default=100.0,
        description="How long a consumer may apply a command after it came; afterwards it applies neutral by itself.",
    )
    neutral: bool = Field(default=False, description="Whether the neutral stop is on from the start.")


class OutputSettings(_Settings):
    """How a decoded velocity becomes a command."""

    gain: Finite | Matrix = Field(
        default=1.0, description="Factor, or 2 x 2 matrix by rows, applied to the decoded velocity (x, y)."
    )
    offset: tuple[Finite, Finite] = Field(default=(0.0, 0.0), description="Velocity added after the gain, in units/s.")
    smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="One-pole smoothing a in y = a*y + (1 - a)*x; 0 is none."
    )
    deadband: NonNegative = Field(default=0.0, description="Speed below which the velocity becomes zero.")
    max_speed: Positive | None = Field(default=None, description="Limit of the speed, in units/s.")
    max_acceleration: Positive | None = Field(
        default=None, description="Limit of the change of velocity per second, in units/s^2."
    )


class IdentitySettings(_Settings):
    """How a stream is recognised as the one that the bundle was trained on."""

    min_rate_correlation: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="Least Pearson correlation between the channels' rates now and in training that allows "
        "arming when the rig sends no electrode identities.",
    )
    window_s: Positive = Field(default=10.0, description="Stretch over which the channels' rates are measured.")


class PipelineSettings(_Settings):
    """Everything that decides what comes out, besides the bundle."""

    intake: IntakeSettings = IntakeSettings()
    deadline: DeadlineSettings = DeadlineSettings()
    safety: SafetySettings = SafetySettings()
    output: OutputSettings = OutputSettings()
    identity: IdentitySettings = IdentitySettings()

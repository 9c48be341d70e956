"""Everything that may be chosen about the synthetic rig, and nothing else.

Two seeds keep apart what a day changes and what it does not: `subject` fixes the electrodes (identities,
tuning, waveforms, gains), `seed` the run (movements, spikes, noise, faults). Amplitudes are microvolts at
the electrode.
"""

from pydantic import BaseModel, ConfigDict, Field

from cortexwire.types import Rate


class SimulatorSettings(BaseModel):
    """Settings of a simulated rig; equal settings give equal samples, whatever the packet size.

    Attributes:
        channels: Number of electrodes.
        rate_hz: Sample rate; taken as an exact decimal number.
        subject: Seed of what stays from run to run: tuning, waveforms, amplitudes, electrode gains.
        seed: Seed of the run: movements, spike times, noise, artefacts.
        uv_per_bit: Scale of the int16 samples.
        neurons_per_channel: Mean number of neurons at an electrode (Poisson, at most four); 0 leaves only
            noise.
        tuned_fraction: Share of the neurons whose rate depends on the movement.
        modulation_hz: Median depth of velocity tuning at a speed of 20 cm/s.
        spike_uv: Median peak amplitude of a neuron's waveform.
        thermal: Whether to add white noise, independent on every channel.
        thermal_uv: Its RMS from 0 to half the sample rate.
        pink: Whether to add 1/f noise, independent on every channel.
        pink_uv: Its RMS from 0.5 Hz to half the sample rate.
        lfp: Whether to add local field potentials shared by neighbouring electrodes.
        lfp_uv: Their RMS at an electrode of unit gain.
        line: Whether to add mains hum with its harmonics.
        line_hz: Mains frequency.
        line_uv: Amplitude of the fundamental.
        common_mode: Whether to add broad-band noise that all channels see (reference, muscle).
        common_mode_uv: Its RMS.
        artefacts: Whether now and then a brief large transient hits all channels.
        artefact_uv: Median peak of such a transient.
        artefact_every_s: Length of the windows of time, each of which has one, anywhere in it.
        dead: Whether one electrode in fifty is flat.
        railing: Whether one electrode goes to a rail of the converter now and then (from eight channels up).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(default=96, ge=1, le=65_535)
    rate_hz: float = Field(default=30_000.0, ge=5_000.0, le=100_000.0)
    subject: int = Field(default=7, ge=0)
    seed: int = Field(default=1, ge=0)
    uv_per_bit: float = Field(default=0.25, gt=0.0)
    neurons_per_channel: float = Field(default=1.5, ge=0.0, le=4.0)
    tuned_fraction: float = Field(default=0.7, ge=0.0, le=1.0)
    modulation_hz: float = Field(default=14.0, ge=0.0)
    spike_uv: float = Field(default=75.0, ge=0.0)
    thermal: bool = True
    thermal_uv: float = Field(default=8.0, ge=0.0)
    pink: bool = True
    pink_uv: float = Field(default=10.0, ge=0.0)
    lfp: bool = True
    lfp_uv: float = Field(default=60.0, ge=0.0)
    line: bool = True
    line_hz: float = Field(default=50.0, gt=0.0)
    line_uv: float = Field(default=20.0, ge=0.0)
    common_mode: bool = True
    common_mode_uv: float = Field(default=5.0, ge=0.0)
    artefacts: bool = True
    artefact_uv: float = Field(default=1200.0, ge=0.0)
    artefact_every_s: float = Field(default=40.0, ge=1.0)
    dead: bool = True
    railing: bool = True

    @property
    def rate(self) -> Rate:
        """The sample rate as an exact rational."""
        return Rate.from_hz(self.rate_hz)

    @property
    def block_samples(self) -> int:
        """Samples in a block of about 10 ms, the unit in which everything is generated."""
        return round(self.rate_hz / 100)

"""What stays from run to run: neurons, their tuning and waveforms, electrode gains, faulty electrodes.

The properties of an electrode depend on `(subject, electrode)` alone, so a wider array of one subject begins
with the electrodes of a narrower one (only which electrodes are dead or railing depends on the number of
channels).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws, Stream
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.waveforms import draw_shape, template, template_samples

BANK_CHANNELS = 32
LFP_SOURCES = 3
SPEED_REFERENCE = 20.0
POSITION_REFERENCE = 10.0
LEAD_BLOCKS = (6, 10)
DEAD_ONE_IN = 50
RAILING_FROM_CHANNELS = 8
MAX_NEURONS = 4


@dataclass(frozen=True)
class Subject:
    """One array in one cortex.

    Attributes:
        neuron_channel: Electrode of each neuron, int64, `(n_neurons,)`.
        tuning: Baseline in Hz, then the change in Hz per cm/s of velocity x, velocity y and speed, and per
            cm of position x and y, float64, `(n_neurons, 6)`.
        lead_blocks: How many blocks of 10 ms a neuron leads the movement, int64, `(n_neurons,)`.
        templates: Waveform of each neuron in bits, int16, `(n_neurons, template_samples)`.
        noise_gain: Factor on the private noise, float32, `(n_channels,)`; 0 where the electrode is dead.
        mixing: Factor on each shared row (common mode, line, artefact, LFP sources), float32,
            `(3 + LFP_SOURCES, n_channels)`; 0 where the electrode is dead.
        dead: Flat electrodes, int64.
        railing: Electrodes that go to a rail now and then, int64.
    """

    neuron_channel: NDArray[np.int64]
    tuning: NDArray[np.float64]
    lead_blocks: NDArray[np.int64]
    templates: NDArray[np.int16]
    noise_gain: NDArray[np.float32]
    mixing: NDArray[np.float32]
    dead: NDArray[np.int64]
    railing: NDArray[np.int64]


def electrode_names(settings: SimulatorSettings) -> list[tuple[str, str]]:
    """Give identity and bank of each electrode; the identity names the subject, as its array is another."""
    return [
        (f"sim{settings.subject}-{channel + 1:04d}", f"{channel // BANK_CHANNELS + 1}")
        for channel in range(settings.channels)
    ]


def make_subject(settings: SimulatorSettings) -> Subject:
    """Draw the array that `settings.subject` names."""
    n = settings.channels
    dead, railing = _faulty(settings)
    flat = set(dead.tolist())
    noise_gain = np.zeros(n, np.float32)
    mixing = np.zeros((3 + LFP_SOURCES, n), np.float32)
    channels: list[int] = []
    tuning: list[list[float]] = []
    leads: list[int] = []
    waves: list[NDArray[np.float64]] = []
    for channel in range(n):
        if channel in flat:
            continue
        draws = Draws(settings.subject, Stream.ELECTRODE, channel)
        noise_gain[channel] = draws.lognormal(1.0, 0.15)
        mixing[:3, channel] = [draws.lognormal(1.0, sigma) for sigma in (0.08, 0.4, 0.15)]
        mixing[3:, channel] = _lfp_gains(channel, draws)
        for _ in range(draws.poisson(settings.neurons_per_channel, MAX_NEURONS)):
            channels.append(channel)
            tuning.append(_tuning(settings, draws))
            leads.append(int(draws.uniform(LEAD_BLOCKS[0], LEAD_BLOCKS[1] + 1)))
            waves.append(_wave(settings, draws))
    return Subject(
        neuron_channel=np.array(channels, np.int64),
        tuning=np.array(tuning, np.float64).reshape(-1, 6),
        lead_blocks=np.array(leads, np.int64),
        templates=np.rint(np.array(waves).reshape(-1, template_samples(settings.rate_hz))).astype(np.int16),
        noise_gain=noise_gain,
        mixing=mixing,
        dead=dead,
        railing=railing,
    )


def _faulty(settings: SimulatorSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw which electrodes are dead and which rail: never the same one."""
    order = Draws(settings.subject, Stream.ARRAY, settings.channels).permutation(settings.channels)
    n_dead = settings.channels // DEAD_ONE_IN if settings.dead else 0
    n_railing = int(settings.railing and settings.channels >= RAILING_FROM_CHANNELS)
    return np.sort(order[:n_dead]), order[n_dead : n_dead + n_railing]


def _lfp_gains(channel: int, draws: Draws) -> list[float]:
    """Give the gains of the LFP sources: smooth along the array, with a few per cent of scatter."""
    across = channel % BANK_CHANNELS / BANK_CHANNELS
    return [
        float((0.6 + 0.4 * np.cos(np.pi * (across * source + channel / 97.0))) * draws.lognormal(1.0, 0.05))
        for source in range(LFP_SOURCES)
    ]


def _tuning(settings: SimulatorSettings, draws: Draws) -> list[float]:
    """Draw baseline and tuning: cosine in velocity, speed, position (Moran and Schwartz, 1999)."""
    baseline = draws.lognormal(9.0, 0.5)
    tuned = draws.uniform() < settings.tuned_fraction
    depth = draws.lognormal(settings.modulation_hz, 0.5) if tuned else 0.0
    speed = 0.3 * settings.modulation_hz * draws.normal()
    place = 0.2 * draws.lognormal(settings.modulation_hz, 0.5) if tuned else 0.0
    preferred, preferred_place = 2.0 * np.pi * draws.uniforms(2)
    return [
        baseline,
        depth * float(np.cos(preferred)) / SPEED_REFERENCE,
        depth * float(np.sin(preferred)) / SPEED_REFERENCE,
        speed / SPEED_REFERENCE,
        place * float(np.cos(preferred_place)) / POSITION_REFERENCE,
        place * float(np.sin(preferred_place)) / POSITION_REFERENCE,
    ]


def _wave(settings: SimulatorSettings, draws: Draws) -> NDArray[np.float64]:
    """Draw a neuron's waveform in bits."""
    shape = draw_shape(draws)
    stretch = draws.uniform(0.85, 1.2)
    amplitude = min(draws.lognormal(settings.spike_uv, 0.5), 6.0 * settings.spike_uv)
    wave = template(shape, stretch, settings.rate_hz) * amplitude / settings.uv_per_bit
    return wave.clip(-32_767, 32_767)

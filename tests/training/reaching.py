"""A small made-up session of reaches to eight targets, with tuned channels, for what judges decoders."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders import StreamSpec
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.recording import Recording, Source
from cortexwire.training.splits import last_fraction_of_trials

BIN_MS = 50.0
TRIAL_BINS = 24
N_CHANNELS = 12


def reaching(n_trials: int = 120, seed: int = 0, jitter: float = 0.25) -> Recording:
    """Make a recording of trials put end to end: rest, then a bell-shaped reach of varying speed and onset."""
    rng = np.random.default_rng(seed)
    n_bins = n_trials * TRIAL_BINS
    velocity, positions = np.zeros((n_bins, 2)), np.zeros((n_bins, 2))
    trials = np.stack([np.arange(n_trials), np.arange(n_trials) + 1], axis=1) * TRIAL_BINS
    turns = rng.permutation(np.arange(n_trials) % 8)
    for (start, stop), turn in zip(trials, turns, strict=True):
        angle = turn * np.pi / 4 + rng.normal(scale=0.05)
        onset, length = rng.integers(6, 12), rng.integers(7, 10)
        bell = 200 * np.clip(1 + jitter * rng.normal(), 0.5, 1.5) * np.hanning(length + 2)[1:-1]
        velocity[start + onset : start + onset + length] = bell[:, None] * [np.cos(angle), np.sin(angle)]
        positions[start:stop] = np.cumsum(velocity[start:stop], axis=0) * BIN_MS / 1000
    features = counts_of(velocity, rng)
    return Recording(
        name="reaching",
        columns=("vx", "vy"),
        unit="mm/s",
        bin_ms=BIN_MS,
        content=("counts",),
        features=features,
        targets=velocity,
        valid=np.ones(n_bins, dtype=bool),
        split=last_fraction_of_trials(trials[:, 0], n_bins, 0.2),
        trials=trials,
        positions=positions,
        joined=True,
    )


def counts_of(velocity: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw counts of channels tuned all around the circle."""
    angle = np.arange(N_CHANNELS) * 2 * np.pi / N_CHANNELS
    drive = 1.5 + velocity @ np.stack([np.cos(angle), np.sin(angle)]) / 60
    return np.asarray(rng.poisson(np.clip(drive, 0.05, None)), np.float32)


def source_of(recording: Recording) -> Source:
    """Give a recording a stream, so that it can be exported."""
    rates = recording.features.mean(axis=0) * 1000 / BIN_MS
    return Source(
        recording,
        StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=N_CHANNELS, bin_ms=BIN_MS),
        FrontEndSettings(bin_ms=BIN_MS),
        tuple(rates.tolist()),
        {},
    )

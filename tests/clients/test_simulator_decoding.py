"""The simulated rig can be decoded across runs of a subject, by a chain that shares no code with ours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from cortexwire.clients.simulator import Simulator, SimulatorSettings

BIN = 600
HISTORY = 10
CHANNELS = 64


def counts_and_velocity(seed: int, seconds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count crossings of -4.5 RMS (of the run's first ten seconds) in bins of 20 ms."""
    rig = Simulator(SimulatorSettings(channels=CHANNELS, seed=seed))
    sos = butter(4, [250.0, 5000.0], "bandpass", fs=30_000, output="sos").astype(np.float32)
    state: NDArray[Any] = np.zeros((4, 2, CHANNELS), np.float32)
    threshold: NDArray[np.floating] = np.zeros(CHANNELS)
    counts = []
    for second in range(seconds):
        filtered, state = sosfilt(sos, rig.next(30_000).astype(np.float32), axis=0, zi=state)
        if second < 10:
            # The median over 50 ms stretches leaves out artefacts, as a front end does.
            power: NDArray[np.floating] = np.square(filtered).reshape(20, 1500, CHANNELS).mean(axis=1)
            threshold -= 0.45 * np.sqrt(np.median(power, axis=0))
        else:
            below = (filtered <= threshold) & (threshold < -20)
            crossing = below & ~np.concatenate((below[:1], below[:-1]))
            counts.append(crossing.reshape(-1, BIN, CHANNELS).sum(axis=1))
    last = 300_000 + BIN * np.arange(1, 50 * (seconds - 10) + 1) - 1
    return np.concatenate(counts).astype(np.float64), rig.intended_at(last)


def design(counts: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the last bins of all channels side by side, with a constant."""
    z = np.vstack((np.zeros((HISTORY - 1, counts.shape[1])), (counts - mean) / scale))
    lags = [z[HISTORY - 1 - lag : len(z) - lag] for lag in range(HISTORY)]
    return np.hstack((*lags, np.ones((len(counts), 1))))


def worse_r2(true: NDArray[np.float64], decoded: NDArray[np.float64]) -> float:
    residual = np.square(true - decoded).sum(axis=0)
    return float((1 - residual / np.square(true - true.mean(axis=0)).sum(axis=0)).min())


def test_a_wiener_filter_of_one_run_decodes_another_and_shuffled_weights_do_not() -> None:
    counts, velocity = counts_and_velocity(seed=1, seconds=80)
    mean, scale = counts.mean(axis=0), counts.std(axis=0) + 1e-9
    x = design(counts, mean, scale)
    weights = np.linalg.solve(x.T @ x + 1000.0 * np.eye(x.shape[1]), x.T @ velocity)
    counts, velocity = counts_and_velocity(seed=2, seconds=30)
    x = design(counts, mean, scale)
    shuffled = weights[np.random.default_rng(0).permutation(len(weights))]
    assert 0.7 < worse_r2(velocity, x @ weights) < 0.92
    assert worse_r2(velocity, x @ shuffled) < 0.1

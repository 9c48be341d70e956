"""A small made-up recording with something to decode in it."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders import StreamSpec

STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=8, bin_ms=20.0)


def recording(n_bins: int = 1500, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make counts of eight tuned channels and the velocity behind them, in mm/s."""
    rng = np.random.default_rng(seed)
    velocity = np.zeros((n_bins, 2))
    for k in range(1, n_bins):
        velocity[k] = 0.9 * velocity[k - 1] + rng.normal(scale=10, size=2)
    angle = np.arange(8) * np.pi / 4
    drive = 1 + velocity @ np.stack([np.cos(angle), np.sin(angle)]) / 40
    return rng.poisson(np.clip(drive, 0, None)).astype(np.float32), velocity

"""A made-up session of recorded counts, with named columns and trials, as a reader would give it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cortexwire.sessions.session import SPIKE_DTYPE, TRIAL_DTYPE, Kind, Spikes, Trials
from cortexwire.types import Counts, Rate, Raw
from cortexwire.wire import Descriptor
from tests.training.examples import recording

BIN = 20
N_CHANNELS = 8


class CountsSession:
    """Counts of eight tuned channels in 20 ms bins at 1 kHz; trials of 50 bins end to end.

    Args:
        name: What it is called.
        n_bins: Length.
        seed: Draws it.
        n_channels: How many of the channels it has.
        names: Its columns: the velocity, whatever it is called, where it goes, and two mixtures of it.
    """

    kind: Kind = "counts"
    rate = Rate(1000)
    uv_per_bit = 1.0
    problems: Sequence[str] = ()

    def __init__(
        self,
        name: str = "made-up",
        n_bins: int = 600,
        seed: int = 0,
        n_channels: int = N_CHANNELS,
        names: tuple[str, ...] = ("px", "py", "vx", "vy", "emg_a", "emg_b"),
    ) -> None:
        counts, velocity = recording(n_bins, seed)
        self.name = name
        self.n_channels = n_channels
        self.n_samples = n_bins * BIN
        self.column_names = names
        self.column_units = ("mm", "mm", "mm/s", "mm/s", "V", "V")
        self.descriptor = Descriptor(source=name, electrodes=(), uv_per_bit=1.0, reference="", columns=names)
        self._counts = counts[:, :n_channels].astype(np.uint16)
        position = np.cumsum(velocity, axis=0) * BIN / 1000
        self._columns = np.concatenate([position, velocity, velocity @ [[1.0, 0.5], [0.5, -1.0]]], axis=1)

    @property
    def trials(self) -> Trials:
        """Trials of 50 bins, put end to end."""
        starts = np.arange(0, self.n_samples, 50 * BIN)
        trials = np.zeros(len(starts), TRIAL_DTYPE)
        trials["start"], trials["stop"] = starts, np.append(starts[1:], self.n_samples)
        return trials

    def wideband(self, start: int, stop: int) -> Raw:
        """There is none."""
        raise NotImplementedError

    def events(self, start: int, stop: int) -> Spikes:
        """There are none."""
        return np.zeros(0, SPIKE_DTYPE)

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Recorded bins that begin in the range."""
        first, last = -(-start // BIN), -(-stop // BIN)
        return np.arange(first, last + 1, dtype=np.int64) * BIN, self._counts[first:last]

    def column_rows(
        self, start: int, stop: int, column_ms: float = 10.0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Nothing goes over the wire."""
        return np.zeros(0, np.int64), np.zeros((0, len(self.column_names)), np.float32)

    def columns_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Columns of the bin that each sample is in."""
        return np.asarray(self._columns[samples // BIN])

"""The synthetic rig as an object: samples in order, and the truth behind them at any sample."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.blocks import BlockSource
from cortexwire.clients.simulator.kinematics import Reaches
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.spikes import SpikeTrains
from cortexwire.clients.simulator.subject import electrode_names, make_subject
from cortexwire.clients.simulator.waveforms import peak_offset
from cortexwire.sessions import SPIKE_DTYPE
from cortexwire.sessions.grid import RowGrid, row_width
from cortexwire.sessions.session import DEFAULT_COLUMN_MS
from cortexwire.types import Rate
from cortexwire.wire import Descriptor, Electrode

COLUMN_NAMES = ("intended_vx", "intended_vy", "intended_px", "intended_py")
COLUMN_UNITS = ("cm/s", "cm/s", "cm", "cm")


class Simulator:
    """A seeded wideband rig; the samples do not depend on how many are asked for at a time.

    Args:
        settings: Settings of the rig.

    Attributes:
        settings: The settings it was made with.
        rate: Sample rate.
        descriptor: Electrode identities, scale and column names, as sent on the wire.
        column_names: Names of the kinematic columns; velocity in cm/s, position in cm.
        position: Index of the next sample.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.rate: Rate = settings.rate
        self.column_names = COLUMN_NAMES
        self.descriptor = describe(settings)
        self.position = 0
        self._grid = RowGrid(self.rate, row_width(DEFAULT_COLUMN_MS))
        self._subject = make_subject(settings)
        self._reaches = Reaches(settings.seed)
        self._samples = BlockSource(settings, self._subject, self._reaches)
        self._truth = SpikeTrains(settings, self._subject, self._reaches)

    @property
    def n_channels(self) -> int:
        """Number of electrodes."""
        return self.settings.channels

    def next(self, n_samples: int) -> NDArray[np.int16]:
        """Give the next samples, int16 `(n_samples, n_channels)`, a fresh array."""
        samples = self._samples.read(self.position, self.position + n_samples)
        self.position += n_samples
        return samples

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """Give samples `[start, stop)` without moving `position`; cheapest in order."""
        return self._samples.read(start, stop)

    def columns(
        self, start: int, stop: int, column_ms: float = DEFAULT_COLUMN_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give the kinematic rows of `[start, stop)`: one at the last sample of each period of `column_ms`.

        Returns:
            Samples, int64 `(m,)`, and values in the order of `column_names`, float32 `(m, 4)`.
        """
        grid = self._grid if column_ms == DEFAULT_COLUMN_MS else RowGrid(self.rate, row_width(column_ms))
        samples = grid.edges(np.arange(grid.row_of(start) + 1, grid.row_of(stop) + 1)) - 1
        return samples, self.kinematics_at(samples).astype(np.float32)

    def kinematics_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the intended velocity (cm/s) and position (cm) at any samples, `(m, 4)`."""
        return self._reaches.at(np.asarray(samples, np.float64) / self.settings.rate_hz)

    def intended_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the intended velocity in cm/s at any samples, `(m, 2)`."""
        return self.kinematics_at(samples)[:, :2]

    def trial_edges(self, stop: int) -> NDArray[np.int64]:
        """Give the first samples of all trials that start before `stop` and of the one after, `(n + 1,)`.

        A trial is a hold and the reach that follows; it ends where the next one starts.
        """
        rate_hz = self.settings.rate_hz
        edges = np.rint(self._reaches.starts_until(stop / rate_hz) * rate_hz).astype(np.int64)
        return edges[: int(np.searchsorted(edges, stop)) + 1]

    def true_spikes(self, start: int, stop: int) -> NDArray[np.void]:
        """Give every spike whose main peak lies in `[start, stop)`, whether or not noise hides it.

        Returns:
            Records of `SPIKE_DTYPE` in order of sample and channel; `unit` counts the neurons of a channel
            from 1.
        """
        peak = peak_offset(self.settings.rate_hz)
        onsets, neurons = self._truth.between(max(0, start - peak), max(0, stop - peak))
        channel = self._subject.neuron_channel
        spikes = np.zeros(onsets.size, SPIKE_DTYPE)
        spikes["sample"] = onsets + peak
        spikes["channel"] = channel[neurons]
        spikes["unit"] = (np.arange(channel.size) - np.searchsorted(channel, channel))[neurons] + 1
        return np.sort(spikes, order=["sample", "channel", "unit"])


def describe(settings: SimulatorSettings) -> Descriptor:
    """Make the descriptor that a rig with these settings sends."""
    electrodes = tuple(Electrode(id=name, bank=bank) for name, bank in electrode_names(settings))
    return Descriptor(
        source="simulator",
        electrodes=electrodes,
        uv_per_bit=settings.uv_per_bit,
        reference="distant wire",
        columns=COLUMN_NAMES,
    )

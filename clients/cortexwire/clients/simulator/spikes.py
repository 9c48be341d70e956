"""When neurons fire: inhomogeneous Poisson with an absolute refractory time, block by block.

Time rescaling (Brown et al., 2002): a neuron fires when the integral of its hazard since the end of the last
refractory time reaches a unit exponential number. The hazard is constant over a block and lifted by
`1 / (1 - rate x refractory)`, so that the mean rate is the tuned one. Each neuron has its own random stream.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws, Stream
from cortexwire.clients.simulator.kinematics import Reaches
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.subject import LEAD_BLOCKS, Subject

REFRACTORY_S = 0.002
MAX_RATE_HZ = 150.0
MIN_RATE_HZ = 0.2
_TABLE_BLOCKS = 256


def _exponential(state: Any, neuron: int) -> float:
    """Draw a unit exponential number from a neuron's stream (splitmix64: Steele, Lea and Flood, 2014)."""
    z = state[neuron] + np.uint64(0x9E3779B97F4A7C15)
    state[neuron] = z
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return -math.log1p(-np.float64(z >> np.uint64(11)) * 2.0**-53)


_exponential_jit: Callable[[Any, int], float] = numba.njit(cache=True)(_exponential)


def _fire(
    kinematics: Any,
    row: int,
    tuning: Any,
    lead: Any,
    block: int,
    rate_hz: float,
    refractory: int,
    state: Any,
    need: Any,
    free: Any,
    onsets: Any,
    neurons: Any,
) -> int:
    """Advance all neurons by one block; write onset samples and neurons, return how many."""
    count = 0
    tau = refractory / rate_hz
    for k in range(tuning.shape[0]):
        move = row + lead[k]
        vx, vy, x, y = kinematics[move, 0], kinematics[move, 1], kinematics[move, 2], kinematics[move, 3]
        hz = tuning[k, 0] + tuning[k, 1] * vx + tuning[k, 2] * vy + tuning[k, 3] * math.sqrt(vx * vx + vy * vy)
        hz += tuning[k, 4] * x + tuning[k, 5] * y
        hz = min(max(hz, MIN_RATE_HZ), MAX_RATE_HZ)
        hazard = hz / (1.0 - hz * tau) / rate_hz
        now = free[k]
        left = need[k]
        while now < block:
            until = now + left / hazard
            if until >= block:
                left -= (block - now) * hazard
                now = block
            else:
                onsets[count] = np.int64(until)
                neurons[count] = k
                count += 1
                left = _exponential_jit(state, k)
                now = until + refractory
        free[k] = now - block
        need[k] = left
    return count


_fire_jit: Callable[..., int] = numba.njit(cache=True)(_fire)


class SpikeTrains:
    """The spikes of a run; blocks are made in order, and an earlier block makes it start over.

    Args:
        settings: Settings of the rig.
        subject: The array that fires.
        reaches: The movement that drives it.
    """

    def __init__(self, settings: SimulatorSettings, subject: Subject, reaches: Reaches) -> None:
        self._settings = settings
        self._subject = subject
        self._reaches = reaches
        self._block = settings.block_samples
        self._refractory = math.ceil(REFRACTORY_S * settings.rate_hz)
        n = len(subject.neuron_channel)
        most = n * (self._block // self._refractory + 1)
        self._onsets = np.zeros(most, np.int64)
        self._neurons = np.zeros(most, np.int64)
        self._free = np.zeros(n)
        self._need = np.zeros(n)
        self._state = np.zeros(n, np.uint64)
        self._table = np.zeros((0, 4))
        self._table_start = 0
        self._next = 0
        self._start_over()

    def block(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the spikes whose template starts in a block.

        Args:
            index: Number of the block, from 0.

        Returns:
            First sample of each template within the block, and its neuron, both int64, `(n_spikes,)`, in
            order of neuron and then time.
        """
        if index < self._next:
            self._start_over()
        count = 0
        while self._next <= index:
            count = self._advance()
        return self._onsets[:count].copy(), self._neurons[:count].copy()

    def between(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give absolute sample and neuron, `(n_spikes,)` each, of templates that start in `[start, stop)`."""
        samples, neurons = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for index in range(start // self._block, -(-stop // self._block)):
            onsets, who = self.block(index)
            onsets += index * self._block
            inside = (onsets >= start) & (onsets < stop)
            samples.append(onsets[inside])
            neurons.append(who[inside])
        return np.concatenate(samples), np.concatenate(neurons)

    def _start_over(self) -> None:
        n = len(self._free)
        draws = Draws(self._settings.seed, Stream.SPIKES)
        self._state[:] = (draws.uniforms(n) * 2.0**53).astype(np.uint64) << np.uint64(11)
        self._need[:] = -np.log1p(-draws.uniforms(n))
        self._free[:] = 0.0
        self._next = 0

    def _advance(self) -> int:
        index = self._next
        if not self._table_start <= index < self._table_start + len(self._table) - LEAD_BLOCKS[1]:
            self._table_start = index
            blocks = np.arange(index, index + _TABLE_BLOCKS + LEAD_BLOCKS[1], dtype=np.float64)
            self._table = self._reaches.at(blocks * (self._block / self._settings.rate_hz))
        self._next += 1
        return _fire_jit(
            self._table,
            index - self._table_start,
            self._subject.tuning,
            self._subject.lead_blocks,
            self._block,
            self._settings.rate_hz,
            self._refractory,
            self._state,
            self._need,
            self._free,
            self._onsets,
            self._neurons,
        )

"""Noise for a table look-up: periodic Gaussian traces, and a schedule by which they never repeat.

A bank holds independent traces with a given spectrum, each exactly periodic. Time is cut in hops of half a
second; in a hop two segments overlap, one fading in as `sin`, one out as `cos`, so that their sum is
Gaussian with constant variance and has no seam (`sin^2 + cos^2 = 1`, and the two never read one trace at the
same place). Each segment starts at a place of its own, and of two channels that read one trace at a time each
is well over 10 ms from the other (up to 2048 channels).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws, Stream

BLOCKS_PER_HOP = 50
TRACES = 128
TRACE_SAMPLES = 65_536
SHARED_SAMPLES = 262_144
BANK_RMS = 4096.0
_USED_SHARE = 0.8


class Segment(NamedTuple):
    """Where one segment reads the bank.

    Attributes:
        shift: Place in the bank at sample 0 of the stream, for each group of `TRACES` channels, int64.
        turn: Trace of the first channel of each group, int64.
    """

    shift: NDArray[np.int64]
    turn: NDArray[np.int64]


@lru_cache(maxsize=2)
def private_bank(seed: int, rate_hz: float, thermal_uv: float, pink_uv: float) -> NDArray[np.int16]:
    """Make the traces of the channels' private noise.

    Args:
        seed: Seed of the run.
        rate_hz: Sample rate.
        thermal_uv: RMS of the white part.
        pink_uv: RMS of the 1/f part.

    Returns:
        Traces of RMS `BANK_RMS`, `(TRACE_SAMPLES, 2 x TRACES)`, the second half a copy of the first (so that
        a rotated row is contiguous); read-only.
    """
    f = np.fft.rfftfreq(TRACE_SAMPLES, 1 / rate_hz)[1:]
    density = thermal_uv**2 * np.ones_like(f) / f.size + pink_uv**2 / f / np.sum(1 / f)
    traces = np.empty((TRACE_SAMPLES, 2 * TRACES), np.int16)
    rng = np.random.Generator(np.random.PCG64([seed, int(Stream.BANK)]))
    for trace in range(TRACES):
        scaled = _periodic(rng, density, TRACE_SAMPLES) * np.float32(BANK_RMS)
        traces[:, trace] = np.rint(scaled, out=scaled).clip(-32_767, 32_767)
    traces[:, TRACES:] = traces[:, :TRACES]
    traces.setflags(write=False)
    return traces


@lru_cache(maxsize=2)
def shared_bank(seed: int, rate_hz: float, lfp_sources: int) -> NDArray[np.float32]:
    """Make the traces that many channels share.

    Args:
        seed: Seed of the run.
        rate_hz: Sample rate.
        lfp_sources: Number of LFP sources.

    Returns:
        Traces of RMS 1, `(1 + lfp_sources, SHARED_SAMPLES)`: broad-band common mode, then the LFP sources;
        read-only.
    """
    f = np.fft.rfftfreq(SHARED_SAMPLES, 1 / rate_hz)[1:]
    common = 1 / f / np.sum(1 / f) + 1 / f.size
    beta = 0.02 * np.exp(-0.5 * ((f - 20.0) / 4.0) ** 2)
    lfp = (1 / (1 + (f / 2.0) ** 2) + beta) / (1 + (f / 200.0) ** 4) * (f > 0.5)
    rng = np.random.Generator(np.random.PCG64([seed, int(Stream.BANK), 1]))
    traces = np.stack([_periodic(rng, density, SHARED_SAMPLES) for density in [common] + [lfp] * lfp_sources])
    traces.setflags(write=False)
    return traces


def _periodic(rng: np.random.Generator, density: NDArray[np.float64], n_samples: int) -> NDArray[np.float32]:
    """Make a periodic Gaussian trace of RMS 1 (expected) whose power density from bin 1 on is given."""
    height = (np.sqrt(density / density.sum()) * (n_samples / 2)).astype(np.float32)
    spectrum = np.zeros(density.size + 1, np.complex64)
    spectrum[1:].real = rng.standard_normal(density.size, np.float32) * height
    spectrum[1:].imag = rng.standard_normal(density.size, np.float32) * height
    return np.fft.irfft(spectrum, n_samples).astype(np.float32)


class Schedule:
    """Which segments sound in a hop, and where they read.

    Args:
        seed: Seed of the run.
        n_groups: Number of readers that share the same traces.
        n_samples: Period of the bank.
        n_turns: Number of rotations of the channels; 1 for none.
        index: Tells schedules of one run apart.
    """

    def __init__(self, seed: int, n_groups: int, n_samples: int, n_turns: int, index: int) -> None:
        self._seed = seed
        self._n_groups = n_groups
        self._slot = n_samples / (2 * n_groups)
        self._n_turns = n_turns
        self._index = index

    def segment(self, number: int) -> Segment:
        """Give segment `number`, which fades in during hop `number` and out in the next."""
        draws = Draws(self._seed, Stream.SEGMENT, 2 * number + self._index)
        order = 2 * draws.permutation(self._n_groups) + number % 2
        shift = (order + _USED_SHARE * draws.uniforms(self._n_groups)) * self._slot
        turn = draws.uniforms(self._n_groups) * self._n_turns
        return Segment(shift.astype(np.int64), turn.astype(np.int64))


def fades(block: int, block_samples: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the weights of the rising and the falling segment over a block, `(block_samples,)` each."""
    place = (block % BLOCKS_PER_HOP) * block_samples + np.arange(block_samples)
    angle = place * (np.pi / 2 / (BLOCKS_PER_HOP * block_samples))
    return np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)

"""What all services of a comparison are given alike, found once beforehand: thresholds, and how to write the chain.

Thresholds are multiples of the RMS over the first seconds of the very stream that is sent later; so a run needs no
calibration, and all count the same crossings.
"""

import json
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.bench.numpy_chain import LAYOUTS, Layout, NumpyChain
from cortexwire.bench.peers.bins import bins_of
from cortexwire.bench.peers.front_end import numpy_front_end
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.decoders import Bundle
from cortexwire.signal.settings import FrontEndSettings

CALIBRATION_S: Final = 2.0
_SETTLING_BINS: Final = 5
_ROUNDS: Final = 3


def find_thresholds(bundle: Bundle, simulator: SimulatorSettings) -> NDArray[np.float64]:
    """-4.5 times the RMS of each channel over the first seconds that a simulated rig will send, in microvolts."""
    settings, bins = FrontEndSettings.model_validate(bundle.manifest.front_end), bins_of(bundle)
    chosen = settings.filter
    sos = signal.butter(chosen.order, [chosen.low_hz, chosen.high_hz], "bandpass", fs=bins.rate_hz, output="sos")
    session = SimulatedSession(simulator, CALIBRATION_S)
    silent = np.full(bins.n_channels, -np.inf)
    refractory = bins.packet_samples
    mode = settings.reference.mode
    chain = NumpyChain(mode, LAYOUTS[0], sos, session.uv_per_bit, silent, refractory, bins.packets_per_bin)
    powers = []
    for start in range(0, session.n_samples - bins.packet_samples + 1, bins.packet_samples):
        made = chain.push(session.wideband(start, start + bins.packet_samples))
        if made is not None:
            powers.append(made[1])
    rms = np.sqrt(np.mean(powers[_SETTLING_BINS:], axis=0, dtype=np.float64))
    return np.asarray(settings.threshold.multiplier * rms, np.float64)


def write_thresholds(path: Path, thresholds_uv: NDArray[np.float64]) -> None:
    """Write a thresholds file as the engine reads it."""
    path.write_text(json.dumps({"thresholds_uv": thresholds_uv.tolist()}))


def fastest_layout(bundle: Bundle, thresholds_uv: NDArray[np.float64], seed: int = 1) -> Layout:
    """The way to write the chain that takes the least processor time here."""
    bins = bins_of(bundle)
    noise = np.random.default_rng(seed).normal(0, 40, (bins.bin_samples, bins.n_channels)).astype(np.int16)
    packets = noise.reshape(-1, bins.packet_samples, bins.n_channels)
    layouts = [layout for layout in LAYOUTS if not layout.median_of_raw]
    best = dict.fromkeys(layouts, math.inf)
    for _ in range(_ROUNDS):
        for layout in layouts:
            best[layout] = min(best[layout], _time(numpy_front_end(bundle, layout, thresholds_uv), packets))
    return min(best, key=lambda layout: best[layout])


def _time(chain: NumpyChain, packets: NDArray[np.int16]) -> int:
    start = time.thread_time_ns()
    for raw in packets:
        chain.push(raw)
    return time.thread_time_ns() - start

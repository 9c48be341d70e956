"""The peers' signal chain: scipy and numpy with the filter, reference and refractory time that a bundle asks for.

Thresholds are -4.5 times the RMS of the first seconds of the very stream that is sent later, found once beforehand and
given to every service alike, ours included; so a run needs no calibration, and all count the same crossings.
"""

import json
import math
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.bench.numpy_chain import LAYOUTS, Layout, NumpyChain
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.decoders import Bundle
from cortexwire.signal.settings import FrontEndSettings

CALIBRATION_S: Final = 2.0
_SETTLING_BINS: Final = 5
_ROUNDS: Final = 3


class Bins(NamedTuple):
    """How a bundle's stream is cut.

    Attributes:
        rate_hz: Samples a second.
        bin_samples: Samples in a bin.
        packet_samples: Samples in a packet of 1 ms, which is the refractory time.
        n_channels: Channels.
    """

    rate_hz: float
    bin_samples: int
    packet_samples: int
    n_channels: int

    @property
    def packets_per_bin(self) -> int:
        """Packets in a bin."""
        return self.bin_samples // self.packet_samples


def bins_of(bundle: Bundle) -> Bins:
    """How the stream of a bundle is cut into packets of 1 ms and bins.

    Raises:
        ValueError: A bin is no whole number of such packets.
    """
    stream = bundle.manifest.stream
    rate_hz = stream.rate_num / stream.rate_den
    packet, whole = round(rate_hz / 1000), round(rate_hz * stream.bin_ms / 1000)
    if whole % packet:
        raise ValueError(f"expected bins of whole packets of {packet} samples, got {whole} samples")
    return Bins(rate_hz, whole, packet, stream.n_channels)


def numpy_front_end(bundle: Bundle, layout: Layout, thresholds_uv: NDArray[np.float64]) -> NumpyChain:
    """The chain that a bundle describes, at the start of a stream.

    Raises:
        ValueError: The bundle asks for something that the chain does not do.
    """
    settings, bins = FrontEndSettings.model_validate(bundle.manifest.front_end), bins_of(bundle)
    chosen = settings.filter
    refractory = math.ceil(bins.rate_hz * settings.threshold.refractory_ms / 1000)
    if chosen.kind != "bandpass" or settings.features != ("counts",) or refractory < bins.packet_samples:
        raise ValueError(f"expected band-passed counts and a refractory time of 1 ms or more, got {settings}")
    band = [chosen.low_hz, chosen.high_hz]
    sos = signal.butter(chosen.order, band, "bandpass", fs=bins.rate_hz, output="sos")
    uv_per_bit = bundle.manifest.stream.uv_per_bit
    return NumpyChain(
        settings.reference.mode,
        layout,
        sos,
        uv_per_bit,
        thresholds_uv,
        refractory,
        bins.packets_per_bin,
        band_power=False,
    )


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


def read_thresholds(path: str) -> NDArray[np.float64]:
    """Read a thresholds file, `(n_channels,)`, in microvolts."""
    return np.array(json.loads(Path(path).read_text())["thresholds_uv"], np.float64)


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


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """A layout as plain values."""
    return {"dtype": layout.dtype.__name__, "time_first": layout.time_first, "median_of_raw": layout.median_of_raw}


def layout_from_json(values: dict[str, Any]) -> Layout:
    """The layout of plain values."""
    (found,) = (layout for layout in LAYOUTS if layout_to_json(layout) == values)
    return found


def _time(chain: NumpyChain, packets: NDArray[np.int16]) -> int:
    start = time.thread_time_ns()
    for raw in packets:
        chain.push(raw)
    return time.thread_time_ns() - start

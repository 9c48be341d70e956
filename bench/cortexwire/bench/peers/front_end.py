"""The peers' signal chain: scipy and numpy with the filter, reference and refractory time that a bundle asks for."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.bench.numpy_chain import LAYOUTS, Layout, NumpyChain
from cortexwire.bench.peers.bins import bins_of
from cortexwire.decoders import Bundle
from cortexwire.signal.settings import FrontEndSettings


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


def read_thresholds(path: str) -> NDArray[np.float64]:
    """Read a thresholds file, `(n_channels,)`, in microvolts."""
    return np.array(json.loads(Path(path).read_text())["thresholds_uv"], np.float64)


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """A layout as plain values."""
    return {"dtype": layout.dtype.__name__, "time_first": layout.time_first, "median_of_raw": layout.median_of_raw}


def layout_from_json(values: dict[str, Any]) -> Layout:
    """The layout of plain values."""
    (found,) = (layout for layout in LAYOUTS if layout_to_json(layout) == values)
    return found

"""Designs the causal Butterworth filter; the only module of the signal chain that needs scipy.

Sections pair every pole pair with one zero at 0 Hz and, in a band-pass, one at the Nyquist frequency, which makes
their numerators (1, 0, -1). Fast and slow poles take turns, which keeps the spectrum between sections flat: in
float32 that is up to a thousand times more accurate than leaving all slow poles to the end.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.errors import ConfigError
from cortexwire.signal.settings import FilterDesign, FilterSettings
from cortexwire.types import Rate

Sections = NDArray[np.float64]
"""Second-order sections as scipy has them, `(n_sections, 6)`."""

HIGHEST_EDGE = 0.45
"""Highest allowed edge as a share of the sample rate."""
SETTLED = 2e-15
"""A filter has settled when what is left of its impulse response holds this share of its root energy."""


def design_filter(settings: FilterSettings, rate: Rate) -> FilterDesign:
    """Design `butter(order, edges)` at `rate` as sections with simple numerators.

    Raises:
        ConfigError: The rate is outside 10 to 50 kHz, or an edge is above 0.45 times the rate, or the edges are
            not in order.
    """
    if not 10_000 <= rate.hz <= 50_000:
        raise ConfigError(f"filter: expected a sample rate from 10 to 50 kHz, got {rate.hz:g} Hz")
    band_pass = settings.kind == "bandpass"
    allowed = HIGHEST_EDGE * rate.hz
    for name, edge in (("low_hz", settings.low_hz), ("high_hz", settings.high_hz))[: 2 if band_pass else 1]:
        if edge > allowed:
            raise ConfigError(
                f"filter.{name}: expected at most {allowed:g} Hz (0.45 x {rate.hz:g} Hz), got {edge:g} Hz"
            )
    if band_pass and settings.low_hz >= settings.high_hz:
        raise ConfigError(f"filter: expected low_hz below high_hz, got {settings.low_hz:g} and {settings.high_hz:g}")
    edges = [settings.low_hz, settings.high_hz] if band_pass else settings.low_hz
    _, poles, gain = signal.butter(settings.order, edges, settings.kind, fs=rate.hz, output="zpk")
    upper = sorted((p for p in poles if p.imag > 0), key=abs)
    if band_pass:
        upper = [p for pair in zip(upper[: settings.order // 2], reversed(upper), strict=False) for p in pair]
    numerator = [1.0, 0.0, -1.0] if band_pass else [1.0, -2.0, 1.0]
    sos = np.array([[*numerator, 1.0, -2 * p.real, abs(p) ** 2] for p in upper])
    length = int(np.ceil(np.log(SETTLED * 1e-6) / np.log(max(abs(p) for p in upper))))
    return FilterDesign(
        rate_hz=rate.hz,
        sections=tuple((float(a1), float(a2)) for a1, a2 in sos[:, 4:]),
        gain=float(gain),
        grids=tuple(_grids(sos[k:], length) for k in range(len(sos))),
        settling_samples=_settling(sos, length),
    )


def _grids(sos: Sections, length: int) -> tuple[float, float]:
    """Powers of two by which the first section's memory may move without moving the output by more than 1.

    The memory is taken as the kernel takes it, as s1 and s2 + Re(pole) s1.
    """
    real = -sos[0, 4] / 2
    grids = []
    for memory in ((1.0, -real), (0.0, 1.0)):
        start = np.zeros((len(sos), 2))
        start[0] = memory
        response, _ = signal.sosfilt(sos, np.zeros(length), zi=start)
        grids.append(float(2.0 ** np.floor(-np.log2(np.abs(response).max()))))
    return grids[0], grids[1]


def _settling(sos: Sections, length: int) -> int:
    """Samples after which the rest of the impulse response is below `SETTLED`."""
    impulse = np.zeros(length)
    impulse[0] = 1.0
    energy = signal.sosfilt(sos, impulse) ** 2
    rest = np.cumsum(energy[::-1])[::-1]
    return int(np.argmax(rest < SETTLED**2 * rest[0]))

"""Designs the causal Butterworth filter; the only module of the signal chain that needs scipy.

Sections pair every pole pair with one zero at 0 Hz and, in a band-pass, one at the Nyquist frequency, which makes
their numerators (1, 0, -1); slow poles come last.
"""

import numpy as np
from scipy import signal

from cortexwire.errors import ConfigError
from cortexwire.signal.settings import FilterDesign, FilterSettings
from cortexwire.types import Rate

HIGHEST_EDGE = 0.45
"""Highest allowed edge as a share of the sample rate."""
SETTLED = 1e-10
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
        raise ConfigError(
            f"filter: expected low_hz below high_hz, got {settings.low_hz:g} and {settings.high_hz:g}"
        )
    edges = [settings.low_hz, settings.high_hz] if band_pass else settings.low_hz
    _, poles, gain = signal.butter(settings.order, edges, settings.kind, fs=rate.hz, output="zpk")
    upper = sorted((p for p in poles if p.imag > 0), key=abs)
    sections = [(-2 * p.real, abs(p) ** 2) for p in upper]
    numerator = [1.0, 0.0, -1.0] if band_pass else [1.0, -2.0, 1.0]
    w = np.geomspace(rate.hz * 1e-5, rate.hz * 0.499, 8000)
    after = np.ones_like(w)
    grid: list[float] = []
    for a1, a2 in reversed(sections):
        grid.append(float(2.0 ** -np.ceil(np.log2(after.max()))))
        after = after * np.abs(signal.freqz(numerator, [1.0, a1, a2], w, fs=rate.hz)[1])
    sos = np.array([[*numerator, 1.0, a1, a2] for a1, a2 in sections])
    return FilterDesign(
        rate_hz=rate.hz,
        sections=tuple(sections),
        gain=float(gain),
        grid=tuple(reversed(grid)),
        settling_samples=_settling(sos, max(abs(p) for p in upper)),
    )


def _settling(sos: np.ndarray, radius: float) -> int:
    """Samples after which the rest of the impulse response is below `SETTLED`."""
    length = int(np.ceil(np.log(SETTLED * 1e-3) / np.log(radius))) + 16
    impulse = np.zeros(length)
    impulse[0] = 1.0
    energy = signal.sosfilt(sos, impulse) ** 2
    rest = np.cumsum(energy[::-1])[::-1]
    return int(np.argmax(rest < SETTLED**2 * rest[0]))

"""What goes wrong with a rig: transients on all channels, and an electrode that sticks to a rail.

Both are drawn once for each window of time, so that any stretch of a run can be made without what came
before.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws, Stream
from cortexwire.clients.simulator.settings import SimulatorSettings

ARTEFACT_S = 0.03
RAIL_WINDOW_S = 15.0
RAIL_S = (0.05, 0.4)
RAIL_CHANCE = 0.6
POSITIVE_RAIL = 32_767
NEGATIVE_RAIL = -32_768


class Transient(NamedTuple):
    """One artefact: a ringing step, `peak x cos(2 pi f t) exp(-t / decay)`."""

    start_s: float
    peak_uv: float
    decay_s: float
    ring_hz: float


class Rail(NamedTuple):
    """One stay at a rail, in samples of the stream."""

    start: int
    stop: int
    value: int


def transient(settings: SimulatorSettings, window: int) -> Transient:
    """Give the artefact of a window of `artefact_every_s`; each window has one, anywhere in it."""
    draws = Draws(settings.seed, Stream.ARTEFACT, window)
    start = (window + draws.uniform(0.0, 1.0 - ARTEFACT_S / settings.artefact_every_s)) * settings.artefact_every_s
    peak = draws.lognormal(settings.artefact_uv, 0.4) * (1.0 if draws.uniform() < 0.5 else -1.0)
    return Transient(start, peak, draws.uniform(0.0015, 0.004), draws.uniform(80.0, 300.0))


def artefact_row(settings: SimulatorSettings, start: int, n_samples: int) -> NDArray[np.float64] | None:
    """Give the artefact in microvolts at `n_samples` samples from `start`, or None where there is none."""
    begin, end = start / settings.rate_hz, (start + n_samples) / settings.rate_hz
    every = settings.artefact_every_s
    row = None
    for window in range(int(begin / every), int(end / every) + 1):
        hit = transient(settings, window)
        if begin < hit.start_s + ARTEFACT_S and hit.start_s < end:
            t = (start + np.arange(n_samples)) / settings.rate_hz - hit.start_s
            ring = hit.peak_uv * np.cos(2 * np.pi * hit.ring_hz * t) * np.exp(-t.clip(min=0.0) / hit.decay_s)
            row = (0.0 if row is None else row) + np.where((t >= 0) & (t < ARTEFACT_S), ring, 0.0)
    return row


def rails(settings: SimulatorSettings, start: int, stop: int) -> list[Rail]:
    """Give the stays at a rail that touch samples `[start, stop)`, cut to them."""
    window = RAIL_WINDOW_S * settings.rate_hz
    found = [rail(settings, index) for index in range(int(start / window), int(stop / window) + 1)]
    cut = [stay._replace(start=max(stay.start, start), stop=min(stay.stop, stop)) for stay in found if stay]
    return [stay for stay in cut if stay.start < stay.stop]


def rail(settings: SimulatorSettings, window: int) -> Rail | None:
    """Give the stay at a rail of a window of `RAIL_WINDOW_S`, if it has one."""
    draws = Draws(settings.seed, Stream.RAIL, window)
    if draws.uniform() >= RAIL_CHANCE:
        return None
    start = window * RAIL_WINDOW_S + draws.uniform(0.0, RAIL_WINDOW_S - RAIL_S[1])
    stop = start + draws.uniform(*RAIL_S)
    value = POSITIVE_RAIL if draws.uniform() < 0.5 else NEGATIVE_RAIL
    return Rail(round(start * settings.rate_hz), round(stop * settings.rate_hz), value)

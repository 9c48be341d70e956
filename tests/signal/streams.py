"""Made-up streams for the tests of the signal chain, and the front ends that take them."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.signal.binning import Bin
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings
from cortexwire.signal.wideband import WidebandBins
from cortexwire.types import Rate, Raw

RATE = Rate(30_000)
UV_PER_BIT = 0.25
INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)


def chain(rate: Rate = RATE, **changes: Any) -> FrontEndSettings:
    """Settings with a designed filter; `filter` may be given as settings without a design."""
    wanted = changes.pop("filter", FilterSettings())
    changes.setdefault("features", ("counts", "band_power"))
    designed = wanted.model_copy(update={"design": design_filter(wanted, rate)})
    return FrontEndSettings(filter=designed, **changes)


def front_end(
    n_channels: int,
    settings: FrontEndSettings | None = None,
    rate: Rate = RATE,
    dtype: Any = INT16,
    banks: tuple[str, ...] = (),
    threshold_uv: float = -30.0,
    start: int = 0,
) -> WidebandBins:
    """A front end with thresholds in force, begun at `start`."""
    source = WidebandBins(settings or chain(rate), rate, n_channels, UV_PER_BIT, dtype, banks)
    source.set_thresholds(np.full(n_channels, threshold_uv), np.full(n_channels, 8.0, np.float32))
    source.begin(start)
    return source


def float_front_end(n_channels: int, mode: Literal["mean", "median"] = "mean", **changes: Any) -> WidebandBins:
    """A front end for float32 that shares its kernel with all other tests of float32: compiling takes seconds."""
    settings = chain(
        filter=FilterSettings(kind="highpass", order=2, low_hz=300.0),
        power="mean_absolute",
        reference=ReferenceSettings(mode=mode, groups="bank"),
        **changes,
    )
    return front_end(n_channels, settings, dtype=FLOAT32, banks=banks(n_channels))


def banks(n_channels: int) -> tuple[str, ...]:
    """Two banks, channel by channel in turn."""
    return tuple("xy"[c % 2] for c in range(n_channels))


def noise(n: int, n_channels: int, seed: int, rate: Rate = RATE, spikes: float = 3e-4) -> NDArray[np.int16]:
    """Raw samples with noise of 10 uV, slow potentials of hundreds, offsets, and spikes of both signs."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)[:, None] / rate.hz
    x = 40.0 * rng.standard_normal((n, n_channels))
    for hz, raw in ((2.0, 1200.0), (11.0, 500.0), (50.0, 300.0)):
        x += raw * np.sin(2 * np.pi * (hz * t + rng.random(n_channels)))
    x += rng.uniform(-3000, 3000, n_channels)
    shape = np.hanning(round(rate.hz * 5e-4))
    for _ in range(rng.poisson(spikes * x.size)):
        at, c = rng.integers(n - len(shape)), rng.integers(n_channels)
        x[at : at + len(shape), c] += rng.choice((-350.0, 350.0)) * shape
    return np.round(np.clip(x, -32_700, 32_700)).astype(np.int16)


def packets(n: int, size: int | None, seed: int = 0) -> Iterator[tuple[int, int]]:
    """Cut `[0, n)` into pieces of `size` samples, or of random sizes where it is None."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < n:
        stop = min(n, start + (size or int(rng.integers(1, 200))))
        yield start, stop
        start = stop


def feed(
    source: WidebandBins, samples: Raw, size: int | None, gaps: Sequence[tuple[int, int]] = (), start: int = 0
) -> list[Bin]:
    """Push samples packet by packet, leaving out `gaps`; the first sample has the index `start`."""
    bins: list[Bin] = []
    done = 0
    for gap, behind in (*gaps, (len(samples), len(samples))):
        for a, b in packets(gap - done, size):
            bins += source.push(samples[done + a : done + b])
        if behind > gap:
            bins += source.gap(start + behind)
        done = behind
    return bins


def bits(closed: Bin) -> tuple[object, ...]:
    """Everything that a bin says, such that equal means equal bit for bit."""
    power = None if closed.power is None else closed.power.tobytes()
    return (
        closed.index, closed.start, closed.end, closed.counts.tobytes(), power, closed.observed, closed.missing,
        closed.artefact, closed.status.tobytes(),
    )  # fmt: skip

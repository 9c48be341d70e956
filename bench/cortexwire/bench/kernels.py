"""Speed of the fused front end against scipy and numpy doing identical work, in the same run on the same packets.

Packets of 1 ms come one by one from buffers that are larger than the processor's second cache, with noise, slow
potentials and some twenty crossings a second and channel. The chain of scipy and numpy is written in every
combination of float32 or float64 and time or channels first, and the fastest of them is the yardstick. Both take
turns of equal length for as long as is asked; what is reported are medians over the turns, of processor time, so
that other work on the machine counts little. Before that, both take the same stream and have to give the same counts
and band power.
"""

import gc
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy import signal

from cortexwire.bench.environment import environment_record
from cortexwire.bench.numpy_chain import LAYOUTS, Layout, Mode, NumpyChain
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings
from cortexwire.signal.wideband import WidebandBins
from cortexwire.types import Rate

CHANNELS: Final = (96, 256, 1024)
MODES: Final[tuple[Mode, ...]] = ("none", "mean", "median")
SECONDS: Final = 3.0
RATE: Final = Rate(30_000)
PACKET: Final = 30
PACKETS_PER_BIN: Final = 20
UV_PER_BIT: Final = 0.25
BUFFER_BYTES: Final = 3 * 2**20
"""Size of the packets that are gone through in turn, larger than the second cache of most processors."""
TURN_US: Final = 50_000.0
"""How long a turn takes."""
CHECKED_BINS: Final = 25
POWER_TOLERANCE: Final = 1e-3
"""Relative; a yardstick in float32 is not exact itself."""
DIFFERING: Final = 1e-3
"""Share of channel-bins in which a crossing may lie too close to its threshold for float32 to tell."""
_COMPILE = """
import time, numpy as np
from cortexwire.bench.kernels import fused_front_end
start = time.perf_counter()
fused_front_end(96, "median", np.full(96, -30.0))
print(time.perf_counter() - start)
"""

Packets = list[NDArray[np.int16]]


def run_kernels(
    channels: Sequence[int] = CHANNELS, modes: Sequence[Mode] = MODES, seconds: float = SECONDS
) -> dict[str, Any]:
    """Measure every number of channels with every kind of reference.

    Args:
        channels: Numbers of channels.
        modes: Kinds of common reference.
        seconds: How long both take turns in each case.

    Returns:
        JSON-able: the environment, and for each case microseconds a packet, nanoseconds a sample and channel, ratio
        of the medians, and what was compared.

    Raises:
        RuntimeError: The two do not give the same counts and band power.
    """
    console = Console(stderr=True)
    results = []
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=len(channels) * len(modes) + 1)
        for n in channels:
            packets = make_packets(n)
            for mode in modes:
                progress.update(task, description=f"{n} channels, reference {mode}")
                results.append(_measure(n, mode, packets, seconds))
                progress.advance(task)
        progress.update(task, description="compiling in new processes")
        compile_s = _compile_times()
    return {
        "environment": environment_record(),
        "what": f"fused front end against scipy and numpy, packets of {PACKET} samples, medians over turns",
        "compile_cold_s": compile_s[0],
        "compile_cached_s": compile_s[1],
        "results": results,
    }


def make_packets(n_channels: int, seed: int = 1) -> Packets:
    """Packets of noise (10 uV), slow potentials and spikes, read-only like those from the wire.

    Neighbours in time are none in memory, so that nobody finds the next packet there by looking ahead.
    """
    rng = np.random.default_rng(seed)
    bins = -(-BUFFER_BYTES // (2 * n_channels * PACKET * PACKETS_PER_BIN))
    n = bins * PACKETS_PER_BIN * PACKET
    raw = rng.standard_normal((n, n_channels), np.float32) * 40
    t = np.arange(n, dtype=np.float32)[:, None] / RATE.hz
    raw += 400 * np.sin(2 * np.pi * (7 * t + rng.random(n_channels))).astype(np.float32)
    spike = -400 * np.hanning(14).astype(np.float32)
    for _ in range(rng.poisson(20 * n * n_channels / RATE.hz)):
        at, c = rng.integers(n - len(spike)), rng.integers(n_channels)
        raw[at : at + len(spike), c] += spike
    samples = np.round(raw).astype(np.int16).reshape(-1, PACKET, n_channels)
    places = rng.permutation(len(samples))
    buffers = np.empty_like(samples)
    buffers[places] = samples
    buffers.flags.writeable = False
    return [buffers[place] for place in places]


def fused_front_end(n_channels: int, mode: Mode, thresholds_uv: NDArray[np.float64]) -> WidebandBins:
    """The front end that is measured, at the start of a stream."""
    chain = FilterSettings()
    chain = chain.model_copy(update={"design": design_filter(chain, RATE)})
    settings = FrontEndSettings(filter=chain, features=("counts", "band_power"), reference=ReferenceSettings(mode=mode))
    source = WidebandBins(settings, RATE, n_channels, UV_PER_BIT, np.dtype(np.int16))
    source.set_thresholds(thresholds_uv, (-thresholds_uv / 4.5).astype(np.float32))
    source.begin(0)
    return source


def numpy_chain(mode: Mode, layout: Layout, thresholds_uv: NDArray[np.float64]) -> NumpyChain:
    """The yardstick, at the start of a stream."""
    chain = FilterSettings()
    sos = signal.butter(chain.order, [chain.low_hz, chain.high_hz], "bandpass", fs=RATE.hz, output="sos")
    return NumpyChain(mode, layout, sos, UV_PER_BIT, thresholds_uv, PACKET, PACKETS_PER_BIN)


def _measure(n: int, mode: Mode, packets: Packets, seconds: float) -> dict[str, Any]:
    thresholds = _thresholds(n, mode, packets)
    layout = _fastest_layout(mode, packets, thresholds)
    compared = _compare(n, mode, layout, packets, thresholds)
    fused, chain = fused_front_end(n, mode, thresholds), numpy_chain(mode, layout, thresholds)
    ours, theirs = _take_turns(fused.push, chain.push, packets, seconds)
    a, b = float(np.median(ours)), float(np.median(theirs))
    return {
        "channels": n,
        "reference": mode,
        "ratio": b / a,
        "fused": {"us": a, "min_us": min(ours), "ns_per_sample_channel": 1000 * a / (PACKET * n)},
        "scipy": {"us": b, "min_us": min(theirs), "ns_per_sample_channel": 1000 * b / (PACKET * n)},
        "fastest_layout": str(layout),
        "turns": len(ours),
        **compared,
    }


def _thresholds(n: int, mode: Mode, packets: Packets) -> NDArray[np.float64]:
    """-4.5 times the RMS of each channel, from a first pass of the yardstick."""
    chain = numpy_chain(mode, LAYOUTS[0], np.full(n, -np.inf))
    turn = (packets[k % len(packets)] for k in range(CHECKED_BINS * PACKETS_PER_BIN))
    powers = [made[1] for raw in turn if (made := chain.push(raw)) is not None]
    return np.asarray(-4.5 * np.sqrt(np.mean(powers[3:], axis=0)), np.float64)


def _fastest_layout(mode: Mode, packets: Packets, thresholds: NDArray[np.float64]) -> Layout:
    layouts = [layout for layout in LAYOUTS if mode == "median" or not layout.median_of_raw]
    best = dict.fromkeys(layouts, float("inf"))
    for _ in range(3):
        for layout in layouts:
            chain = numpy_chain(mode, layout, thresholds)
            best[layout] = min(best[layout], _time(chain.push, packets[: 2 * PACKETS_PER_BIN]))
    return min(best, key=lambda layout: best[layout])


def _compare(n: int, mode: Mode, layout: Layout, packets: Packets, thresholds: NDArray[np.float64]) -> dict[str, Any]:
    """Give both the same stream, and compare every settled bin."""
    fused, chain = fused_front_end(n, mode, thresholds), numpy_chain(mode, layout, thresholds)
    differing = crossings = bins = 0
    worst = 0.0
    for k in range(CHECKED_BINS * PACKETS_PER_BIN):
        raw = packets[k % len(packets)]
        made, wanted = fused.push(raw), chain.push(raw)
        if made and wanted and made[0].observed == PACKET * PACKETS_PER_BIN:
            assert made[0].power is not None
            differing += int(np.count_nonzero(made[0].counts != wanted[0]))
            worst = max(worst, float(np.abs(made[0].power / wanted[1] - 1).max()))
            crossings += int(wanted[0].sum())
            bins += 1
    if not crossings or differing > DIFFERING * bins * n or worst > POWER_TOLERANCE:
        raise RuntimeError(
            f"{n} channels, reference {mode}: expected equal outputs, got {differing} differing channel-bins "
            f"of {bins * n} ({crossings} crossings) and band power off by {worst:.2g}"
        )
    seconds = bins * PACKETS_PER_BIN * PACKET / RATE.hz
    return {
        "differing_channel_bins": differing,
        "compared_channel_bins": bins * n,
        "band_power_off_by": worst,
        "crossings_per_s_and_channel": crossings / seconds / n,
    }


def _take_turns(
    ours: Callable[[NDArray[np.int16]], object],
    theirs: Callable[[NDArray[np.int16]], object],
    packets: Packets,
    seconds: float,
) -> tuple[list[float], list[float]]:
    """Time turns of one and the other, each as long, on the packets that come next; microseconds a packet.

    A turn of as many packets would be too short for the faster one: it would be timed while the processor's caches
    still hold the work of the slower.
    """
    times: tuple[list[float], list[float]] = ([], [])
    lengths = [math.ceil(TURN_US / _time(push, packets[:PACKETS_PER_BIN])) for push in (ours, theirs)]
    at = [0, 0]
    until = time.monotonic() + seconds
    with _no_garbage_collection():
        while time.monotonic() < until or len(times[0]) < 3:
            for k, push in enumerate((ours, theirs)):
                turn = [packets[(at[k] + i) % len(packets)] for i in range(lengths[k])]
                at[k] += lengths[k]
                times[k].append(_time(push, turn))
    return times


def _time(push: Callable[[NDArray[np.int16]], object], packets: Packets) -> float:
    start = time.thread_time_ns()
    for raw in packets:
        push(raw)
    return (time.thread_time_ns() - start) / len(packets) / 1000


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compile_times() -> tuple[float, float]:
    """Seconds to make a front end in a new process, without and with a cache of compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"CORTEXWIRE_CACHE": folder}
        runs = [
            subprocess.run([sys.executable, "-c", _COMPILE], env=env, check=True, capture_output=True, text=True)
            for _ in range(2)
        ]
    return float(runs[0].stdout), float(runs[1].stdout)

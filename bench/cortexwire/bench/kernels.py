"""Speed of the fused front end beside yardsticks that do the same work, in the same run on the same packets.

Packets of 1 ms come one by one from buffers that are larger than the processor's second cache, with noise, slow
potentials and some twenty crossings a second and channel. The yardsticks are

* `scipy`: the chain of scipy and numpy, written in every combination of float32 or float64 and time or channels
  first, of which the fastest is taken;
* `c`: the least work in C, compiled for this machine, which has no reference and so enters only without one;
* `ezmsg`: a graph of ezmsg-sigproc, without the messages between its units and without band power.

Each takes the same stream first and has to give the same counts and band power. Then all take turns of equal length
for as long as is asked, called from Python once a packet; what is reported are medians over the turns, of processor
time, so that other work on the machine counts little. A yardstick that is not installed is reported as absent.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy import signal

from cortexwire.bench.contenders import AbsentError, Contender, Made, take_turns, time_packets
from cortexwire.bench.environment import environment_record
from cortexwire.bench.numpy_chain import LAYOUTS, Layout, Mode, NumpyChain
from cortexwire.bench.yardstick import CFrontEnd, compiler_version
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
CHECKED_BINS: Final = 25
POWER_TOLERANCE: Final[dict[str, float]] = {"scipy": 1e-3, "c": 1e-4, "ezmsg": 0.0}
"""Relative; a yardstick in float32 is not exact itself, and ezmsg's gives no band power."""
DIFFERING: Final[dict[str, float]] = {"scipy": 1e-3, "c": 1e-4, "ezmsg": 1e-3}
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
        seconds: How long all take turns in each case.

    Returns:
        JSON-able: the environment, and for each case microseconds a packet and nanoseconds a sample and channel of
        the fused front end (`fused`) and each yardstick, the yardstick's `ratio` of medians to the fused front
        end's, and what was compared; or why a yardstick is absent. The case's own `ratio` is that of `scipy`.

    Raises:
        RuntimeError: One does not give the same counts and band power.
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
        "what": f"fused front end and yardsticks, packets of {PACKET} samples, medians over turns",
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
    contenders, absent = _contenders(mode, packets, thresholds)
    compared, rate = {}, 0.0
    for name, contender in contenders.items():
        compared[name], rate = _compare(name, contender, mode, packets, thresholds)
    ours = fused_front_end(n, mode, thresholds)
    streams = [(it.make(), it.feed) for it in contenders.values()]
    own, *theirs = take_turns([(ours.push, packets), *streams], seconds)
    found = {name: _speed(turns, n) for name, turns in zip(contenders, theirs, strict=True)}
    fused = _speed(own, n)
    yardsticks = {
        name: {**speed, "ratio": speed["us"] / fused["us"], **contenders[name].about, **compared[name]}
        for name, speed in found.items()
    }
    return {
        "channels": n,
        "reference": mode,
        "ratio": yardsticks["scipy"]["ratio"],
        "turns": len(own),
        "crossings_per_s_and_channel": rate,
        "fused": fused,
        **yardsticks,
        **{name: {"absent": why} for name, why in absent.items()},
    }


def _speed(turns: Sequence[float], n_channels: int) -> dict[str, Any]:
    median = float(np.median(turns))
    return {"us": median, "min_us": min(turns), "ns_per_sample_channel": 1000 * median / (PACKET * n_channels)}


def _contenders(
    mode: Mode, packets: Packets, thresholds: NDArray[np.float64]
) -> tuple[dict[str, Contender], dict[str, str]]:
    """The yardsticks that there are, and why others are not."""
    found, absent = {}, {}
    makers: dict[str, Callable[[], Contender]] = {
        "scipy": partial(_scipy, mode, packets, thresholds),
        "c": partial(_c, mode, packets, thresholds),
        "ezmsg": partial(_ezmsg, mode, packets, thresholds),
    }
    for name, maker in makers.items():
        try:
            found[name] = maker()
        except AbsentError as error:
            absent[name] = str(error)
    return found, absent


def _scipy(mode: Mode, packets: Packets, thresholds: NDArray[np.float64]) -> Contender:
    layout = _fastest_layout(mode, packets, thresholds)
    return Contender(lambda: numpy_chain(mode, layout, thresholds).push, packets, {"fastest_layout": str(layout)})


def _c(mode: Mode, packets: Packets, thresholds: NDArray[np.float64]) -> Contender:
    if mode != "none":
        raise AbsentError("the C kernel has no reference")
    design = design_filter(FilterSettings(), RATE)

    def make() -> Callable[[int], Made | None]:
        kernel = CFrontEnd(design, UV_PER_BIT, thresholds, PACKET, PACKET * PACKETS_PER_BIN)
        return lambda address: kernel.take(address, PACKET)

    make()
    return Contender(make, [raw.ctypes.data for raw in packets], {"compiler": compiler_version()})


def _ezmsg(mode: Mode, packets: Packets, thresholds: NDArray[np.float64]) -> Contender:
    try:
        from cortexwire.bench.peers.ezmsg_graph import EzmsgGraph, messages, versions
    except ModuleNotFoundError as error:
        raise AbsentError("ezmsg-sigproc is not installed: pip install ezmsg-sigproc") from error
    bin_s = PACKET * PACKETS_PER_BIN / RATE.hz
    return Contender(
        lambda: EzmsgGraph(mode, FilterSettings(), UV_PER_BIT, thresholds, PACKET, bin_s).push,
        messages(packets, RATE),
        {"versions": versions()},
    )


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
            best[layout] = min(best[layout], time_packets(chain.push, packets[: 2 * PACKETS_PER_BIN]))
    return min(best, key=lambda layout: best[layout])


def _compare(
    name: str, contender: Contender, mode: Mode, packets: Packets, thresholds: NDArray[np.float64]
) -> tuple[dict[str, Any], float]:
    """Give both the same stream and compare every settled bin; also crossings a second and channel."""
    n = len(thresholds)
    fused, push = fused_front_end(n, mode, thresholds), contender.make()
    differing = crossings = bins = 0
    worst, has_power = 0.0, False
    for k in range(CHECKED_BINS * PACKETS_PER_BIN):
        made, wanted = fused.push(packets[k % len(packets)]), push(contender.feed[k % len(packets)])
        if made and wanted and made[0].observed == PACKET * PACKETS_PER_BIN:
            counts, power = wanted
            differing += int(np.count_nonzero(made[0].counts != counts))
            if power is not None:
                assert made[0].power is not None
                has_power = True
                worst = max(worst, float(np.abs(made[0].power / power - 1).max()))
            crossings += int(counts.sum())
            bins += 1
    if not crossings or differing > DIFFERING[name] * bins * n or worst > POWER_TOLERANCE[name]:
        raise RuntimeError(
            f"{n} channels, reference {mode}: expected {name} to give equal outputs, got {differing} differing "
            f"channel-bins of {bins * n} ({crossings} crossings) and band power off by {worst:.2g}"
        )
    seconds = bins * PACKETS_PER_BIN * PACKET / RATE.hz
    found: dict[str, Any] = {"differing_channel_bins": differing, "compared_channel_bins": bins * n}
    if has_power:
        found["band_power_off_by"] = worst
    return found, crossings / seconds / n


def _compile_times() -> tuple[float, float]:
    """Seconds to make a front end in a new process, without and with a cache of compiled kernels."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"CORTEXWIRE_CACHE": folder}
        runs = [
            subprocess.run([sys.executable, "-c", _COMPILE], env=env, check=True, capture_output=True, text=True)
            for _ in range(2)
        ]
    return float(runs[0].stdout), float(runs[1].stdout)

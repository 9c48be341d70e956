"""How far the service goes: channels, packet sizes, sessions decoded together; where it keeps up, and what that takes.

A service keeps up when nothing is lost and no backlog builds up. Whether it was the service that did not, or the
simulated rig that could not send so much on one machine with it, is told apart by the rig's own lateness.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.batched_step import BatchedStep
from cortexwire.bench.distribution import encoded_all, percentiles
from cortexwire.bench.drawn_decoders import SEED, Drawn, drawn_bundle
from cortexwire.bench.environment import environment_record
from cortexwire.bench.latency import OVERHEAD_S, measure
from cortexwire.bench.live import RunError
from cortexwire.bench.loads import BIN_MS, Load
from cortexwire.bench.measured import Measured, describe
from cortexwire.bench.turns import Step, paced
from cortexwire.training.seeded_gru import drawn_counts

CHANNELS: Final = (96, 192, 384, 768, 1024, 1536, 2048, 3072, 4096)
PACKET_MS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
PACKET_CHANNELS: Final = 256
SESSIONS: Final = (1, 2, 4, 8, 16, 32, 64)
SESSION_DECODER: Final = Drawn("gru", 256, 256)
SECONDS: Final = 5.0
MOST_MISSES: Final = 0.001
"""Share of the bins that may miss their deadline where a service is said to keep up."""

Told = Callable[[float, str], object]


def run_scale(
    channels: Sequence[int] = CHANNELS,
    packet_ms: Sequence[float] = PACKET_MS,
    sessions: Sequence[int] = SESSIONS,
    seconds: float = SECONDS,
    *,
    load: Load | None = None,
    told: Told = lambda _share, _what: None,
) -> dict[str, Any]:
    """Measure along each axis.

    Args:
        channels: Numbers of channels at 1 ms packets.
        packet_ms: Packet lengths, at `PACKET_CHANNELS` channels.
        sessions: Sessions whose bins are decoded in one step.
        seconds: How long to measure each point.
        load: What else to set; a GRU as goes with the channels over ipc if None.
        told: Told how far it is.

    Returns:
        JSON-able: the environment, and a row for each point, with `axis` naming what was varied.

    Raises:
        RunError: A process failed at every point.
        ConfigError: The engine has no such setting.
    """
    base = load or Load(decoder="gru", transport="ipc")
    points = [("channels", replace(base, channels=n, seconds=seconds)) for n in channels]
    points += [
        ("packet_ms", replace(base, channels=PACKET_CHANNELS, packet_ms=length, seconds=seconds))
        for length in packet_ms
    ]
    total = len(points) * (seconds + OVERHEAD_S) + seconds * len(sessions)
    results = []
    for number, (axis, point) in enumerate(points):
        told(number * (seconds + OVERHEAD_S) / total, f"{point.channels} channels, {point.packet_ms:g} ms packets")
        results.append(_point(axis, point))
    if results and all("failed" in row for row in results):
        raise RunError(f"scale: every point failed, the first so: {results[0]['failed']}")
    told(1 - seconds * len(sessions) / total, "sessions decoded together")
    return {
        "benchmark": "scale",
        "environment": environment_record(),
        "what": "service latency and load along one axis at a time; sessions: one batched decoder step every bin",
        "seconds": seconds,
        "results": results + _sessions(sessions, seconds),
    }


def kept_up(load: Load, run: Measured) -> dict[str, Any]:
    """Whether a service kept up, and if not, what held it back."""
    lost = any(run.losses.values())
    misses = run.deadline_misses(load.due_ms)
    late = misses > MOST_MISSES * max(1, len(run.bins)) + 1
    rig_late = run.rig["max_lag_ms"] > load.due_ms
    held_by = None if not (lost or late) else ("rig" if rig_late else "service")
    return {"kept_up": held_by is None, "held_back_by": held_by}


def _point(axis: str, load: Load) -> dict[str, Any]:
    try:
        run = measure(load)
    except RunError as error:
        return {"axis": axis, **load.describe(), "kept_up": False, "failed": str(error)}
    described = describe(load, run)
    del described["series"]
    megabytes = load.channels * 2 * load.rig.rate_hz / 1e6
    return {"axis": axis, **kept_up(load, run), "megabytes_per_s": round(megabytes, 1), **described}


def _sessions(sessions: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """One batched step every bin, all numbers of sessions in turn."""
    if not sessions:
        return []
    features = drawn_counts(SESSION_DECODER.inputs, SEED)
    with tempfile.TemporaryDirectory(prefix="cxw-") as folder:
        bundle = drawn_bundle(SESSION_DECODER, Path(folder) / "bundle")
        steps: dict[str, Step] = {}
        for batch in sessions:
            wide = BatchedStep(bundle, batch)
            wide.features[:] = np.resize(features, (batch, SESSION_DECODER.inputs))
            steps[str(batch)] = wide.step
        times = paced(steps, seconds, BIN_MS)
    rows = []
    for batch in sessions:
        turns = times[str(batch)]
        flat = np.array([value for turn in turns for value in turn])
        rows.append(
            {
                "axis": "sessions",
                "sessions": batch,
                "decoder": SESSION_DECODER.name,
                "kept_up": bool(np.percentile(flat, 99) < BIN_MS * 1e3),
                "step_us": percentiles(flat),
                "us_per_session": round(float(np.median(flat)) / batch, 2),
                "core_share": round(float(flat.mean()) / (BIN_MS * 1e3), 5),
                "samples": {"step_us": [[round(float(np.median(turn)), 2) for turn in turns]]},
                "histograms": encoded_all({"step": flat}),
            }
        )
    return rows

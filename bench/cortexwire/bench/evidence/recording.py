"""A large array recorded while it is decoded: nothing lost, and what that costs the engine.

Runs with and without a recorder take turns, so that a machine that grows noisy or quiet does it to both. The recording
goes to a disk, not to memory; it is read back, checked record by record against the engine's own counters, and removed.
"""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from cortexwire.bench.distribution import percentiles
from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.recorded_log import check_log
from cortexwire.bench.latency import measure
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import Measured

CHANNELS: Final = 1024
SECONDS: Final = 60.0
PAIRS: Final = 3
MOST_RATIO: Final = 1.5
TAP_MEGABYTES: Final = 256
JUDGED: Final = "received_to_published"
"""The engine's own latency: closing packet received to velocity published."""


def recording_run(*, channels: int = CHANNELS, seconds: float = SECONDS, pairs: int = PAIRS) -> dict[str, Any]:
    """Must-show 1: recorded in real time while decoding.

    Args:
        channels: Channels of the rig.
        seconds: How long each run is measured.
        pairs: Runs with a recorder, and as many without.

    Returns:
        `passed`, `expected`, the engine's p99 with and without, their ratio, and what the recorder said of itself.

    Raises:
        RunError: A process failed.
    """
    without: list[dict[str, Any]] = []
    recorded: list[dict[str, Any]] = []
    load = Load(channels, seconds, transport="ipc", tap_megabytes=TAP_MEGABYTES)
    for pair in range(pairs):
        without.append(_described(measure(load)))
        with tempfile.TemporaryDirectory(prefix="cxw-recording-") as folder:
            run = measure(Load(channels, seconds, transport="ipc", tap_megabytes=TAP_MEGABYTES, record_to=Path(folder)))
            recorded.append(_described(run) | _log(run))
        p99 = [rows[-1][f"{JUDGED}_us"]["p99"] for rows in (without, recorded)]
        progress(f"pair {pair + 1} of {pairs}: p99 {p99[0]:.0f} us without, {p99[1]:.0f} us with a recorder")
    ratio = _p99(recorded, JUDGED) / max(_p99(without, JUDGED), 1e-9)
    lost = [problem for row in (*without, *recorded) for problem in row["lost"]]
    return {
        "passed": bool(ratio <= MOST_RATIO and not lost),
        "expected": {
            "p99_ratio": f"at most {MOST_RATIO}, median of {pairs} interleaved pairs",
            "lost": "nothing: the engine's losses are 0, the recorder's too, and the log holds every frame and output",
        },
        "channels": channels,
        "seconds_each": seconds,
        "megabytes_per_s": round(recorded[0]["recorder"]["written_bytes"] / recorded[0]["recorded_s"] / 1e6, 1),
        "p99_ratio": round(ratio, 3),
        "p99_us_without": _p99(without, JUDGED),
        "p99_us_recorded": _p99(recorded, JUDGED),
        "sent_to_received_p99_ratio": round(
            _p99(recorded, "sent_to_received") / max(_p99(without, "sent_to_received"), 1e-9), 3
        ),
        "recorder_core_share": round(median(row["recorder_core_share"] for row in recorded), 4),
        "engine_core_share_without": round(median(row["engine_core_share"] for row in without), 4),
        "engine_core_share_recorded": round(median(row["engine_core_share"] for row in recorded), 4),
        "stalls": sum(row["recorder"]["stalls"] for row in recorded),
        "longest_stall_ms": max(row["recorder"]["longest_stall_ns"] for row in recorded) / 1e6,
        "longest_sync_ms": max(row["recorder"]["longest_sync_ns"] for row in recorded) / 1e6,
        "most_queued_mb": max(row["recorder"]["most_queued_bytes"] for row in recorded) / 1e6,
        "lost": lost,
        "without": without,
        "recorded": recorded,
    }


def _p99(rows: list[dict[str, Any]], name: str) -> float:
    return float(median(row[f"{name}_us"]["p99"] for row in rows))


def _described(run: Measured) -> dict[str, Any]:
    return {
        f"{JUDGED}_us": percentiles(run.stages_us[JUDGED]),
        "sent_to_received_us": percentiles(run.sent_to_received_us),
        "sleeper_us": percentiles(run.sleeper_us),
        "engine_core_share": round(run.core_share, 4),
        "rig_max_lag_ms": round(run.rig["max_lag_ms"], 3),
        "bins": len(run.bins),
        "lost": [f"engine: {name} {count}" for name, count in run.losses.items() if count],
    }


def _log(run: Measured) -> dict[str, Any]:
    status, counters = dict(run.recorder), run.engine["counters"]
    found = check_log(Path(status["folder"]))
    expected = {"packet": counters["frames"], "output": counters["outputs"], "tick": counters["ticks"], "start": 1}
    lost = [f"recorder: {name} {status[name]}" for name in ("losses", "lost_records") if status[name]]
    lost += [
        f"log: expected {count} records of kind {kind}, got {found.kinds[kind]}"
        for kind, count in expected.items()
        if found.kinds[kind] != count
    ]
    lost += found.problems + [f"log: torn {name}" for name, _ in found.torn]
    if status["durable_bytes"] != found.bytes:
        lost.append(f"log: expected {status['durable_bytes']} bytes, got {found.bytes}")
    engine_lost = [f"engine: {name} {count}" for name, count in run.losses.items() if count]
    return {
        "lost": engine_lost + lost,
        "recorder": status,
        "log": found.describe(),
        "recorded_s": round(run.rig["seconds"], 2),
        "recorder_core_share": round(run.usage["recorder"].core_share(run.window_s), 4),
        "recorder_threads_core_share": {
            name: round(spent / run.window_s, 4) for name, spent in run.usage["recorder"].threads_s.items()
        },
        "recorder_resident_mib": max(run.usage["recorder"].resident_mib),
    }

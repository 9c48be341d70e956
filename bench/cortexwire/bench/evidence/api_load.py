"""The engine beside a busy API: browser, event stream, requests and a stuck viewer against the same without them."""

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from cortexwire.api.latencies import between, percentiles
from cortexwire.bench.api_service import ApiService, api_service, reading
from cortexwire.bench.evidence import progress
from cortexwire.bench.live import Child, short_folder
from cortexwire.bench.loads import Load
from cortexwire.bench.usage import resident_mib
from cortexwire.runtime.telemetry import PACKET_CPU, TelemetrySnapshot

CHANNELS: Final = 256
SECONDS: Final = 300.0
PAIRS: Final = 3
REQUESTS: Final = 50.0
FIFO: Final = 50
MOST_RATIO: Final = 1.5
_SETTLE_S: Final = 3.0
_LOSSES: Final = ("lost_packets", "gaps", "missing_samples", "skipped_bins", "tap_refused")
_CLIENTS: Final = ("page", "events", "stuck", "ask")


def load_runs(
    *,
    channels: int = CHANNELS,
    seconds: float = SECONDS,
    pairs: int = PAIRS,
    fifo_priority: int | None = FIFO,
    clients: tuple[str, ...] = _CLIENTS,
) -> dict[str, Any]:
    """Must-show 1: what clients of the API cost the engine.

    Args:
        channels: Channels of the rig.
        seconds: How long each run is.
        pairs: Runs each way, in turn.
        fifo_priority: SCHED_FIFO priority of the hot thread in the runs that are judged, or None; runs without
            are made in any case, and told.
        clients: Which of `page`, `events`, `stuck` and `ask` there are.

    Returns:
        `passed`, `expected`, for each kind of scheduling the ratio of the packets' processor time, percentiles of both
        ways, losses, and what the clients saw.

    Raises:
        RunError: A process failed.
    """
    kinds: dict[str, int | None] = {"normal": None}
    if fifo_priority is not None:
        kinds["fifo"] = fifo_priority
    found = {kind: _kind(channels, seconds, pairs, priority, clients) for kind, priority in kinds.items()}
    judged = found["fifo" if fifo_priority is not None else "normal"]
    lossless = all(not any(way["losses"].values()) for each in found.values() for way in each["runs"])
    return {
        "passed": bool(judged["packet_cpu_p99_ratio"] <= MOST_RATIO and lossless),
        "expected": {"packet_cpu_p99_ratio": f"at most {MOST_RATIO}", "losses": "all 0"},
        "channels": channels,
        "seconds_each": seconds,
        "pairs": pairs,
        "packet_cpu_p99_ratio": judged["packet_cpu_p99_ratio"],
        "scheduling": found,
    }


def _kind(channels: int, seconds: float, pairs: int, priority: int | None, clients: tuple[str, ...]) -> dict[str, Any]:
    load = Load(channels, seconds, transport="ipc", executor="incremental", fifo_priority=priority)
    runs: list[dict[str, Any]] = []
    for pair in range(pairs):
        # The order changes from pair to pair, so that neither way is always the later one.
        for busy in (False, True) if pair % 2 == 0 else (True, False):
            run = _run(load, seconds, clients if busy else ())
            runs.append({"pair": pair, "busy": busy} | run)
            progress(f"pair {pair} {'busy' if busy else 'alone'}: p99 {run['packet_cpu_us']['p99']:.0f} us of a packet")
    ratios = [
        _of(runs, pair, busy=True)["packet_cpu_us"]["p99"] / _of(runs, pair, busy=False)["packet_cpu_us"]["p99"]
        for pair in range(pairs)
    ]
    return {"packet_cpu_p99_ratio": statistics.median(ratios), "ratios": ratios, "runs": runs}


def _of(runs: list[dict[str, Any]], pair: int, *, busy: bool) -> dict[str, Any]:
    return next(run for run in runs if run["pair"] == pair and run["busy"] is busy)


def _run(load: Load, seconds: float, clients: tuple[str, ...]) -> dict[str, Any]:
    with short_folder() as folder, ExitStack() as opened:
        service = opened.enter_context(api_service(load, Path(folder)))
        working = {role: opened.enter_context(_client(role, service)) for role in clients}
        time.sleep(_SETTLE_S)
        reader = reading(service.run_dir)
        opened.callback(reader.close)
        before, resident = reader.read(), [resident_mib(service.children["api"].pid)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))
            service.check()
            resident.append(resident_mib(service.children["api"].pid))
        after = reader.read()
        saw = {role: client.stop() for role, client in working.items()}
    return _compared(before, after) | {"clients": saw, "api_resident_mib": [resident[0], max(resident), resident[-1]]}


def _client(role: str, service: ApiService) -> Child:
    return Child(role, {"url": service.url, "rate": REQUESTS}, "cortexwire.bench.api_clients")


def _compared(before: TelemetrySnapshot, after: TelemetrySnapshot) -> dict[str, Any]:
    stages = {
        name: percentiles(between(before.latency[name].table, histogram.table))
        for name, histogram in after.latency.items()
    }
    decoded = after.counters["decoded_bins"] - before.counters["decoded_bins"]
    losses = {name: after.counters[name] - before.counters[name] for name in _LOSSES}
    losses["bins"] = after.status.bin - before.status.bin - decoded
    return {
        "bins": decoded,
        "losses": losses,
        "late_bins": after.counters["late_bins"] - before.counters["late_bins"],
        "packet_cpu_us": _micros(stages.pop(PACKET_CPU)),
        "stages_us": {name: _micros(found) for name, found in stages.items()},
    }


def _micros(found: Mapping[str, int]) -> dict[str, float]:
    return {name.removesuffix("_ns"): value / 1e3 for name, value in found.items() if name.endswith("_ns")}

"""End to end against peers in one run: the same rig, subscriber, weights and thresholds, another service between.

Services take turns, so that what else the machine does meets them alike. In each turn a rig process sends the same
simulated signal on the same schedule, and a subscriber process stamps each velocity on its clock. Bins are those that
were due while it was measured, whether or not they came: a service that falls behind is charged for all of them. A
line through latency over time tells whether a backlog grows.

Bin-closing compute is what a service takes from receiving a packet to having the velocity; all alike put that stamp
just before they encode the message. That all do the same work is shown by what they decode: their velocities are
compared with those of the engine, bin by bin.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cortexwire.bench.environment import environment_record
from cortexwire.bench.latency import percentiles
from cortexwire.bench.live import RunError, short_folder
from cortexwire.bench.service_turns import Turn, take_turn
from cortexwire.bench.services import ENGINE, SERVICES, Transport, absent, prepare
from cortexwire.errors import ConfigError

CHANNELS: Final = (96, 256, 1024)
SECONDS: Final = 20.0
TURNS: Final = 2
APART: Final = 1e-3
"""Share of the root mean square velocity beyond which two velocities are not the same but for rounding."""


def run_peers(
    channels: Sequence[int] = CHANNELS,
    seconds: float = SECONDS,
    *,
    transport: Transport = "ipc",
    executor: str = "onnx",
    turns: int = TURNS,
    services: Sequence[str] = tuple(SERVICES),
) -> dict[str, Any]:
    """Measure the engine and its peers in turns.

    Args:
        channels: Numbers of channels, one after the other.
        seconds: How long each turn of each service is measured.
        transport: How packets and outputs travel.
        executor: What runs the engine's decoder.
        turns: Turns of each service.
        services: Which of `SERVICES`; the engine is always among them.

    Returns:
        JSON-able: the environment, and for each number of channels what each service did: percentiles in
        microseconds, bins missed, drift, processor shares, ratios to the engine. A service that is not installed, or
        failed, says so instead.

    Raises:
        ConfigError: There is no such service.
        RunError: The engine failed.
    """
    unknown = [name for name in services if name not in SERVICES]
    if unknown:
        raise ConfigError(f"services: expected some of {', '.join(SERVICES)}, got {', '.join(unknown)}")
    chosen = [name for name in SERVICES if name in services or name == ENGINE]
    return {
        "environment": environment_record(),
        "what": "closing packet sent to velocity received by a subscriber, microseconds, services in turns",
        "transport": transport,
        "executor": executor,
        "seconds": seconds,
        "turns": turns,
        "results": [_compare(n, seconds, transport, executor, turns, chosen) for n in channels],
    }


def _compare(
    channels: int, seconds: float, transport: Transport, executor: str, turns: int, services: Sequence[str]
) -> dict[str, Any]:
    found: dict[str, list[Turn]] = {name: [] for name in services}
    troubles = {name: {"absent": why} for name in services if (why := absent(name)) is not None}
    with short_folder() as folder:
        setup = prepare(folder, channels, transport, executor)
        for _ in range(turns):
            for name in services:
                if name not in troubles:
                    try:
                        found[name].append(take_turn(name, setup, seconds))
                    except RunError as error:
                        if name == ENGINE:
                            raise
                        troubles[name] = {"failed": str(error)}
    measured = {name: describe(taken, found[ENGINE]) for name, taken in found.items() if taken}
    return {
        "channels": channels,
        "units": setup.units,
        "numpy_layout": dict(setup.layout),
        "sleeper_us": percentiles(np.concatenate([turn.sleeper_us for taken in found.values() for turn in taken])),
        "services": {name: measured.get(name, {}) | troubles.get(name, {}) for name in services},
    }


def describe(turns: Sequence[Turn], ours: Sequence[Turn]) -> dict[str, Any]:
    """Put the turns of one service into plain values, beside those of the engine."""
    end_to_end = _all(turns, "sent_ns", "heard_ns")
    compute = _all(turns, "received_ns", "published_ns")
    return {
        "sent_to_received_us": percentiles(end_to_end),
        "due_to_received_us": percentiles(_all(turns, "acquired_ns", "heard_ns")),
        "compute_us": percentiles(compute),
        "turn_p50_us": [percentiles(turn.between_us("sent_ns", "heard_ns"))["p50"] for turn in turns],
        "sleeper_us": percentiles(np.concatenate([turn.sleeper_us for turn in turns])),
        "times_engine": {
            "p50": _ratio(end_to_end, _all(ours, "sent_ns", "heard_ns"), 50),
            "p99": _ratio(end_to_end, _all(ours, "sent_ns", "heard_ns"), 99),
            "compute_p50": _ratio(compute, _all(ours, "received_ns", "published_ns"), 50),
        },
        "bins_due": sum(turn.due for turn in turns),
        "bins_missed": sum(turn.missed for turn in turns),
        "drift_us_per_s": [None if (drift := turn.drift_us_per_s) is None else round(drift, 1) for turn in turns],
        "outputs_damaged": sum(turn.damaged for turn in turns),
        "core_share": {
            role: round(float(np.mean([turn.core_share[role] for turn in turns])), 4) for role in turns[0].core_share
        },
        "resident_mib": {
            role: round(max(turn.resident_mib[role] for turn in turns), 1) for role in turns[0].resident_mib
        },
        "losses": _losses(turns),
        "rig_max_lag_ms": round(max(turn.rig["max_lag_ms"] for turn in turns), 3),
        "agreement": agreement(turns, ours),
    }


def agreement(turns: Sequence[Turn], ours: Sequence[Turn]) -> dict[str, Any]:
    """Compare what was decoded with what the engine decoded of the same signal, over bins that both have.

    Returns:
        Bins compared, crossings counted over those of the engine, and the distance of velocities over the engine's
        root mean square: its median, and in how many bins it exceeds `APART`. A few crossings lie too close to a
        threshold for two filters to agree, and a recurrent decoder remembers each for some bins.
    """
    bins, distances, powers, crossings, wanted = 0, [np.empty(0)], [np.empty(0)], 0, 0
    for turn, own in zip(turns, ours, strict=False):
        _, here, there = np.intersect1d(turn.column("bin"), own.column("bin"), return_indices=True)
        bins += len(here)
        distances.append(np.linalg.norm(turn.velocities[here] - own.velocities[there], axis=1))
        powers.append(np.square(own.velocities[there]).sum(axis=1))
        crossings += int(turn.column("crossings")[here].sum())
        wanted += int(own.column("crossings")[there].sum())
    if not bins:
        return {"bins": 0}
    distance = np.concatenate(distances) / max(float(np.sqrt(np.concatenate(powers).mean())), 1e-12)
    return {
        "bins": bins,
        "crossings_over_engine": round(crossings / max(wanted, 1), 5),
        "velocity_distance": round(float(np.median(distance)), 9),
        "bins_apart": int(np.count_nonzero(distance > APART)),
    }


def _all(turns: Sequence[Turn], first: str, last: str) -> np.ndarray:
    return np.concatenate([turn.between_us(first, last) for turn in turns])


def _ratio(theirs: np.ndarray, ours: np.ndarray, percent: float) -> float | None:
    if not (theirs.size and ours.size):
        return None
    return round(float(np.percentile(theirs, percent) / np.percentile(ours, percent)), 3)


def _losses(turns: Sequence[Turn]) -> dict[str, int]:
    """What each process of a service counted as lost, over the turns; of the engine its counters of losses."""
    lost: dict[str, int] = {}
    for turn in turns:
        for said in turn.processes.values():
            counters = said.get("counters", said)
            for name in ("lost_packets", "missing_samples", "late_bins", "missing_packets", "skipped_packets"):
                if name in counters:
                    lost[name] = lost.get(name, 0) + int(counters[name])
    return lost

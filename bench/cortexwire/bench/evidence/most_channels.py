"""The most channels at 30 kHz that one machine sends, decodes and hears in real time, and what holds back the rest.

Rig, engine and subscriber share the machine, so what is too much for one of them is told apart: by the share of a core
of each, and of each of the engine's threads; by the rig's own lateness, and by the engine's.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.latency import measure
from cortexwire.bench.live import RunError
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import BULK, describe
from cortexwire.bench.scale import kept_up

CHANNELS: Final = 4096
SECONDS: Final = 60.0
FEWER: Final = (3072, 2048, 1536)
FEWER_S: Final = 20.0
FULL: Final = 0.9
"""Share of a core from which whoever takes it is said to be at its limit."""
_THREADS_OF_TRANSPORT: Final = "ZMQbg"


def most_channels(
    *,
    channels: int = CHANNELS,
    seconds: float = SECONDS,
    fewer: Sequence[int] = FEWER,
    fewer_s: float = FEWER_S,
) -> dict[str, Any]:
    """Must-show 8: 4096 channels for a minute, or the most that are sustained and the reason.

    Args:
        channels: Channels to sustain.
        seconds: For how long.
        fewer: Numbers of channels to try, downwards, where they are not.
        fewer_s: How long each.

    Returns:
        `passed` where some number was sustained and, if it is not the one wanted, what held back more was measured;
        `expected`, `sustained`, the `reason`, and every try.
    """
    tries = [_try(channels, seconds)]
    for number in fewer:
        if tries[-1]["sustained"]:
            break
        tries.append(_try(number, fewer_s))
    held = next((one["channels"] for one in tries if one["sustained"]), None)
    return {
        "passed": held is not None and (held == channels or bool(tries[0]["reason"])),
        "expected": f"{channels} channels for {seconds:g} s with nothing lost and no deadline missed but one in a "
        "thousand, or the measured reason why not and the most channels that are",
        "wanted_channels": channels,
        "wanted_sustained": tries[0]["sustained"],
        "sustained_channels": held,
        "reason": "" if held == channels else tries[0]["reason"],
        "cores": os.cpu_count(),
        "tries": tries,
    }


def _try(channels: int, seconds: float) -> dict[str, Any]:
    load = Load(channels, seconds, transport="ipc", decoder="gru", executor="incremental")
    try:
        run = measure(load)
    except RunError as error:
        progress(f"{channels} channels: {error}")
        return {
            "channels": channels,
            "seconds": seconds,
            "sustained": False,
            "reason": str(error),
            "failed": str(error),
        }
    found = {name: value for name, value in describe(load, run).items() if name not in (*BULK, "runs")}
    kept = kept_up(load, run)
    sustained = bool(kept["kept_up"] and not any(run.losses.values()) and found["bins"] > 0)
    shares = {name: process["core_share"] for name, process in found["processes"].items()}
    why = "" if sustained else reason(found, shares, load.due_ms)
    progress(f"{channels} channels: {'sustained' if sustained else why}")
    return {
        "channels": channels,
        "seconds": seconds,
        "sustained": sustained,
        "reason": why,
        "megabytes_per_s": round(channels * 2 * load.rig.rate_hz / 1e6, 1),
        **kept,
        "core_shares": {**shares, "all": round(sum(shares.values()), 4)},
        **found,
    }


def reason(found: dict[str, Any], shares: dict[str, float], due_ms: float) -> str:
    """Say what was measured of those that could hold a service back."""
    threads: dict[str, float] = found["engine_threads_core_share"]
    moving = sum(share for name, share in threads.items() if name.startswith(_THREADS_OF_TRANSPORT))
    lost = {name: count for name, count in found["losses"].items() if count}
    hot = max(threads.items(), key=lambda one: one[1], default=("none", 0.0))
    cores = os.cpu_count() or 1
    parts = []
    if found["rig_max_lag_ms"] > due_ms:
        parts.append(f"the rig was up to {found['rig_max_lag_ms']:.0f} ms late with {shares['rig']:.2f} of a core")
    if hot[1] >= FULL:
        parts.append(f"the engine's thread {hot[0]} took {hot[1]:.2f} of a core")
    if sum(shares.values()) >= FULL * cores:
        parts.append(f"all together took {sum(shares.values()):.2f} of {cores} cores")
    parts.append(
        f"rig {shares['rig']:.2f}, engine {shares['engine']:.2f} (of which transport {moving:.2f}), subscriber "
        f"{shares['subscriber']:.2f} of a core; lost {lost or 'nothing'}, {found['deadline_misses']} deadlines missed"
    )
    return "; ".join(parts)

"""The whole service under the load of a large array, in real time, for a minute.

A simulated rig of 1024 channels at 30 kHz, an engine and a subscriber run as processes of their own over PUB/SUB on
loopback, which drops what it cannot deliver, so that nothing dropped means that everything kept up. The engine's
processor time is the kernel's account of all its threads, ZeroMQ's among them. What the tap costs is measured with no
reader, on records as large as this rig's packets, written from buffers and into a ring that lie in no cache.
"""

import time
from typing import Any, Final

import numpy as np

from cortexwire.bench.latency import Load, Measured, describe, measure
from cortexwire.bench.live import short_folder
from cortexwire.bench.measured import BULK
from cortexwire.bench.soak import WARM_S, growth_mib
from cortexwire.runtime.tap import TapWriter
from cortexwire.wire import RecordKind

CHANNELS: Final = 1024
SECONDS: Final = 60.0
MOST_CORE_SHARE: Final = 0.15
MOST_TAP_SHARE: Final = 0.01
MOST_GROWTH_MIB: Final = 2.0
PACKETS_PER_S: Final = 1000
_TAP_MEGABYTES: Final = 64
_BUFFERS: Final = 128
_HEADER_BYTES: Final = 128


def load_run(*, channels: int = CHANNELS, seconds: float = SECONDS) -> dict[str, Any]:
    """Must-show 7: a large array in real time through the whole service.

    Args:
        channels: Channels of the rig.
        seconds: How long to measure.

    Returns:
        `passed`, `expected`, shares of a core, memory, losses, and latency beside the sleeper's.

    Raises:
        RunError: A process failed.
    """
    load = Load(channels=channels, seconds=seconds)
    run = measure(load)
    growth = memory_growth_mib(run)
    tap = tap_share(channels)
    described = {name: value for name, value in describe(load, run).items() if name not in BULK}
    bins = round(seconds * 50)
    passed = (
        not any(run.losses.values())
        and growth <= MOST_GROWTH_MIB
        and run.core_share <= MOST_CORE_SHARE
        and tap <= MOST_TAP_SHARE
        and abs(len(run.bins) - bins) <= 2
    )
    return {
        "passed": bool(passed),
        "expected": {
            "losses": "all 0",
            "bins": f"{bins} received, give or take 2 at the edges of the measurement",
            "engine_core_share": f"at most {MOST_CORE_SHARE}",
            "memory_growth_mib": f"at most {MOST_GROWTH_MIB} from second {WARM_S} to the end",
            "tap_core_share": f"at most {MOST_TAP_SHARE}",
        },
        "seconds": seconds,
        **described,
        "memory_growth_mib": round(growth, 3),
        "resident_mib": [round(value, 2) for value in run.resident_mib],
        "tap_core_share": round(tap, 5),
    }


def memory_growth_mib(run: Measured) -> float:
    """By how much the engine's resident memory is larger at the end than when it was warm."""
    return growth_mib(run.resident_mib)


def tap_share(channels: int = CHANNELS, packets: int = 20_000) -> float:
    """Share of a core that the tap costs with no reader, at 1 ms packets of int16."""
    size = _HEADER_BYTES + channels * 30 * 2
    rng = np.random.default_rng(0)
    payloads = [rng.bytes(size) for _ in range(_BUFFERS)]
    with short_folder() as folder:
        tap = TapWriter(folder / "tap.ring", _TAP_MEGABYTES)
        try:
            began = time.thread_time()
            for number in range(packets):
                tap.append(RecordKind.PACKET, number, payloads[number % _BUFFERS])
            spent = time.thread_time() - began
        finally:
            tap.close()
    return spent / packets * PACKETS_PER_S

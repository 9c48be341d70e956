"""What the engine takes of a core at a large array, with the end of each bin rehearsed and without."""

from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.latency import measure
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import BULK, Measured, describe

CHANNELS: Final = 1024
SECONDS: Final = 60.0
MOST_CORE_SHARE: Final = 0.08


def engine_cpu(*, channels: int = CHANNELS, seconds: float = SECONDS) -> dict[str, Any]:
    """Must-show 7: the engine's share of a core, GRU of 512 units, all of its threads.

    Args:
        channels: Channels of the rig.
        seconds: How long to measure each way.

    Returns:
        `passed`, `expected`, the share with rehearsal, which is the engine's own setting, and without; by thread.

    Raises:
        RunError: A process failed.
    """
    ways: dict[str, dict[str, Any]] = {}
    for name, rehearse in (("rehearsed", True), ("not_rehearsed", False)):
        load = Load(channels, seconds, transport="ipc", decoder="gru", executor="incremental", rehearse=rehearse)
        run = measure(load)
        ways[name] = _way(load, run)
        progress(f"{name}: {run.core_share:.4f} of a core, p50 {ways[name]['sent_to_received_us']['p50']:.0f} us")
    own = ways["rehearsed"]
    share = own["engine_core_share"]
    return {
        "passed": bool(share <= MOST_CORE_SHARE and not any(own["losses"].values()) and own["bins"] > 0),
        "expected": {"engine_core_share": f"at most {MOST_CORE_SHARE}", "losses": "all 0"},
        "seconds_each": seconds,
        "engine_core_share": share,
        "engine_core_share_not_rehearsed": ways["not_rehearsed"]["engine_core_share"],
        "engine_threads_core_share": own["engine_threads_core_share"],
        "ways": ways,
    }


def _way(load: Load, run: Measured) -> dict[str, Any]:
    return {name: value for name, value in describe(load, run).items() if name not in (*BULK, "runs")}

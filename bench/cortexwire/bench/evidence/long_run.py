"""Ten minutes at 256 channels with a telemetry reader: nothing dropped, memory flat, tails beside the sleeper's."""

from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import BULK
from cortexwire.bench.soak import run_soak

CHANNELS: Final = 256
SECONDS: Final = 600.0
_EVERY_S: Final = 60


def soak_run(*, channels: int = CHANNELS, seconds: float = SECONDS) -> dict[str, Any]:
    """Must-show 9: a long run.

    Args:
        channels: Channels of the rig.
        seconds: How long.

    Returns:
        `passed`, `expected`, losses, resident memory, p99.9 and the sleeper's, and what the reader saw.

    Raises:
        RunError: A process failed.
    """
    told = 0

    def say(_share: float, what: str) -> None:
        nonlocal told
        told += 1
        if told % _EVERY_S == 0:
            progress(what)

    load = Load(channels, seconds, transport="ipc", decoder="gru", executor="incremental")
    found = run_soak(load, told=say)
    (row,) = found["results"]
    return {
        "passed": bool(found["passed"] and not found["interrupted"]),
        "expected": found["expected"],
        "measured_s": found["seconds"],
        "interrupted": found["interrupted"],
        "p99_9_us": row["sent_to_received_us"]["p99_9"],
        "sleeper_p99_9_us": row["sleeper_us"]["p99_9"],
        **{name: value for name, value in row.items() if name not in (*BULK, "runs")},
    }

"""A long run: nothing dropped, memory flat, tails beside the sleeper's, while something reads the telemetry."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cortexwire.bench.environment import environment_record
from cortexwire.bench.latency import measure
from cortexwire.bench.loads import Load
from cortexwire.bench.measured import describe

MINUTES: Final = 10.0
CHANNELS: Final = 256
POLL_MS: Final = 100.0
WARM_S: Final = 10
"""Second from which memory has to be flat."""
MOST_GROWTH: Final = 0.01
"""By how much resident memory may differ from what it was then, as a share."""


def run_soak(
    load: Load, *, poll_ms: float = POLL_MS, told: Callable[[float, str], object] = lambda _share, _what: None
) -> dict[str, Any]:
    """Run for as long as the load says, or until Ctrl-C, which leaves a result of what there was.

    Args:
        load: What to send through what.
        poll_ms: How often the telemetry is read.
        told: Told how far it is.

    Returns:
        JSON-able: the environment, `passed`, what was expected, and one result.

    Raises:
        RunError: A process failed.
        ConfigError: The engine has no such setting.
    """
    run = measure(
        load,
        lambda second: told(second / load.seconds, f"{second:.0f} of {load.seconds:.0f} s"),
        telemetry_every_ms=poll_ms,
        partial=True,
    )
    steady = flatness(run.resident_mib)
    reader = dict(run.telemetry)
    described = describe(load, run)
    sound = not any(run.losses.values()) and not reader.get("torn") and not reader.get("not_live")
    return {
        "benchmark": "soak",
        "environment": environment_record(),
        "what": f"{load.channels} channels for {run.window_s / 60:.1f} minutes with a telemetry reader",
        "passed": bool(sound and steady <= MOST_GROWTH and described["bins"] > 0),
        "interrupted": run.interrupted,
        "expected": {
            "losses": "all 0",
            "telemetry_reader": "no torn reading, the writer always live",
            "resident_differs_by": f"at most {MOST_GROWTH} from second {WARM_S} on",
        },
        "seconds": round(run.window_s, 1),
        "results": [
            {
                **described,
                "p99_9_over_sleeper": _over_sleeper(described),
                "resident_differs_by": round(steady, 5),
                "memory_growth_mib": round(growth_mib(run.resident_mib), 3),
                "resident_mib": [round(value, 2) for value in run.resident_mib],
                "telemetry_reader": reader,
            }
        ],
    }


def flatness(resident_mib: Sequence[float]) -> float:
    """By how much memory differed at most from what it was when warm, as a share of that."""
    settled = resident_mib[min(WARM_S, len(resident_mib) - 1) :]
    if not settled or not settled[0]:
        return 0.0
    return max(abs(value / settled[0] - 1) for value in settled)


def growth_mib(resident_mib: Sequence[float]) -> float:
    """By how much memory is larger at the end than it was when warm."""
    return resident_mib[-1] - resident_mib[min(WARM_S, len(resident_mib) - 1)]


def _over_sleeper(described: dict[str, Any]) -> float | None:
    """The service's p99.9 over the sleeper's; None without a sleeper."""
    sleeper = described["sleeper_us"]["p99_9"]
    return round(described["sent_to_received_us"]["p99_9"] / sleeper, 3) if sleeper else None

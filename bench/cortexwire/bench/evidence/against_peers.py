"""End to end and bin-closing compute beside the peers of the same run: services in turns, one rig, one bundle, ipc.

Each line says what was wanted, what came, and whether that passed; what needs a tail is left unjudged (`passed` is
None) where the sleeper beside it was late itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cortexwire.bench.distribution import MOST_SLEEPER_P99_US
from cortexwire.bench.evidence import progress
from cortexwire.bench.peering import run_peers
from cortexwire.bench.services import ENGINE

SMALL: Final = (96, 256)
LARGE: Final = 1024
SMALL_S: Final = 20.0
LARGE_S: Final = 30.0
TURNS: Final = 2
LEAST_TORCH: Final = {"small": 3.0, "large": 5.0}
LEAST_REDIS: Final = 4.0
MOST_OVER_ECHO_US: Final = 120.0
MOST_OVER_SLEEPER_US: Final = 1000.0
LEAST_COMPUTE: Final = 8.0
MOST_OF_SMALLEST: Final = 1.5

Case = Mapping[str, Any]


def peer_runs(
    *,
    small: Sequence[int] = SMALL,
    large: int = LARGE,
    small_s: float = SMALL_S,
    large_s: float = LARGE_S,
    turns: int = TURNS,
) -> dict[str, Any]:
    """Must-show 1, 2 and 3: latency and compute of the engine beside every peer.

    Args:
        small: Numbers of channels of arrays up to 256.
        large: Channels of the large array.
        small_s: How long each turn of each service is measured at the small ones.
        large_s: The same at the large one; with the turns it makes up what has to be sustained.
        turns: Turns of each service.

    Returns:
        `passed`, `expected`, the lines, and the cases as `cortexwire bench peers` has them.

    Raises:
        RunError: The engine failed.
    """
    cases: dict[int, Case] = {}
    for channels, seconds in ((tuple(small), small_s), ((large,), large_s)):
        found = run_peers(channels, seconds, transport="ipc", executor="incremental", turns=turns)
        for case in found["results"]:
            cases[case["channels"]] = case
            progress(f"{case['channels']} channels: {_brief(case)}")
    lines = [
        *(line for n in cases for line in _end_to_end(n, cases[n], n == large)),
        _sustained(cases[large], turns * large_s),
        _tail(cases[large]),
        *_compute(cases, large),
    ]
    return {
        "passed": all(line["passed"] is not False for line in lines),
        "expected": "each line as wanted; a line that is not judged neither passes nor fails",
        "not_judged": [line["what"] for line in lines if line["passed"] is None],
        "transport": "ipc",
        "executor": "incremental",
        "turns": turns,
        "lines": lines,
        "cases": list(cases.values()),
    }


def _line(number: int, what: str, wanted: str, came: Any, passed: bool | None) -> dict[str, Any]:
    return {"line": number, "what": what, "wanted": wanted, "came": came, "passed": passed}


def _end_to_end(channels: int, case: Case, is_large: bool) -> list[dict[str, Any]]:
    least = LEAST_TORCH["large" if is_large else "small"]
    ours = _p50(case, ENGINE)
    lines = [_times(1, f"p50 of the torch chain at {channels} channels", case, "torch_chain", "p50", least)]
    if not is_large:
        lines.append(
            _times(1, f"p50 of the Redis chain at {channels} channels", case, "redis_chain", "p50", LEAST_REDIS)
        )
    echo = _p50(case, "echo")
    over = None if echo is None or ours is None else round(ours - echo, 1)
    what = f"p50 less the echo's at {channels} channels, us"
    lines.append(_line(1, what, f"at most {MOST_OVER_ECHO_US:g}", over, over is not None and over <= MOST_OVER_ECHO_US))
    return lines


def _sustained(case: Case, seconds: float) -> dict[str, Any]:
    """Whether every bin came; those that came after their deadline are told, too."""
    engine, redis = case["services"][ENGINE], case["services"].get("redis_chain", {})
    dropped = {
        "bins_missed": engine["bins_missed"],
        "outputs_damaged": engine["outputs_damaged"],
        **{name: count for name, count in engine["losses"].items() if name != "late_bins"},
    }
    return _line(
        1,
        f"{case['channels']} channels for {seconds:g} s",
        "no bin missed, nothing lost",
        {
            "bins_due": engine["bins_due"],
            **dropped,
            "late_bins": engine["losses"].get("late_bins", 0),
            "redis_chain": _trouble(redis) or {name: redis[name] for name in _REPORTED},
        },
        not any(dropped.values()) and engine["bins_due"] > 0,
    )


_REPORTED: Final = ("bins_due", "bins_missed", "drift_us_per_s", "losses", "sent_to_received_us")


def _tail(case: Case) -> dict[str, Any]:
    engine = case["services"][ENGINE]
    sleeper, ours = engine["sleeper_us"]["p99"], engine["sent_to_received_us"]["p99"]
    quiet = sleeper <= MOST_SLEEPER_P99_US
    line = _line(
        2,
        f"p99 at {case['channels']} channels less the sleeper's, us",
        f"at most {MOST_OVER_SLEEPER_US:g}",
        round(ours - sleeper, 1),
        ours - sleeper <= MOST_OVER_SLEEPER_US if quiet else None,
    )
    return {**line, "judged": quiet, "p99_us": ours, "sleeper_p99_us": sleeper}


def _compute(cases: Mapping[int, Case], large: int) -> list[dict[str, Any]]:
    smallest = min(cases)
    big, little = (cases[n]["services"][ENGINE]["compute_us"]["p50"] for n in (large, smallest))
    times = round(big / little, 3)
    what = f"compute p50 at {large} channels over that at {smallest}"
    return [
        _times(3, f"compute p50 of the torch chain at {large} channels", cases[large], "torch_chain", "compute_p50",
               LEAST_COMPUTE),
        _line(3, what, f"at most {MOST_OF_SMALLEST:g} times", times, times <= MOST_OF_SMALLEST),
    ]  # fmt: skip


def _times(number: int, what: str, case: Case, service: str, figure: str, least: float) -> dict[str, Any]:
    """A peer's figure over the engine's; a peer that is absent has not been beaten."""
    peer = case["services"][service]
    wanted = f"at least {least:g} times the engine's"
    if (trouble := _trouble(peer)) is not None:
        return _line(number, what, wanted, trouble, False)
    ratio = peer["times_engine"][figure]
    return _line(number, what, wanted, ratio, ratio is not None and ratio >= least)


def _trouble(service: Mapping[str, Any]) -> dict[str, str] | None:
    found = {name: service[name] for name in ("absent", "failed") if name in service}
    return found or (None if service else {"absent": "not measured"})


def _p50(case: Case, service: str) -> float | None:
    found: Mapping[str, Any] = case["services"][service]
    return None if "sent_to_received_us" not in found else float(found["sent_to_received_us"]["p50"])


def _brief(case: Case) -> str:
    services: Mapping[str, Mapping[str, Any]] = case["services"]
    return ", ".join(
        f"{name} {_p50(case, name):.0f} us" if "sent_to_received_us" in found else f"{name} {_trouble(found)}"
        for name, found in services.items()
    )

"""The fused front end at 1024 channels beside scipy and numpy, an ezmsg-sigproc graph, and a C register kernel."""

from typing import Any, Final

from cortexwire.bench.kernels import run_kernels
from cortexwire.bench.numpy_chain import Mode

CHANNELS: Final = 1024
SECONDS: Final = 10.0
LEAST_SCIPY: Final[dict[Mode, float]] = {"none": 35.0, "median": 20.0}
"""Least ratio to the fastest chain of scipy and numpy, by reference."""
LEAST_EZMSG: Final = 3.0
MOST_OF_C: Final = 1.6


def front_end_run(*, channels: int = CHANNELS, seconds: float = SECONDS) -> dict[str, Any]:
    """Must-show 6: ratios at 1024 channels; a yardstick that is absent has not been beaten.

    Args:
        channels: Channels of the front end.
        seconds: How long all take turns in each case.

    Returns:
        `passed`, `expected`, the ratios, and the cases as `cortexwire bench kernels` has them.

    Raises:
        RuntimeError: A yardstick does not give the same counts and band power.
    """
    found = run_kernels((channels,), tuple(LEAST_SCIPY), seconds)
    cases = {case["reference"]: case for case in found["results"]}
    plain = cases["none"]
    absent = {name: plain[name]["absent"] for name in ("c", "ezmsg") if "absent" in plain[name]}
    ratios = {f"scipy_{mode}": case["scipy"]["ratio"] for mode, case in cases.items()}
    reached = [ratios[f"scipy_{mode}"] >= least for mode, least in LEAST_SCIPY.items()]
    if "ezmsg" not in absent:
        ratios["ezmsg"] = plain["ezmsg"]["ratio"]
        reached.append(ratios["ezmsg"] >= LEAST_EZMSG)
    if "c" not in absent:
        ratios["of_c"] = 1 / plain["c"]["ratio"]
        reached.append(ratios["of_c"] <= MOST_OF_C)
    return {
        "passed": all(reached) and not absent,
        "expected": {
            **{f"scipy_{mode}": f"at least {least:g} times as fast" for mode, least in LEAST_SCIPY.items()},
            "ezmsg": f"at least {LEAST_EZMSG:g} times as fast",
            "of_c": f"at most {MOST_OF_C:g} times the C kernel's time",
        },
        **{name: round(ratio, 3) for name, ratio in ratios.items()},
        "absent": absent,
        "cases": found["results"],
    }

"""The fused front end beside scipy and numpy: ratios that must be reached, and the time of a packet."""

from typing import Any, Final

from cortexwire.bench.kernels import run_kernels

LEAST_RATIO: Final = {
    (96, "none"): 25.0,
    (96, "mean"): 25.0,
    (256, "none"): 30.0,
    (256, "mean"): 30.0,
    (256, "median"): 12.0,
    (1024, "none"): 30.0,
    (1024, "mean"): 30.0,
    (1024, "median"): 20.0,
}
"""Least ratio to the fastest chain of scipy and numpy, by channels and reference."""
MOST_US: Final = 15.0
"""Most microseconds that a packet of 1024 channels may take without reference or with the mean."""


def front_end_speed() -> dict[str, Any]:
    """Measure every case and compare it with what was asked."""
    found = run_kernels()
    rows = []
    for result in found["results"]:
        least = LEAST_RATIO.get((result["channels"], result["reference"]))
        quick = result["channels"] != 1024 or result["reference"] == "median" or result["fused"]["us"] <= MOST_US
        reached = (least is None or result["ratio"] >= least) and quick
        rows.append({**result, "least_ratio": least, "passed": reached})
    return {
        "passed": all(row["passed"] for row in rows),
        "expected": f"the ratios given, and at most {MOST_US:g} us a packet at 1024 channels",
        "compile_cold_s": found["compile_cold_s"],
        "compile_cached_s": found["compile_cached_s"],
        "cases": rows,
    }

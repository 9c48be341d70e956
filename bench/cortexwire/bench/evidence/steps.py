"""The decoder's step when it is due once a bin: torch eager over ONNX Runtime and over the incremental executor.

What is timed of the incremental executor is what an output waits for, the end of the bin: crossings were added as their
packets came, and settling follows once the output is out. All that is reported beside it as `ahead_us`, a bin. Every
contender's thread is woken at each of the bin's packets, as the service's is.
"""

from collections.abc import Sequence
from typing import Any, Final

from cortexwire.bench.decoders import run_decoders
from cortexwire.bench.drawn_decoders import Drawn

DECODERS: Final = (Drawn("gru", 96, 128), Drawn("gru", 256, 256), Drawn("gru", 1024, 512))
SECONDS: Final = 10.0
BATCH: Final = 16
LEAST: Final = {"onnx": 2.5, "incremental": 5.0}
"""Least ratio of torch eager's paced median to that of each executor."""
MOST_APART: Final = 1e-5


def decoder_steps(*, decoders: Sequence[Drawn] = DECODERS, seconds: float = SECONDS) -> dict[str, Any]:
    """Must-show 4: paced steps.

    Args:
        decoders: Which ones.
        seconds: How long each contender has, hot and paced each.

    Returns:
        `passed`, `expected`, a row for each decoder, and the cases as `cortexwire bench decoders` has them.

    Raises:
        BundleError: A bundle cannot be made.
    """
    found = run_decoders(decoders, seconds, executors=tuple(LEAST), batch=BATCH)
    cases = [{k: v for k, v in case.items() if k not in ("histograms", "samples")} for case in found["results"]]
    rows = [_row(case) for case in cases]
    return {
        "passed": all(row["passed"] for row in rows),
        "expected": {
            **{name: f"torch eager takes at least {least:g} times as long, paced" for name, least in LEAST.items()},
            "apart": f"incremental at most {MOST_APART:g} of the largest output from ONNX Runtime",
        },
        "what": found["what"],
        "rows": rows,
        "cases": cases,
    }


def _row(case: dict[str, Any]) -> dict[str, Any]:
    paced = {name: times["p50"] for name, times in case["paced_us"].items()}
    row = {
        "decoder": case["decoder"],
        "paced_p50_us": paced,
        "incremental_ahead_p50_us": case["ahead_us"]["paced"]["incremental"]["p50"],
        "int8_paced_p50_us": {name: time for name, time in paced.items() if "int8" in name},
        "batch": case["batch"],
        "batch_us_per_session": case["batch_us_per_session"],
        "incremental_apart": case["differs_by"]["incremental"],
    }
    if "torch eager" not in paced:
        return {**row, "passed": False, "absent": case["absent"]["torch eager"]}
    ratios = {f"torch_over_{name}": round(paced["torch eager"] / paced[name], 3) for name in LEAST}
    reached = all(ratios[f"torch_over_{name}"] >= least for name, least in LEAST.items())
    return {**row, **ratios, "passed": reached and row["incremental_apart"] <= MOST_APART}

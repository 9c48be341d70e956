"""Evidence: the must-show runs of each issue, as functions that say what was found and whether it passed.

A run takes no arguments and returns a JSON-able dict with `passed: bool`, its figures, and what was expected of them.
It is one line in `RUNS`, which names it by module and function so that nothing is imported that is not run.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

RUNS: Final[dict[int, dict[str, str]]] = {
    2: {
        "recordings": "cortexwire.bench.evidence.recordings:front_end_on_recordings",
        "identity": "cortexwire.bench.evidence.identity:identity",
        "wiener": "cortexwire.bench.evidence.wiener:wiener_live",
        "faults": "cortexwire.bench.evidence.faults:fault_runs",
        "stall": "cortexwire.bench.evidence.faults:stall_runs",
        "load": "cortexwire.bench.evidence.load:load_run",
        "kernels": "cortexwire.bench.evidence.kernels:front_end_speed",
        "demo": "cortexwire.bench.evidence.demo:fresh_clone",
    },
    3: {
        "golub": "cortexwire.bench.evidence.golub:own_decoder",
        "parity": "cortexwire.bench.evidence.parity:parity",
        "peers": "cortexwire.bench.evidence.equals:equal_weights",
        "adan": "cortexwire.bench.evidence.wrist:wrist",
        "live": "cortexwire.bench.evidence.reaching_live:live",
        "families": "cortexwire.bench.evidence.families:families",
        "leaks": "cortexwire.bench.evidence.leaks:leaks",
        "compare": "cortexwire.bench.evidence.compared:quick",
    },
    4: {
        "peers": "cortexwire.bench.evidence.against_peers:peer_runs",
        "steps": "cortexwire.bench.evidence.steps:decoder_steps",
        "executors": "cortexwire.bench.evidence.executors:executors",
        "kernels": "cortexwire.bench.evidence.front_end:front_end_run",
        "hop": "cortexwire.bench.evidence.hop:hop_run",
        "budget": "cortexwire.bench.evidence.budget:budget_run",
        "cpu": "cortexwire.bench.evidence.engine_load:engine_cpu",
        "scale": "cortexwire.bench.evidence.most_channels:most_channels",
        "soak": "cortexwire.bench.evidence.long_run:soak_run",
    },
    5: {
        "record": "cortexwire.bench.evidence.recording:recording_run",
        "kill": "cortexwire.bench.evidence.killing:kill_runs",
        "full": "cortexwire.bench.evidence.full_disk:full_runs",
        "nwb": "cortexwire.bench.evidence.against_nwb:nwb_round_trip",
        "spikes": "cortexwire.bench.evidence.against_readers:spike_streams",
        "starling": "cortexwire.bench.evidence.against_readers:sorted_spikes",
        "large": "cortexwire.bench.evidence.large_log:large_log",
    },
    6: {
        "swaps": "cortexwire.bench.evidence.swaps:swap_run",
        "kills": "cortexwire.bench.evidence.against_kills:kill_runs",
        "dashboard": "cortexwire.bench.evidence.against_dashboard:dashboard_run",
        "load": "cortexwire.bench.evidence.api_load:load_runs",
        "attacks": "cortexwire.bench.evidence.against_api:attacks",
    },
}
"""Runs by number of the issue and name: `module:function`."""

Run = Callable[[], dict[str, Any]]


def load_run(place: str) -> Run:
    """Import the function that `module:function` names."""
    module, _, function = place.partition(":")
    run: Run = getattr(import_module(module), function)
    return run


def progress(text: str) -> None:
    """Say how far a run has come, on standard error, where it mixes with no result."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()

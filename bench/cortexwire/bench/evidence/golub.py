"""A recorded closed-loop experiment's own decoder, rebuilt from its matrices, gives the velocities that it recorded.

`golub_bci` holds the steady-state Kalman decoder `v_t = M1 v_{t-1} + M2 u_t + m0` of the experiment, for its intuitive
and its perturbed mapping, and for each trial what the spikes of each step added, `M2 u_t + m0`. So a recorded value is
a step from rest, and a run of the decoder is the sum that they make with `M1`.
"""

from typing import Any, Final

import numpy as np
from scipy.io import loadmat

from cortexwire.bench.evidence.sources import data_folder
from cortexwire.bench.live import short_folder
from cortexwire.decoders.manifest import StreamSpec
from cortexwire.training.export import decode_steps, export_bundle
from cortexwire.training.families.kalman import from_matrices

MOST: Final = 1e-6
MAPPINGS: Final = ("intuitive", "perturbed")
STREAM: Final = StreamSpec(kind="counts", rate_num=200, rate_den=9, uv_per_bit=1.0, n_channels=86, bin_ms=45.0)


def own_decoder() -> dict[str, Any]:
    """Must-show 4: the decoder built from the experiment's matrices gives the recorded velocities.

    The reference computes in float64 and has to be within `MOST` in mm/s; the exported graph computes in float32 and
    has to be within `MOST` of the largest velocity.

    Raises:
        RunError: There are no recordings.
        BundleError: The export was refused.
    """
    raw = loadmat(data_folder() / "golub_bci" / "exampleData.mat", squeeze_me=True, struct_as_record=False)
    clouds = [raw[name].clouds for name in ("beforeLearning", "afterLearning")]
    counts = np.concatenate([u.T for cloud in clouds for u in cloud.spikes]).astype(np.float32)
    found = {}
    for mapping in MAPPINGS:
        own = getattr(raw["expParams"], f"{mapping}Mapping")
        recorded = np.concatenate([v.T for cloud in clouds for v in getattr(cloud, f"vraw_{mapping}")])
        found[mapping] = _compared(own, counts, recorded)
    return {
        "passed": all(max(result["differences"].values()) <= MOST for result in found.values()),
        "expected": {"differences": f"at most {MOST:g}; of the graph, relative to the largest velocity"},
        "steps": len(counts),
        "mappings": found,
    }


def _compared(own: Any, counts: Any, recorded: Any) -> dict[str, Any]:
    fit = from_matrices(own.M1, own.M2, own.m0, feature_mean=own.mu_u)
    largest = float(np.abs(recorded).max())
    alone = fit.predict(counts, segments=tuple(range(len(counts))))["velocity"]
    running = fit.predict(counts)["velocity"]
    added = recorded + np.concatenate([np.zeros((1, 2)), running[:-1]]) @ own.M1.T
    with short_folder() as folder:
        bundle = export_bundle(
            fit,
            folder / "own",
            name="golub",
            family="kalman",
            stream=STREAM,
            front_end={},
            unit="mm/s",
            recorded=counts,
        )
        rest = {"state": np.zeros((len(counts), 2))}
        graph_alone = decode_steps(bundle, counts, rest)["velocity"]
        graph_running = decode_steps(bundle, counts)["velocity"]
    return {
        "largest_velocity_mm_s": round(largest, 3),
        "differences": {
            "reference_each_step_mm_s": float(np.abs(alone - recorded).max()),
            "reference_running_mm_s": float(np.abs(running - added).max()),
            "graph_each_step": float(np.abs(graph_alone - recorded).max()) / largest,
            "graph_running": float(np.abs(graph_running - running).max() / np.abs(running).max()),
        },
    }

"""What a measurement of the whole service found, and how that is told in plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cortexwire.bench.distribution import drift_us_per_min, encoded_all, judged, percentiles
from cortexwire.bench.loads import BIN_MS, Load
from cortexwire.bench.stages import Micros, data_age_ms, timeline
from cortexwire.bench.usage import Usage

LOSSES: Final = ("lost_packets", "missing_samples", "gaps", "mismatched", "duplicates", "reordered", "tap_refused")
"""Counters of an undisturbed run that have to be zero."""
BULK: Final = ("samples", "histograms", "series")
"""What a description holds for programs rather than for people."""

_STAGE_PERCENTS: Final = {"p50": "p50", "p99": "p99", "p99_9": "p999", "max": "max"}


@dataclass(frozen=True, eq=False)
class Measured:
    """What one load did.

    Attributes:
        sent_to_received_us: Closing packet sent to velocity received, `(n_bins,)`, microseconds.
        due_to_received_us: The same from the schedule.
        bins: Numbers of the bins measured, in the order in which they came.
        sleeper_us: By how much each sleep of 1 ms was too long.
        engine: The engine's own summary: counters, stage histograms, scheduling.
        rig: The rig's summary.
        damaged: Outputs that broke the protocol.
        ended: Whether the subscriber heard the end of the stream.
        threads_s: Processor time of the engine's threads while measuring, in seconds, by name.
        window_s: How long was measured.
        resident_mib: Resident memory of the engine, once a second.
        stages_us: What each stage took, `(n_bins,)` each; see `cortexwire.bench.stages`.
        heard_ns: When each output was in the subscriber's hands, CLOCK_MONOTONIC.
        packet_wait_ms: How long each bin's last sample waited for its packet to fill.
        usage: What every process took, by name.
        start_s: From the start of the engine's process to its being ready.
        telemetry: What a reader of the engine's telemetry saw, if there was one.
        interrupted: Whether somebody ended it early.
        recorder: The last status of the recorder, if there was one.
    """

    sent_to_received_us: np.ndarray
    due_to_received_us: np.ndarray
    bins: np.ndarray
    sleeper_us: np.ndarray
    engine: dict[str, Any]
    rig: dict[str, Any]
    damaged: int
    ended: bool
    threads_s: dict[str, float]
    window_s: float
    resident_mib: list[float]
    stages_us: Mapping[str, Micros] = field(default_factory=dict)
    heard_ns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    packet_wait_ms: np.ndarray = field(default_factory=lambda: np.zeros(0))
    usage: Mapping[str, Usage] = field(default_factory=dict)
    start_s: float = 0.0
    telemetry: Mapping[str, Any] = field(default_factory=dict)
    interrupted: bool = False
    recorder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def core_share(self) -> float:
        """Share of one core that the engine took."""
        return sum(self.threads_s.values()) / self.window_s

    @property
    def outputs_lost(self) -> int:
        """Bins between the first and the last whose output never came; -1 if none came at all."""
        return int(self.bins[-1] - self.bins[0] + 1 - len(self.bins)) if len(self.bins) else -1

    @property
    def losses(self) -> dict[str, int]:
        """What was lost anywhere on the way, by name; all zero in a sound run."""
        counters = self.engine["counters"]
        lost = {name: int(counters[name]) for name in LOSSES}
        lost["malformed"] = sum(count for name, count in counters.items() if name.startswith("malformed_"))
        lost["outputs_not_received"] = self.outputs_lost
        lost["outputs_damaged"] = self.damaged
        lost["end_of_stream_not_heard"] = int(not (self.ended or self.interrupted))
        return lost

    def deadline_misses(self, deadline_ms: float) -> int:
        """Bins whose velocity was not with the subscriber by their deadline, those that never came among them."""
        wait = self.packet_wait_ms if len(self.packet_wait_ms) else 0.0
        late = np.count_nonzero(self.due_to_received_us / 1e3 + wait > deadline_ms)
        return int(late) + max(0, self.outputs_lost)


def describe(load: Load, run: Measured, *more: Measured) -> dict[str, Any]:
    """Put a measurement into plain values, its runs together where there were several."""
    runs = (run, *more)
    sleeper, due = _pooled(runs, "sleeper_us"), _pooled(runs, "due_to_received_us")
    stages = {name: np.concatenate([one.stages_us[name] for one in runs]) for name in run.stages_us}
    service = _pooled(runs, "sent_to_received_us")
    everything = {"sent_to_received": service, "due_to_received": due, **stages}
    seconds = sum(one.window_s for one in runs)
    return {
        **load.describe(),
        "bins": len(service),
        "judged": judged(sleeper),
        "interrupted": any(one.interrupted for one in runs),
        "sent_to_received_us": percentiles(service),
        "due_to_received_us": percentiles(due),
        "sleeper_us": percentiles(sleeper),
        "stages_us": {name: percentiles(values) for name, values in stages.items()} or _engine_stages(run),
        "data_age_ms": data_age_ms(BIN_MS, _pooled(runs, "packet_wait_ms"), due),
        "deadline_misses": sum(one.deadline_misses(load.due_ms) for one in runs),
        "late_bins": sum(one.engine["counters"]["late_bins"] for one in runs),
        "drift_us_per_min": round(float(np.median([_drift(one) for one in runs])), 1),
        "losses": {name: _worst([one.losses[name] for one in runs]) for name in run.losses},
        "rig_max_lag_ms": round(max(one.rig["max_lag_ms"] for one in runs), 3),
        "rig_core_share": round(float(np.mean([one.rig["cpu_share"] for one in runs])), 4),
        "engine_core_share": round(float(np.mean([one.core_share for one in runs])), 4),
        "engine_resident_mib": round(max(value for one in runs for value in one.resident_mib), 2),
        "engine_threads_core_share": {
            name: round(sum(one.threads_s.get(name, 0.0) for one in runs) / seconds, 4) for name in run.threads_s
        },
        "processes": {name: usage.describe(runs[-1].window_s) for name, usage in runs[-1].usage.items()},
        "engine_start_s": round(float(np.median([one.start_s for one in runs])), 3),
        "scheduling": run.engine["scheduling"],
        "runs": [_brief(one) for one in runs],
        "samples": {
            "sent_to_received_us": [one.sent_to_received_us.round(1).tolist() for one in runs],
            "received_to_published_us": [
                one.stages_us["received_to_published"].round(1).tolist() for one in runs if one.stages_us
            ],
        },
        "histograms": encoded_all({**everything, "sleeper": sleeper}),
        "series": timeline(run.heard_ns, {"sent_to_received": run.sent_to_received_us, **run.stages_us})
        if len(run.heard_ns)
        else {},
    }


def _pooled(runs: Sequence[Measured], name: str) -> np.ndarray:
    return np.concatenate([getattr(one, name) for one in runs])


def _drift(run: Measured) -> float:
    return drift_us_per_min(run.sent_to_received_us, run.window_s)


def _worst(counts: Sequence[int]) -> int:
    """The sum of losses; -1, which says that nothing came at all, stays so."""
    return -1 if min(counts) < 0 else sum(counts)


def _engine_stages(run: Measured) -> dict[str, Any]:
    """What the engine itself counted, where no subscriber did."""
    return {
        name: {key: found[f"{ns}_ns"] / 1e3 for key, ns in _STAGE_PERCENTS.items()}
        for name, found in run.engine["latency"].items()
    }


def _brief(run: Measured) -> dict[str, Any]:
    return {
        "sent_to_received_us": percentiles(run.sent_to_received_us),
        "sleeper_us": percentiles(run.sleeper_us),
        "judged": judged(run.sleeper_us),
        "drift_us_per_min": round(_drift(run), 1),
        "engine_core_share": round(run.core_share, 4),
    }

"""A decoder trained on a real recording and run live on it, and what the same training makes of shifted targets.

`contdata95` is one continuous 20 ms event stream: no reset at trial starts, history carried across the joins. The
Wiener filter is trained on the first 80 % of the trials through the service's own front end, exported, and run live:
`replay` sends the recording over PUSH/PULL as fast as the engine takes it. Only held-out bins are scored.

The control: the same training on targets shifted circularly against the spikes, by offsets of at least a minute.
Nothing is left to decode, so what is scored above zero leaks. All offsets are fitted from one pass over the bins,
since the normal equations differ in their right-hand sides only; each has its own penalty, bundle and live run over
the held-out part.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence.sources import recording
from cortexwire.bench.live import LiveRun, lossless_config, replay_live, short_folder
from cortexwire.decoders import Bundle
from cortexwire.decoders.manifest import TrainingSpec
from cortexwire.sessions import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.contract import normalisation
from cortexwire.training.data import TrainingData
from cortexwire.training.export import export_bundle
from cortexwire.training.families.wiener import LAMBDAS, FittedWiener
from cortexwire.training.features import FeatureTable, extract_features
from cortexwire.training.fitting import split_of, targets_of, train_session, velocity_columns
from cortexwire.training.history import history_rows
from cortexwire.training.metrics import r2
from cortexwire.training.ridge import Linear, Moments, r2_from, solve
from cortexwire.training.splits import Split
from cortexwire.wire import OutKind

LEAST_R2: Final = (0.66, 0.60)
LEAST_SHIFT_S: Final = 60.0
MOST_SHIFTED: Final = 0.05
MOST_SHIFTED_MEDIAN: Final = 0.02
N_SHIFTS: Final = 5
SEED: Final = 4
HISTORY: Final = 20
HELD_OUT: Final = 0.2
VALIDATION: Final = 0.2
PACKET_SAMPLES: Final = 600
_EPOCH: Final = 4
_LEAD_BINS: Final = 4 * HISTORY
"""Bins before the held-out part from which a shifted decoder runs: its history is full when scoring begins."""


def wiener_live(
    *,
    seconds: float | None = None,
    n_shifts: int = N_SHIFTS,
    least_r2: tuple[float, float] = LEAST_R2,
    lambdas: Sequence[float] = LAMBDAS,
    most_shifted: float = MOST_SHIFTED,
    most_shifted_median: float = MOST_SHIFTED_MEDIAN,
) -> dict[str, Any]:
    """Must-show 4: live Wiener velocity on `contdata95`, and on shifted targets.

    Args:
        seconds: How much of the recording to use, from its start; all of it by default.
        n_shifts: How many shifts to try.
        least_r2: What x and y have to reach.
        lambdas: Penalties to choose from.
        most_shifted: What no shifted decoder may exceed on either axis.
        most_shifted_median: What the median over shifts of the better axis may not exceed.

    Returns:
        `passed`, `expected`, scores of the live decoder and of the shifted ones.

    Raises:
        RunError: There are no recordings, or a run failed.
    """
    began = time.monotonic()
    session = recording("contdata95")
    stop = session.n_samples if seconds is None else round(seconds * session.rate.hz)
    table = extract_features(session, FrontEndSettings(), stop=stop)
    columns = velocity_columns(session, ())
    targets = targets_of(session, table, columns)
    split = split_of(session, table, HELD_OUT)
    settings = {"history": HISTORY, "lambdas": list(lambdas), "validation_fraction": VALIDATION}
    with short_folder() as folder:
        trained = train_session(session, folder / "wiener", settings=settings, table=table, held_out=HELD_OUT)
        run = _live(session, trained.bundle, folder, 0.0, stop / session.rate.hz)
        bins, velocity = _velocities(run)
        whole = bins.tolist() == table.index.tolist()
        scores = _scores(bins, velocity, table, targets, split)
        offline = float(np.max(np.abs(velocity - trained.predicted))) if whole else None
        shifted = _shifted(session, table, targets, split, folder, n_shifts, lambdas, stop)
    best = [max(entry["r2"]) for entry in shifted]
    median = float(np.median(best)) if best else 0.0
    passed = (
        whole
        and all(score >= least for score, least in zip(scores, least_r2, strict=True))
        and max(best, default=0.0) <= most_shifted
        and median <= most_shifted_median
    )
    return {
        "passed": bool(passed),
        "expected": {
            "r2": {name: f"at least {least}" for name, least in zip(columns, least_r2, strict=True)},
            "shifted": f"median over shifts at most {most_shifted_median}, each at most {most_shifted}, better axis",
            "outputs": "every bin decoded once",
        },
        "recording": {"name": session.name, "seconds": round(stop / session.rate.hz, 1), "bins": len(table.index)},
        "held_out_bins": split.test.stop - split.test.start,
        "history_bins": HISTORY,
        "r2_live": dict(zip(columns, scores, strict=True)),
        "r2_offline": trained.scores,
        "live_from_offline_max_mm_s": offline,
        "every_bin_once": whole,
        "shifted": shifted,
        "shifted_median_of_better_axis": median,
        "live_seconds": round(run.seconds, 1),
        "live_cpu_us_per_bin": round(1e6 * run.cpu_s / max(len(bins), 1), 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def _live(session: Session, bundle: Bundle, folder: Path, start_s: float, stop_s: float) -> LiveRun:
    config = lossless_config(bundle.path, folder)
    return replay_live(config, session, PACKET_SAMPLES, epoch=_EPOCH, start_s=start_s, stop_s=stop_s)


def _velocities(run: LiveRun) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    decoded = [output for output in run.outputs if output.kind is OutKind.DECODED]
    velocity = np.array([output.tensors["velocity"] for output in decoded], np.float64).reshape(-1, 2)
    return np.array([output.bin for output in decoded], np.int64), velocity


def _scores(
    bins: NDArray[np.int64],
    velocity: NDArray[np.float64],
    table: FeatureTable,
    targets: NDArray[np.float64],
    split: Split,
) -> list[float]:
    """R2 on the held-out bins, all of which have to be there."""
    wanted = table.index[split.test]
    found = np.searchsorted(bins, wanted)
    if found[-1] >= len(bins) or not np.array_equal(bins[found], wanted):
        return [float("nan")] * targets.shape[1]
    return [round(score, 4) for score in r2(targets[split.test], velocity[found]).tolist()]


@dataclass(frozen=True, eq=False)
class Shift:
    """One shift: how far, its targets' columns among all, and the fit."""

    bins: int
    columns: slice
    chosen: float
    fit: Linear


def _shifted(
    session: Session,
    table: FeatureTable,
    targets: NDArray[np.float64],
    split: Split,
    folder: Path,
    n_shifts: int,
    lambdas: Sequence[float],
    stop: int,
) -> list[dict[str, Any]]:
    if not n_shifts:
        return []
    bin_s = table.stream.bin_ms / 1000
    least = round(LEAST_SHIFT_S / bin_s)
    offsets = np.random.default_rng(SEED).integers(least, len(targets) - least, n_shifts).tolist()
    features = table.features()
    rolled = np.concatenate([np.roll(targets, offset, axis=0) for offset in offsets], axis=1)
    train = split.train
    data = TrainingData(features[train], rolled[train], keep=table.valid[train])
    mean, scale = normalisation(data.features, data.usable(HISTORY - 1))
    results = []
    for shift in _fit_shifts(data, (data.features - mean) / scale, offsets, lambdas):
        fitted = FittedWiener(
            feature_mean=mean,
            feature_scale=scale,
            weights=shift.fit.weights.astype(np.float32),
            bias=shift.fit.bias.astype(np.float32),
            summary={"history": HISTORY, "targets": f"shifted by {shift.bins} bins"},
        )
        bundle = export_bundle(
            fitted,
            folder / "shifted",
            name="wiener-shifted",
            family="wiener",
            stream=table.stream,
            front_end=table.front_end.model_dump(mode="json"),
            content=table.front_end.features,
            unit="mm/s",
            recorded=features[train],
            training=TrainingSpec(sessions=(session.name,)),
            replace=True,
        )
        start_s = max(0, int(table.index[split.test.start]) - _LEAD_BINS) * bin_s
        bins, velocity = _velocities(_live(session, bundle, folder, start_s, stop / session.rate.hz))
        scores = _scores(bins, velocity, table, rolled[:, shift.columns], split)
        results.append({"shift_s": round(shift.bins * bin_s, 2), "lambda": shift.chosen, "r2": scores})
    return results


def _fit_shifts(
    data: TrainingData, z: NDArray[np.float32], offsets: Sequence[int], lambdas: Sequence[float]
) -> list[Shift]:
    """Fit every shift as the Wiener family fits one, from sums that are taken once."""
    usable = data.usable(HISTORY - 1)
    teaching = np.flatnonzero(usable)
    cut = teaching[-max(1, round(len(teaching) * VALIDATION))]
    size, n_targets = HISTORY * z.shape[1], data.targets.shape[1]
    early, late = Moments.zero(size, n_targets), Moments.zero(size, n_targets)
    for bins, rows in history_rows(z, HISTORY, data.segments):
        is_late = np.arange(bins.start, bins.stop) >= cut
        for part, mask in ((early, usable[bins] & ~is_late), (late, usable[bins] & is_late)):
            part.add(rows[mask], data.targets[bins][mask])
    each = n_targets // len(offsets)
    scores = np.stack([r2_from(late, solve(early, value)) for value in lambdas])
    means = scores.reshape(len(lambdas), len(offsets), each).mean(axis=2)
    best = [lambdas[int(np.argmax(means[:, k]))] for k in range(len(offsets))]
    fits = {value: solve(early + late, value) for value in set(best)}
    found = []
    for k, (offset, chosen) in enumerate(zip(offsets, best, strict=True)):
        columns = slice(k * each, (k + 1) * each)
        fit = Linear(fits[chosen].weights[columns], fits[chosen].bias[columns])
        found.append(Shift(offset, columns, chosen, fit))
    return found

"""Every family on `contdata95` in the bins in which it was recorded, each beside what no spikes would have scored.

What is scored is the exported bundle, step by step in ONNX Runtime, once, on the last 20 % of the trials, its state
running on across them. Each family has one configuration (`reaches.SETTINGS`), so nothing is chosen by this score.
Families are ranked by two movement directions whose targets were hidden in training, because centre-out data flatter
sequence models.
"""

from collections.abc import Mapping
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.reaches import SETTINGS, reaches
from cortexwire.bench.evidence.sources import recording
from cortexwire.training.evaluation import Effort, compare
from cortexwire.training.families import family_names
from cortexwire.training.results import Entry

BARS: Final[dict[str, tuple[float, float]]] = {
    "wiener": (0.76, 0.71),
    "kalman": (0.44, 0.48),
    "esn": (0.80, 0.78),
    "gru": (0.96, 0.95),
    "lstm": (0.96, 0.95),
    "snn": (0.85, 0.85),
    "tcn": (0.90, 0.90),
}
"""What x and y have to reach, to two decimals."""
EFFORT: Final = Effort(quick=True, pairs=1, draws=1, robust_bins=500, importance_bins=200)
"""All that is asked for here; `compare` on the command line tries what goes wrong at length."""


def families(*, bars: Mapping[str, tuple[float, float]] = BARS, effort: Effort = EFFORT) -> dict[str, Any]:
    """Must-show 1: velocity R2 of each family, beside stereotypy, moving bins, and two directions never shown.

    Args:
        bars: What the families have to reach.
        effort: How much is tried.

    Raises:
        RunError: There are no recordings.
    """
    told = ""

    def say(share: float, what: str) -> None:
        nonlocal told
        if what.partition(" epoch")[0] != told:
            told = what.partition(" epoch")[0]
            progress(f"{share:4.0%} {told}")

    source = reaches()
    configurations = {name: (settings,) for name, settings in SETTINGS.items()}
    found = compare(
        recording("contdata95"),
        family_names(),
        configurations=configurations,
        effort=effort,
        source=source,
        progress=say,
    )
    rows = {entry.name: _row(entry) for entry in found.entries}
    reached = {name: _reaches(rows[name], bar) for name, bar in bars.items()}
    ranked = sorted(
        (name for name in SETTINGS if rows[name]["r2_new_directions"] is not None),
        key=lambda name: -rows[name]["r2_new_directions"],
    )
    return {
        "passed": all(reached.values()) and all(not rows[name]["failed"] for name in SETTINGS),
        "expected": {name: f"velocity R2 at least {x} and {y}" for name, (x, y) in bars.items()},
        "reached": reached,
        "rows": rows,
        "ranked_by_new_directions": ranked,
        "settings": SETTINGS,
        "minutes": round(found.took_s / 60, 1),
    }


def _row(entry: Entry) -> dict[str, Any]:
    scores = entry.scores
    return {
        "r2": {} if scores is None else scores.r2_of,
        "r2_moving_bins": {} if scores is None else scores.r2_moving_of,
        "r2_all": None if scores is None else scores.r2,
        "r2_interval_95": None if scores is None else (scores.r2_low, scores.r2_high),
        "r2_new_directions": entry.generalisation,
        "minutes_to_fit": round((entry.fit_s or 0.0) / 60, 2),
        "failed": entry.failed,
    }


def _reaches(row: Mapping[str, Any], bar: tuple[float, float]) -> bool:
    scores = list(row["r2"].values())
    return len(scores) == 2 and all(
        score is not None and round(score, 2) >= least for score, least in zip(scores, bar, strict=True)
    )

"""What an evaluation found, as plain values: JSON holds all of it, and the report is made from nothing else.

Scores are of the final part of a session, which nothing was chosen on. Angles are in degrees, times in the unit of
their name; R2 without a column's name is variance-weighted over the columns.
"""

from typing import Any

import msgspec

from cortexwire.training.complexity import Complexity

Point = tuple[float, ...]


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a result."""


class Scores(_Record, frozen=True, kw_only=True):
    """How well a prediction fits the truth over some bins.

    Attributes:
        r2: Of all columns together.
        r2_low: Lower end of its 95 % interval by drawing contiguous blocks; None where there are too few.
        r2_high: Upper end.
        r2_moving: Of all columns together, over moving bins only.
        r2_of: By column.
        r2_moving_of: By column, over moving bins only.
        pearson_of: By column.
        rmse_of: By column.
        lag_ms: By how much the prediction comes late.
        bins: Scored bins.
        moving_bins: Those of them that move.
    """

    r2: float | None
    r2_low: float | None
    r2_high: float | None
    r2_moving: float | None
    r2_of: dict[str, float | None]
    r2_moving_of: dict[str, float | None]
    pearson_of: dict[str, float | None]
    rmse_of: dict[str, float]
    lag_ms: float
    bins: int
    moving_bins: int


class Curve(_Record, frozen=True, kw_only=True):
    """Values over something; a value is None where there is none."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]


class Candidate(_Record, frozen=True, kw_only=True):
    """A configuration that was tried, and its R2 on the validation block."""

    settings: dict[str, Any]
    r2: float


class DirectionScore(_Record, frozen=True, kw_only=True):
    """R2 over the trials of one direction."""

    degrees: float
    r2: float | None
    r2_moving: float | None
    trials: int


class HeldOut(_Record, frozen=True, kw_only=True):
    """Trials of two directions, by a decoder that was not shown them and by one that was.

    Attributes:
        degrees: The two directions.
        unseen: R2 of the one that was not shown them.
        unseen_moving: Over moving bins.
        seen: R2, on the same trials, of the one that was shown all directions.
    """

    degrees: tuple[float, ...]
    unseen: float | None
    unseen_moving: float | None
    seen: float | None


class Drift(_Record, frozen=True, kw_only=True):
    """A decoder fitted to the first two fifths of a session, over what follows.

    Attributes:
        near: R2 on the fifth that follows.
        far: R2 on the last fifth.
        over_time: R2 of successive stretches, by the minutes since the session began.
    """

    near: float | None
    far: float | None
    over_time: Curve


class Timing(_Record, frozen=True, kw_only=True):
    """How long a step takes on one thread, and its share of the bin that it decodes."""

    median_ms: float
    p99_ms: float
    normalised: float


class Entry(_Record, frozen=True, kw_only=True):
    """One decoder or baseline; what does not apply to it is None or empty.

    Attributes:
        name: What it is called.
        baseline: Whether it sees no spikes.
        failed: Why there is nothing else to say; empty where it worked.
        settings: What was asked for.
        summary: What the fit chose.
        fit_s: Time of the fit that is scored.
        tried: Configurations that were compared on validation blocks.
        scores: Of the final part.
        whole: Of the whole session, where it is none that the decoder was fitted to.
        by_direction: Of the final part.
        held_out: Each pair of directions that was left out.
        drift: First part against last.
        robustness: R2 by what is amiss and how much of it.
        importance: What R2 loses without each channel.
        learning: Validation score as the fit went on.
        complexity: Figures of NeuroBench.
        timing: Of a step.
        example: Predicted columns over the comparison's example stretch, by bin.
        paths: Predicted path of each example trial.
        bundle: Folder of the bundle, if it was kept.
    """

    name: str
    baseline: bool = False
    failed: str = ""
    settings: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    fit_s: float | None = None
    tried: tuple[Candidate, ...] = ()
    scores: Scores | None = None
    whole: Scores | None = None
    by_direction: tuple[DirectionScore, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    drift: Drift | None = None
    robustness: dict[str, Curve] = {}
    importance: tuple[float, ...] = ()
    learning: Curve | None = None
    complexity: Complexity | None = None
    timing: Timing | None = None
    example: tuple[Point, ...] = ()
    paths: tuple[tuple[Point, ...], ...] = ()
    bundle: str = ""

    @property
    def generalisation(self) -> float | None:
        """Mean R2 on directions that were not shown; None where that was not tried."""
        known = [pair.unseen for pair in self.held_out if pair.unseen is not None]
        return sum(known) / len(known) if known else None


class Comparison(_Record, frozen=True, kw_only=True):
    """Decoders and baselines on one session.

    Attributes:
        session: Its name.
        columns: What was decoded.
        unit: In which unit.
        bin_ms: Length of a bin.
        n_channels: Channels.
        n_trials: Trials.
        train_s: Length of the part that was fitted to.
        test_s: Length of the final part.
        moving_threshold: Distance from rest from which a bin counts as moving.
        moving_share: Share of the final part's bins that move.
        directions: All directions, in degrees.
        example_start_s: Where the example stretch begins, since the session began.
        example: True columns over it, by bin.
        path_degrees: Direction of each example trial.
        paths: Its true path.
        entries: Baselines and decoders, best first.
        quick: Whether less was tried, to be done soon.
        took_s: How long it all took.
        seed: For all that is drawn.
        libraries: Versions that it was made with.
        notes: What else has to be said.
    """

    session: str
    columns: tuple[str, ...]
    unit: str
    bin_ms: float
    n_channels: int
    n_trials: int
    train_s: float
    test_s: float
    moving_threshold: float
    moving_share: float
    directions: tuple[float, ...]
    example_start_s: float
    example: tuple[Point, ...]
    path_degrees: tuple[float, ...]
    paths: tuple[tuple[Point, ...], ...]
    entries: tuple[Entry, ...]
    quick: bool
    took_s: float
    seed: int
    libraries: dict[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Everything as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self, enc_hook=_plain), indent=1) + b"\n"

    def table(self) -> list[dict[str, Any]]:
        """The ranking as rows of plain values, best first; those that failed come last."""
        return [row_of(entry) for entry in self.entries]


def row_of(entry: Entry) -> dict[str, Any]:
    """One row of the ranking."""
    if entry.scores is None:
        return {"decoder": entry.name, "failed": entry.failed}
    scores, timing = entry.scores, entry.timing
    return {
        "decoder": entry.name,
        "baseline": entry.baseline,
        "r2_new_directions": entry.generalisation,
        "r2": scores.r2,
        "r2_interval": (scores.r2_low, scores.r2_high),
        "r2_moving": scores.r2_moving,
        "r2_of": scores.r2_of,
        "r2_moving_of": scores.r2_moving_of,
        "pearson_of": scores.pearson_of,
        "rmse_of": scores.rmse_of,
        "lag_ms": scores.lag_ms,
        "step_ms": None if timing is None else timing.median_ms,
        "fit_s": entry.fit_s,
    }


def comparison_from_json(data: bytes) -> Comparison:
    """Read what `Comparison.to_json` wrote.

    Raises:
        msgspec.MsgspecError: It is something else.
    """
    return msgspec.json.decode(data, type=Comparison)


def _plain(value: object) -> object:
    """Turn numpy's scalars and arrays, which summaries of fits may hold, into what JSON has."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)

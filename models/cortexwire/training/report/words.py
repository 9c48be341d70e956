"""What a comparison says, in sentences: made from its numbers, and no kinder than they are."""

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from cortexwire.training.results import Comparison, Entry, Scores

MUCH: Final = 0.05
"""A difference in R2, from one time to another, that is worth a word."""
FLATTERED: Final = 0.8
"""Share of the best score from which what needs no spikes puts all scores on the final part into doubt."""
LITTLE: Final = 0.005
"""A difference in R2, between two decoders, that is not."""

GLOSSARY: Final = {
    "R²": "1 − (sum of squared errors) / (sum of squares about the mean). 1 is perfect, 0 is no better than always "
    "saying the mean, below 0 is worse than that. Unless a column is named, columns are taken together, each weighted "
    "by its variance.",
    "new directions": "R² on trials of two movement directions whose targets the decoder was not shown in training. A "
    "decoder that has learnt what typical movements look like, rather than what the spikes say, fails here.",
    "final part": "The end of the session. Nothing was fitted to it or chosen on it, and each decoder was scored on it "
    "once. The line through the ring is a 95 % interval, from drawing contiguous blocks of ten seconds.",
    "moving bins": "Bins in which the hand (or the force) is further from rest than the threshold named above. Where "
    "most bins are still, a decoder can score well by knowing when nothing happens.",
    "stereotypy": "A baseline that sees no spikes. It is told the direction of each trial and when the movement began, "
    "and says the average movement of the training part at that time.",
    "mean": "A baseline that always says the mean of the training part.",
    "Pearson r": "Correlation of truth and prediction. It forgives every wrong gain and offset, so it is never the "
    "smaller number; R² is the honest one.",
    "RMSE": "Root of the mean squared error, in the unit of the columns.",
    "lag": "By how much the prediction comes late: where its cross-correlation with the truth is largest.",
    "step": "Time of one decoding step on one CPU thread (median). Its share of a bin is the normalised latency: below "
    "100 % a decoder keeps up.",
    "footprint": "Bytes of all stored values and of the state.",
    "MACs, ACs": "Multiply-accumulates, and accumulates where inputs are spikes, per step. Dense counts every "
    "connection, effective only those where neither weight nor input is zero (NeuroBench, Yik et al. 2025).",
}
"""Words that the page uses, explained."""


def number(value: float | None, digits: int = 2) -> str:
    """A score as the page writes it."""
    if value is None:
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def title(comparison: Comparison) -> str:
    """The heading."""
    n = sum(not entry.baseline for entry in comparison.entries)
    return f"{comparison.session}: {n} decoders compared" if n != 1 else f"{comparison.session}: a decoder proved"


def opening(comparison: Comparison) -> str:
    """What was done, in plain words."""
    c = comparison
    columns = " and ".join(c.columns)
    tried = " This was a quick run: one configuration each, one pair of directions left out." if c.quick else ""
    return (
        f"Each decoder learnt to read {escape(columns)} ({escape(c.unit)}) from {c.n_channels} channels, in bins of "
        f"{c.bin_ms:g} ms, from the first {minutes(c.train_s)} of the session, and was then scored on the last "
        f"{minutes(c.test_s)}, which it had never seen. It ran as it would live: bin by bin, with nothing from the "
        f"future, and without being told where trials begin.{tried}"
    )


def minutes(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def findings(comparison: Comparison) -> Iterator[str]:
    """What the numbers mean, one sentence or two each."""
    decoders = [e for e in comparison.entries if e.scores is not None and not e.baseline]
    if not decoders:
        yield "No decoder could be scored; the reasons are below."
        return
    best = decoders[0]
    yield from _about_best(best, decoders)
    stereotypy = next((e for e in comparison.entries if e.name == "stereotypy" and e.scores is not None), None)
    if stereotypy is not None:
        yield from _about_stereotypy(stereotypy, decoders)
    assert best.scores is not None
    yield from _about_movement(comparison, best, best.scores)
    if best.drift and best.drift.near is not None and best.drift.far is not None:
        change = best.drift.far - best.drift.near
        verdict = "does not age within this session" if abs(change) < MUCH else ("ages" if change < 0 else "even gains")
        yield (
            f"Fitted to the first two fifths only, <b>{escape(best.name)}</b> scores {number(best.drift.near)} right "
            f"after them and {number(best.drift.far)} on the last fifth: it {verdict}."
        )
    failed = [e.name for e in comparison.entries if e.failed and not e.baseline]
    if failed:
        yield f"Not scored: {escape(_listed(failed))}. The reasons are at the end of the table."


def _overall(entry: Entry) -> float:
    return -math.inf if entry.scores is None or entry.scores.r2 is None else entry.scores.r2


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _about_best(best: Entry, decoders: list[Entry]) -> Iterator[str]:
    assert best.scores is not None
    if best.generalisation is None:
        yield (
            f"<b>{escape(best.name)}</b> scores best on the final part: R² {number(best.scores.r2)}. This session has "
            "no trials in several directions, so nothing is known of movements unlike those it was shown."
        )
        return
    text = (
        f"<b>{escape(best.name)}</b> ranks first: R² {number(best.generalisation)} on directions that it was never "
        f"shown, {number(best.scores.r2)} on the final part."
    )
    ahead = max(decoders, key=_overall)
    if _overall(ahead) > _overall(best) + LITTLE:
        text += (
            f" {escape(ahead.name)} scores more on the final part ({number(_overall(ahead))}) and less on new "
            f"directions ({number(ahead.generalisation)}): part of what it learnt is the habit of these movements."
        )
    yield text


def _about_stereotypy(stereotypy: Entry, decoders: list[Entry]) -> Iterator[str]:
    level = _overall(stereotypy)
    words = f"<b>Stereotypy, which sees no spikes at all, reaches R² {number(level)}</b> on the final part"
    if level > FLATTERED * _overall(max(decoders, key=_overall)):
        words += ", because the movements are so alike. The score on the final part alone therefore proves little"
    below = [entry.name for entry in decoders if _overall(entry) <= level]
    if below:
        words += f"; {escape(_listed(below))} {'does' if len(below) == 1 else 'do'} not exceed it there"
    if stereotypy.generalisation is not None:
        words += (
            f". On new directions it falls to {number(stereotypy.generalisation)}, and what decoders score there is "
            "read from the spikes"
        )
    yield words + "."


def _about_movement(comparison: Comparison, best: Entry, scores: Scores) -> Iterator[str]:
    still = 100 * (1 - comparison.moving_share)
    if still > 50 and scores.r2_moving is not None:
        yield (
            f"In {still:.0f} % of the final part nothing moves (less than {comparison.moving_threshold:.3g} "
            f"{escape(comparison.unit)} from rest). Over the moving bins alone, {escape(best.name)} scores "
            f"{number(scores.r2_moving)}."
        )

"""The leakage battery on a real recording: five leaks planted in the code that scores families, and that code clean.

Each leak is put around `family_procedure`, the very functions that align, split, fit and decode here, so what is shown
is that the battery would notice if one of them began to leak.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.reaches import SETTINGS, reaches
from cortexwire.training.contract import Fitted, normalisation
from cortexwire.training.families.wiener import FittedWiener
from cortexwire.training.leakage import SHIFTS, Parts, Procedure, battery, family_procedure
from cortexwire.training.recording import Bins, Recording

Plant = Callable[[Procedure[Fitted]], Procedure[Fitted]]

FAMILIES: Final = ("wiener", "cascade", "kalman", "esn")
"""Families fitted twenty times over, clean; those that need torch are fitted by the same functions."""
PLANTED_IN: Final = "wiener"


def leaks(*, shifts: int = SHIFTS, families: tuple[str, ...] = FAMILIES) -> dict[str, Any]:
    """Must-show 6: planted leaks are caught, each by its check, and the clean code passes.

    Args:
        shifts: Fits of the clean code to shifted targets.
        families: What is fitted.

    Raises:
        RunError: There are no recordings.
    """
    recording = reaches().recording
    caught = {}
    for leak, (plant, check) in PLANTED.items():
        verdict = battery(plant(family_procedure(PLANTED_IN, SETTINGS[PLANTED_IN])), recording, shifts=0)
        caught[leak] = {"caught_by": verdict.caught, "passed": check in verdict.caught}
        progress(f"planted: {leak}; caught by: {', '.join(verdict.caught) or 'nothing'}")
    clean = {}
    for name in families:
        verdict = battery(family_procedure(name, SETTINGS[name]), recording, shifts=shifts)
        clean[name] = verdict.as_dict()
        progress("\n  ".join((f"clean: {name}", *verdict.lines())))
    return {
        "passed": all(row["passed"] for row in (*caught.values(), *clean.values())),
        "expected": {leak: check for leak, (_, check) in PLANTED.items()},
        "planted": caught,
        "shifts": shifts,
        "clean": clean,
    }


def _through(inputs: Callable[[Recording], Recording]) -> Plant:
    """Let fits and predictions see another recording."""

    def plant(clean: Procedure[Fitted]) -> Procedure[Fitted]:
        return replace(
            clean,
            fit=lambda recording, train: clean.fit(inputs(recording), train),
            predict=lambda model, recording: clean.predict(model, inputs(recording)),
        )

    return plant


def _bin_ahead(recording: Recording) -> Recording:
    return replace(recording, features=np.roll(recording.features, -1, axis=0))


def _normalised_by_all(clean: Procedure[Fitted]) -> Procedure[Fitted]:
    """Mean and scale are those of the whole recording, the part that is scored included."""

    def fit(recording: Recording, train: Bins) -> Fitted:
        fitted = clean.fit(recording, train)
        assert isinstance(fitted, FittedWiener)
        mean, scale = normalisation(recording.features, np.ones_like(train))
        return replace(fitted, feature_mean=mean, feature_scale=scale)

    return replace(clean, fit=fit)


def _split_at_random(clean: Procedure[Fitted]) -> Procedure[Fitted]:
    def split(recording: Recording) -> Parts:
        test = np.random.default_rng(1).random(recording.n_bins) < 0.2
        return Parts(~test, test)

    return replace(clean, split=split)


def _reset_at_trials(clean: Procedure[Fitted]) -> Procedure[Fitted]:
    def predict(model: Fitted, recording: Recording) -> NDArray[np.float64]:
        segments = tuple(np.unique(np.append(recording.trials[:, 0], 0)).tolist())
        return np.asarray(model.predict(recording.features, segments)["velocity"], np.float64)

    return replace(clean, predict=predict)


def _labels_early(clean: Procedure[Fitted]) -> Procedure[Fitted]:
    return replace(clean, align=lambda kinematics: np.roll(clean.align(kinematics), 1, axis=0))


PLANTED: Final[Mapping[str, tuple[Plant, str]]] = {
    "a history that ends one bin ahead": (_through(_bin_ahead), "the future is unknown"),
    "bins split at random": (_split_at_random, "test comes after training"),
    "state reset at trial starts": (_reset_at_trials, "trial starts are unknown"),
    "normalisation fitted to the test part": (_normalised_by_all, "the test part teaches nothing"),
    "labels one bin early": (_labels_early, "targets are not early"),
}
"""What is planted, and the check that has to catch it."""

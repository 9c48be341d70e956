"""The battery passes what is clean, and catches each leak that was planted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.leakage import CHANCE_R2, SHIFTS, Parts, Procedure, Verdict, battery, family_procedure
from cortexwire.training.recording import Bins, Recording
from tests.training.reaching import reaching
from tests.training.real import contdata95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ridge:
    """The least decoder that can leak in every way: windows of features to targets."""

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats


def _windows(z: Floats, before: int, after: int) -> Floats:
    padded = np.pad(z, ((before, after), (0, 0)))
    return np.concatenate([padded[k : k + len(z)] for k in range(before + after + 1)], axis=1)


def _ridge(recording: Recording, train: Bins, inputs: Callable[[Floats], Floats], teaching: Bins) -> Ridge:
    rows = recording.features[train].astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    x = inputs((recording.features - mean) / scale)[teaching]
    y = recording.targets[teaching]
    centre, offset = x.mean(axis=0), y.mean(axis=0)
    gram = (x - centre).T @ (x - centre) + 50 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x - centre).T @ (y - offset))
    return Ridge(mean, scale, weights, offset - centre @ weights)


def _windowed(before: int = 5, after: int = 0) -> Callable[[Recording, Floats], Floats]:
    return lambda _, z: _windows(z, before, after)


def _since_trial_start(recording: Recording, z: Floats) -> Floats:
    """Bins since the trial began, as a state that is reset there would tell them."""
    clock = np.zeros((len(z), 24))
    for start, stop in recording.trials:
        clock[np.arange(start, stop), np.minimum(np.arange(stop - start), 23)] = 1
    return np.concatenate([_windows(z, 5, 0), clock], axis=1)


def _with_next_label(recording: Recording, z: Floats) -> Floats:
    later = np.roll(recording.targets, -1, axis=0)
    return np.concatenate([_windows(z, 5, 0), later], axis=1)


def _in_time(recording: Recording) -> Parts:
    return Parts(recording.bins(recording.split.train), recording.bins(recording.split.test))


def _at_random(recording: Recording) -> Parts:
    test = np.random.default_rng(1).random(recording.n_bins) < 0.2
    return Parts(~test, test)


def _procedure(
    inputs: Callable[[Recording, Floats], Floats] | None = None,
    split: Callable[[Recording], Parts] = _in_time,
    align: Callable[[Floats], Floats] = lambda kinematics: kinematics,
    normalised_by_all: bool = False,
) -> Procedure[Ridge]:
    made = inputs or _windowed()

    def fit(recording: Recording, train: Bins) -> Ridge:
        seen = np.ones_like(train) if normalised_by_all else train
        return _ridge(recording, seen, lambda z: made(recording, z), train)

    def predict(model: Ridge, recording: Recording) -> Floats:
        z = (recording.features - model.mean) / model.scale
        return np.asarray(made(recording, z) @ model.weights + model.bias)

    return Procedure(align, split, fit, predict)


def _verdict(procedure: Procedure[Ridge], shifts: int = 0) -> Verdict:
    # Of fewer trials than that, a shift may fit by chance.
    return battery(procedure, reaching(300 if shifts else 120), shifts=shifts)


def test_a_clean_procedure_passes_over_twenty_shifts_and_prints_the_null() -> None:
    verdict = _verdict(_procedure(), SHIFTS)
    assert verdict.passed, verdict.lines()
    assert len(verdict.null) == SHIFTS
    assert max(verdict.null) <= CHANCE_R2
    assert verdict.score > 0.5
    text = "\n".join(verdict.lines())
    assert "null  R2 on shifted targets" in text
    assert "median" in text
    assert verdict.as_dict()["passed"] is True


@pytest.mark.parametrize(("family", "settings"), [("wiener", {"history": 5}), ("kalman", {"history": 3})])
def test_the_code_that_scores_families_is_clean(family: str, settings: dict[str, object]) -> None:
    verdict = battery(family_procedure(family, settings), reaching(), shifts=SHIFTS)
    assert verdict.passed, verdict.lines()
    assert verdict.score > 0.4


def test_a_history_from_the_future_is_caught() -> None:
    assert _verdict(_procedure(_windowed(5, 1))).caught[0] == "the future is unknown"


def test_smoothing_both_ways_is_caught() -> None:
    def smoothed(_: Recording, z: Floats) -> Floats:
        kernel = np.ones(7) / 7
        return np.stack([np.convolve(column, kernel, "same") for column in z.T], axis=1)

    assert _verdict(_procedure(smoothed)).caught[0] == "the future is unknown"


def test_bins_split_at_random_are_caught() -> None:
    assert _verdict(_procedure(split=_at_random)).caught[0] == "test comes after training"


def test_a_test_part_before_the_training_is_caught() -> None:
    swapped = _procedure(split=lambda recording: Parts(*reversed(_in_time(recording))))
    assert "test comes after training" in _verdict(swapped).caught


def test_states_reset_at_trial_starts_are_caught() -> None:
    assert _verdict(_procedure(_since_trial_start)).caught == ("trial starts are unknown",)


def test_normalisation_fitted_to_the_test_part_is_caught() -> None:
    assert _verdict(_procedure(normalised_by_all=True)).caught == ("the test part teaches nothing",)


def test_targets_of_the_bin_before_are_caught() -> None:
    early = _procedure(align=lambda kinematics: np.roll(kinematics, 1, axis=0))
    verdict = _verdict(early)
    assert verdict.caught == ("targets are not early",)
    assert "1 bins before it" in verdict.lines()[0]


def test_targets_of_a_later_bin_are_allowed() -> None:
    later = _procedure(align=lambda kinematics: np.roll(kinematics, -2, axis=0))
    assert _verdict(later).passed


def test_the_next_label_among_the_inputs_is_caught_also_by_the_shifts() -> None:
    verdict = _verdict(_procedure(_with_next_label), 5)
    assert {"the true values are unknown", "shifted targets cannot be decoded"} <= set(verdict.caught)
    assert min(verdict.null) > 0.5


def test_a_lag_is_carried_out_by_the_code_that_reads_sessions() -> None:
    recording = reaching(40)
    for lag in (0, 2):
        targets = family_procedure("wiener", {}, lag_bins=lag).align(recording.targets)
        np.testing.assert_allclose(targets[: recording.n_bins - lag], recording.targets[lag:])
        assert np.isnan(targets[recording.n_bins - lag :]).all()


def test_what_cannot_be_shifted_is_refused() -> None:
    recording = reaching(10)
    with pytest.raises(ConfigError, match="at least two trials"):
        battery(_procedure(), replace(recording, trials=recording.trials[:1]))


@pytest.mark.realdata
def test_nothing_leaks_on_contdata95(recordings: Path) -> None:
    verdict = battery(family_procedure("kalman", {"history": 3}), contdata95(recordings).recording, shifts=4)
    assert verdict.passed, verdict.lines()
    assert max(verdict.null) <= 0

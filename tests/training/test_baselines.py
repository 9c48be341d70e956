"""What can be said without spikes, and how movements are told apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training import r2
from cortexwire.training.baselines import Stereotypy, mean_baseline
from cortexwire.training.reaches import SECTORS, reaches_of, rest_of
from tests.training.reaching import TRIAL_BINS, reaching
from tests.training.real import contdata95

RECORDING = reaching()
REST = rest_of(RECORDING)


def _score(predicted: NDArray[np.float64]) -> float:
    test = RECORDING.split.test
    return float(r2(RECORDING.targets[test], predicted[test]).mean())


def test_directions_and_onsets_are_found_without_spikes() -> None:
    reaches = reaches_of(RECORDING, REST)
    assert reaches is not None
    assert len(reaches.angles) == 8
    np.testing.assert_allclose(np.diff(reaches.angles), np.pi / 4, atol=0.05)
    assert (np.bincount(reaches.direction) == len(RECORDING.trials) / 8).all()
    speed = REST.speed(RECORDING.targets)
    assert (speed[reaches.onset] >= REST.threshold).all()
    assert (speed[reaches.onset - 1] < REST.threshold).all()
    since = reaches.since_onset(RECORDING.n_bins)
    assert (since[reaches.onset] == 0).all()
    assert since[0] == -(reaches.onset[0] - RECORDING.trials[0, 0])


def test_without_positions_the_direction_is_that_of_the_movement() -> None:
    with_positions, without = (reaches_of(r, REST) for r in (RECORDING, replace(RECORDING, positions=None)))
    assert with_positions is not None
    assert without is not None
    np.testing.assert_array_equal(with_positions.direction, without.direction)


def test_targets_all_around_are_sorted_into_sectors() -> None:
    rng = np.random.default_rng(0)
    turned = np.zeros_like(RECORDING.targets)
    for (start, stop), angle in zip(RECORDING.trials, rng.uniform(-np.pi, np.pi, len(RECORDING.trials)), strict=True):
        speed = np.linalg.norm(RECORDING.targets[start:stop], axis=1)
        turned[start:stop] = speed[:, None] * [np.cos(angle), np.sin(angle)]
    reaches = reaches_of(RECORDING.with_targets(turned), REST)
    assert reaches is not None
    assert len(reaches.angles) == SECTORS


def test_recordings_without_directions_have_no_reaches() -> None:
    assert reaches_of(replace(RECORDING, trials=np.zeros((0, 2), np.int64)), REST) is None
    assert reaches_of(RECORDING.with_targets(RECORDING.targets[:, :1]), REST) is None
    one_way = np.abs(RECORDING.targets) * [1, 0]
    assert reaches_of(RECORDING.with_targets(one_way), REST) is None


def test_a_recording_that_never_moves_is_refused() -> None:
    with pytest.raises(ConfigError, match="targets that change"):
        rest_of(RECORDING.with_targets(np.zeros_like(RECORDING.targets)))
    with pytest.raises(ConfigError, match="targets in the training part"):
        rest_of(RECORDING.with_targets(np.full_like(RECORDING.targets, np.nan)))


def test_the_mean_scores_nothing_and_the_table_much() -> None:
    taught = RECORDING.bins(RECORDING.split.train)
    table = Stereotypy(reaches_of(RECORDING, REST))(RECORDING, taught)
    assert _score(mean_baseline(RECORDING, taught)) <= 0
    assert _score(table) > 0.8
    assert np.isfinite(table).all()


def test_the_table_sees_neither_spikes_nor_targets_that_may_not_teach() -> None:
    taught = RECORDING.bins(RECORDING.split.train)
    stereotypy = Stereotypy(reaches_of(RECORDING, REST))
    other = RECORDING.targets.copy()
    other[~taught] = 7
    changed = replace(RECORDING, features=RECORDING.features[::-1], targets=other)
    np.testing.assert_array_equal(stereotypy(changed, taught), stereotypy(RECORDING, taught))


def test_the_table_knows_nothing_of_directions_that_did_not_teach() -> None:
    reaches = reaches_of(RECORDING, REST)
    assert reaches is not None
    direction = reaches.direction_of_bins(RECORDING.n_bins)
    taught = RECORDING.bins(RECORDING.split.train) & (direction != 3)
    table = Stereotypy(reaches)(RECORDING, taught)
    unseen = (direction == 3) & RECORDING.bins(RECORDING.split.test)
    assert r2(RECORDING.targets[unseen], table[unseen]).mean() < 0.1


def test_without_trials_the_table_says_nothing() -> None:
    taught = RECORDING.bins(RECORDING.split.train)
    assert np.isnan(Stereotypy(None)(RECORDING, taught)).all()
    assert np.isnan(mean_baseline(RECORDING, np.zeros_like(taught))).all()


def test_bins_outside_of_trials_are_said_to_be_at_the_mean() -> None:
    reaches = reaches_of(RECORDING, REST)
    assert reaches is not None
    fewer = replace(reaches, trials=reaches.trials[1:], direction=reaches.direction[1:], onset=reaches.onset[1:])
    taught = RECORDING.bins(RECORDING.split.train)
    table = Stereotypy(fewer)(RECORDING, taught)
    np.testing.assert_allclose(table[:TRIAL_BINS], mean_baseline(RECORDING, taught)[:TRIAL_BINS])


@pytest.mark.realdata
def test_the_table_alone_scores_85_on_contdata95(recordings: Path) -> None:
    recording = contdata95(recordings).recording
    reaches = reaches_of(recording, rest_of(recording))
    assert reaches is not None
    assert len(reaches.angles) == 8
    predicted = Stereotypy(reaches)(recording, recording.bins(recording.split.train))
    test = recording.split.test
    score = r2(recording.targets[test], predicted[test])
    assert (score >= [0.85, 0.87]).all(), score

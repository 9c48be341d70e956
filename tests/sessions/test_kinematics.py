import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.types import Rate

COLUMNS = (Column("p", 0, "linear"), Column("v", 0, "slope"), Column("s", 0, "step"))
VALUES = np.array([[1.0], [3.0], [-5.0], [7.0], [8.0], [10.0]])
RATE = Rate(1000)
WIDTH = 10


def make(hold_first: bool = False, stretch: tuple[int, ...] = (0, 0, 0, 1, 1, 1)) -> Kinematics:
    edges = np.arange(7) * WIDTH
    rows = Rows(edges[1:] - 1, edges[:-1], edges[1:], np.array(stretch))
    return Kinematics(COLUMNS, rows, VALUES, RATE, hold_first)


def at(kinematics: Kinematics, *samples: int) -> NDArray[np.float64]:
    return kinematics.at(np.array(samples, np.int64))


def test_recorded_values_hold_exactly_at_the_last_sample_of_their_row() -> None:
    assert at(make(), 9, 19, 29, 39, 49, 59)[:, 0].tolist() == VALUES[:, 0].tolist()


def test_between_rows_positions_run_linearly() -> None:
    assert at(make(), 14)[0, 0] == pytest.approx(2.0)


def test_velocity_is_the_slope_of_the_interpolated_position() -> None:
    samples = np.arange(10, 30)
    course = make().at(np.arange(9, 30))
    slopes = np.diff(course[:, 0]) * RATE.hz
    assert make().at(samples)[:, 1] == pytest.approx(slopes)


def test_nothing_is_interpolated_across_the_joint_of_two_trials() -> None:
    values = make().at(np.arange(30, 39))
    assert np.isnan(values[:, :2]).all()
    assert (values[:, 2] == 7).all()


def test_one_stretch_is_interpolated_throughout() -> None:
    values = make(stretch=(0,) * 6).at(np.arange(9, 60))
    assert not np.isnan(values[:, 0]).any()


def test_rows_outside_of_every_trial_are_not_interpolated() -> None:
    values = make(stretch=(-1, -1, -1, 0, 0, 0)).at(np.arange(10, 19))
    assert np.isnan(values[:, :2]).all()


def test_before_its_first_value_a_trial_is_undefined_or_holds_that_value() -> None:
    assert np.isnan(at(make(), 0, 30)[:, :2]).all()
    assert at(make(hold_first=True), 0, 8, 30)[:, 0].tolist() == [1, 1, 7]
    assert at(make(hold_first=True), 0, 8, 9, 30)[:, 1].tolist() == [0, 0, 0, 0]


def test_beyond_the_last_row_everything_is_undefined() -> None:
    assert np.isnan(at(make(hold_first=True), 60, 1000)).all()


def test_a_step_holds_throughout_its_row() -> None:
    assert make().at(np.arange(60))[:, 2].tolist() == np.repeat(VALUES[:, 0], WIDTH).tolist()


def test_missing_values_stay_missing() -> None:
    values = VALUES.copy()
    values[1] = np.nan
    edges = np.arange(7) * WIDTH
    rows = Rows(edges[1:] - 1, edges[:-1], edges[1:], np.zeros(6, np.int64))
    result = Kinematics(COLUMNS, rows, values, RATE).at(np.array([15, 25, 29, 35]))
    assert np.isnan(result[:, 0]).tolist() == [True, True, False, False]


def test_no_rows_or_no_samples_give_nothing_defined() -> None:
    none = np.zeros(0, np.int64)
    empty = Kinematics(COLUMNS, Rows(none, none, none, none), np.zeros((0, 1)), RATE)
    assert np.isnan(at(empty, 3)).all()
    assert make().at(none).shape == (0, 3)


@given(st.lists(st.integers(-5, 70), max_size=30))
def test_a_sample_has_the_same_values_whatever_is_asked_with_it(samples: list[int]) -> None:
    kinematics = make(hold_first=True)
    whole = kinematics.at(np.array(samples, np.int64))
    single = [at(kinematics, sample)[0] for sample in samples]
    assert np.array_equal(whole, np.array(single).reshape(-1, 3), equal_nan=True)

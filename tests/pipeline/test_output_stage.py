from math import hypot

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.pipeline.output_stage import OutputStage
from cortexwire.pipeline.settings import Matrix, OutputSettings
from cortexwire.types import Velocity

BIN_S = 0.02
ELEMENT = st.floats(-1e4, 1e4, width=32)
TRACK = st.lists(st.tuples(ELEMENT, ELEMENT), min_size=1, max_size=30)


def velocity(x: float, y: float) -> Velocity:
    return np.array((x, y), np.float32)


def run(settings: OutputSettings, track: list[tuple[float, float]]) -> list[tuple[float, float]]:
    stage = OutputStage(settings, BIN_S)
    out = []
    for x, y in track:
        result = stage.process(velocity(x, y))
        assert result.velocity is not None
        assert result.velocity.dtype == np.float32
        out.append((float(result.velocity[0]), float(result.velocity[1])))
    return out


@given(TRACK)
def test_by_default_nothing_changes(track: list[tuple[float, float]]) -> None:
    assert run(OutputSettings(), track) == track


@pytest.mark.parametrize(("gain", "expected"), [(2.0, (7.0, -8.0)), (((0.0, 1.0), (-1.0, 0.0)), (-4.0 + 1, -3.0))])
def test_gain_then_offset(gain: float | Matrix, expected: tuple[float, float]) -> None:
    assert run(OutputSettings(gain=gain, offset=(1.0, 0.0)), [(3.0, -4.0)]) == [expected]


def test_smoothing_is_one_pole_from_rest() -> None:
    assert run(OutputSettings(smoothing=0.75), [(4.0, -8.0)] * 2) == [(1.0, -2.0), (1.75, -3.5)]


def test_a_speed_in_the_deadband_is_zero_and_one_at_its_edge_is_not() -> None:
    assert run(OutputSettings(deadband=5.0), [(2.9, 4.0), (3.0, 4.0)]) == [(0.0, 0.0), (3.0, 4.0)]


def test_the_deadband_does_not_act_on_what_is_being_smoothed() -> None:
    smoothed = run(OutputSettings(smoothing=0.5, deadband=3.0), [(4.0, 0.0), (4.0, 0.0)])
    assert smoothed == [(0.0, 0.0), (3.0, 0.0)]


def test_a_limit_keeps_the_direction_and_says_that_it_acted() -> None:
    stage = OutputStage(OutputSettings(max_speed=5.0), BIN_S)
    result = stage.process(velocity(6.0, 8.0))
    assert result.limited
    assert result.velocity is not None
    assert result.velocity.tolist() == [3.0, 4.0]
    assert not stage.process(velocity(3.0, 4.0)).limited


def test_acceleration_is_limited_from_rest() -> None:
    assert run(OutputSettings(max_acceleration=50.0), [(10.0, 0.0)] * 3) == [
        (1.0, 0.0),
        (2.0, 0.0),
        (3.0, 0.0),
    ]


@given(TRACK, st.floats(0.1, 1e4), st.floats(1.0, 1e6), st.floats(0, 0.99), st.floats(0, 100))
def test_both_limits_hold_whatever_comes(
    track: list[tuple[float, float]], speed: float, acceleration: float, smoothing: float, deadband: float
) -> None:
    settings = OutputSettings(max_speed=speed, max_acceleration=acceleration, smoothing=smoothing, deadband=deadband)
    previous = (0.0, 0.0)
    for x, y in run(settings, track):
        assert hypot(x, y) <= speed * (1 + 1e-6)
        step = hypot(x - previous[0], y - previous[1])
        assert step <= acceleration * BIN_S * (1 + 1e-6) + 1e-6 * speed
        previous = x, y


@pytest.mark.parametrize("bad", [(np.nan, 0.0), (0.0, np.inf), (np.nan, np.inf), (3e38, 3e38)])
def test_a_value_that_is_no_number_leaves_the_state_alone(bad: tuple[float, float]) -> None:
    settings = OutputSettings(gain=2.0, smoothing=0.5, max_acceleration=10.0)
    stage, untouched = OutputStage(settings, BIN_S), OutputStage(settings, BIN_S)
    stage.process(velocity(1, 2))
    untouched.process(velocity(1, 2))
    result = stage.process(velocity(*bad))
    assert result.nonfinite
    assert result.velocity is None
    assert not result.limited
    np.testing.assert_array_equal(stage.process(velocity(3, 4)).velocity, untouched.process(velocity(3, 4)).velocity)


@given(TRACK)
def test_a_reset_stage_is_a_fresh_one(track: list[tuple[float, float]]) -> None:
    settings = OutputSettings(smoothing=0.9, max_acceleration=100.0)
    stage = OutputStage(settings, BIN_S)
    stage.process(velocity(100, -100))
    stage.reset()
    again = [stage.process(velocity(*value)).velocity for value in track]
    np.testing.assert_array_equal(np.array(again), np.array(run(settings, track), np.float32))


def test_gain_and_offset_change_from_the_next_bin_on_and_outlast_a_reset() -> None:
    stage = OutputStage(OutputSettings(), BIN_S)
    stage.set_gain(2.0)
    stage.set_offset((1.0, 0.0))
    stage.reset()
    np.testing.assert_array_equal(stage.process(velocity(1, 1)).velocity, velocity(3, 2))
    stage.set_gain(((0.0, 1.0), (1.0, 0.0)))
    np.testing.assert_array_equal(stage.process(velocity(1, 2)).velocity, velocity(3, 1))


def test_the_input_is_left_alone() -> None:
    raw = velocity(1, 2)
    OutputStage(OutputSettings(gain=5.0), BIN_S).process(raw)
    np.testing.assert_array_equal(raw, velocity(1, 2))

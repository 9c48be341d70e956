import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.pipeline.safety import SafeOutput
from cortexwire.pipeline.settings import SafetySettings
from cortexwire.types import Rate, Velocity

RATE = Rate(1000)


def velocity(x: float, y: float) -> Velocity:
    return np.array((x, y), np.float32)


def make(hold_ms: float = 100, decay_ms: float = 200) -> SafeOutput:
    return SafeOutput(SafetySettings(hold_ms=hold_ms, decay_ms=decay_ms), RATE)


@pytest.mark.parametrize(
    ("age", "share"), [(0, 1.0), (20, 1.0), (100, 1.0), (150, 0.75), (200, 0.5), (300, 0.0), (10_000, 0.0)]
)
def test_hold_then_decay_then_neutral(age: int, share: float) -> None:
    safe = make()
    safe.good(velocity(2, -4), 500)
    command = safe.at(500 + age)
    assert command.velocity.dtype == np.float32
    np.testing.assert_array_equal(command.velocity, velocity(2 * share, -4 * share))
    assert command.neutral == (share == 0)


def test_nothing_good_yet_is_neutral() -> None:
    command = make().at(100)
    assert command.neutral
    assert command.velocity.tolist() == [0.0, 0.0]


def test_a_good_command_of_a_later_bin_says_nothing_about_this_one() -> None:
    safe = make()
    safe.good(velocity(1, 1), 500)
    assert safe.at(499).neutral


def test_holding_a_standstill_is_neutral_and_has_no_sign() -> None:
    safe = make()
    safe.good(velocity(-0.0, 0.0), 500)
    command = safe.at(510)
    assert command.neutral
    assert not np.signbit(command.velocity).any()


def test_no_hold_and_no_decay_means_neutral_from_the_next_bin_on() -> None:
    safe = make(0, 0)
    safe.good(velocity(1, 1), 500)
    assert safe.at(520).neutral


def test_asking_changes_nothing() -> None:
    safe = make()
    safe.good(velocity(1, 2), 0)
    safe.at(150).velocity[:] = 9
    safe.at(1000)
    np.testing.assert_array_equal(safe.at(150).velocity, velocity(0.75, 1.5))


def test_a_good_command_is_copied() -> None:
    safe, given_velocity = make(), velocity(1, 2)
    safe.good(given_velocity, 0)
    given_velocity[:] = 9
    np.testing.assert_array_equal(safe.at(10).velocity, velocity(1, 2))


def test_the_neutral_stop_holds_until_it_is_released_and_a_good_command_comes() -> None:
    safe = make()
    safe.good(velocity(1, 1), 0)
    safe.stop()
    assert safe.at(20).neutral
    safe.good(velocity(1, 1), 40)
    assert safe.at(60).neutral
    safe.stop(False)
    assert not safe.stopped
    assert safe.at(60).neutral
    safe.good(velocity(1, 1), 80)
    assert not safe.at(100).neutral


def test_a_new_stream_holds_nothing_and_keeps_the_neutral_stop() -> None:
    safe = make()
    safe.good(velocity(1, 1), 0)
    safe.reset()
    assert safe.at(20).neutral
    safe.stop()
    safe.reset()
    assert safe.stopped


@given(
    st.floats(0, 500),
    st.floats(0, 500),
    st.integers(1, 100),
    st.floats(-1e6, 1e6, width=32),
    st.floats(-1e6, 1e6, width=32),
)
def test_displacement_without_data_is_within_what_hold_and_decay_allow(
    hold_ms: float, decay_ms: float, bin_samples: int, x: float, y: float
) -> None:
    safe = make(hold_ms, decay_ms)
    safe.good(velocity(x, y), 0)
    bin_s = bin_samples / 1000
    path = sum(
        float(np.hypot(*safe.at(end).velocity.astype(np.float64))) * bin_s
        for end in range(bin_samples, 1200, bin_samples)
    )
    speed = float(np.hypot(np.float64(x), np.float64(y)))
    assert path <= speed * ((hold_ms + decay_ms / 2) / 1000 + 1e-6) * 1.000001
    assert safe.valid_for_ms == 100.0


def test_a_neutral_stop_that_is_on_from_the_start_has_to_be_released() -> None:
    safe = SafeOutput(SafetySettings(neutral=True), RATE)
    assert safe.stopped
    safe.good(velocity(1, 1), 100)
    assert safe.at(100).neutral
    safe.stop(False)
    safe.good(velocity(1, 1), 200)
    assert not safe.at(200).neutral

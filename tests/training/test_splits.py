import pytest

from cortexwire.errors import ConfigError
from cortexwire.training import last_fraction, last_fraction_of_trials


def test_whole_trials_are_held_out_at_the_end() -> None:
    split = last_fraction_of_trials(range(5, 105, 10), 120, 0.2)
    assert split == (slice(5, 85), slice(85, 120))


def test_at_least_one_trial_is_held_out() -> None:
    assert last_fraction_of_trials([0, 10, 20], 30, 0.01).test == slice(20, 30)


def test_a_block_is_held_out_at_the_end() -> None:
    assert last_fraction(100, 0.25) == (slice(0, 75), slice(75, 100))


@pytest.mark.parametrize(
    ("starts", "stop", "fraction"),
    [
        ([0], 10, 0.2),
        ([0, 0], 10, 0.2),
        ([5, 3], 10, 0.2),
        ([0, 5], 5, 0.2),
        ([0, 5], 10, 0),
        ([0, 5], 10, 0.9),
    ],
)
def test_trials_that_cannot_be_split_are_refused(starts: list[int], stop: int, fraction: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        last_fraction_of_trials(starts, stop, fraction)


@pytest.mark.parametrize(("stop", "fraction"), [(1, 0.2), (0, 0.5), (10, 1.0)])
def test_a_block_that_cannot_be_split_is_refused(stop: int, fraction: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        last_fraction(stop, fraction)

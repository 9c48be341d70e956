from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.sessions.nwb.clock import clock_of_timestamps
from cortexwire.sessions.nwb.scale import (
    exact_rate,
    in_words,
    microvolts_of,
    rate_of_period,
    said_rate,
    said_scale,
    volts_of,
)
from cortexwire.types import Rate

SCALES = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)
RATES = st.builds(Fraction, st.integers(250, 100_000_000), st.integers(1, 1000)).filter(lambda f: 200 < f < 200_000)


@given(st.decimals(min_value="1e-6", max_value="1e6", places=9))
def test_a_scale_that_somebody_wrote_comes_back_from_volts(microvolts: Decimal) -> None:
    assert microvolts_of(volts_of(float(microvolts))) == float(microvolts)


@given(SCALES, RATES)
def test_any_scale_and_rate_come_back_in_words(microvolts: float, rate: Fraction) -> None:
    words = in_words(Rate.from_hz(rate), microvolts)
    assert said_scale(words, microvolts_of(volts_of(microvolts))) == microvolts
    assert said_rate(words, exact_rate(float(rate))) == Rate.from_hz(rate)


def test_words_that_contradict_the_numbers_do_not_count() -> None:
    words = in_words(Rate(30_000), 0.25)
    assert (said_rate(words, Rate(25_000)), said_scale(words, 0.2)) == (Rate(25_000), 0.2)
    assert said_scale("one unit is exactly nothing uV", 0.2) == 0.2


@pytest.mark.parametrize(("volts", "microvolts"), [(2.5e-7, 0.25), (1.95e-7, 0.195), (np.float32(2.5e-7), 0.25)])
def test_a_scale_is_the_decimal_that_was_written(volts: float, microvolts: float) -> None:
    assert microvolts_of(volts) == microvolts


@given(RATES)
def test_a_rate_comes_back_from_its_float_and_from_its_period(rate: Fraction) -> None:
    assert exact_rate(rate.numerator / rate.denominator).fraction == rate
    assert rate_of_period(1 / (rate.numerator / rate.denominator)).fraction == rate


@given(st.integers(0, 10**9), st.sampled_from([Rate(30_000), Rate(390_625, 16), Rate(19_531)]), st.floats(0, 1e5))
def test_timestamps_lead_back_to_their_samples(sample: int, rate: Rate, start_s: float) -> None:
    n = 5000
    times = start_s + np.arange(sample, sample + n) / rate.hz
    clock = clock_of_timestamps(times)
    assert clock.rate.hz == pytest.approx(rate.hz, rel=1e-4)
    np.testing.assert_array_equal(clock.samples_of(times), np.arange(n))
    np.testing.assert_array_equal(clock.samples_of(times[:1] - 10 / rate.hz), [-10])


def test_timestamps_that_do_not_ascend_are_refused() -> None:
    for times in ([1.0], [1.0, 1.0, 2.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="ascending"):
            clock_of_timestamps(np.array(times))

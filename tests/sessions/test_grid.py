from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.sessions.grid import RowGrid, row_width, samples_of
from cortexwire.types import Rate

widths = st.fractions(min_value=Fraction(1, 2), max_value=500, max_denominator=1000)
rates = st.builds(Rate.from_hz, st.fractions(min_value=2000, max_value=50_000, max_denominator=64))


@given(rate=rates, width=widths, sample=st.integers(0, 10**9))
def test_every_sample_lies_in_exactly_its_row(rate: Rate, width: Fraction, sample: int) -> None:
    grid = RowGrid(rate, width)
    row = grid.row_of(sample)
    assert grid.edge(row) <= sample < grid.edge(row + 1)
    assert grid.edges(np.array([row, row + 1])).tolist() == [grid.edge(row), grid.edge(row + 1)]


def test_edges_do_not_drift_at_a_rate_that_does_not_divide() -> None:
    grid = RowGrid(Rate.from_hz("24414.0625"), row_width("45"))
    hour = 3600 * 1000 // 45
    assert grid.edge(hour) == int(Fraction("24414.0625") * 3600)


def test_rows_shorter_than_a_sample_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one sample, got 0\.1 ms at 1000"):
        RowGrid(Rate(1000), row_width(0.1))


@pytest.mark.parametrize("value", [0, -1, "-0.5"])
def test_widths_are_positive(value: int | str) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        row_width(value)


def test_decimal_times_name_the_sample_that_they_mean() -> None:
    times = np.arange(3000) / 30_000
    assert samples_of(times, "s", Rate(30_000)).tolist() == list(range(3000))
    assert samples_of(times * 1000, "ms", Rate(30_000)).tolist() == list(range(3000))
    assert samples_of(np.array([0.4, 7.0]), "samples", Rate(30_000)).tolist() == [0, 7]

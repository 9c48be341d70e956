"""The median of int16 by counting is numpy's median, whatever the values and wherever the search starts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cortexwire.signal.settings import RailSettings, ReferenceSettings
from tests.signal.streams import chain, front_end

SOURCES: dict[int, Any] = {}


def references(raw: NDArray[np.int16], masked: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """The medians that a front end takes, read from where it keeps the last two."""
    n = raw.shape[1]
    if n not in SOURCES:
        SOURCES[n] = front_end(n, chain(reference=ReferenceSettings(mode="median"), rails=RailSettings()))
    source = SOURCES[n]
    source.mask(masked)
    source.begin(0)
    source._arrays["references"][:] = 0.0
    found = []
    for row in raw:
        source.push(row[None])
        found.append(source._arrays["references"][0, 1])
    return np.array(found)


def plain(raw: NDArray[np.int16], masked: tuple[int, ...] = ()) -> NDArray[np.float64]:
    found = []
    for row in np.delete(raw, masked, axis=1):
        values = row[(row > -32_768) & (row < 32_767)]
        found.append(np.median(values) if len(values) >= 8 else 0.0)
    return np.array(found)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([8, 9, 31, 33, 96]),
    st.sampled_from([1, 3, 40, 2000, 40_000]),
    st.integers(-32_768, 32_767),
)
def test_medians_are_numpys(seed: int, n: int, spread: int, centre: int) -> None:
    rng = np.random.default_rng(seed)
    centres = np.clip(centre + np.cumsum(rng.integers(-spread, spread + 1, 12)), -32_768, 32_767)
    raw = np.clip(centres[:, None] + rng.integers(-spread, spread + 1, (12, n)), -32_768, 32_767).astype(np.int16)
    assert references(raw).tolist() == plain(raw).tolist()


@pytest.mark.parametrize("value", [-32_767, -1, 0, 32_766, -32_768, 32_767])
def test_all_the_same_value_is_the_median_unless_it_is_a_rail(value: int) -> None:
    raw = np.full((3, 16), value, np.int16)
    assert references(raw).tolist() == [0.0 if value in (-32_768, 32_767) else float(value)] * 3


def test_leaps_between_the_extremes_and_masked_channels() -> None:
    raw = np.array([[-32_767] * 40, [32_766] * 40, [-32_767] * 20 + [32_766] * 20, [5] * 40], np.int16)
    assert references(raw).tolist() == [-32_767, 32_766, -0.5, 5]
    raw[:, ::3] = 32_766
    masked = tuple(range(0, 40, 3))
    assert references(raw, masked).tolist() == plain(raw, masked).tolist()

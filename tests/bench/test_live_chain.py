"""The independent chain: its rules, on signals that can be checked by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.bench.evidence.recordings import ReferenceMode, scipy_chain
from cortexwire.types import Rate

RATE = Rate(30_000)
DELAY = 2
"""Samples from a pulse to the crossing that it makes."""


def pulses(at: list[int], n: int = 3000, channels: int = 2) -> NDArray[np.int16]:
    raw = np.full((n, channels), 100, np.int16)
    raw[at, 0] -= 2000
    return raw


def crossings(raw: NDArray[Any], reference: ReferenceMode = "none", refractory: int = 30) -> list[list[int]]:
    thresholds = np.full(raw.shape[1], -300.0)
    found = scipy_chain(raw, RATE, reference, thresholds, refractory).crossings.tolist()
    return [[sample - DELAY, channel] for sample, channel in found]


def test_a_pulse_is_one_crossing_where_it_begins() -> None:
    assert crossings(pulses([1000])) == [[1000, 0]]


def test_a_constant_signal_starts_settled() -> None:
    chain = scipy_chain(pulses([]), RATE, "none", np.array([-300.0, -300.0]), 30)
    assert np.abs(chain.filtered).max() < 1e-6


def test_what_follows_within_the_refractory_time_is_no_crossing() -> None:
    assert crossings(pulses([1000, 1029])) == [[1000, 0]]
    assert crossings(pulses([1000, 1030])) == [[1000, 0], [1030, 0]]


def test_channels_have_their_own_refractory_time_and_no_threshold_never_crosses() -> None:
    raw = pulses([1000])
    raw[1005, 1] -= 2000
    assert crossings(raw) == [[1000, 0], [1005, 1]]
    assert scipy_chain(raw, RATE, "none", np.array([-300.0, np.nan]), 30).crossings.tolist() == [[1000 + DELAY, 0]]


@pytest.mark.parametrize("reference", ["mean", "median"])
def test_what_all_channels_share_is_taken_away(reference: ReferenceMode) -> None:
    raw = pulses([], channels=8)
    raw[1000] -= 2000
    assert crossings(raw, reference) == []
    assert len(crossings(raw)) == 8


def test_a_channel_at_the_rails_is_in_no_reference() -> None:
    raw = pulses([], channels=8)
    raw[1000:, 0] = -32768
    assert {channel for _, channel in crossings(raw, "mean")} == {0}


def test_counts_and_power_are_of_observed_samples_in_their_bins() -> None:
    chain = scipy_chain(pulses([500, 700, 1300]), RATE, "none", np.array([-300.0, -300.0]), 30)
    edges = np.array([0, 600, 1200, 1800])
    assert chain.counts(edges, 0)[:, 0].tolist() == [1, 1, 1]
    assert chain.counts(edges, 500 + DELAY + 1)[:, 0].tolist() == [0, 1, 1]
    power = chain.power(edges, 650)
    assert np.isnan(power[0]).all()
    assert power[1, 0] == pytest.approx(np.square(chain.filtered[650:1200, 0]).mean())

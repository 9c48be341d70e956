"""The designed filter is scipy's, and its faults are named."""

from typing import Any

import numpy as np
import pytest
from scipy import signal

from cortexwire.errors import ConfigError
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings
from cortexwire.signal.wideband import WidebandBins
from cortexwire.types import Rate
from tests.signal.streams import INT16, RATE, chain

FILTERS = [
    (FilterSettings(), RATE),
    (FilterSettings(low_hz=300.0, high_hz=6000.0), Rate(19_531)),
    (FilterSettings(kind="highpass", order=2, low_hz=300.0), RATE),
    (FilterSettings(kind="highpass", order=4), Rate(24_414)),
    (FilterSettings(order=2), Rate(50_000)),
    (FilterSettings(order=8), RATE),
    (FilterSettings(high_hz=4500.0), Rate(10_000)),
]


def sos_of(settings: FilterSettings, rate: Rate) -> Any:
    edges = [settings.low_hz, settings.high_hz] if settings.kind == "bandpass" else settings.low_hz
    return signal.butter(settings.order, edges, settings.kind, fs=rate.hz, output="sos")


@pytest.mark.parametrize(("settings", "rate"), FILTERS)
def test_the_sections_are_the_butterworth_filter(settings: FilterSettings, rate: Rate) -> None:
    design = design_filter(settings, rate)
    numerator = [1.0, 0.0, -1.0] if settings.kind == "bandpass" else [1.0, -2.0, 1.0]
    sos = np.array([[*numerator, 1.0, a1, a2] for a1, a2 in design.sections])
    w = np.geomspace(30.0, 0.49 * rate.hz, 300)
    _, ours = signal.sosfreqz(sos, w, fs=rate.hz)
    _, scipys = signal.sosfreqz(sos_of(settings, rate), w, fs=rate.hz)
    np.testing.assert_allclose(design.gain * ours, scipys, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("settings", "rate"), FILTERS)
def test_settled_means_that_nothing_of_the_impulse_is_left(settings: FilterSettings, rate: Rate) -> None:
    design = design_filter(settings, rate)
    impulse = np.zeros(4 * design.settling_samples)
    impulse[0] = 1.0
    response = signal.sosfilt(sos_of(settings, rate), impulse)
    rest = np.sqrt(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
    assert rest[design.settling_samples] < 3e-15
    assert rest[design.settling_samples * 9 // 10] > 3e-15


@pytest.mark.parametrize(("settings", "rate"), FILTERS)
def test_one_step_of_a_grid_moves_the_output_by_at_most_one(settings: FilterSettings, rate: Rate) -> None:
    design = design_filter(settings, rate)
    numerator = [1.0, 0.0, -1.0] if settings.kind == "bandpass" else [1.0, -2.0, 1.0]
    sos = np.array([[*numerator, 1.0, a1, a2] for a1, a2 in design.sections])
    for k, (a1, a2) in enumerate(design.sections):
        for memory, grid in zip(((1.0, a1 / 2), (0.0, 1.0)), design.grids[k], strict=True):
            zi = np.zeros((len(sos) - k, 2))
            zi[0] = np.array(memory) * grid
            peak = np.abs(signal.sosfilt(sos[k:], np.zeros(5000), zi=zi)[0]).max()
            assert 0.5 < peak <= 1
        assert a2 > 0


@pytest.mark.parametrize(
    ("settings", "hz", "message"),
    [
        ({}, 9_999, "expected a sample rate from 10 to 50 kHz, got 9999 Hz"),
        ({}, 50_001, "expected a sample rate from 10 to 50 kHz, got 50001 Hz"),
        ({}, 10_000, r"filter.high_hz: expected at most 4500 Hz \(0.45 x 10000 Hz\), got 5000 Hz"),
        ({"kind": "highpass", "low_hz": 4501.0}, 10_000, "filter.low_hz: expected at most 4500 Hz"),
        ({"low_hz": 800.0, "high_hz": 700.0}, 30_000, "expected low_hz below high_hz, got 800 and 700"),
    ],
)
def test_filters_that_cannot_be_are_refused(settings: dict[str, Any], hz: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        design_filter(FilterSettings(**settings), Rate(hz))


def test_a_high_pass_has_no_upper_edge() -> None:
    design_filter(FilterSettings(kind="highpass", low_hz=250.0, high_hz=5000.0), Rate(10_000))


def test_a_front_end_wants_a_filter_designed_for_its_rate() -> None:
    with pytest.raises(ConfigError, match="expected a designed filter, got none"):
        WidebandBins(FrontEndSettings(), RATE, 4, 0.25, INT16)
    with pytest.raises(ConfigError, match="designed for 30000 Hz, the stream has 25000 Hz"):
        WidebandBins(chain(), Rate(25_000), 4, 0.25, INT16)


def test_a_design_survives_json() -> None:
    settings = chain()
    assert FrontEndSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    "changes", [{"features": ()}, {"features": ("counts", "counts")}, {"threshold": {"multiplier": 0.0}}, {"bin": 20}]
)
def test_settings_that_say_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|Extra inputs"):
        FrontEndSettings.model_validate(changes)

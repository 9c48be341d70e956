"""Laws of calibration: what it is measured on, when it ends, and what precedes what."""

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.signal.binning import Bin
from cortexwire.signal.calibration import Adaptation, Calibration, Noise, known_thresholds, thresholds_from
from cortexwire.signal.settings import ArtefactSettings, ThresholdSettings
from cortexwire.types import Rate

RATE = Rate(30000)
CHANNELS = 16


def a_bin(index: int, power: np.ndarray, observed: int = 600) -> Bin:
    zeros = np.zeros(CHANNELS, np.uint16)
    status = np.zeros(CHANNELS, np.uint8)
    return Bin(index, index * 600, index * 600 + 600, zeros, power.astype(np.float32), observed, 0, 0, status)


def steady(value: float = 100.0) -> np.ndarray:
    return np.full(CHANNELS, value)


def calibration(seconds: float = 1.0, mode: str = "rms") -> Calibration:
    settings = ThresholdSettings.model_validate({"calibration_s": seconds, "mode": mode})
    return Calibration(settings, ArtefactSettings(), RATE)


def test_it_ends_at_the_first_edge_with_enough_clean_signal() -> None:
    running = calibration(1.0)
    for index in range(50):
        assert running.finish() is None
        running.add(a_bin(index, steady()))
    noise = running.finish()
    assert noise is not None
    assert noise.clean_s == pytest.approx(1.0)
    np.testing.assert_allclose(noise.rms_uv, 10.0)


def test_loud_bins_are_left_out_and_waited_for() -> None:
    running = calibration(1.0)
    for index in range(50):
        running.add(a_bin(index, steady(1e6 if index in (7, 8) else 100.0)))
    assert running.finish() is None
    for index in range(50, 52):
        running.add(a_bin(index, steady()))
    noise = running.finish()
    assert noise is not None
    np.testing.assert_allclose(noise.rms_uv, 10.0)


def test_unobserved_samples_do_not_count() -> None:
    running = calibration(1.0)
    for index in range(50):
        running.add(a_bin(index, steady(), observed=300))
    assert running.finish() is None
    assert running.progress == pytest.approx(0.5)
    running.add(a_bin(50, steady(1e9), observed=0))
    assert running.progress == pytest.approx(0.5)


def test_partial_bins_weigh_by_what_they_saw() -> None:
    running = calibration(0.03)
    running.add(a_bin(0, steady(100.0), observed=600))
    running.add(a_bin(1, steady(130.0), observed=300))
    noise = running.finish()
    assert noise is not None
    np.testing.assert_allclose(noise.rms_uv**2, 110.0, rtol=1e-6)


def test_it_can_be_told_to_take_what_there_is() -> None:
    running = calibration(10.0)
    assert running.finish(enough=True) is None
    running.add(a_bin(0, steady()))
    assert running.finish() is None
    assert running.finish(enough=True) is not None


def test_mad_is_the_median_of_the_clean_samples() -> None:
    running = calibration(0.02, "mad")
    samples = np.linspace(-1, 1, 201, dtype=np.float32)[:, None].repeat(CHANNELS, 1)
    running.add(a_bin(0, steady()), samples)
    noise = running.finish()
    assert noise is not None
    np.testing.assert_allclose(noise.sigma_uv, np.median(np.abs(samples), axis=0) / 0.6744897501960817, rtol=1e-6)


def test_thresholds_are_signed_multiples_and_unusable_channels_have_none() -> None:
    rms = np.array([0.1, 10.0, 900.0], np.float32)
    noise = Noise(rms, rms.astype(np.float64), 10.0)
    np.testing.assert_allclose(thresholds_from(ThresholdSettings(), noise), [np.nan, -45.0, np.nan])
    positive = ThresholdSettings(multiplier=10.0, noise_ceiling_uv=1000.0)
    np.testing.assert_allclose(thresholds_from(positive, noise), [np.nan, 100.0, 9000.0])


def test_a_file_precedes_the_bundle_and_the_bundle_precedes_a_calibration() -> None:
    bundled = ThresholdSettings(values_uv=(-1.0, -2.0))
    assert known_thresholds(bundled, 2, (-3.0, -4.0)) == pytest.approx([-3.0, -4.0])
    assert known_thresholds(bundled, 2, None) == pytest.approx([-1.0, -2.0])
    absolute = ThresholdSettings.model_validate({"mode": "absolute", "absolute_uv": -60})
    assert known_thresholds(absolute, 2, None) == pytest.approx([-60.0, -60.0])
    assert known_thresholds(ThresholdSettings(), 2, None) is None


@pytest.mark.parametrize("from_file", [None, (-1.0,)])
def test_a_wrong_number_of_thresholds_is_refused(from_file: tuple[float, ...] | None) -> None:
    settings = ThresholdSettings(values_uv=(-1.0, -2.0, -3.0))
    with pytest.raises(ConfigError, match="expected 2 thresholds, got"):
        known_thresholds(settings, 2, from_file)


def adaptation(every_s: float = 0.1) -> Adaptation:
    rms = np.full(CHANNELS, 10.0, np.float32)
    settings = ThresholdSettings(adapt_every_s=every_s, adapt_weight=0.5)
    return Adaptation(settings, 20.0, Noise(rms, rms.astype(np.float64), 10.0))


def test_adaptation_acts_only_at_fixed_bins_and_learns_from_unmarked_bins_only() -> None:
    adapting = adaptation()
    moved = {}
    for index in range(3, 15):
        marked = index % 2 == 0
        noise = adapting.add(a_bin(index, steady(1e6 if marked else 400.0), observed=599 if marked else 600))
        if noise is not None:
            moved[index] = float(noise.rms_uv[0])
    assert list(moved) == [4, 9, 14]
    assert moved[14] ** 2 < 400.0


def test_adaptation_moves_by_its_weight() -> None:
    adapting = adaptation()
    noise = None
    for index in range(5):
        noise = adapting.add(a_bin(index, steady(300.0)))
    assert noise is not None
    np.testing.assert_allclose(noise.rms_uv**2, 200.0, rtol=1e-6)


def test_a_channel_with_a_fault_keeps_its_noise() -> None:
    adapting = adaptation()
    noise = None
    for index in range(5):
        closed = a_bin(index, steady(300.0))
        closed.status[3] = 4
        noise = adapting.add(closed)
    assert noise is not None
    assert noise.rms_uv[3] == pytest.approx(10.0)
    assert noise.rms_uv[0] ** 2 == pytest.approx(200.0)


def test_an_interval_shorter_than_a_bin_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one bin"):
        adaptation(0.001)


def test_adaptation_needs_an_interval() -> None:
    rms = np.ones(CHANNELS, np.float32)
    with pytest.raises(ConfigError, match="expected an interval"):
        Adaptation(ThresholdSettings(), 20.0, Noise(rms, rms.astype(np.float64), 1.0))

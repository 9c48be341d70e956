"""Channels at the rails, channels that stand still, masks, and references that they leave."""

from typing import Any

import numpy as np
import pytest
from scipy import signal

from cortexwire.errors import ConfigError
from cortexwire.signal.binning import DEAD, DISABLED, MASKED, RAILING
from cortexwire.signal.settings import RailSettings, ReferenceSettings
from tests.signal.streams import FLOAT32, INT16, UV_PER_BIT, chain, feed, float_front_end, front_end, noise

MODES = ("mean", "median")


def filtered(source: Any, raw: Any) -> Any:
    source.filtered = np.empty((0, 0), np.float32)
    source.push(raw)
    return source.filtered


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rail", [32_767, -32_768])
def test_a_channel_at_the_rails_leaves_the_reference_within_that_sample(mode: Any, rail: int) -> None:
    settings = chain(reference=ReferenceSettings(mode=mode))
    raw = noise(2000, 12, seed=1)
    masked = raw.copy()
    raw[1000:1003, 4] = rail
    # The reference without channel 4 in exactly these samples, made by hand.
    others = np.delete(masked, 4, axis=1).astype(np.float64)
    reference = getattr(np, mode)(masked.astype(np.float64), axis=1)
    reference[1000:1003] = getattr(np, mode)(others[1000:1003], axis=1)
    sos = signal.butter(4, [250, 5000], "bandpass", fs=30_000, output="sos")
    wanted = UV_PER_BIT * signal.sosfilt(sos, masked - reference[:, None], axis=0)
    got = filtered(front_end(12, settings), raw)
    keep = np.arange(12) != 4
    np.testing.assert_allclose(got[950:, keep], wanted[950:, keep], rtol=0, atol=0.01)


def test_custom_rails_count_and_are_reported_until_the_filter_settles() -> None:
    settings = chain(rails=RailSettings(low=-2000, high=2000))
    source = front_end(3, settings)
    raw = np.clip(noise(12_000, 3, seed=2) // 8, -1900, 1900).astype(np.int16)
    raw[4000:4010, 1] = 2000
    raw[7000, 2] = -2000
    bins = feed(source, raw, 30)
    railing = np.array([b.status & RAILING != 0 for b in bins])
    lasts = -(-source.settling_samples // 600)
    for channel, (first, last) in {1: (4000, 4010), 2: (7000, 7001)}.items():
        wanted = np.zeros(len(bins), bool)
        wanted[first // 600 : (last + source.settling_samples - 1) // 600 + 1] = True
        assert np.count_nonzero(wanted) >= lasts
        assert np.count_nonzero(railing[:, channel] != wanted) <= 1  # it counts in whole blocks
        assert not railing[: first // 600, channel].any()
    assert not railing[:, 0].any()


def test_float32_has_no_rails_unless_they_are_named() -> None:
    raw = (noise(6000, 18, seed=3) * 3.0).astype(np.float32)
    raw[4000:4005, 3] = 40_000.0
    assert not any(b.status.any() for b in feed(float_front_end(18), raw, 100))
    named = float_front_end(18, rails=RailSettings(low=-32_768, high=30_000))
    assert any(b.status[3] & RAILING for b in feed(named, raw, 100))


@pytest.mark.parametrize("dtype", [INT16, FLOAT32])
def test_a_channel_that_stands_still_is_dead_until_it_moves(dtype: Any) -> None:
    settings = chain(dead_after_s=0.1, reference=ReferenceSettings(mode="median"))
    source = front_end(18, settings) if dtype == INT16 else float_front_end(18, "median", dead_after_s=0.1)
    raw = noise(15_000, 18, seed=4).astype(dtype)
    raw[2000:9000, 7] = -123
    bins = feed(source, raw, 70)
    dead = [bool(b.status[7] & DEAD) for b in bins]
    assert dead == [5001 <= (k + 1) * 600 < 9600 for k in range(len(bins))]
    assert not any(b.status[np.arange(18) != 7].any() for b in bins)
    assert not source.status.any()


def test_the_dead_leave_the_reference_and_cross_no_more() -> None:
    settings = chain(dead_after_s=0.02, reference=ReferenceSettings(mode="mean"))
    raw = noise(6000, 9, seed=5)
    raw[:, 2] = 0
    raw[4000:4006] -= 3000
    raw[4000:4006, 2] = 0
    source = front_end(9, settings)
    other = front_end(9, chain(reference=ReferenceSettings(mode="mean"), masked=(2,)))
    bins, without = feed(source, raw, 100), feed(other, raw, 100)
    assert bins[-1].status[2] & DEAD
    for a, b in zip(bins[5:], without[5:], strict=True):
        assert a.counts.tolist() == b.counts.tolist()
        assert a.counts[2] == 0


def test_too_few_live_channels_give_no_reference_and_are_reported() -> None:
    settings = chain(reference=ReferenceSettings(mode="mean"))
    raw = noise(9000, 9, seed=6)
    raw[3000, :2] = 32_767
    bins = feed(front_end(9, settings), raw, 100)
    railing = [bool((b.status & RAILING).all()) for b in bins]
    assert railing[5]
    assert railing == sorted(railing[:6]) + sorted(railing[6:], reverse=True)


def test_masked_channels_are_left_out_of_everything() -> None:
    raw = noise(6000, 10, seed=7, spikes=3e-3)
    loud = raw.copy()
    loud[:, 4] = noise(6000, 1, seed=8, spikes=0.01)[:, 0] * 3
    settings = chain(reference=ReferenceSettings(mode="median"), masked=(4,))
    bins, others = (feed(front_end(10, settings), data, 100) for data in (raw, loud))
    for a, b in zip(bins, others, strict=True):
        assert a.status[4] == b.status[4] == MASKED
        assert a.counts[4] == b.counts[4] == 0
        assert np.delete(a.counts, 4).tolist() == np.delete(b.counts, 4).tolist()
        assert a.observed == b.observed


def test_masks_must_name_channels_and_leave_eight_in_a_reference() -> None:
    source = front_end(9, chain(reference=ReferenceSettings(mode="mean")))
    with pytest.raises(ConfigError, match="expected channels 0 to 8, got 9"):
        source.mask((9,))
    with pytest.raises(ConfigError, match="group 'all': expected at least 8 live channels, got 7"):
        source.mask((1, 2))
    source.mask((1,))
    assert source.status.tolist() == [0, MASKED, *[0] * 7]


def test_thresholds_that_are_not_finite_disable_their_channels() -> None:
    source = front_end(3)
    source.set_thresholds(np.array([-30.0, np.nan, -np.inf]), np.full(3, np.nan, np.float32))
    assert source.status.tolist() == [0, DISABLED, DISABLED]
    bins = feed(source, noise(6000, 3, seed=9, spikes=0.01), 100)
    assert sum(int(b.counts[0]) for b in bins) > 3
    assert not any(b.counts[1:].any() for b in bins)
    assert all(b.status.tolist() == [0, DISABLED, DISABLED] for b in bins)


def test_thresholds_have_the_sign_of_the_chain_and_one_value_a_channel() -> None:
    source = front_end(3)
    rms = np.ones(3, np.float32)
    with pytest.raises(ConfigError, match="expected 3 values, got"):
        source.set_thresholds(np.full(4, -1.0), rms)
    with pytest.raises(ConfigError, match="expected negative values, got 5 uV at channel 1"):
        source.set_thresholds(np.array([-5.0, 5.0, -5.0]), rms)


def test_health_survives_a_gap_and_a_reset_forgets_it() -> None:
    raw = noise(9000, 9, seed=10)
    raw[:, 5] = 3
    source = front_end(9, chain(dead_after_s=0.1))
    bins = feed(source, raw, 100, gaps=[(4000, 6100)])
    assert [bool(b.status[5] & DEAD) for b in bins] == [k >= 5 for k in range(15)]
    source.reset()
    assert not source.status.any()
    source.begin(0)
    assert [bool(b.status[5] & DEAD) for b in feed(source, raw[:4200], 100)] == [k >= 5 for k in range(7)]

"""The simulated rig's samples: independent of packets, repeatable, and made of what the settings say."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from cortexwire.clients.simulator import Simulator, SimulatorSettings
from cortexwire.clients.simulator.faults import POSITIVE_RAIL, rails, transient
from cortexwire.clients.simulator.noise import TRACES
from cortexwire.clients.simulator.render import _add_spikes, _render, add_spikes, render
from cortexwire.clients.simulator.subject import make_subject

QUIET: dict[str, Any] = {
    "neurons_per_channel": 0.0,
    "thermal": False,
    "pink": False,
    "lfp": False,
    "line": False,
    "common_mode": False,
    "artefacts": False,
    "dead": False,
    "railing": False,
}


def only(**wanted: Any) -> SimulatorSettings:
    """Settings with everything off but what is named."""
    return SimulatorSettings(**{**QUIET, **wanted})


def band(samples: NDArray[Any], rate_hz: float = 30_000.0) -> NDArray[np.float64]:
    """Filter as a front end would, and drop what has not settled."""
    sos = butter(4, [250.0, 5000.0], "bandpass", fs=rate_hz, output="sos")
    return np.asarray(sosfilt(sos, samples.astype(np.float64), axis=0))[int(0.05 * rate_hz) :]


@pytest.mark.parametrize("channels", [1, 3, 65, 300])
@pytest.mark.parametrize("sizes", [(1,), (7,), (30,), (600,), (211, 1, 977, 300)])
def test_samples_do_not_depend_on_packet_size(channels: int, sizes: tuple[int, ...]) -> None:
    settings = SimulatorSettings(channels=channels)
    whole = Simulator(settings).next(2500)
    rig = Simulator(settings)
    packets: list[NDArray[np.int16]] = []
    while rig.position < 2500:
        packets.append(rig.next(min(sizes[len(packets) % len(sizes)], 2500 - rig.position)))
    assert np.array_equal(np.concatenate(packets), whole)


def test_any_stretch_can_be_read_again() -> None:
    rig = Simulator(SimulatorSettings(channels=5))
    whole = rig.read(0, 40_000)
    for start, stop in ((31_234, 32_000), (0, 700), (14_950, 15_050), (600, 600)):
        assert np.array_equal(rig.read(start, stop), whole[start:stop])
    assert rig.position == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4)])
def test_an_impossible_stretch_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= start <= stop"):
        Simulator(SimulatorSettings(channels=1)).read(start, stop)


def test_equal_settings_give_equal_samples_and_another_seed_gives_others() -> None:
    first, again = (Simulator(SimulatorSettings(channels=4)).next(3000) for _ in range(2))
    other = Simulator(SimulatorSettings(channels=4, seed=2)).next(3000)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_runs_of_a_subject_share_the_array_and_subjects_do_not() -> None:
    one, other_run = (make_subject(SimulatorSettings(seed=seed)) for seed in (1, 2))
    other = make_subject(SimulatorSettings(subject=8))
    assert np.array_equal(one.tuning, other_run.tuning)
    assert np.array_equal(one.templates, other_run.templates)
    assert not np.array_equal(one.noise_gain, other.noise_gain)
    descriptors = [Simulator(SimulatorSettings(subject=s, seed=r)).descriptor for s, r in ((7, 1), (7, 2), (8, 1))]
    assert descriptors[0].hash == descriptors[1].hash != descriptors[2].hash


def test_a_wider_array_begins_with_the_electrodes_of_a_narrower_one() -> None:
    narrow, wide = (make_subject(SimulatorSettings(channels=n, dead=False)) for n in (20, 96))
    assert np.array_equal(narrow.tuning, wide.tuning[: len(narrow.tuning)])
    assert np.array_equal(narrow.mixing, wide.mixing[:, :20])


def test_a_rig_with_everything_off_is_silent() -> None:
    assert not Simulator(only(channels=9)).next(30_000).any()


@pytest.mark.parametrize(
    "part",
    [
        {"neurons_per_channel": 2.0},
        {"thermal": True},
        {"pink": True},
        {"lfp": True},
        {"line": True},
        {"common_mode": True},
        {"artefacts": True, "artefact_every_s": 1.0},
    ],
)
def test_every_part_can_be_switched_on_alone(part: dict[str, Any]) -> None:
    samples = Simulator(only(channels=9, **part)).next(30_000)
    assert samples.any(axis=0).sum() >= 8


def test_private_noise_has_the_stated_power_and_looks_gaussian_in_the_band() -> None:
    settings = only(channels=40, thermal=True, pink=True)
    samples = Simulator(settings).next(120_000) * settings.uv_per_bit
    gain = make_subject(settings).noise_gain
    assert (samples.std(axis=0) / gain).mean() == pytest.approx(np.hypot(8.0, 10.0), rel=0.03)
    noise = band(samples)
    z = noise / noise.std(axis=0)
    assert abs((z**4).mean() - 3.0) < 0.05
    # The cross-fades must not make it louder or softer: RMS of stretches of 50 ms, all channels together.
    loudness = np.array([part.std() for part in np.array_split(z, 78)])
    assert loudness.std() < 0.02


def test_no_channel_repeats_another_or_itself() -> None:
    noise = band(Simulator(only(channels=2 * TRACES + 3, thermal=True, pink=True)).next(60_000))
    picked = noise[:, [0, 1, 64, TRACES, TRACES + 1, 2 * TRACES, 2 * TRACES + 2]]
    spectra = np.fft.rfft(picked / picked.std(axis=0) / np.sqrt(len(picked)), 2**17, axis=0)
    for a in range(picked.shape[1]):
        for b in range(a + 1):
            alike = np.abs(np.fft.irfft(spectra[:, a].conj() * spectra[:, b]))
            if a == b:
                alike[:300] = alike[-300:] = 0.0
            assert max(alike[:1800].max(), alike[-1800:].max()) < 0.06
            assert alike.max() < 0.5


def test_mains_hum_is_at_its_frequency_on_all_channels() -> None:
    settings = only(channels=4, line=True, line_hz=60.0)
    samples = Simulator(settings).next(30_000) * settings.uv_per_bit
    spectrum = np.abs(np.fft.rfft(samples, axis=0)) * 2 / 30_000
    gain = make_subject(settings).mixing[1]
    assert spectrum.argmax(axis=0).tolist() == [60] * 4
    assert spectrum[60] == pytest.approx(20.0 * gain, rel=0.02)
    assert spectrum[180] == pytest.approx(6.0 * gain, rel=0.05)


def test_common_mode_is_common() -> None:
    samples = Simulator(only(channels=6, common_mode=True, common_mode_uv=50.0)).next(30_000)
    assert np.corrcoef(samples.T).min() > 0.999


def test_an_artefact_hits_all_channels_at_once_and_is_brief() -> None:
    settings = only(channels=6, artefacts=True, artefact_every_s=1.0)
    samples = np.abs(Simulator(settings).next(60_000)) * settings.uv_per_bit
    for window in range(2):
        hit = transient(settings, window)
        start = int(hit.start_s * 30_000)
        assert (samples[start : start + 60].max(axis=0) > 0.5 * abs(hit.peak_uv)).all()
    assert (samples > 0).any(axis=1).mean() < 0.07


def test_dead_electrodes_are_flat_and_the_rest_is_not() -> None:
    settings = SimulatorSettings(channels=120)
    dead = make_subject(settings).dead
    flat = np.ptp(Simulator(settings).next(6000), axis=0) == 0
    assert np.flatnonzero(flat).tolist() == dead.tolist()
    assert len(dead) == 2


def test_one_electrode_rails_now_and_then() -> None:
    settings = only(channels=16, railing=True, thermal=True)
    stays = rails(settings, 0, 60 * 30_000)
    assert 1 <= len(stays) <= 4
    stay = stays[0]
    samples = Simulator(settings).read(stay.start - 50, stay.stop + 50)
    channel = int(make_subject(settings).railing[0])
    assert (samples[50:-50, channel] == stay.value).all()
    assert (np.abs(np.delete(samples, channel, axis=1).astype(int)) < POSITIVE_RAIL).all()
    assert (samples[:50] != stay.value).all()
    assert (samples[-50:] != stay.value).all()


def test_the_kernels_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    n, channels, traces = 6, 2 * 4 + 3, 4
    arguments = (
        rng.integers(-9000, 9000, (32, 2 * traces)).astype(np.int16),
        np.array([0, 30, 9]),
        np.array([0, 3, 1]),
        np.array([16, 8, 31]),
        np.array([2, 0, 3]),
        rng.random(n, np.float32),
        rng.random(n, np.float32),
        rng.random(channels, np.float32) * 3,
        rng.standard_normal((6, n), np.float32) * 9000,
        rng.standard_normal((6, channels), np.float32),
    )
    fast, plain = np.zeros((n, channels), np.int16), np.zeros((n, channels), np.int16)
    render(fast, *arguments)
    _render(plain, *arguments)
    assert np.array_equal(fast, plain)
    assert fast.max() == 32_767  # the clipping is reached
    spikes = (
        np.array([-2, 1, 5]),
        np.array([0, 4, 4]),
        np.array([0, 1, 0]),
        rng.integers(-30_000, 30_000, (2, 4)).astype(np.int16),
    )
    add_spikes(fast, *spikes)
    _add_spikes(plain, *spikes)
    assert np.array_equal(fast, plain)


@pytest.mark.parametrize("rate_hz", [10_000.0, 19_531.0, 24_414.0625, 50_000.0])
def test_any_rate_gives_a_rig(rate_hz: float) -> None:
    rig = Simulator(SimulatorSettings(channels=4, rate_hz=rate_hz))
    assert rig.rate.hz == rate_hz
    assert rig.next(int(rate_hz / 4)).std(axis=0).min() > 10

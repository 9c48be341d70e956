"""The simulated cortex: reaches are minimum-jerk, spikes are refractory Poisson at the tuned rate."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.clients.simulator import COLUMN_NAMES, Simulator, SimulatorSettings
from cortexwire.clients.simulator.draws import Draws, Stream
from cortexwire.clients.simulator.kinematics import WORKSPACE_CM, Reaches
from cortexwire.clients.simulator.spikes import _exponential, _exponential_jit, _fire, _fire_jit
from cortexwire.clients.simulator.subject import make_subject
from cortexwire.clients.simulator.waveforms import Shape, peak_offset, template, template_samples


def test_velocity_is_the_derivative_of_position() -> None:
    step = 1e-4
    movement = Reaches(1).at(np.arange(0.0, 20.0, step))
    slope = (movement[2:, 2:] - movement[:-2, 2:]) / (2 * step)
    assert np.abs(slope - movement[1:-1, :2]).max() < 0.05


def test_reaches_start_and_end_at_rest_inside_the_workspace() -> None:
    reaches = Reaches(3)
    starts = reaches.starts_until(300.0)
    movement = reaches.at(starts)
    assert np.abs(movement[:, :2]).max() < 1e-9
    assert np.abs(reaches.at(np.arange(0, 300, 0.01))[:, 2:]).max() <= WORKSPACE_CM + 1e-9
    assert 0.4 < np.diff(starts).min() < np.diff(starts).max() < 1.3
    assert starts[-2] <= 300.0 < starts[-1]


def test_movement_does_not_depend_on_how_it_is_asked_for() -> None:
    times = np.arange(0.0, 60.0, 0.02)
    late, early = Reaches(5), Reaches(5)
    late.at(np.array([500.0]))
    assert np.array_equal(late.at(times), np.concatenate([early.at(times[i : i + 7]) for i in range(0, 3000, 7)]))
    assert early.at(np.empty(0)).shape == (0, 4)


def test_columns_stand_at_the_last_sample_of_every_10_ms() -> None:
    rig = Simulator(SimulatorSettings(channels=1))
    samples, values = rig.columns(0, 3000)
    assert samples.tolist() == list(range(299, 3000, 300))
    assert values.shape == (10, len(COLUMN_NAMES))
    assert np.array_equal(values[:, :2], rig.intended_at(samples).astype(np.float32))
    assert [len(rig.columns(a, a + 30)[0]) for a in range(0, 600, 30)].count(1) == 2
    assert rig.columns(0, 3000, column_ms=50.0)[0].tolist() == [1499, 2999]


def test_spikes_keep_their_refractory_time_and_their_rate() -> None:
    settings = SimulatorSettings(channels=30, modulation_hz=0.0, dead=False)
    spikes = Simulator(settings).true_spikes(0, 60 * 30_000)
    subject = make_subject(settings)
    first = {channel: k for k, channel in reversed(list(enumerate(subject.neuron_channel.tolist())))}
    gaps, counts = [], np.zeros(len(subject.tuning))
    for k, channel in enumerate(subject.neuron_channel.tolist()):
        mine = spikes[(spikes["channel"] == channel) & (spikes["unit"] == k - first[channel] + 1)]["sample"]
        gaps.append(np.diff(mine))
        counts[k] = mine.size
    assert counts.sum() == spikes.size
    assert np.concatenate(gaps).min() >= 60
    expected = subject.tuning[:, 0] * 60
    assert np.abs((counts - expected) / np.sqrt(expected)).max() < 4.0
    assert counts.sum() == pytest.approx(expected.sum(), rel=0.02)


def test_true_spikes_do_not_depend_on_the_stretch() -> None:
    rig = Simulator(SimulatorSettings(channels=20))
    whole = rig.true_spikes(0, 9000)
    parts = [rig.true_spikes(a, min(a + 437, 9000)) for a in range(0, 9000, 437)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(rig.true_spikes(4000, 4100), whole[(whole["sample"] >= 4000) & (whole["sample"] < 4100)])
    assert rig.true_spikes(50, 50).size == 0


def test_a_spike_is_in_the_samples_where_the_truth_says() -> None:
    off: dict[str, Any] = dict.fromkeys(
        ("thermal", "pink", "lfp", "line", "common_mode", "artefacts", "dead", "railing"), False
    )
    settings = SimulatorSettings(channels=16, neurons_per_channel=1.0, **off)
    rig = Simulator(settings)
    samples, spikes = rig.next(30_000), rig.true_spikes(0, 30_000)
    subject = make_subject(settings)
    alone = np.bincount(subject.neuron_channel, minlength=16) == 1
    peak, length = peak_offset(30_000.0), template_samples(30_000.0)
    seen = 0
    for spike in spikes[alone[spikes["channel"]]]:
        channel, start = int(spike["channel"]), int(spike["sample"]) - peak
        near = spikes[(spikes["channel"] == channel) & (np.abs(spikes["sample"] - spike["sample"]) < 2 * length)]
        if len(near) == 1 and 0 <= start < 30_000 - length:
            wave = subject.templates[np.flatnonzero(subject.neuron_channel == channel)[0]]
            assert np.array_equal(samples[start : start + length, channel], wave)
            seen += 1
    assert seen > 20


def test_neurons_lead_the_movement() -> None:
    settings = SimulatorSettings(channels=60, modulation_hz=30.0)
    rig = Simulator(settings)
    bins = np.arange(6000)
    spikes = rig.true_spikes(0, 6000 * 300)
    counts = np.zeros((6000, 60))
    np.add.at(counts, (spikes["sample"] // 300, spikes["channel"]), 1)
    counts -= counts.mean(axis=0)
    strength = [
        float(np.square(counts.T @ rig.intended_at((bins + lead) * 300 + 150)).sum()) for lead in range(-10, 30)
    ]
    assert 5 <= int(np.argmax(strength)) - 10 <= 11


@pytest.mark.parametrize("shape", list(Shape))
def test_waveforms_peak_at_their_peak_and_end_at_zero(shape: Shape) -> None:
    wave = template(shape, 1.0, 30_000.0)
    assert int(np.abs(wave).argmax()) == pytest.approx(peak_offset(30_000.0), abs=1)
    assert np.abs(wave).max() == 1.0
    assert (wave.min() == -1.0) == (shape != Shape.POSITIVE)
    assert abs(wave[0]) < 0.01
    assert abs(wave[-1]) < 0.01


def test_draws_follow_their_distributions() -> None:
    draws = Draws(11, Stream.ARRAY)
    normal = np.array([draws.normal() for _ in range(4000)])
    poisson = np.array([draws.poisson(1.5, 4) for _ in range(4000)])
    assert abs(normal.mean()) < 0.06
    assert normal.std() == pytest.approx(1.0, abs=0.05)
    assert np.median([draws.lognormal(3.0, 0.4) for _ in range(2000)]) == pytest.approx(3.0, rel=0.05)
    assert poisson.max() == 4
    assert (poisson == 0).mean() == pytest.approx(np.exp(-1.5), abs=0.03)
    assert sorted(draws.permutation(50).tolist()) == list(range(50))


def _fire_arguments(n_neurons: int) -> list[Any]:
    rng = np.random.default_rng(1)
    tuning: NDArray[np.float64] = rng.normal(0.0, 3.0, (n_neurons, 6))
    tuning[:, 0] = 120.0
    return [
        rng.normal(0.0, 3.0, (12, 4)),
        1,
        tuning,
        rng.integers(6, 11, n_neurons),
        300,
        30_000.0,
        60,
        rng.integers(0, 2**63, n_neurons).astype(np.uint64),
        rng.exponential(size=n_neurons),
        rng.random(n_neurons) * 90,
        np.zeros(6 * n_neurons, np.int64),
        np.zeros(6 * n_neurons, np.int64),
    ]


def test_the_firing_kernel_equals_a_plain_loop() -> None:
    fast, plain = _fire_arguments(40), _fire_arguments(40)
    with np.errstate(over="ignore"):
        counts = _fire_jit(*fast), _fire(*plain)
        drawn = _exponential(plain[7], 0)
    assert counts[0] == counts[1] > 30
    for a, b in zip(fast[7:], plain[7:], strict=True):
        if a.dtype == np.uint64:
            assert a[1:].tolist() == b[1:].tolist()
        else:
            assert np.allclose(a, b, rtol=1e-12)
    assert drawn == pytest.approx(_exponential_jit(fast[7], 0), rel=1e-12)

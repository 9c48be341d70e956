"""Laws of the networks' layers, which need no torch: reference and graph are one thing."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.decoders import OnnxDecoder
from cortexwire.decoders.bundle import Bundle
from cortexwire.training import export_bundle, network
from cortexwire.training.feedforward_layers import Window
from cortexwire.training.network import FittedNetwork
from cortexwire.training.spiking_layers import BOUND, GRID, Rounded, on_grid
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording
from tests.training.networks import N_FEATURES, TINY, UNITS, random_network

families = pytest.mark.parametrize("name", TINY)


def _export(fitted: FittedNetwork, folder: Path) -> Bundle:
    return export_bundle(
        fitted,
        folder,
        name="random",
        family=fitted.name,
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=recording(300)[0],
    )


@families
def test_the_graph_of_any_network_obeys_the_battery(name: str, tmp_path: Path) -> None:
    fitted = random_network(name)
    bundle = _export(fitted, tmp_path / "bundle")
    check_decoder(lambda: OnnxDecoder(bundle), fitted.predict)
    assert bundle.manifest.parity["recorded_own_state"] < 1e-6


@families
def test_a_prediction_does_not_depend_on_chunks_and_is_causal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, (features, _) = random_network(name), recording(200)
    whole = fitted.predict(features)["velocity"]
    monkeypatch.setattr(network, "CHUNK", 7)
    np.testing.assert_allclose(fitted.predict(features)["velocity"], whole, rtol=0, atol=1e-9)
    changed = features.copy()
    changed[120:] = 9
    other = fitted.predict(changed)["velocity"]
    np.testing.assert_allclose(other[:120], whole[:120], rtol=0, atol=1e-9)
    assert (other[120:] != whole[120:]).any()


@families
def test_a_segment_starts_from_nothing(name: str) -> None:
    fitted, (features, _) = random_network(name), recording(200)
    both = fitted.predict(features, segments=(0, 90))["velocity"]
    np.testing.assert_allclose(both[90:], fitted.predict(features[90:])["velocity"], rtol=0, atol=1e-9)


@families
def test_a_step_from_a_traced_state_gives_the_traced_output(name: str, tmp_path: Path) -> None:
    fitted, (features, _) = random_network(name), recording(80)
    trace = fitted.trace(features)
    np.testing.assert_array_equal(trace.outputs["velocity"], fitted.predict(features)["velocity"])
    decoder = OnnxDecoder(_export(fitted, tmp_path / "bundle"))
    assert trace.states.keys() == decoder.state().keys()
    for k in (0, 1, 40, 79):
        decoder.set_state({state: values[k] for state, values in trace.states.items()})
        came = decoder.step(features[k])["velocity"]
        np.testing.assert_allclose(came, trace.outputs["velocity"][k], rtol=0, atol=1e-4)


def test_memory_is_the_reach_of_the_layers_where_it_has_an_end() -> None:
    features, _ = recording(400)
    assert random_network("mlp").remembered(features) == (4, 3, True)
    memory, warm_up, contracting = random_network("tcn").remembered(features)
    assert (memory, contracting) == (1 + 2 * (1 + 2 + 4), True)
    assert warm_up < memory
    fitted = random_network("tcn")
    changed = features.copy()
    changed[100] += 5
    differs = (fitted.predict(changed)["velocity"] != fitted.predict(features)["velocity"]).any(axis=1)
    assert set(np.flatnonzero(differs)) <= set(range(100, 115))


def test_memory_is_measured_where_it_has_no_end() -> None:
    features, _ = recording(1500)
    memory, warm_up, contracting = random_network("gru").remembered(features)
    assert 0 < warm_up < memory < 60
    assert contracting


def test_a_window_of_one_bin_is_that_bin() -> None:
    inputs = np.ones((3, 1, 2))
    outputs, after = Window(1).run(inputs, {})
    assert outputs is inputs
    assert not after


def test_spikes_of_graph_and_reference_are_the_same_to_the_bit(tmp_path: Path) -> None:
    fitted, (features, _) = random_network("snn"), recording(1000)
    decoder = OnnxDecoder(_export(fitted, tmp_path / "bundle"))
    states = fitted.trace(features).states
    n_spikes = 0
    for k, row in enumerate(features):
        for name, came in decoder.state().items():
            if name != "trace":
                np.testing.assert_array_equal(came, states[name][k])
        decoder.step(row)
        n_spikes += int(states["lif0_spikes"][k].sum())
    assert 1000 < n_spikes < 1000 * UNITS / 2


def test_sums_on_the_grid_do_not_depend_on_their_order() -> None:
    rng = np.random.default_rng(5)
    weights, echo, bias = rng.normal(size=(4, 96)), rng.normal(size=(4, 200)), rng.normal(size=4)
    w, v, b = on_grid(weights.astype(np.float32), echo.astype(np.float32), bias.astype(np.float32), rounded=True)
    assert v is not None
    np.testing.assert_allclose(w, weights, atol=2e-3)
    x, _ = Rounded().run(rng.normal(scale=4, size=(1, 1, 96)).astype(np.float32), {})
    terms = np.concatenate([w * x[0], v * (rng.random(200) < 0.5), b[:, None]], axis=1)
    assert terms.dtype == np.float32
    exact = terms.astype(np.float64).sum(axis=1)
    for _ in range(50):
        total = np.zeros(4, np.float32)
        for term in terms[:, rng.permutation(terms.shape[1])].T:
            total = total + term
        np.testing.assert_array_equal(total, exact)


def test_features_are_rounded_and_bounded() -> None:
    values = np.array([[[0.0, 0.03, 0.04, 100.0, -100.0]]], np.float32)
    rounded, _ = Rounded().run(values, {})
    assert rounded.tolist() == [[[0.0, 0.0, 1 / GRID, BOUND, -BOUND]]]
    assert rounded.dtype == np.float32


def test_random_networks_have_the_streams_features() -> None:
    assert STREAM.n_channels == N_FEATURES

"""Other people's libraries with our weights decode what our graphs decode."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.bench.evidence.parity import against, spike_disagreement
from cortexwire.decoders.bundle import Bundle
from cortexwire.training import export_bundle, family
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.network import FittedNetwork
from cortexwire.training.spiking_layers import Leaky, Lif, Rounded, on_grid
from tests.training.examples import STREAM, recording
from tests.training.networks import N_FEATURES, random_network

NO_SNNTORCH = "snntorch is absent: pip install 'cortexwire[peers]'"
FEATURES, TARGETS = recording(1000)


def _export(fitted: Fitted, folder: Path) -> Bundle:
    return export_bundle(
        fitted, folder, name="n", family="n", stream=STREAM, front_end={}, unit="mm/s", recorded=FEATURES[:100]
    )


def _spiking(recurrent: bool) -> FittedNetwork:
    rng = np.random.default_rng(5)
    drawn = random_network("snn")
    layers: list[Lif | Rounded | Leaky] = [Rounded()]
    size = N_FEATURES
    for k in range(2):
        weights = np.asarray(rng.normal(size=(16, size)) / np.sqrt(size) * (3 if k else 1), np.float32)
        echo = np.asarray(rng.normal(size=(16, 16)) / 4, np.float32) if recurrent else None
        bias = np.asarray(rng.normal(size=16) / 4, np.float32)
        decay = rng.uniform(0.3, 0.95, 16).astype(np.float32)
        layers.append(Lif(f"lif{k}", *on_grid(weights, echo, bias, rounded=k == 0), decay, 1.0, 0.0))
        size = 16
    layers.append(Leaky(rng.uniform(0.5, 0.95, 16).astype(np.float32)))
    readout = rng.normal(size=(2, 16)).astype(np.float32) * 30
    normal = (drawn.feature_mean, drawn.feature_scale)
    return FittedNetwork("snn", *normal, tuple(layers), readout, np.ones(2, np.float32), 10, 9, False, {})


@pytest.mark.parametrize("recurrent", [True, False])
def test_snntorch_spikes_when_we_do(recurrent: bool, tmp_path: Path) -> None:
    pytest.importorskip("snntorch", reason=NO_SNNTORCH)
    from cortexwire.bench.peers import spiking

    fitted = _spiking(recurrent)
    trace = spiking.run(fitted, FEATURES)
    found = against(trace, _export(fitted, tmp_path / "b"), FEATURES, TARGETS, contracting=False)
    assert found["passed"], found
    assert found["own_state"] <= 1e-5
    if recurrent:
        assert found["spike_disagreement"] <= 1e-4
        assert 0.01 < trace.states["lif0_spikes"].mean() < 0.99


def test_snntorch_units_start_again_from_zero_so_others_are_refused() -> None:
    pytest.importorskip("snntorch", reason=NO_SNNTORCH)
    from cortexwire.bench.peers import spiking

    with pytest.raises(ValueError, match="start again from 0"):
        spiking.run(random_network("snn"), FEATURES)


@pytest.mark.parametrize("radius", [0.9, 1.6])
def test_a_reservoir_in_reservoirpy_goes_through_our_states(radius: float, tmp_path: Path) -> None:
    pytest.importorskip("reservoirpy", reason="reservoirpy is absent: pip install 'cortexwire[peers]'")
    from cortexwire.bench.peers import reservoir

    esn = family("esn")
    settings = {"units": 80, "leaks": (0.4,), "input_scalings": (0.3,), "spectral_radii": (radius,), "direct": 3}
    fitted = esn.fit(TrainingData(FEATURES, TARGETS), esn.check(settings))
    assert isinstance(fitted, FittedEsn)
    trace = reservoir.run(fitted, FEATURES)
    found = against(trace, _export(fitted, tmp_path / "b"), FEATURES, TARGETS, fitted.contracting)
    assert found["passed"], found
    np.testing.assert_allclose(trace.outputs["velocity"], fitted.predict(FEATURES)["velocity"], rtol=1e-6, atol=1e-6)


def test_spikes_that_differ_are_counted() -> None:
    want = np.zeros((10, N_FEATURES))
    came = want.copy()
    came[3, :4] = 1
    assert spike_disagreement({"a_spikes": want}, {"a_spikes": came}) == 4 / want.size
    assert spike_disagreement({"a_potential": want}, {}) is None

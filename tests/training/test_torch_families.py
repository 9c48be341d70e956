"""Laws of the families that are trained with torch."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.decoders import OnnxDecoder
from cortexwire.errors import ConfigError
from cortexwire.training import TrainingData, export_bundle, family, family_names, r2
from cortexwire.training.network import FittedNetwork
from cortexwire.training.progress import Epoch, listening
from tests.decoders.battery import check_decoder
from tests.training.examples import STREAM, recording
from tests.training.networks import NO_TORCH, TINY, settings

families = pytest.mark.parametrize("name", TINY)
N_TRAIN = 1200


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason=NO_TORCH)


def _fit(name: str, data: TrainingData | None = None, **more: Any) -> FittedNetwork:
    features, velocity = recording()
    fam = family(name)
    fitted = fam.fit(data or TrainingData(features[:N_TRAIN], velocity[:N_TRAIN]), fam.check(settings(name, **more)))
    assert isinstance(fitted, FittedNetwork)
    return fitted


fitted_once = cache(_fit)


def _bits(fitted: FittedNetwork) -> bytes:
    return fitted.weights.tobytes() + fitted.predict(recording(100)[0])["velocity"].tobytes()


@families
@pytest.mark.usefixtures("torch")
def test_a_family_learns_and_its_export_obeys_the_battery(name: str, tmp_path: Path) -> None:
    features, velocity = recording()
    fitted = fitted_once(name)
    score = r2(velocity[N_TRAIN:], fitted.predict(features)["velocity"][N_TRAIN:])
    assert (score > 0.45).all()
    bundle = export_bundle(
        fitted,
        tmp_path / "bundle",
        name="tiny",
        family=name,
        stream=STREAM,
        front_end={},
        unit="mm/s",
        recorded=features,
    )
    check_decoder(lambda: OnnxDecoder(bundle), fitted.predict)
    assert bundle.manifest.training.settings["best_epoch"] >= 1
    assert {"weights", "bias", "feature_mean", "feature_scale"} == bundle.parameters.keys()


@families
@pytest.mark.parametrize("layers", [1, 2])
def test_state_carried_from_piece_to_piece_is_the_whole_sequence_and_the_reference(
    name: str, layers: int, torch: Any
) -> None:
    network, features = _untrained(name, layers, torch), recording(90)[0][:, None]
    sequence = torch.from_numpy(features - 1)
    network.module.eval()
    with torch.no_grad():
        whole, _ = network.run(sequence, ())
        states: tuple[Any, ...] = ()
        pieces = []
        for start, stop in ((0, 1), (1, 8), (8, 9), (9, 90)):
            piece, states = network.run(sequence[start:stop], states)
            pieces.append(piece)
    np.testing.assert_allclose(torch.cat(pieces).numpy(), whole.numpy(), rtol=0, atol=1e-5)
    learned = network.learned()
    ones = np.ones(8, np.float32)
    reference = FittedNetwork(name, ones, ones, learned.layers, learned.weights, learned.bias, 1, 0, True, {})
    np.testing.assert_allclose(reference.predict(features[:, 0])["velocity"], whole[:, 0].numpy(), rtol=0, atol=1e-4)


def _untrained(name: str, layers: int, torch: Any) -> Any:
    from cortexwire.training.torch_feedforward import ConvolutionNetwork, WindowNetwork
    from cortexwire.training.torch_recurrent import RecurrentNetwork
    from cortexwire.training.torch_spiking import SpikingNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if name == "mlp":
            return WindowNetwork(8, 2, 5, 12, layers, 0.5)
        if name == "tcn":
            return ConvolutionNetwork(8, 2, 12, layers, 3, 0.5)
        if name == "snn":
            shape: dict[str, Any] = {"units": 12, "layers": layers, "dropout": 0.5, "recurrent": layers == 1}
            return SpikingNetwork(8, 2, **shape, tau=3.0, v_th=1.0, v_reset=-0.1, slope=5.0)
        return RecurrentNetwork(name, 8, 2, 12, layers, 0.5)  # type: ignore[arg-type]  # one of the three cells


@pytest.mark.parametrize("name", ["gru", "snn"])
def test_a_seed_repeats_a_training_and_torch_is_left_as_it_was(name: str, torch: Any) -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    more: dict[str, Any] = {"epochs": 2, "dropout": 0.2, "gain_drift": 0.1, "channel_dropout": 0.1, "count_noise": 0.1}
    first = _fit(name, **more)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    torch.manual_seed(6)
    assert _bits(_fit(name, **more)) == _bits(first)
    assert _bits(_fit(name, **more, seed=1)) != _bits(first)


@pytest.mark.usefixtures("torch")
def test_what_a_bin_that_does_not_teach_has_for_a_target_does_not_matter() -> None:
    features, velocity = recording(500)
    keep = np.arange(500) % 5 != 0
    other, unknown = np.where(keep[:, None], velocity, 1e6), np.where(keep[:, None], velocity, np.nan)
    fits = [
        _fit("gru", TrainingData(features, values, keep=mask), epochs=1)
        for values, mask in ((velocity, keep), (other, keep), (unknown, None))
    ]
    assert _bits(fits[0]) == _bits(fits[1]) == _bits(fits[2])


@pytest.mark.usefixtures("torch")
def test_the_validation_part_is_not_trained_on() -> None:
    features, velocity = recording(500)
    spoiled = velocity.copy()
    spoiled[400:] = spoiled[400:][::-1]
    fits = [_fit("gru", TrainingData(features, y), epochs=1, validation_fraction=0.2) for y in (velocity, spoiled)]
    assert _bits(fits[0]) == _bits(fits[1])
    assert fits[0].summary["validation_r2"] != fits[1].summary["validation_r2"]


@pytest.mark.usefixtures("torch")
def test_training_tells_of_each_epoch_and_ends_when_it_gets_no_better() -> None:
    features, velocity = recording(600)
    heard: list[Epoch] = []
    with listening(heard.append):
        fitted = _fit("rnn", TrainingData(features, np.roll(velocity, 300, axis=0)), epochs=50, patience=3)
    assert [epoch.number for epoch in heard] == list(range(1, len(heard) + 1))
    assert len(heard) < 50
    best = fitted.summary["best_epoch"]
    assert len(heard) == best + 3
    assert [epoch.number for epoch in heard if epoch.best][-1] == best
    assert fitted.summary["learning_curve"] == [np.round(epoch.validation_r2, 4).tolist() for epoch in heard]


@pytest.mark.usefixtures("torch")
def test_training_ends_when_its_time_is_over() -> None:
    heard: list[Epoch] = []
    with listening(heard.append):
        _fit("rnn", epochs=10_000, patience=10_000, max_minutes=1e-4)
    assert len(heard) < 100
    assert heard[-1].done == 1


@pytest.mark.usefixtures("torch")
def test_sessions_end_to_end_are_segments() -> None:
    features, velocity = recording(600)
    fitted = _fit("gru", TrainingData(features, velocity, segments=(0, 290)), epochs=2)
    assert fitted.memory_bins >= 1


def test_augmentation_makes_counts_worse_as_live_ones_get_worse(torch: Any) -> None:
    from cortexwire.training.augmentation import Augmentation
    from cortexwire.training.torch_settings import TorchSettings

    rest = torch.full((50,), 2.0)
    nothing: dict[str, Any] = {"input_dropout": 0.0}
    silent = -rest.expand(30, 4, 50)
    drift = Augmentation(TorchSettings(**nothing, gain_drift=0.2), 4, rest)
    np.testing.assert_array_equal(drift.apply(silent), silent)
    first, second = drift.apply(silent + 1), drift.apply(silent + 1)
    assert torch.equal(first[0], first[-1])
    assert 0 < float((first - second).abs().mean()) < 0.2
    loss = Augmentation(TorchSettings(**nothing, channel_dropout=0.5), 4, rest)
    seen = loss.apply(silent) != 0
    assert torch.equal(seen[0], seen[-1])
    assert torch.equal(loss.apply(silent) != 0, seen)
    assert 0.3 < float(seen.float().mean()) < 0.7
    noisy = Augmentation(TorchSettings(**nothing, count_noise=0.3), 4, rest).apply(silent) - silent
    assert 0.25 < float(noisy.std()) < 0.35
    plain = Augmentation(TorchSettings(**nothing), 4, rest)
    assert torch.equal(plain.apply(silent), silent)


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("gru", {"hiden": 3}, "gru: .*unknown field `hiden`"),
        ("lstm", {"layers": 0}, ">= 1"),
        ("rnn", {"dropout": 1.0}, "< 1.0"),
        ("snn", {"v_reset": 1.0}, "snn: expected v_reset below v_th"),
        ("tcn", {"device": "tpu"}, "Invalid enum value"),
        ("mlp", {"learning_rate": 1e30, "epochs": 3}, "mlp: .*diverged.*lower learning_rate"),
    ],
)
def test_unusable_settings_are_refused(name: str, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _fit(name, **wrong)


def test_what_cannot_be_learned_from_is_refused(torch: Any) -> None:
    features, velocity = recording(300)
    with pytest.raises(ConfigError, match="gru: expected bins with targets to train on, got 0"):
        _fit("gru", TrainingData(features, np.full_like(velocity, np.nan)))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device cuda: expected a torch with a working CUDA device"):
            _fit("gru", device="cuda")


WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())

from cortexwire.errors import ConfigError
from cortexwire.training import family, family_names

family("wiener")
for name in sys.argv[1:]:
    assert name in family_names()
    try:
        family(name)
    except ConfigError as error:
        assert f"decoder {name}: expected torch" in str(error) and "cortexwire[train]" in str(error), error
    else:
        raise AssertionError(name)
"""


def test_without_torch_the_error_names_the_extra() -> None:
    assert set(TINY) <= set(family_names())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *TINY],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

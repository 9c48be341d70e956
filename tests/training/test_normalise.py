"""A day's drift is put right by an overlay, and the decoder's file is never touched."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import export_bundle, r2
from cortexwire.training.families.wiener import fit_wiener
from cortexwire.training.features import FeatureTable
from cortexwire.training.lanes import Lanes
from cortexwire.training.normalise import Mode, RunningNormaliser, day_overlay, day_parameters
from tests.training.reaching import BIN_MS, N_CHANNELS, reaching, source_of

RECORDING = reaching(200)
SOURCE = source_of(RECORDING)
OTHER_DAY = reaching(120, seed=9)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    fitted = fit_wiener(RECORDING.features, RECORDING.targets, history=5)
    return export_bundle(
        fitted,
        tmp_path_factory.mktemp("bundle") / "b",
        name="n",
        family="wiener",
        stream=SOURCE.stream,
        front_end=SOURCE.front_end.model_dump(mode="json"),
        unit="mm/s",
        recorded=RECORDING.features,
    )


def _table(features: NDArray[np.float32], status: NDArray[np.uint8] | None = None) -> FeatureTable:
    n_bins = len(features)
    return FeatureTable(
        stream=SOURCE.stream,
        front_end=FrontEndSettings(bin_ms=BIN_MS),
        index=np.arange(n_bins),
        end=(np.arange(n_bins) + 1) * 1500,
        counts=features.astype(np.uint16),
        power=None,
        observed_fraction=np.ones(n_bins),
        status=np.zeros(features.shape, np.uint8) if status is None else status,
        thresholds_uv=None,
        notes=(),
    )


def _drifted(features: NDArray[np.float32], seed: int = 4) -> NDArray[np.float32]:
    """Another day: each channel's rate is another, some crossings come from elsewhere."""
    rng = np.random.default_rng(seed)
    gain = np.exp(rng.normal(scale=0.6, size=N_CHANNELS))
    noise = rng.poisson(rng.uniform(0, 3, N_CHANNELS), features.shape)
    return (np.rint(features * gain) + noise).astype(np.float32)


def _score(bundle: Bundle, features: NDArray[np.float32], overlay: object = None) -> float:
    half = len(features) // 2
    decoded, _ = Lanes(bundle, overlay).run(features)  # type: ignore[arg-type]  # None or an overlay
    return float(r2(OTHER_DAY.targets[half:], decoded[half:]).mean())


@pytest.mark.parametrize(("mode", "least"), [("zscore", 0.9), ("mean", 0.5), ("gain", 0.3)])
def test_an_overlay_of_the_first_minutes_brings_back_what_drift_took(bundle: Bundle, mode: Mode, least: float) -> None:
    files = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    same_day, drifted = OTHER_DAY.features, _drifted(OTHER_DAY.features)
    whole, lost = _score(bundle, same_day), _score(bundle, drifted)
    overlay = day_overlay(bundle, _table(drifted[: len(drifted) // 2]), mode=mode)
    found = _score(bundle, drifted, overlay)
    assert lost < whole - 0.3
    assert found > lost + least * (whole - lost) - 0.15
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == files
    assert load_bundle(bundle.path).hash == bundle.hash
    assert mode in overlay.note


def test_a_day_like_the_training_changes_next_to_nothing(bundle: Bundle) -> None:
    overlay = day_overlay(bundle, _table(OTHER_DAY.features))
    assert abs(_score(bundle, OTHER_DAY.features, overlay) - _score(bundle, OTHER_DAY.features)) < 0.03


def test_the_prior_speaks_as_if_it_were_so_many_bins(bundle: Bundle) -> None:
    rows = OTHER_DAY.features[:40].astype(np.float64) + 2
    mean = bundle.parameters["feature_mean"].astype(np.float64)
    scale = bundle.parameters["feature_scale"].astype(np.float64)
    found = day_parameters(bundle, rows, prior_bins=60)
    want = (rows.sum(axis=0) + 60 * mean) / 100
    np.testing.assert_allclose(found["feature_mean"], want, rtol=1e-6)
    square = (np.square(rows - want).sum(axis=0) + 60 * (scale**2 + (mean - want) ** 2)) / 100
    np.testing.assert_allclose(found["feature_scale"], np.sqrt(square), rtol=1e-6)
    far = day_parameters(bundle, rows, prior_bins=1e9)
    np.testing.assert_allclose(far["feature_mean"], mean, rtol=1e-4)


def test_a_gain_scales_mean_and_scale_alike_and_has_bounds(bundle: Bundle) -> None:
    mean = bundle.parameters["feature_mean"].astype(np.float64)
    found = day_parameters(bundle, np.tile(3 * mean, (5, 1)), mode="gain")
    np.testing.assert_allclose(found["feature_mean"], 3 * mean, rtol=1e-5)
    np.testing.assert_allclose(found["feature_scale"], 3 * bundle.parameters["feature_scale"], rtol=1e-5)
    silent = day_parameters(bundle, np.zeros((5, N_CHANNELS)), mode="gain")
    assert (silent["feature_scale"] > 0).all()


def test_a_channel_without_data_stays_as_trained_and_a_silent_one_keeps_its_scale(bundle: Bundle) -> None:
    features = OTHER_DAY.features.copy()
    features[:, 2] = 0
    status = np.zeros(features.shape, np.uint8)
    status[:, 5] = 1
    overlay = day_overlay(bundle, _table(features, status), prior_s=0)
    for name in ("feature_mean", "feature_scale"):
        assert overlay.parameters[name][5] == bundle.parameters[name][5]
    assert overlay.parameters["feature_mean"][2] == 0
    assert overlay.parameters["feature_scale"][2] == bundle.parameters["feature_scale"][2]


def test_the_running_form_follows_drift_and_does_not_depend_on_the_cut(bundle: Bundle) -> None:
    drifted = _drifted(OTHER_DAY.features)
    one, other = (RunningNormaliser(bundle, half_life_bins=300, every_bins=100) for _ in range(2))
    whole = list(one.process(drifted))
    pieces = [found for k in range(0, len(drifted), 77) for found in other.process(drifted[k : k + 77])]
    assert [(at, overlay.sha256) for at, overlay in whole] == [(at, overlay.sha256) for at, overlay in pieces]
    assert [at for at, _ in whole] == list(range(100, len(drifted) + 1, 100))

    decoder, decoded, due = OnnxDecoder(bundle, "cpu"), [], dict(whole)
    for k, row in enumerate(drifted):
        if k in due:
            decoder.apply(due[k])
        decoded.append(decoder.step(row)["velocity"])
    half = len(drifted) // 2
    running = float(r2(OTHER_DAY.targets[half:], np.array(decoded)[half:]).mean())
    assert running > _score(bundle, drifted) + 0.3


def test_the_running_form_begins_at_the_training_and_can_begin_again(bundle: Bundle) -> None:
    normaliser = RunningNormaliser(bundle, half_life_bins=10_000, every_bins=1, mode="mean")
    (_, first), *_ = normaliser.process(OTHER_DAY.features[:3])
    np.testing.assert_allclose(first.parameters["feature_mean"], bundle.parameters["feature_mean"], atol=1e-2)
    normaliser.reset()
    ((_, again),) = normaliser.process(OTHER_DAY.features[:1])
    assert again.sha256 == first.sha256
    with pytest.raises(ConfigError, match="1 bin or more"):
        RunningNormaliser(bundle, half_life_bins=0, every_bins=1)


def test_a_bin_that_was_not_measured_moves_nothing(bundle: Bundle) -> None:
    normaliser = RunningNormaliser(bundle, half_life_bins=5, every_bins=1, mode="mean")
    unknown = np.zeros((1, N_CHANNELS), dtype=bool)
    ((_, overlay),) = normaliser.process(OTHER_DAY.features[:1] + 50, unknown)
    np.testing.assert_array_equal(overlay.parameters["feature_mean"], bundle.parameters["feature_mean"])


def test_other_features_and_missing_parameters_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="valid bins of 12 features"):
        day_overlay(bundle, _table(OTHER_DAY.features[:, :3]))
    bare = type(bundle)(
        path=bundle.path,
        manifest=msgspec.structs.replace(bundle.manifest),
        model=bundle.model,
        card=bundle.card,
        parameters={"feature_mean": bundle.parameters["feature_mean"]},
        sha256=bundle.sha256,
    )
    with pytest.raises(BundleError, match="zscore needs the parameters feature_mean, feature_scale"):
        day_overlay(bare, _table(OTHER_DAY.features))
    assert set(day_parameters(bare, OTHER_DAY.features.astype(float), mode="mean")) == {"feature_mean"}

"""Laws of the Wiener filter's fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.training import family, family_names, r2
from cortexwire.training.data import TrainingData
from cortexwire.training.families.wiener import FittedWiener, fit_wiener
from cortexwire.training.history import history_rows
from tests.training.examples import recording


def _weights(fit: FittedWiener) -> tuple[bytes, bytes]:
    return fit.weights.tobytes(), fit.bias.tobytes()


def test_rows_of_history_equal_a_plain_loop_whatever_the_chunk() -> None:
    z = np.random.default_rng(1).normal(size=(9000, 2)).astype(np.float32)
    segments = (0, 5, 8500)
    want = np.zeros((len(z), 3, 2))
    for k in range(len(z)):
        start = max(s for s in segments if s <= k)
        for back in range(3):
            if k - back >= start:
                want[k, 2 - back] = z[k - back]
    came = np.concatenate([rows for _, rows in history_rows(z, 3, segments)])
    np.testing.assert_array_equal(came, want.reshape(len(z), -1))
    covered = np.concatenate([np.arange(bins.start, bins.stop) for bins, _ in history_rows(z, 3, segments)])
    np.testing.assert_array_equal(covered, np.arange(len(z)))


def test_the_filter_decodes_what_was_held_out() -> None:
    features, velocity = recording()
    fit = fit_wiener(features[:1200], velocity[:1200], history=5)
    assert (r2(velocity[1200:], fit.predict(features)["velocity"][1200:]) > 0.5).all()
    assert fit.history == fit.memory_bins == 5
    assert fit.warm_up_bins == 4
    assert fit.weights.dtype == fit.bias.dtype == fit.feature_mean.dtype == np.float32


def test_shifted_targets_decode_to_nothing() -> None:
    features, velocity = recording()
    shifted = np.roll(velocity, 700, axis=0)
    fit = fit_wiener(features[:1200], shifted[:1200], history=5)
    assert (r2(shifted[1200:], fit.predict(features)["velocity"][1200:]) < 0.05).all()


def test_features_enter_normalised_by_their_training_mean_and_scale() -> None:
    features, velocity = recording()
    fit = fit_wiener(features, velocity, history=5)
    np.testing.assert_allclose(fit.feature_mean, features[4:].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fit.feature_scale, features[4:].std(axis=0), rtol=1e-5)


def test_a_dead_channel_has_no_say() -> None:
    features, velocity = recording()
    features[:, 3] = 2
    fit = fit_wiener(features, velocity, history=5)
    assert fit.feature_scale[3] == 1
    np.testing.assert_allclose(fit.weights.reshape(2, 5, 8)[:, :, 3], 0, atol=1e-6)
    assert np.isfinite(fit.weights).all()


def test_bins_that_do_not_teach_stay_in_the_history_of_others() -> None:
    features, velocity = recording(400)
    rng = np.random.default_rng(2)
    dropped = rng.random(400) < 0.3
    keep = ~dropped
    by_mask = fit_wiener(features, velocity, history=3, lambdas=(0.1,), keep=keep)
    unknown = velocity.copy()
    unknown[dropped, 1] = np.nan
    by_nan = fit_wiener(features, unknown, history=3, lambdas=(0.1,))
    assert _weights(by_mask) == _weights(by_nan)
    assert by_mask.summary["bins"] == int(keep[2:].sum())

    used = np.flatnonzero(keep & (np.arange(400) >= 2))
    z = (features - by_mask.feature_mean) / by_mask.feature_scale
    x = np.stack([z[k - 2 : k + 1].ravel() for k in used]).astype(np.float64)
    xc, yc = x - x.mean(axis=0), velocity[used] - velocity[used].mean(axis=0)
    xx = xc.T @ xc
    want = np.linalg.solve(xx + 0.1 * np.trace(xx) / len(xx) * np.eye(len(xx)), xc.T @ yc).T
    np.testing.assert_allclose(by_mask.weights, want, rtol=1e-4, atol=1e-4)


def test_what_a_bin_that_does_not_teach_has_for_a_target_does_not_matter() -> None:
    features, velocity = recording(400)
    keep = np.arange(400) % 5 != 0
    other = np.where(keep[:, None], velocity, 1e6)
    assert _weights(fit_wiener(features, velocity, keep=keep, history=3)) == _weights(
        fit_wiener(features, other, keep=keep, history=3)
    )


def test_history_does_not_cross_into_a_new_segment() -> None:
    features, velocity = recording(400)
    fit = fit_wiener(features, velocity, history=4, segments=(0, 200))
    assert fit.summary["bins"] == 400 - 2 * 3
    whole = fit.predict(features, segments=(0, 200))["velocity"]
    np.testing.assert_array_equal(whole[200:], fit.predict(features[200:])["velocity"])


def test_a_prediction_is_causal() -> None:
    features, velocity = recording(300)
    fit = fit_wiener(features, velocity, history=4)
    changed = features.copy()
    changed[150:] = 9
    a, b = fit.predict(features)["velocity"], fit.predict(changed)["velocity"]
    np.testing.assert_array_equal(a[:150], b[:150])
    assert (a[150:] != b[150:]).any()


def test_the_penalty_is_chosen_on_the_last_part_and_the_rest_is_used_too() -> None:
    features, velocity = recording(500)
    fit = fit_wiener(features, velocity, history=3)
    assert fit.summary["lambda"] in fit.summary["lambdas"]
    spoiled = velocity.copy()
    spoiled[400:] = np.roll(velocity, 123, axis=0)[400:]
    assert fit_wiener(features, spoiled, history=3).summary["lambda"] > fit.summary["lambda"]


def test_the_family_is_found_by_name_and_checks_its_settings() -> None:
    assert "wiener" in family_names()
    wiener = family("wiener")
    features, velocity = recording(300)
    fit = wiener.fit(TrainingData(features, velocity), wiener.check({"history": "6"}))
    assert fit.memory_bins == 6
    with pytest.raises(ConfigError, match="unknown field `histroy`"):
        wiener.check({"histroy": 3})
    with pytest.raises(ConfigError, match=r"decoder: expected one of wiener, .* got 'oracle'"):
        family("oracle")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history": 0}, "Expected `int` >= 1"),
        ({"lambdas": ()}, "length >= 1"),
        ({"lambdas": (0.0,)}, "> 0.0"),
        ({"validation_fraction": 1.0}, "< 1.0"),
        ({"history": 500}, "bins of history, got none"),
        ({"segments": (1,)}, "segments: expected starts ascending from 0"),
        ({"keep": np.ones(3, dtype=bool)}, "keep: expected shape"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, object], message: str) -> None:
    features, velocity = recording(300)
    arguments: dict[str, object] = {"history": 3, **settings}
    with pytest.raises(ConfigError, match=message):
        fit_wiener(features, velocity, **arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_data_that_do_not_fit_each_other_are_refused() -> None:
    features, velocity = recording(300)
    with pytest.raises(ConfigError, match="equal length"):
        TrainingData(features, velocity[1:])
    features[3, 2] = np.nan
    with pytest.raises(ConfigError, match="features: expected finite values"):
        TrainingData(features, velocity)


TRAIN_WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is not for this family")

sys.meta_path.insert(0, NoTorch())

from cortexwire.decoders import OnnxDecoder, load_bundle
from cortexwire.training import TrainingData, export_bundle, family
from tests.training.examples import STREAM, recording

features, velocity = recording(400)
wiener = family("wiener")
fit = wiener.fit(TrainingData(features, velocity), wiener.check({"history": 4}))
export_bundle(fit, sys.argv[1], name="no torch", family="wiener", stream=STREAM, front_end={}, unit="mm/s",
              recorded=features)
print(OnnxDecoder(load_bundle(sys.argv[1])).step(features[0])["velocity"].shape)
"""


def test_training_export_and_decoding_work_where_importing_torch_raises(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_WITHOUT_TORCH, str(tmp_path / "bundle")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "(2,)"), done.stderr

"""Laws of the ONNX Runtime executor that the battery does not state."""

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from cortexwire.decoders import OnnxDecoder, make_overlay, write_bundle
from cortexwire.decoders.manifest import InputSpec, Timing
from cortexwire.decoders.runtime_session import Provider
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training import seeded_bundle
from tests.decoders.battery import check_decoder, example_features, run, same_bits
from tests.decoders.examples import STREAM, as_filter, changed, opened, plain_wiener, small_bundle


@pytest.mark.parametrize("history", [1, 2, 20])
def test_the_onnx_executor_obeys_the_battery(tmp_path: Path, history: int) -> None:
    bundle = small_bundle(tmp_path, history=history)
    check_decoder(lambda: OnnxDecoder(bundle), as_filter(bundle).predict)


def test_counts_and_band_power_are_one_feature_vector(tmp_path: Path) -> None:
    bundle = seeded_bundle(tmp_path / "both", seed=1, stream=STREAM, content=("counts", "band_power"))
    decoder = OnnxDecoder(bundle)
    assert decoder.n_features == 2 * STREAM.n_channels == len(decoder.feature_mean)
    check_decoder(lambda: OnnxDecoder(bundle), as_filter(bundle).predict)


def test_the_reference_equals_plain_loops(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    features = example_features(OnnxDecoder(bundle))
    np.testing.assert_allclose(
        as_filter(bundle).predict(features)["velocity"], plain_wiener(bundle, features), rtol=1e-6, atol=1e-6
    )


def test_an_output_depends_on_its_memory_and_on_no_earlier_bin(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, history=5)
    features = example_features(OnnxDecoder(bundle))
    disturbed = features.copy()
    disturbed[10] += 1
    a, b = (run(OnnxDecoder(bundle), f)["velocity"] for f in (features, disturbed))
    memory = bundle.manifest.memory_bins
    differs = (a != b).any(axis=1)
    assert differs[10 : 10 + memory].all()
    assert not differs[:10].any()
    assert not differs[10 + memory :].any()


def test_a_feature_at_its_mean_is_as_good_as_unseen(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    decoder = OnnxDecoder(bundle)
    velocity = decoder.step(decoder.feature_mean)["velocity"]
    np.testing.assert_array_equal(velocity, bundle.parameters["bias"])


def test_an_overlay_given_at_the_start_equals_one_applied(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    overlay = make_overlay(bundle, {"bias": [3.0, -4.0], "feature_scale": np.full(7, 2.0)})
    applied = OnnxDecoder(bundle)
    applied.apply(overlay)
    features = example_features(applied)
    assert same_bits(run(applied, features), run(OnnxDecoder(bundle, overlay=overlay), features))


def test_an_overlay_of_another_bundle_changes_nothing(tmp_path: Path) -> None:
    bundle, other = small_bundle(tmp_path, seed=3), small_bundle(tmp_path, seed=4)
    decoder = OnnxDecoder(bundle)
    with pytest.raises(BundleError, match="expected one of bundle"):
        decoder.apply(make_overlay(other, {"bias": [0.0, 0.0]}))
    assert decoder.overlay is None
    with pytest.raises(BundleError, match="rollback"):
        decoder.rollback()


def test_the_fingerprint_names_what_bits_depend_on(tmp_path: Path) -> None:
    decoder = OnnxDecoder(small_bundle(tmp_path), "cpu")
    assert decoder.executor == "onnx"
    for part in ("executor=onnx", "provider=cpu", f"onnxruntime={onnxruntime.__version__}", "cpu="):
        assert part in decoder.fingerprint


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_cuda_where_there_is_none_is_an_error_and_auto_says_cpu(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    assert OnnxDecoder(bundle, "auto").provider == "cpu"
    with pytest.raises(ConfigError, match=r"provider cuda: expected .* with CUDA, got .*CPUExecutionProvider"):
        OnnxDecoder(bundle, "cuda")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider' is not in available")
def test_a_silent_fallback_to_the_cpu_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = small_bundle(tmp_path)
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)
    assert OnnxDecoder(bundle, "auto").provider == "cpu"
    with pytest.raises(ConfigError, match="got a session on the CPU"):
        OnnxDecoder(bundle, "cuda")


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    unknown: Provider = "tpu"  # type: ignore[assignment]  # the point of the test
    with pytest.raises(ConfigError, match="expected auto, cpu or cuda, got 'tpu'"):
        OnnxDecoder(small_bundle(tmp_path), unknown)


def test_a_bundle_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    model, manifest = opened(small_bundle(tmp_path))
    features, *others = manifest.inputs
    ahead = msgspec.structs.replace(features, timing=Timing(stream="bins", rate_num=50, lookahead=2))
    bundle = write_bundle(tmp_path / "ahead", model, changed(manifest, inputs=(ahead, *others)), "card")
    with pytest.raises(BundleError, match="without lookahead"):
        OnnxDecoder(bundle)


def test_a_bundle_with_other_signals_is_refused(tmp_path: Path) -> None:
    model, manifest = opened(small_bundle(tmp_path))
    model.graph.input.append(model.graph.input[0])
    model.graph.input[-1].name = "target"
    spec = InputSpec(name="target", role="aux", shape=(7,))
    bundle = write_bundle(tmp_path / "aux", model, changed(manifest, inputs=(*manifest.inputs, spec)), "card")
    with pytest.raises(BundleError, match=r"only signal input, got also \['target'\]"):
        OnnxDecoder(bundle)


def test_a_bundle_of_other_columns_is_decoded(tmp_path: Path) -> None:
    model, manifest = opened(small_bundle(tmp_path))
    velocity, state = manifest.outputs
    columns = msgspec.structs.replace(velocity, role="columns", columns=("grip", "pinch"))
    bundle = write_bundle(tmp_path / "columns", model, changed(manifest, outputs=(columns, state)), "card")
    decoder = OnnxDecoder(bundle)
    assert decoder.step(decoder.feature_mean)["velocity"].shape == (2,)


def test_columns_without_names_are_refused(tmp_path: Path) -> None:
    model, manifest = opened(small_bundle(tmp_path))
    velocity, state = manifest.outputs
    nameless = msgspec.structs.replace(velocity, role="columns", columns=("grip",))
    with pytest.raises(BundleError, match=r"a name for each entry of shape \(2,\), got \['grip'\]"):
        write_bundle(tmp_path / "columns", model, changed(manifest, outputs=(nameless, state)), "card")

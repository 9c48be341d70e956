"""Which finer outputs there are: a hop is part of the bundle, and what cannot be run is refused."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import Bundle, OnnxDecoder, StreamSpec, load_bundle, write_bundle
from cortexwire.decoders.executors import EXECUTORS, ExecutorName, make_decoder
from cortexwire.decoders.graph import parse_graph
from cortexwire.decoders.hop import Hop, hop_of, plan_hop
from cortexwire.decoders.interleaved import InTurn, interleaved
from cortexwire.decoders.manifest import StreamKind, Timing, encode_manifest, parse_manifest
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training.export import features_input
from cortexwire.training.families import family_names
from tests.decoders.battery import check_decoder
from tests.decoders.examples import STREAM, as_filter, small_bundle

WINDOWED = ("wiener", "cascade", "kalman", "mlp", "tcn")
RECURRENT = ("esn", "rnn", "gru", "lstm", "snn")


def stream(kind: StreamKind = "events", bin_ms: float = 20.0, rate: int = 30_000) -> StreamSpec:
    return msgspec.structs.replace(STREAM, kind=kind, bin_ms=bin_ms, rate_num=rate)


def rewritten(folder: Path, family: str, **timing: Any) -> Bundle:
    """The small bundle as one of another family, whose features come at other times."""
    bundle = small_bundle(folder)
    manifest = bundle.manifest
    features = msgspec.structs.replace(manifest.features, timing=Timing(**timing))
    inputs = tuple(features if spec.role == "features" else spec for spec in manifest.inputs)
    changed = msgspec.structs.replace(manifest, family=family, inputs=inputs)
    return write_bundle(folder / "changed", parse_graph(bundle.model, "test"), changed, bundle.card)


def test_families_are_those_that_there_are() -> None:
    assert sorted(WINDOWED + RECURRENT) == sorted(family_names())


@pytest.mark.parametrize("family", WINDOWED)
def test_what_counts_in_bins_takes_turns_and_is_not_stepped_every_hop(family: str) -> None:
    assert plan_hop(family, stream(), 5.0) == Hop(4, True)
    assert plan_hop(family, stream(), 5.0, True) == Hop(4, True)
    with pytest.raises(ConfigError, match=f"a {family} decoder counts time in bins, and cannot be stepped every 5 ms"):
        plan_hop(family, stream(), 5.0, False)


@pytest.mark.parametrize("family", RECURRENT)
def test_what_is_recurrent_is_trained_at_the_hop_or_takes_turns(family: str) -> None:
    assert plan_hop(family, stream(), 5.0) == Hop(4, False)
    assert plan_hop(family, stream(), 5.0, True) == Hop(4, True)
    assert plan_hop(family, stream(), 1.0).rows == 20


@pytest.mark.parametrize("hop_ms", [None, 20.0])
def test_a_hop_of_the_bin_is_none(hop_ms: float | None) -> None:
    assert plan_hop("gru", stream(), hop_ms) == Hop(1, False)
    with pytest.raises(ConfigError, match="expected one shorter than the bin"):
        plan_hop("gru", stream(), hop_ms, True)


@pytest.mark.parametrize(
    ("hop_ms", "bin_ms", "kind", "message"),
    [
        (3.0, 20.0, "events", "to divide it \\(20 ms\\), got 3 ms"),
        (40.0, 20.0, "events", "from 1 ms to the bin"),
        (0.5, 20.0, "events", "from 1 ms to the bin"),
        (-5.0, 20.0, "events", "from 1 ms to the bin"),
        (2.5, 20.0, "wideband", "a whole number of the 20 blocks"),
        (1.25, 2.5, "wideband", "a whole number of the 3 blocks"),
    ],
)
def test_a_hop_that_does_not_fit_the_bin_is_refused(
    hop_ms: float, bin_ms: float, kind: StreamKind, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_hop("wiener", stream(kind, bin_ms), hop_ms)


def test_a_hop_shorter_than_a_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one sample, got 1 ms at 500 Hz"):
        plan_hop("wiener", stream("counts", 20.0, 500), 1.0)


def test_events_may_have_hops_that_are_no_whole_milliseconds() -> None:
    assert plan_hop("wiener", stream("events"), 2.5) == Hop(8, True)


@pytest.mark.parametrize("hop", [Hop(), Hop(4, True), Hop(4, False), Hop(20, True)])
def test_a_manifest_keeps_its_hop(tmp_path: Path, hop: Hop) -> None:
    bundle = small_bundle(tmp_path)
    features = features_input(bundle.manifest.stream, ("counts",), hop)
    inputs = tuple(features if spec.role == "features" else spec for spec in bundle.manifest.inputs)
    manifest = msgspec.structs.replace(bundle.manifest, inputs=inputs, family="esn")
    data = encode_manifest(manifest)
    again = parse_manifest(data, "test")
    assert hop_of(again) == hop
    assert encode_manifest(again) == data
    written = write_bundle(tmp_path / "hop", parse_graph(bundle.model, "test"), manifest, bundle.card)
    assert hop_of(load_bundle(tmp_path / "hop").manifest) == hop
    OnnxDecoder(written, "cpu")


def test_a_bundle_without_hops_is_what_it_was(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    assert hop_of(bundle.manifest) == Hop()
    assert bundle.manifest.features.timing == Timing(stream="bins", rate_num=50)


@pytest.mark.parametrize(
    ("family", "timing", "message"),
    [
        ("wiener", {"window": 4, "hop": 1}, "a wiener decoder counts time in bins"),
        ("my-own", {"window": 4, "hop": 1}, "a my-own decoder counts time in bins"),
        ("esn", {"window": 4, "hop": 2}, "stepped every one or every 4 of them"),
        ("esn", {"window": 1, "hop": 1}, "hops of which 4 make a bin"),
        ("esn", {"window": 4, "hop": 4, "lookahead": 1}, "without lookahead"),
        ("esn", {"window": 3, "hop": 3, "rate_num": 150}, "a whole number of the 20 blocks .* got 6.66667 ms"),
        ("esn", {"window": 40, "hop": 40, "rate_num": 2000}, "from 1 ms to the bin"),
        ("esn", {"window": 8, "hop": 8, "rate_num": 400}, "a whole number of the 20 blocks"),
        ("esn", {"window": 4, "hop": 4, "rate_num": 0}, "a positive rate of hops"),
    ],
)
def test_a_manifest_of_any_other_combination_is_refused(
    tmp_path: Path, family: str, timing: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        rewritten(tmp_path, family, **({"stream": "hops", "rate_num": 200} | timing))


@pytest.mark.parametrize("timing", [{"window": 4, "hop": 1}, {"window": 1, "hop": 2}, {"lookahead": 1}])
def test_bins_for_rows_are_taken_one_at_a_time(tmp_path: Path, timing: dict[str, Any]) -> None:
    bundle = rewritten(tmp_path, "esn", stream="bins", rate_num=50, **timing)
    with pytest.raises(BundleError, match="features of one bin at a time"):
        OnnxDecoder(bundle, "cpu")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_each_of_several_in_turn_obeys_the_laws_of_a_decoder(tmp_path: Path, executor: ExecutorName) -> None:
    bundle = small_bundle(tmp_path)

    def make() -> InTurn:
        one, *_, other = interleaved(make_decoder(bundle, executor, "cpu"), 3)
        one.step(np.ones(one.n_features, np.float32))
        return other

    check_decoder(make, as_filter(bundle).predict)


@pytest.mark.parametrize("settled", [(), (0,), (1,), (0, 1, 2)])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_those_in_turn_share_everything_but_their_past(
    tmp_path: Path, executor: ExecutorName, settled: tuple[int, ...]
) -> None:
    bundle = small_bundle(tmp_path)
    rows = np.random.default_rng(2).poisson(1.0, (30, bundle.manifest.n_features)).astype(np.float32)
    turns = interleaved(make_decoder(bundle, executor, "cpu"), 3)
    alone = [make_decoder(bundle, executor, "cpu") for _ in turns]
    for k, row in enumerate(rows):
        if k == 14:
            alone[1].reset()
            turns[1].reset()
        if k == 15:
            turns[2].reset()
            alone[2].reset()
        for turn in settled:
            turns[turn].settle()
        assert turns[k % 3].step(row)["velocity"].tobytes() == alone[k % 3].step(row)["velocity"].tobytes()
    for one, other in zip(turns, alone, strict=True):
        assert {n: v.tobytes() for n, v in one.state().items()} == {n: v.tobytes() for n, v in other.state().items()}

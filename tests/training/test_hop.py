"""Laws of training for finer output: what is learnt from is what is decoded, and what cannot be run is refused."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle
from cortexwire.decoders.hop import Hop, hop_of
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.runtime.offline import decode_frames
from cortexwire.sessions import session_packets
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.evaluation import Effort, evaluate
from cortexwire.training.features import extract_features
from cortexwire.training.fitting import train_session
from cortexwire.training.hops import interleaved_bundle
from cortexwire.training.metrics import r2
from cortexwire.types import Features
from cortexwire.wire import OutKind, Output
from tests.training.reaching import BIN_MS
from tests.training.recorded import CountsSession
from tests.training.test_evaluation import FRONT_END, SESSION

HOP_MS = BIN_MS / 4
ESN: dict[str, Any] = {"units": 60, "leaks": [0.3], "input_scalings": [0.3], "direct": 2, "lambdas": [1e-3]}
WIENER: dict[str, Any] = {"history": 3, "lambdas": [0.1]}


def decoded(bundle: Bundle, decoder: OnnxDecoder | None = None, size: int = 333) -> list[Output]:
    pipeline = Pipeline(PipelineSettings(), decoder or OnnxDecoder(bundle, "cpu"))
    outputs = decode_frames(pipeline, session_packets(SESSION, size, 1))
    return [output for output in outputs if output.kind is OutKind.DECODED]


def velocities(outputs: list[Output]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([output.tensors["velocity"] for output in outputs], np.float64)


class Seeing(OnnxDecoder):
    """Keeps what it is given."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, "cpu")
        self.seen: list[Features] = []

    def step(self, features: Features) -> dict[str, Any]:
        """Decode."""
        self.seen.append(features.copy())
        return super().step(features)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hops")


@pytest.fixture(scope="module")
def stepped(folder: Path) -> Bundle:
    """An echo-state network that was trained at the hop."""
    path = folder / "stepped"
    return train_session(SESSION, path, decoder="esn", settings=ESN, front_end=FRONT_END, hop_ms=HOP_MS).bundle


@pytest.fixture(scope="module")
def plain(folder: Path) -> Bundle:
    """A Wiener filter without hops."""
    return train_session(SESSION, folder / "plain", front_end=FRONT_END, settings=WIENER).bundle


def test_a_recurrent_decoder_is_trained_on_the_rows_that_it_decodes(stepped: Bundle) -> None:
    assert hop_of(stepped.manifest) == Hop(4, False)
    assert hop_of(load_bundle(stepped.path).manifest) == Hop(4, False)
    table = extract_features(SESSION, FRONT_END, rows=4)
    assert np.diff(table.end).tolist() == [round(HOP_MS * 2)] * (len(table.end) - 1)
    decoder = Seeing(stepped)
    outputs = decoded(stepped, decoder)
    assert [output.end_sample for output in outputs] == table.end.tolist()
    assert [output.bin for output in outputs] == table.index.tolist()
    known = table.observed_fraction >= 0.5
    assert np.count_nonzero(~known) == 1
    assert np.array_equal(np.stack(decoder.seen)[known], table.features()[known])


def test_what_is_trained_at_the_hop_decodes_live_what_its_reference_decodes(stepped: Bundle, folder: Path) -> None:
    table = extract_features(SESSION, FRONT_END, rows=4)
    options: dict[str, Any] = {"settings": ESN, "table": table, "hop_ms": HOP_MS}
    again = train_session(SESSION, folder / "again", decoder="esn", **options)
    assert again.bundle.sha256 == stepped.sha256
    came = velocities(decoded(again.bundle))
    apart = np.abs(came - again.predicted).max(axis=1)
    assert apart[200:].max() < 1e-4 * np.abs(came).max()
    test = again.split.test
    scores = r2(again.targets[test], came[test])
    assert scores == pytest.approx(list(again.scores.values()), abs=1e-3)
    assert scores.min() > 0.5


def test_states_that_take_turns_score_what_the_one_does(plain: Bundle, folder: Path) -> None:
    fine = interleaved_bundle(plain, folder / "fine", HOP_MS)
    assert hop_of(fine.manifest) == Hop(4, True)
    assert fine.parameters["weights"].tobytes() == plain.parameters["weights"].tobytes()
    trained = train_session(
        SESSION, folder / "trained", front_end=FRONT_END, settings=WIENER, hop_ms=HOP_MS, interleaved=True
    )
    assert trained.bundle.parameters["weights"].tobytes() == plain.parameters["weights"].tobytes()
    outputs = decoded(fine)
    at_bins = velocities(outputs[3::4])
    assert at_bins.tobytes() == velocities(decoded(plain)).tobytes()
    assert at_bins.tobytes() == velocities(decoded(trained.bundle))[3::4].tobytes()
    ends = np.array([output.end_sample for output in outputs])
    targets = SESSION.columns_at(ends - 1)
    first = len(outputs) // 2
    scores = [r2(targets[first:], velocities(outputs)[first:]), r2(targets[first + 3 :: 4], at_bins[first // 4 :])]
    assert np.abs(scores[0] - scores[1]).max() < 0.05
    assert scores[0].min() > 0.5


def test_finer_output_of_finer_output_is_refused(stepped: Bundle, folder: Path) -> None:
    with pytest.raises(BundleError, match="expected an output once a bin, got one every"):
        interleaved_bundle(stepped, folder / "twice", HOP_MS)


@pytest.mark.parametrize("of", ["stepped", "turns"])
def test_a_bundle_with_hops_is_evaluated_through_the_pipeline(
    of: str, stepped: Bundle, plain: Bundle, folder: Path
) -> None:
    bundle = stepped if of == "stepped" else interleaved_bundle(plain, folder / "evaluated", HOP_MS)
    effort = Effort(quick=True, pairs=0, draws=1, robust_bins=200, importance_bins=80)
    found = evaluate(SESSION, bundle, effort=effort)
    assert found.bin_ms == (HOP_MS if of == "stepped" else BIN_MS)
    (entry,) = (entry for entry in found.entries if not entry.baseline)
    assert entry.scores is not None
    assert entry.scores.r2 == pytest.approx(
        np.mean(list(bundle.manifest.training.scores["r2_held_out"].values())), abs=0.02
    )


@pytest.mark.parametrize(
    ("decoder", "options", "message"),
    [
        ("wiener", {"hop_ms": HOP_MS, "interleaved": False}, "a wiener decoder counts time in bins"),
        ("wiener", {"hop_ms": BIN_MS / 3.5}, "to divide it"),
        ("esn", {"hop_ms": 2 * BIN_MS}, "from 1 ms to the bin"),
        ("esn", {"interleaved": True}, "expected one shorter than the bin"),
    ],
)
def test_any_other_combination_is_refused_before_anything_is_read(
    decoder: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    stages: list[str] = []
    with pytest.raises(ConfigError, match=message):
        train_session(SESSION, tmp_path / "b", decoder=decoder, front_end=FRONT_END, stage=stages.append, **options)
    assert not stages
    assert not (tmp_path / "b").exists()


def test_a_table_has_the_rows_of_its_training(tmp_path: Path) -> None:
    table = extract_features(SESSION, FRONT_END)
    with pytest.raises(ConfigError, match="expected 4 row\\(s\\) for each bin's length, got 1"):
        train_session(SESSION, tmp_path / "b", decoder="esn", table=table, hop_ms=HOP_MS)


def test_recorded_counts_that_are_longer_than_a_hop_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made-up that lie within a hop of 10 ms each, got one of samples 0 to 20"):
        train_session(CountsSession(), tmp_path / "b", front_end=FrontEndSettings(bin_ms=20), hop_ms=10.0)


def test_the_card_says_how_often_it_speaks(stepped: Bundle, plain: Bundle, folder: Path) -> None:
    assert f"every {HOP_MS:g} ms (the state is stepped as often)" in stepped.card
    assert "every" not in plain.card.split("##")[0]
    turns = interleaved_bundle(plain, folder / "card", HOP_MS)
    assert f"every {HOP_MS:g} ms (4 states take turns)" in turns.card
    unlike = {"inputs", "files"}
    fields = [f.name for f in msgspec.structs.fields(plain.manifest) if f.name not in unlike]
    assert all(getattr(turns.manifest, name) == getattr(plain.manifest, name) for name in fields)

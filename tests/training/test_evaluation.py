"""Laws of comparing decoders, and of scoring one through the pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cortexwire.decoders import load_bundle, make_overlay
from cortexwire.errors import ConfigError
from cortexwire.sessions import open_session
from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.sessions.recorded import RecordedSession
from cortexwire.sessions.session import SPIKE_DTYPE
from cortexwire.sessions.signals import EventSignal
from cortexwire.sessions.trials import make_trials
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import r2
from cortexwire.training.configurations import default_configurations
from cortexwire.training.evaluation import Effort, Trial, compare, evaluate, pairs_of_directions
from cortexwire.training.export import decode_steps
from cortexwire.training.procedure import Maker, choose
from cortexwire.training.recording import Recording, read_recording
from cortexwire.training.results import Comparison, Entry, comparison_from_json
from cortexwire.training.scored import card_scores
from cortexwire.types import Rate
from cortexwire.wire import Descriptor
from tests.training.reaching import BIN_MS, N_CHANNELS, reaching, source_of
from tests.training.real import TOML, contdata95

RATE = Rate(2000)
BIN_SAMPLES = round(BIN_MS * 2)
EFFORT = Effort(quick=True, pairs=1, draws=1, robust_bins=300, importance_bins=120)
FRONT_END = FrontEndSettings(bin_ms=BIN_MS)


def session_of(recording: Recording, name: str = "reaching") -> RecordedSession:
    """The recording as a session: crossings at random instants of their bins, positions at the bins' ends."""
    rng = np.random.default_rng(8)
    counts = recording.features.astype(np.int64)
    bins, channels = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    spikes = np.zeros(len(bins), SPIKE_DTYPE)
    spikes["sample"] = bins * BIN_SAMPLES + rng.integers(0, BIN_SAMPLES, len(bins))
    spikes["channel"] = channels
    ends = (np.arange(recording.n_bins) + 1) * BIN_SAMPLES
    rows = Rows(ends - 1, ends - BIN_SAMPLES, ends, np.zeros(len(ends), np.int64))
    names = ("vx", "vy")
    return RecordedSession(
        name=name,
        rate=RATE,
        signal=EventSignal(spikes, N_CHANNELS, int(ends[-1])),
        descriptor=Descriptor(source=name, electrodes=(), uv_per_bit=1.0, reference="", columns=names),
        kinematics=Kinematics([Column(n, k, "linear") for k, n in enumerate(names)], rows, recording.targets, RATE),
        trials=make_trials(recording.trials[:, 0] * BIN_SAMPLES, recording.trials[:, 1] * BIN_SAMPLES),
    )


RECORDING = reaching()
SESSION = session_of(RECORDING)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    told: list[tuple[float, str]] = []
    found = compare(
        SESSION,
        ["wiener", "kalman"],
        effort=EFFORT,
        folder=tmp_path_factory.mktemp("bundles"),
        front_end=FRONT_END,
        progress=lambda share, what: told.append((share, what)),
    )
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert any(what.startswith("kalman: fitting") for _, what in told)
    return found


def test_the_session_gives_back_the_recording() -> None:
    source = read_recording(SESSION, front_end=FRONT_END)
    np.testing.assert_array_equal(source.recording.features, RECORDING.features)
    np.testing.assert_allclose(source.recording.targets, RECORDING.targets)
    np.testing.assert_array_equal(source.recording.trials, RECORDING.trials)
    assert source.recording.split == RECORDING.split
    assert source.recording.joined


def test_baselines_stand_beside_decoders_and_the_ranking_is_by_new_directions(comparison: Comparison) -> None:
    names = [entry.name for entry in comparison.entries]
    assert set(names) == {"wiener", "kalman", "mean", "stereotypy"}
    new = [entry.generalisation for entry in comparison.entries]
    assert new == sorted(new, key=lambda value: -(value or 0))
    entry = {entry.name: entry for entry in comparison.entries}
    stereotypy, wiener = entry["stereotypy"], entry["wiener"]
    assert stereotypy.scores is not None
    assert stereotypy.scores.r2 is not None
    assert stereotypy.scores.r2 > 0.8
    assert (stereotypy.generalisation or 0) < 0.1
    assert wiener.generalisation is not None
    assert wiener.generalisation > 0.5


def test_every_entry_has_its_figures(comparison: Comparison) -> None:
    for entry in comparison.entries:
        assert not entry.failed
        assert entry.scores is not None
        assert len(entry.by_direction) == 8
        assert entry.drift is not None
        assert len(entry.drift.over_time.x) == 12
        assert len(entry.example) == len(comparison.example)
        assert len(entry.paths) == len(comparison.paths) == 8
        if entry.baseline:
            continue
        assert entry.robustness.keys() == {"channels_lost", "count_noise", "bins_missing"}
        lost = entry.robustness["channels_lost"]
        assert lost.x == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
        assert lost.y[0] is not None
        assert lost.y[-1] is not None
        assert lost.y[-1] < lost.y[0]
        assert len(entry.importance) == N_CHANNELS
        assert entry.complexity is not None
        assert entry.timing is not None
        assert entry.scores.r2_low is not None
        assert entry.scores.r2 is not None
        assert entry.scores.r2_low < entry.scores.r2
        assert Path(entry.bundle).is_dir()


def test_the_score_is_that_of_the_bundle_decoding_the_whole_session(comparison: Comparison) -> None:
    entry = next(entry for entry in comparison.entries if entry.name == "wiener")
    decoded = decode_steps(load_bundle(entry.bundle), RECORDING.features)["velocity"]
    test = RECORDING.split.test
    want = r2(RECORDING.targets[test], decoded[test])
    assert entry.scores is not None
    np.testing.assert_allclose([entry.scores.r2_of[name] or 0 for name in ("vx", "vy")], want, atol=1e-4)


def test_a_bundle_that_is_kept_says_how_it_scored_beside_the_baselines(comparison: Comparison) -> None:
    entry = next(entry for entry in comparison.entries if entry.name == "wiener")
    assert entry.scores is not None
    bundle = load_bundle(entry.bundle)
    told = bundle.manifest.training.scores
    assert told["r2_held_out"] == entry.scores.r2_of
    assert told["r2_new_directions"] == entry.generalisation
    assert {"r2_without_spikes_mean", "r2_without_spikes_stereotypy", "complexity"} <= told.keys()
    assert "r2_without_spikes_stereotypy" in bundle.card
    assert card_scores(Entry(name="failed"), ()) == {}


def test_the_result_survives_json_and_makes_a_table(comparison: Comparison) -> None:
    again = comparison_from_json(comparison.to_json())
    assert again.to_json() == comparison.to_json()
    rows = again.table()
    assert [row["decoder"] for row in rows] == [entry.name for entry in comparison.entries]
    assert {"r2_new_directions", "r2", "r2_moving", "lag_ms", "step_ms"} <= rows[0].keys()


def test_an_evaluation_of_the_bundle_finds_what_the_comparison_found(comparison: Comparison) -> None:
    entry = next(entry for entry in comparison.entries if entry.name == "wiener")
    found = evaluate(SESSION, load_bundle(entry.bundle), effort=EFFORT)
    decoder = next(e for e in found.entries if not e.baseline)
    assert decoder.scores is not None
    assert entry.scores is not None
    assert decoder.whole is None
    assert decoder.scores.r2_of == entry.scores.r2_of
    assert decoder.robustness == entry.robustness
    assert {e.name for e in found.entries if e.baseline} == {"mean", "stereotypy"}


def test_a_session_that_the_bundle_never_saw_is_scored_as_a_whole_too(comparison: Comparison) -> None:
    bundle = load_bundle(next(entry.bundle for entry in comparison.entries if entry.name == "wiener"))
    other = session_of(reaching(60, seed=3), "another day")
    found = next(e for e in evaluate(other, bundle, effort=EFFORT).entries if not e.baseline)
    assert found.whole is not None
    assert found.scores is not None
    assert found.whole.bins > found.scores.bins
    assert (found.whole.r2 or 0) > 0.5
    wrong = make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + 3})
    worse = next(e for e in evaluate(other, bundle, overlay=wrong, effort=EFFORT).entries if not e.baseline)
    assert worse.whole is not None
    assert (worse.whole.r2 or 0) < (found.whole.r2 or 0)


def test_a_family_that_cannot_be_fitted_says_why_and_stops_nothing() -> None:
    found = compare(
        SESSION,
        ["kalman", "wiener"],
        effort=EFFORT,
        source=source_of(RECORDING),
        configurations={"kalman": [{"refit": True}], "wiener": [{"history": 3}]},
    )
    last = found.entries[-1]
    assert last.name == "kalman"
    assert last.failed.startswith("ConfigError")
    assert found.table()[-1] == {"decoder": "kalman", "failed": last.failed}
    assert next(e for e in found.entries if e.name == "wiener").settings == {"history": 3}


def test_a_session_without_trials_is_compared_all_the_same() -> None:
    recording = replace(RECORDING, trials=np.zeros((0, 2), np.int64), positions=None, joined=False)
    found = compare(SESSION, ["wiener"], effort=EFFORT, source=source_of(recording))
    entries = {entry.name: entry for entry in found.entries}
    assert entries["stereotypy"].failed
    assert entries["wiener"].generalisation is None
    assert entries["wiener"].paths == ()
    assert found.entries[0].name == "wiener"


def test_unknown_families_are_refused_before_anything_is_fitted() -> None:
    with pytest.raises(ConfigError, match="got oracle"):
        compare(SESSION, ["wiener", "oracle"])
    with pytest.raises(ConfigError, match="got none"):
        compare(SESSION, [])


def test_settings_are_chosen_on_the_last_block_of_the_training_part_alone() -> None:
    part = RECORDING.split.train
    given = [{"history": 1}, {"history": 4}]
    chosen, tried = choose(RECORDING, "wiener", given, part)
    assert chosen == given[int(np.argmax([candidate.r2 for candidate in tried]))]
    spoiled = RECORDING.targets.copy()
    spoiled[part.stop :] = 1e6
    assert choose(replace(RECORDING, targets=spoiled), "wiener", given, part) == (chosen, tried)
    assert choose(RECORDING, "wiener", given[:1], part) == (given[0], ())
    with pytest.raises(ConfigError, match="settings to choose from"):
        choose(RECORDING, "wiener", [], part)


def test_targets_of_left_out_directions_do_not_teach(tmp_path: Path) -> None:
    trial = Trial.of(source_of(RECORDING), EFFORT, 0)
    hidden = trial.scorer.of_directions(trial.pairs[0])
    other = RECORDING.targets.copy()
    other[hidden] = -777
    made = [
        Maker(source_of(recording), "wiener", tmp_path).make("b", {"history": 3}, RECORDING.split.train, hidden)[0]
        for recording in (RECORDING, replace(RECORDING, targets=other, positions=other))
    ]
    one, again = (fitted.predict(RECORDING.features)["velocity"] for fitted in made)
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("n", [4, 5, 8, 16])
def test_pairs_of_directions_are_far_from_equal_and_from_opposite(n: int) -> None:
    pairs = pairs_of_directions(n)
    numbers = [k for pair in pairs for k in pair]
    assert len(set(numbers)) == len(numbers)
    assert len(pairs) >= n // 2 - 1
    for a, b in pairs:
        apart = min((a - b) % n, (b - a) % n) / n * 360
        assert 60 < apart < 180


def test_windows_of_time_become_bins_of_any_length() -> None:
    assert default_configurations("wiener", 100.0, quick=True) == ({"history": 10},)
    assert [c["history"] for c in default_configurations("wiener", 20.0)] == [50, 25]
    assert default_configurations("wiener", 20.0, shared={"history": 7, "unheard_of": 1}) == ({"history": 7},)
    assert default_configurations("esn", 20.0) == ({},)


@pytest.mark.realdata
def test_on_contdata95_only_spikes_tell_of_new_directions(recordings: Path) -> None:
    session = open_session(TOML, recordings)
    found = compare(session, ["cascade"], effort=EFFORT, source=contdata95(recordings))
    cascade, stereotypy = (next(e for e in found.entries if e.name == name) for name in ("cascade", "stereotypy"))
    assert stereotypy.scores is not None
    assert (stereotypy.scores.r2 or 0) > 0.85
    assert (stereotypy.generalisation or 0) < 0
    assert (cascade.generalisation or 0) > 0.8
    assert found.entries[0] is cascade

"""Laws of training from sessions: what a family is shown, what is scored, and what the bundle says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import load_bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import family
from cortexwire.training.contract import Family, Fitted
from cortexwire.training.data import TrainingData, joined
from cortexwire.training.export import decode_steps
from cortexwire.training.fitting import STAGES, train_session
from cortexwire.training.metrics import r2
from tests.training.examples import recording
from tests.training.recorded import CountsSession

CHAIN = FrontEndSettings(bin_ms=20)
FAST: dict[str, Any] = {"settings": {"history": 3}, "front_end": CHAIN}


class Seen:
    """A family that keeps what it was shown and fits a Wiener filter to it."""

    def __init__(self) -> None:
        self.data: list[TrainingData] = []
        self.settings: list[Any] = []

    def fit(self, data: TrainingData, settings: Any) -> Fitted:
        """Keep both."""
        self.data.append(data)
        self.settings.append(settings)
        wiener = family("wiener")
        return wiener.fit(data, wiener.check({"history": 3}))


class SeenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """It draws nothing, and has a seed all the same."""

    seed: int = 0


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    spy: Callable[[str], Family[Any]] = lambda _: Family("seen", SeenSettings, found.fit)  # noqa: E731
    monkeypatch.setattr("cortexwire.training.fitting.family", spy)
    return found


def test_a_family_is_shown_joins_positions_and_the_seed(seen: Seen, tmp_path: Path) -> None:
    trained = train_session(CountsSession(), tmp_path / "b", front_end=CHAIN, seed=7)
    (data,) = seen.data
    assert data.joins == tuple(range(0, 500, 50))
    assert data.positions is not None
    np.testing.assert_allclose(np.diff(data.positions, axis=0) * 50, data.targets[1:], atol=1e-9)
    assert data.goals is None
    assert not data.closed_loop
    assert seen.settings[0].seed == trained.bundle.manifest.training.seed == 7
    train_session(CountsSession(), tmp_path / "c", front_end=CHAIN, seed=7, settings={"seed": 9})
    assert seen.settings[1].seed == load_bundle(tmp_path / "c").manifest.training.seed == 9


def test_goals_and_the_loop_are_shown_when_named(seen: Seen, tmp_path: Path) -> None:
    train_session(CountsSession(), tmp_path / "b", front_end=CHAIN, goals=("px", "py"), closed_loop=True)
    (data,) = seen.data
    np.testing.assert_array_equal(data.goals, data.positions)
    assert data.closed_loop
    with pytest.raises(ConfigError, match="goals: expected one column for each"):
        train_session(CountsSession(), tmp_path / "c", front_end=CHAIN, goals=("px",))


def test_several_sessions_are_segments_each_with_its_own_last_part_held_out(seen: Seen, tmp_path: Path) -> None:
    sessions = [CountsSession("mon", 600, 0), CountsSession("tue", 400, 1)]
    shares: list[float] = []
    trained = train_session(sessions, tmp_path / "b", front_end=CHAIN, progress=shares.append)
    (data,) = seen.data
    assert data.segments == (0, 500)
    assert len(data.features) == 500 + 300
    assert 500 in data.joins
    training = trained.bundle.manifest.training
    assert training.sessions == ("mon", "tue")
    assert training.split == {
        "mon": {"train_bins": [0, 500], "test_bins": [500, 600], "test_ends": [10020, 12000], "session_samples": 12000},
        "tue": {"train_bins": [0, 300], "test_bins": [300, 400], "test_ends": [6020, 8000], "session_samples": 8000},
    }
    with pytest.raises(ConfigError, match="expected different names, got 'mon' twice"):
        train_session([sessions[0], sessions[0]], tmp_path / "twice", front_end=CHAIN)
    true = np.concatenate([part.targets[part.split.test] for part in trained.parts])
    came = np.concatenate([part.predicted[part.split.test] for part in trained.parts])
    assert list(trained.scores.values()) == r2(true, came).tolist()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_sessions_of_different_streams_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tue does not go with mon: channels: expected 8, got 7"):
        train_session([CountsSession("mon"), CountsSession("tue", n_channels=7)], tmp_path / "b", **FAST)
    with pytest.raises(ConfigError, match="sessions to train on"):
        train_session([], tmp_path / "b")


def test_any_columns_are_decoded_and_any_two_are_a_velocity(tmp_path: Path) -> None:
    session = CountsSession(names=("px", "py", "fx", "fy", "emg_a", "emg_b"))
    trained = train_session(
        session, tmp_path / "b", columns=("emg_a", "fx", "fy", "emg_b"), velocity=("fx", "fy"), **FAST
    )
    assert trained.columns == ("fx", "fy", "emg_a", "emg_b")
    assert min(trained.scores.values()) > 0.5
    velocity, columns = (spec for spec in trained.bundle.manifest.outputs if spec.role != "state")
    assert (velocity.columns, velocity.unit) == (("fx", "fy"), "mm/s")
    assert (columns.columns, columns.unit, columns.safe_action) == (("emg_a", "emg_b"), "V", "hold")
    decoded = decode_steps(trained.bundle, session.counts(0, 2000)[1].astype(np.float32))
    np.testing.assert_allclose(decoded["velocity"], trained.predicted[:100, :2], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(decoded["columns"], trained.predicted[:100, 2:], rtol=1e-4, atol=1e-3)


def test_what_is_no_velocity_is_not_taken_for_one(tmp_path: Path) -> None:
    from cortexwire.decoders import OnnxDecoder
    from cortexwire.pipeline.settings import PipelineSettings

    trained = train_session(CountsSession(), tmp_path / "b", columns=("emg_a", "emg_b"), **FAST)
    assert trained.bundle.manifest.outputs_of("velocity") == ()
    with pytest.raises(BundleError, match="exactly one velocity output"):
        Pipeline(PipelineSettings(), OnnxDecoder(trained.bundle, "cpu"))


def test_a_target_may_lie_later_than_its_bin(tmp_path: Path) -> None:
    now, later = (
        train_session(CountsSession(), tmp_path / f"b{lag:g}", lag_ms=lag, **FAST).targets for lag in (0.0, 40.0)
    )
    np.testing.assert_array_equal(later[:-2], now[2:])
    assert np.isnan(later[-2:]).all()
    with pytest.raises(ConfigError, match="lag_ms: expected 0 or more"):
        train_session(CountsSession(), tmp_path / "c", lag_ms=-1.0, **FAST)


def test_its_stages_are_told_in_order(tmp_path: Path) -> None:
    heard: list[str] = []
    train_session(CountsSession(), tmp_path / "b", stage=heard.append, **FAST)
    assert heard == [stage for stage in STAGES if stage != "searching"]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"distinct columns among \['px'.*got \['grip'\]"):
        train_session(CountsSession(), tmp_path / "b", columns=("grip",), **FAST)
    with pytest.raises(ConfigError, match="expected two velocity columns or others by name"):
        train_session(CountsSession(names=("a", "b", "c", "d", "e", "f")), tmp_path / "b", **FAST)


def test_runs_put_end_to_end_keep_what_all_of_them_have() -> None:
    features, targets = recording(100)
    one = TrainingData(features, targets, positions=targets, joins=(0, 50))
    both = joined([one, TrainingData(features, targets, keep=np.zeros(100, dtype=bool))])
    assert both.segments == (0, 100)
    assert both.joins == (0, 50)
    assert both.positions is None
    assert both.usable(0).tolist() == [True] * 100 + [False] * 100
    first = joined([one, one]).first(150)
    assert (len(first.features), first.segments, first.joins) == (150, (0, 100), (0, 50, 100))
    assert first.positions is not None
    with pytest.raises(ConfigError, match="same features and targets"):
        joined([one, TrainingData(features[:, :3], targets)])

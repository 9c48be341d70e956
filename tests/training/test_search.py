"""Laws of the search for settings: it resumes, it sees no held-out bin, and it keeps the best."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import load_bundle
from cortexwire.errors import ConfigError
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import family, family_names
from cortexwire.training.data import TrainingData
from cortexwire.training.fitting import train_session
from cortexwire.training.search import SPACES, Range, Tried, search_settings, store_beside
from tests.training.examples import recording
from tests.training.networks import NO_TORCH
from tests.training.recorded import CountsSession

optuna = pytest.importorskip("optuna", reason="search tests skip: install the train extra")
FEATURES, TARGETS = recording(400)
ONE = {"lambdas": [1.0]}


def _search(folder: Path, trials: int, told: list[Tried] | None = None, **given: Any) -> Any:
    asked: dict[str, Any] = {"fixed": ONE, "store": folder / "s.sqlite", "seed": 1, **given}
    data = asked.pop("data", TrainingData(FEATURES, TARGETS))
    heard = [] if told is None else told
    return search_settings(data, asked.pop("name", "wiener"), trials, told=heard.append, **asked)


def test_a_search_goes_on_where_it_broke_off_and_finds_what_one_run_finds(tmp_path: Path) -> None:
    heard: list[Tried] = []
    first, more = _search(tmp_path, 2, heard), _search(tmp_path, 4, heard)
    assert (first.trials, first.resumed, more.trials, more.resumed) == (2, 0, 4, 2)
    assert [trial.number for trial in heard] == [1, 2, 3, 4]
    assert [trial.best for trial in heard] == np.maximum.accumulate([trial.score for trial in heard]).tolist()
    whole = _search(tmp_path, 4, store=tmp_path / "whole.sqlite")
    assert (whole.settings, whole.score) == (more.settings, more.score)
    assert _search(tmp_path, 4, data=TrainingData(FEATURES, TARGETS + 1)).resumed == 0
    assert _search(tmp_path, 4).resumed == 4


def test_what_is_fixed_stays(tmp_path: Path) -> None:
    found = _search(tmp_path, 2, name="kalman", fixed={"history": 2, "transition": "free"})
    assert not {"history", "transition"} & found.settings.keys()
    with pytest.raises(ConfigError, match="settings of wiener to look for"):
        _search(tmp_path, 2, fixed={"history": 3, **ONE})


def test_settings_that_cannot_be_fitted_fail_and_the_search_goes_on(tmp_path: Path) -> None:
    # No bin knows 30 bins of its own past: histories that long cannot be fitted.
    heard: list[Tried] = []
    found = _search(tmp_path, 6, heard, data=TrainingData(FEATURES[:40], TARGETS[:40]))
    assert any(np.isnan(trial.score) for trial in heard)
    assert found.settings["history"] <= 32


@pytest.mark.parametrize("name", family_names())
def test_what_is_looked_for_are_settings_that_the_family_takes(name: str) -> None:
    try:
        fam = family(name)
    except ConfigError:
        pytest.skip(NO_TORCH)
    known = {field.name for field in msgspec.structs.fields(fam.settings)}
    assert SPACES[name].keys() <= known
    for pick in (0, -1):
        ends = {key: _end(where, pick) for key, where in SPACES[name].items()}
        fam.check(
            {key: [end] if key in ("leaks", "spectral_radii", "input_scalings") else end for key, end in ends.items()}
        )


def _end(where: Range | tuple[Any, ...], pick: int) -> Any:
    if not isinstance(where, Range):
        return where[pick]
    end = (where.low, where.high)[pick]
    return int(end) if where.scale == "whole" else end


def test_training_searches_only_what_it_trains_on_and_says_so(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"front_end": FrontEndSettings(bin_ms=20), "settings": ONE, "search": 2, "seed": 2}
    trained = train_session(CountsSession(), tmp_path / "b", **asked)
    said = trained.bundle.manifest.training.settings["search"]
    assert store_beside(tmp_path / "b").is_file()
    assert (said["trials"], said["resumed"]) == (2, 0)
    assert trained.bundle.manifest.training.settings["history"] == said["settings"]["history"]
    garbled = CountsSession()
    garbled._columns[500:] = np.random.default_rng(0).normal(size=garbled._columns[500:].shape)
    garbled._counts[500:] = 0
    again = train_session(garbled, tmp_path / "b", replace=True, **asked)
    assert again.bundle.manifest.training.settings["search"] == {**said, "resumed": 2}
    assert load_bundle(tmp_path / "b").sha256 == again.bundle.sha256

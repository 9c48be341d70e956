"""Looking for good settings of a family: optuna proposes, the last block of the training part judges.

What is held out is never seen here. Every trial is kept in a file beside the bundle, so that a search that broke off,
or one that is to go on, takes up where it was; a search of other data, another family or other fixed settings is
another study in the same file.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from cortexwire.errors import ConfigError
from cortexwire.training.data import TrainingData
from cortexwire.training.families import family
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.outputs import VECTOR

if TYPE_CHECKING:
    import optuna

VALIDATION: Final = 0.2
"""Share of the bins to train on, at the end, by which settings are judged."""


class Range(NamedTuple):
    """Numbers between two bounds.

    Attributes:
        low: Smallest.
        high: Largest.
        scale: `log` where factors count rather than differences, `whole` for whole numbers.
    """

    low: float
    high: float
    scale: Literal["linear", "log", "whole"] = "linear"


Choices = tuple[Any, ...]
_GRADIENT: Final[dict[str, Range | Choices]] = {
    "learning_rate": Range(5e-4, 1e-2, "log"),
    "weight_decay": Range(1e-6, 1e-2, "log"),
    "sequence": (50, 100, 200),
    "streams": (8, 16, 32, 64),
    "input_dropout": Range(0.0, 0.5),
    "dropout": Range(0.0, 0.5),
    "count_noise": Range(0.0, 0.5),
    "hidden": (64, 128, 192, 256),
}
_CELLS: Final = {**_GRADIENT, "layers": Range(1, 2, "whole")}
SPACES: Final[dict[str, dict[str, Range | Choices]]] = {
    "wiener": {"history": Range(1, 40, "whole")},
    "cascade": {"history": Range(1, 40, "whole")},
    "kalman": {
        "history": Range(1, 15, "whole"),
        "shrinkage": Range(0.0, 0.5),
        "position": (False, True),
        "transition": ("kinematic", "free"),
    },
    "esn": {
        "leaks": Range(0.03, 1.0, "log"),
        "spectral_radii": Range(0.3, 1.3),
        "input_scalings": Range(0.05, 1.0, "log"),
        "offset": Range(0.0, 1.0),
        "connections": (5, 10, 20),
        "direct": Range(0, 10, "whole"),
    },
    "mlp": {**_GRADIENT, "history": Range(3, 30, "whole"), "layers": Range(1, 3, "whole")},
    "rnn": _CELLS,
    "gru": _CELLS,
    "lstm": _CELLS,
    "tcn": {**_GRADIENT, "hidden": (32, 64, 96, 128), "layers": Range(3, 6, "whole"), "kernel": (2, 3, 5)},
    "snn": {**_CELLS, "tau": Range(2.0, 30.0, "log"), "slope": Range(2.0, 20.0, "log"), "recurrent": (False, True)},
}
"""What is looked for, by family. A setting that a family tries several values of is given one at a time."""
_SEVERAL: Final = ("leaks", "spectral_radii", "input_scalings")


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        settings: The best settings, those that were fixed not among them.
        score: Their R2 on the validation block, all columns weighted by their variance.
        trials: How many trials there are by now, those that failed included.
        resumed: How many of them were there before.
    """

    settings: dict[str, Any]
    score: float
    trials: int
    resumed: int

    @property
    def summary(self) -> dict[str, Any]:
        """The same for the manifest."""
        return {
            "trials": self.trials,
            "resumed": self.resumed,
            "validation_r2": round(self.score, 5),
            "validation_fraction": VALIDATION,
            "settings": self.settings,
        }


class Tried(NamedTuple):
    """One trial that has ended.

    Attributes:
        number: From 1, those of before included.
        trials: How many there shall be.
        score: Its score; NaN where it failed.
        best: The best score so far.
    """

    number: int
    trials: int
    score: float
    best: float


def store_beside(bundle: Path) -> Path:
    """The file that keeps what was tried for a bundle; it lies beside the bundle's folder."""
    return bundle.with_name(bundle.name + ".search.sqlite")


def search_settings(
    data: TrainingData,
    name: str,
    trials: int,
    *,
    fixed: Mapping[str, Any],
    store: Path,
    seed: int = 0,
    told: Callable[[Tried], Any] = lambda _: None,
) -> Found:
    """Look for settings of a family.

    Args:
        data: The part to train on; its last block judges.
        name: Name of the family.
        trials: How many trials there shall be in all, those of before included.
        fixed: Settings that are not looked for.
        store: The file that keeps the trials.
        seed: Of the proposals; trial by trial, so that going on proposes something new.
        told: Told of every trial.

    Raises:
        ConfigError: optuna is absent, the family has nothing to look for, or no trial worked.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError("search: expected optuna, got none; pip install 'cortexwire[train]'") from error
    space = {key: where for key, where in SPACES.get(name, {}).items() if key not in fixed}
    if not space or trials < 1:
        raise ConfigError(f"search: expected one trial or more, and settings of {name} to look for, got {trials}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{store.absolute()}",
        study_name=_study_name(data, name, fixed),
        direction="maximize",
        load_if_exists=True,
    )
    states = optuna.trial.TrialState
    before = _ended(study)
    while (number := _ended(study)) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=seed + number)
        trial = study.ask()
        settings = {**fixed, **_proposed(trial, space)}
        score = _score(data, name, settings)
        if math.isfinite(score):
            study.tell(trial, score)
        else:
            study.tell(trial, state=states.FAIL)
        told(Tried(number + 1, trials, score, _best(study)))
    if not math.isfinite(_best(study)):
        raise ConfigError(f"search: none of {trials} trials of {name} could be fitted")
    found = {key: _as_setting(key, value) for key, value in study.best_params.items()}
    return Found(found, float(study.best_value), _ended(study), before)


def _study_name(data: TrainingData, name: str, fixed: Mapping[str, Any]) -> str:
    """One name for one question: what is fitted to what, with which settings fixed."""
    asked = hashlib.sha256(msgspec.json.encode(dict(sorted(fixed.items()))))
    for table in (data.features, data.targets):
        asked.update(np.ascontiguousarray(table).tobytes())
    return f"{name}-{asked.hexdigest()[:16]}"


def _ended(study: "optuna.Study") -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _best(study: "optuna.Study") -> float:
    values = [trial.value for trial in study.trials if trial.value is not None]
    return max(values, default=math.nan)


def _proposed(trial: "optuna.Trial", space: Mapping[str, Range | Choices]) -> dict[str, Any]:
    settings = {}
    for key, where in space.items():
        value: Any
        if not isinstance(where, Range):
            value = trial.suggest_categorical(key, where)
        elif where.scale == "whole":
            value = trial.suggest_int(key, int(where.low), int(where.high))
        else:
            value = trial.suggest_float(key, where.low, where.high, log=where.scale == "log")
        settings[key] = _as_setting(key, value)
    return settings


def _as_setting(key: str, value: Any) -> Any:
    return [value] if key in _SEVERAL else value


def _score(data: TrainingData, name: str, settings: Mapping[str, Any]) -> float:
    """Fit to the first bins and score on the last block; NaN where the settings cannot be fitted."""
    n_bins = len(data.features)
    cut = n_bins - round(VALIDATION * n_bins)
    fam = family(name)
    try:
        fitted = fam.fit(data.first(cut), fam.check(settings))
    except ConfigError:
        return math.nan
    decoded = np.asarray(fitted.predict(data.features, data.segments)[VECTOR], np.float64)
    late = np.arange(n_bins) >= cut
    late &= data.usable(0)
    return weighted_r2(data.targets[late], decoded[late])

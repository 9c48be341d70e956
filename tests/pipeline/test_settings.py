from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cortexwire.pipeline.settings import (
    DeadlineSettings,
    IdentitySettings,
    IntakeSettings,
    OutputSettings,
    SafetySettings,
)

ALL: tuple[type[BaseModel], ...] = (
    IntakeSettings,
    DeadlineSettings,
    SafetySettings,
    OutputSettings,
    IdentitySettings,
)


@pytest.mark.parametrize("settings", ALL)
def test_defaults_are_valid_described_and_frozen(settings: type[BaseModel]) -> None:
    made = settings()
    name = next(iter(settings.model_fields))
    assert all(field.description for field in settings.model_fields.values())
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, name, 1)


@pytest.mark.parametrize("settings", ALL)
def test_unknown_names_are_refused(settings: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        settings(no_such_setting=1)


@pytest.mark.parametrize("settings", ALL)
def test_settings_survive_json(settings: type[BaseModel]) -> None:
    made = settings()
    assert settings.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (IntakeSettings, {"reorder_window_packets": -1}),
        (IntakeSettings, {"restart_run_packets": 1}),
        (DeadlineSettings, {"deadline_ms": 0}),
        (DeadlineSettings, {"clock_window_s": float("inf")}),
        (SafetySettings, {"hold_ms": -1}),
        (OutputSettings, {"smoothing": 1.0}),
        (OutputSettings, {"gain": float("nan")}),
        (OutputSettings, {"gain": ((1.0, 0.0), (0.0, float("inf")))}),
        (OutputSettings, {"max_speed": 0}),
        (IdentitySettings, {"min_rate_correlation": 1.1}),
    ],
)
def test_values_that_cannot_work_are_refused(settings: type[BaseModel], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**values)


def test_a_gain_is_a_factor_or_a_matrix_and_deadlines_may_be_off() -> None:
    assert OutputSettings(gain=2).gain == 2.0
    assert OutputSettings(gain=((0, 1), (1, 0))).gain == ((0.0, 1.0), (1.0, 0.0))
    assert DeadlineSettings(deadline_ms=None).deadline_ms is None

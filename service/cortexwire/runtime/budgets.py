"""Budgets: the file that says how long each stage may take, read alike by benchmarks and by the live engine.

A file is TOML, with a table for each line::

    [[latency]]
    stage = "binned_to_decoded"     # a histogram of the engine, or what only a benchmark sees, as sent_to_received
    percentile = 99                 # 50, 90, 99, 99.9, or 100 for the longest
    max_us = 600                    # absolute, for a lab's own rig
    channels = [256, 1024]          # only there; everywhere when left out

    [[latency]]
    stage = "sent_to_received"
    percentile = 99
    over_sleeper_us = 1000          # above the bare sleeper's own percentile in the same run, for shared machines

    [[latency]]
    stage = "sent_to_received"
    percentile = 50
    over_reference = { name = "echo", factor = 1.0, plus_us = 120 }     # above a reference chain in the same run

    [[resource]]
    name = "engine_core_share"      # or engine_resident_mib, memory_growth_mib
    max = 0.08

A `[[latency]]` line has exactly one of the three limits. Only absolute ones of the engine's own stages can be watched
live; a benchmark judges all of them.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cortexwire.errors import ConfigError
from cortexwire.runtime.telemetry import STAGES

BENCH_STAGES: Final = (
    *("sent_to_received", "due_to_received"),
    *("transport_in", "received_to_published", "transport_out"),
)
"""Stages of which benchmarks tell, and the engine does not."""
PERCENTILES: Final[dict[float, str]] = {50.0: "p50", 90.0: "p90", 99.0: "p99", 99.9: "p99_9", 100.0: "max"}
"""Percentiles that a line may name, and what results call them."""
Resource = Literal["engine_core_share", "engine_resident_mib", "memory_growth_mib"]
"""What else a line may limit: figures of a result by name."""
MOST_LINES: Final = 64
"""Lines of one kind in a file: as many as the telemetry has flags."""
LIMITS: Final = ("max_us", "over_sleeper_us", "over_reference")


def _known_percentile(value: float) -> float:
    if value not in PERCENTILES:
        raise ValueError(f"expected one of {', '.join(f'{known:g}' for known in PERCENTILES)}")
    return value


def _known_stage(value: str) -> str:
    if value not in (*STAGES, *BENCH_STAGES):
        raise ValueError(f"expected one of {', '.join((*STAGES, *BENCH_STAGES))}")
    return value


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


# Strict: TOML has types, so a text or a truth value where a number belongs is a mistake.
_Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Channels = Annotated[tuple[Annotated[int, Field(strict=True, gt=0)], ...], BeforeValidator(_several)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OverReference(_Settings):
    """A limit by a reference chain of the same run: `factor` times its percentile, and `plus_us`."""

    name: str = Field(min_length=1, description="The chain's name in the results.")
    factor: _Positive = Field(default=1.0, description="Times the chain's own percentile.")
    plus_us: _NotNegative = Field(default=0.0, description="Microseconds on top.")


class LatencyBudget(_Settings):
    """How long a stage may take."""

    stage: Annotated[str, AfterValidator(_known_stage)] = Field(description="What is timed.")
    percentile: Annotated[float, Field(strict=True), AfterValidator(_known_percentile)] = Field(
        description="Which of the durations is compared; 100 is the longest."
    )
    max_us: _Positive | None = Field(default=None, description="Microseconds.")
    over_sleeper_us: _NotNegative | None = Field(
        default=None, description="Microseconds above the bare sleeper's same percentile in the same run."
    )
    over_reference: OverReference | None = Field(
        default=None, description="By the same percentile of a reference chain in the same run."
    )
    channels: _Channels = Field(default=(), description="Numbers of channels that it is for; none: all.")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(LIMITS)}, got {' and '.join(given) or 'none'}")
        return self

    @property
    def what(self) -> str:
        """Stage and percentile: `binned_to_decoded p99`."""
        return f"{self.stage} {'max' if self.percentile == 100 else f'p{self.percentile:g}'}"

    def __str__(self) -> str:
        if self.max_us is not None:
            limit = f"{self.max_us:g} us"
        elif self.over_sleeper_us is not None:
            limit = f"sleeper + {self.over_sleeper_us:g} us"
        else:
            assert self.over_reference is not None
            limit = f"{self.over_reference.factor:g} x {self.over_reference.name} + {self.over_reference.plus_us:g} us"
        return f"{self.what} <= {limit}"


class ResourceBudget(_Settings):
    """How much of the machine the engine may take."""

    name: Resource = Field(description="A figure of the results.")
    max: _NotNegative = Field(description="In the figure's own unit.")
    channels: _Channels = Field(default=(), description="Numbers of channels that it is for; none: all.")

    @property
    def what(self) -> str:
        """The figure's name."""
        return self.name

    def __str__(self) -> str:
        return f"{self.name} <= {self.max:g}"


class Budgets(_Settings):
    """All lines of a file."""

    latency: tuple[LatencyBudget, ...] = Field(default=(), max_length=MOST_LINES)
    resource: tuple[ResourceBudget, ...] = Field(default=(), max_length=MOST_LINES)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.latency and not self.resource:
            raise ValueError("expected at least one [[latency]] or [[resource]] table, got none")
        return self


def read_budgets(path: Path) -> Budgets:
    """Read a file of budgets.

    Raises:
        ConfigError: It cannot be read, or lines in it are wrong: all of them, each with table, number and key.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        return Budgets.model_validate(tree)
    except OSError as error:
        raise ConfigError(f"budgets: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"budgets: expected TOML in {path}: {error}") from error
    except ValidationError as error:
        faults = "; ".join(_explain(fault) for fault in error.errors())
        raise ConfigError(f"budgets: {path}: {faults}") from error


def _explain(fault: ErrorDetails) -> str:
    """Say what is wrong with one key: tables are counted from 1, as a person counts them."""
    place = " ".join(str(step + 1) if isinstance(step, int) else step for step in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "there is no such key"
    elif fault["type"] == "missing":
        message = "is missing"
    else:
        message = message[:1].lower() + message[1:]
        if fault["loc"] and not isinstance(fault["input"], dict | list | tuple):
            message += f", got {fault['input']!r}"
    return f"{place}: {message}" if place else message

"""What requests may hold, with examples: what is checked, and what the OpenAPI document says of it."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is as whole as 3, while "3" and true are no numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
Channel = Annotated[int, Field(ge=0, lt=65536, strict=True), Whole]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class Request(BaseModel):
    """What a client sends: nothing unknown is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NeutralStop(Request):
    """The neutral stop: zeros from now on, until it is released."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"on": True}]})
    on: bool = Field(default=True, strict=True)


class Gain(Request):
    """The output gain: a factor, or a 2 x 2 matrix by rows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gain": 0.8}, {"gain": [[1.0, 0.0], [0.0, 0.5]]}]})
    gain: Number | tuple[tuple[Number, Number], tuple[Number, Number]]


class Recalibration(Request):
    """Thresholds measured anew over this much observed signal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seconds": 30}]})
    seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False, strict=True)]


class Masking(Request):
    """Channels taken out, or back in."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"channels": [3, 17], "masked": True}]})
    channels: Annotated[list[Channel], Field(min_length=1, max_length=4096)]
    masked: bool = Field(default=True, strict=True)


def _one_of(example: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    """Say in a schema what `OverlayChoice` checks: a name or a path."""

    def say(schema: dict[str, Any]) -> None:
        for name in ("name", "path"):
            schema["properties"][name].pop("default")
        schema["oneOf"] = [{"required": ["name"]}, {"required": ["path"]}]
        schema["examples"] = [example]

    return say


class OverlayChoice(Request):
    """An overlay on offer, by name or by path."""

    model_config = ConfigDict(json_schema_extra=_one_of({"name": "monday"}))
    name: Annotated[str, Field(min_length=1, max_length=256)] = ""
    path: Annotated[str, Field(min_length=1, max_length=4096)] = ""

    @model_validator(mode="after")
    def _one(self) -> "OverlayChoice":
        if bool(self.name) == bool(self.path):
            raise ValueError("expected a name or a path, and not both")
        return self

    @property
    def asked(self) -> str:
        """What the client named."""
        return self.name or self.path


class BundleChoice(OverlayChoice):
    """A bundle on offer, by name or by path, with the hash that it must have and an overlay on offer."""

    model_config = ConfigDict(json_schema_extra=_one_of({"name": "reference"}))
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    overlay: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class Activation(Request):
    """When the candidate takes over, and over how many bins it is faded in."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at_bin": None, "crossfade_bins": 25}]})
    at_bin: Annotated[int, Field(ge=0, lt=2**53, strict=True), Whole] | None = None
    crossfade_bins: Annotated[int, Field(ge=0, le=250, strict=True), Whole] = 0


class Mark(Request):
    """An event to be marked in the log at this bin."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": 300, "value": 1.5}]})
    code: Annotated[int, Field(ge=256, lt=2**32, strict=True), Whole]
    value: Number | None = None


class RecordingStart(Request):
    """A recording to begin."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "monday-1", "about": "centre-out, block 1"}]})
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    about: Annotated[str, Field(max_length=1000)] = ""

"""What answers look like, with examples: the shapes in the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Hex = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Maybe = Annotated[float | None, Field(description="null where it is not known")]


class Answer(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(extra="allow")


class Applied(Answer):
    """A command took effect."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bin": 1234}]})
    bin: int = Field(description="The first bin on which it acts; -1 where it acts on none.")


class JobAnswer(Answer):
    """Something that takes its time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "5f1c0a9be27d4431", "kind": "recalibrate", "state": "running", "progress": 0.4,
                    "phase": "calibrating", "result": None, "problem": None, "began_ns": 1767225600000000000,
                    "ended_ns": None,
                }
            ]
        }
    )  # fmt: skip
    id: str
    kind: str
    state: Literal["running", "done", "failed"]
    progress: float = Field(ge=0, le=1)
    phase: str
    result: dict[str, Any] | None
    problem: str | None
    began_ns: int
    ended_ns: int | None


class JobList(Answer):
    """Jobs, the newest first."""

    jobs: list[JobAnswer]


class Percentiles(Answer):
    """Durations of one stage, in nanoseconds, in a few numbers."""

    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int
    total: int


class LatencyAnswer(Answer):
    """Latency by stage, since the engine's start and over the last seconds."""

    latency: dict[str, Percentiles]
    latency_window: dict[str, Percentiles]
    window_s: float
    budgets: dict[str, Literal["over", "within"]]


class EngineAnswer(Answer):
    """The engine; without one only the first four."""

    writer: Literal["live", "stale", "dead", "closed", "absent"]
    state: Literal["waiting", "calibrating", "running", "silent", "refused", "ended", "absent"]
    armed: bool
    neutral: bool | None
    blocked: bool | None = Field(None, description="Whether arming waits until the array is confirmed.")
    blocked_why: str | None = None
    epoch: Hex | None = None
    restart: int | None = None
    bin: int | None = None
    sample_index: int | None = None
    rate_hz: float | None = None
    n_channels: int | None = None
    bundle_hash: Hex | None = None
    bundle_name: str | None = None
    bin_ms: float | None = None
    unit: str | None = None
    overlay_hash: Hex | None = None
    velocity: list[Maybe] | None = None
    notes: int | None = None
    last_note: str | None = None
    pid: int | None = None


class OutputAnswer(Answer):
    """One output message without its arrays of channels."""

    kind: Literal["decoded", "safe"]
    epoch: Hex
    restart: int
    bin: int
    end_sample: int
    validity: Literal["valid", "partial", "stale"]
    observed_fraction: float
    missing_samples: int
    flags: list[str]
    valid_for_ms: float
    executor: str
    bundle_hash: Hex
    overlay_hash: Hex
    times: dict[str, int]
    clocks: dict[str, str]
    velocity: list[Maybe] | None
    latency_us: Maybe


class StateAnswer(Answer):
    """How things stand."""

    t_ns: int
    realtime_ns: int
    stale: bool
    insecure: bool
    engine: EngineAnswer
    budgets: dict[str, Literal["over", "within"]]
    counters: dict[str, int]
    latency: dict[str, Percentiles]
    latency_window: dict[str, Percentiles]
    recorder: dict[str, Any] | None
    candidate: dict[str, Any] | None
    previous: str | None
    last_output: OutputAnswer | None
    channels: dict[str, int] | None
    notes: list[dict[str, Any]]
    scheduling: dict[str, Any] | None
    output: dict[str, Any]
    stream: dict[str, Any]
    tap: dict[str, int]


class ChannelsAnswer(Answer):
    """Channels, one array per quantity, in channel order."""

    electrodes: list[dict[str, str]]
    rate_hz: list[Maybe]
    rms_uv: list[Maybe]
    threshold_uv: list[Maybe]
    status: list[int] = Field(description="flags: masked 1, dead 2, railing 4, disabled 8")


class OutputList(Answer):
    """Outputs, the oldest first."""

    outputs: list[OutputAnswer]


class ConfigAnswer(Answer):
    """What the engine was told, and what it began with."""

    config: dict[str, Any]
    bundle: str | None
    bundle_sha256: str | None
    overlay: str | None
    fingerprint: str | None
    software: dict[str, str]


class BundleAnswer(Answer):
    """A bundle on offer."""

    name: str
    path: str
    hash: Hex
    sha256: str
    family: str
    unit: str
    bin_ms: float
    rate_hz: float
    n_channels: int
    active: bool


class BundleList(Answer):
    """Bundles and overlays on offer."""

    bundles: list[BundleAnswer]
    overlays: list[str]
    candidate: dict[str, Any] | None
    previous: str | None


class RecorderAnswer(Answer):
    """The recorder; null where none ever ran."""

    recorder: dict[str, Any] | None


class Health(Answer):
    """Whether a service does what it is for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "reasons": []}]})
    status: Literal["ok", "not ready"]
    reasons: list[str]


class ProblemAnswer(Answer):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems#409", "title": "refused by the engine or recorder", "status": 409,
                    "detail": "not armed: the stream is not the one that the bundle is for", "instance": "/v1/arm",
                }
            ]
        }
    )  # fmt: skip
    type: str
    title: str
    status: int
    detail: str
    instance: str

"""The engine's configuration: one tree, filled from flags over `CORTEXWIRE_*` variables over a TOML file.

Every key has one name, its path: `ingest.endpoint` in messages and flags, `[ingest] endpoint = ...` in the
file, `CORTEXWIRE_INGEST__ENDPOINT` in the environment. Nothing unknown is ignored, wherever it stands, and a
message about a value names the place that it came from.
"""

import difflib
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cortexwire.errors import ConfigError
from cortexwire.pipeline.settings import PipelineSettings

ENV_PREFIX = "CORTEXWIRE_"
"""What the name of every variable begins with."""
ENV_DELIMITER = "__"
"""What parts the steps of a path in the name of a variable."""
OTHER_VARIABLES = frozenset(
    {
        "CORTEXWIRE_CACHE",
        "CORTEXWIRE_CURVE_KEY",
        "CORTEXWIRE_CURVE_SERVER_KEY",
        "CORTEXWIRE_DATA",
        "CORTEXWIRE_PARENT",
    }
)
"""Variables that mean something else: the cache of compiled kernels, a client's keys, where recordings are, who
started a child."""

Endpoint = Annotated[str, Field(pattern=r"^(tcp|ipc)://.+")]
"""A ZeroMQ endpoint, tcp or ipc."""
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def default_keys_dir(env: Mapping[str, str]) -> Path:
    """Return `$XDG_CONFIG_HOME/cortexwire`, or without that `~/.config/cortexwire`."""
    base = env.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base else Path.home() / ".config") / "cortexwire"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestSettings(_Settings):
    """The socket through which packets come in."""

    endpoint: Endpoint = Field(default="tcp://127.0.0.1:5555", description="Where packets come from.")
    socket: Literal["sub", "pull"] = Field(
        default="sub",
        description="sub: a full queue makes the publisher drop packets, which are counted as lost; "
        "pull: it makes the sender wait, and nothing is lost.",
    )
    bind: bool = Field(default=False, description="Bind to the endpoint instead of connecting to it.")
    high_water_ms: Milliseconds = Field(default=1000.0, description="Signal that may wait, in milliseconds.")
    packet_ms: Milliseconds = Field(default=1.0, description="Signal in one packet of the rig, in milliseconds.")


class OutputSocketSettings(_Settings):
    """The socket through which outputs leave."""

    endpoint: Endpoint = Field(default="tcp://127.0.0.1:5556", description="Where subscribers find outputs.")
    bind: bool = Field(default=True, description="Bind to the endpoint instead of connecting to it.")
    high_water_bins: int = Field(
        default=1,
        ge=1,
        le=100_000,
        description="Bins that may wait for one slow subscriber (64 messages at least); newer ones are dropped.",
    )


class TapSettings(_Settings):
    """The ring that holds the newest packets, ticks, commands and outputs for a recorder."""

    enabled: bool = Field(default=True, description="Whether the engine writes the ring.")
    megabytes: int = Field(default=64, ge=1, le=65536, description="Size of the ring, in MiB.")


class RecorderSettings(_Settings):
    """The process that writes the tap to disk."""

    enabled: bool = Field(default=False, description="Whether serve starts it.")
    folder: Path = Field(default=Path("recordings"), description="Where recordings are made, a folder each.")
    autostart: bool = Field(default=True, description="Record as soon as there is an engine, rather than when told to.")
    segment_megabytes: int = Field(default=256, ge=1, le=65536, description="Length of a segment, in MiB.")
    sync_ms: Milliseconds = Field(
        default=250.0, description="What was written longer ago than that, in milliseconds, is on the disk."
    )
    sync_megabytes: int = Field(
        default=32, ge=1, le=65536, description="As soon as so much was written, in MiB, it is brought to the disk."
    )
    buffer_megabytes: int = Field(
        default=256, ge=4, le=65536, description="Most memory for what a stalled disk does not take yet, in MiB."
    )
    keep_bundle: bool = Field(default=True, description="Keep copies of bundles and overlays with the recording.")


class RealtimeSettings(_Settings):
    """Scheduling of the hot thread; what is not granted is reported, never fatal."""

    fifo_priority: Annotated[int, Field(ge=1, le=99)] | None = Field(
        default=None, description="SCHED_FIFO priority; none leaves the normal scheduler."
    )
    slice_us: Annotated[int, Field(ge=100, le=100_000)] | None = Field(
        default=100,
        description="Time slice asked of the normal scheduler, in microseconds: who asks for a shorter one runs sooner "
        "when woken (Linux 6.12 and later).",
    )
    lock_memory: bool = Field(default=False, description="Lock the process's memory, present and future.")
    cpu: Annotated[int, Field(ge=0)] | None = Field(default=None, description="The one CPU to run on.")
    rehearse: bool = Field(
        default=True,
        description="Run the end of a bin on throw-away data one packet before, so that the real one is quick.",
    )
    measure_cpu: bool = Field(
        default=False,
        description="Measure the hot thread's processor time of each packet, which costs a few microseconds each.",
    )


class ApiSettings(_Settings):
    """The API's process: where it listens, what it offers, and how much it lets one client ask."""

    enabled: bool = Field(default=False, description="Whether `serve` runs it.")
    bind: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5}$")] = Field(
        default="127.0.0.1:8765", description="HOST:PORT to listen on; beyond loopback it needs tokens."
    )
    tokens: Path | None = Field(default=None, description="File of tokens, as `cortexwire keys token` writes it.")
    hosts: tuple[str, ...] = Field(default=(), description="Names by which clients may call it, besides loopback's.")
    bundles: Path | None = Field(
        default=None, description="Folder of what clients may load: bundles in its subfolders, overlays as files."
    )
    audit: Path | None = Field(
        default=None, description="Log of who changed what; by default audit.jsonl in the run directory."
    )
    fps: int = Field(default=20, ge=1, le=60, description="Frames a second of the live stream unless asked otherwise.")
    viewers: int = Field(default=32, ge=1, le=1024, description="Live streams at a time.")
    read_rate: float = Field(default=200.0, gt=0, description="Reading requests a second of one client.")
    control_rate: float = Field(default=10.0, gt=0, description="Changing requests a second of one client.")


class SecuritySettings(_Settings):
    """What protects whatever other machines reach."""

    insecure: bool = Field(
        default=False, description="Let other machines in without tokens (REST) and without CURVE keys (ZeroMQ)."
    )
    curve_key: Path | None = Field(
        default=None,
        description="The engine's CURVE key pair, which protects its TCP endpoints beyond loopback.",
    )
    curve_clients: Path | None = Field(
        default=None, description="Folder of the public keys of who may send to the engine, hear and control it."
    )


class SupervisorSettings(_Settings):
    """What `serve` does about a part that dies or hangs."""

    rearm: bool = Field(
        default=False,
        description="Whether an engine that was armed when it died is armed again; otherwise an operator has to do it, "
        "who sees first what moved and why the engine died.",
    )
    standby: bool = Field(
        default=True,
        description="Keep a second engine, compiled and idle, that takes over within a tenth of the time that a start "
        "takes; it costs as much memory again, and no processor time.",
    )
    hung_after_ms: Annotated[float, Field(ge=500, allow_inf_nan=False)] = Field(
        default=2000.0, description="A part without a heartbeat for so long hangs, is killed and started again."
    )
    most_restarts: Annotated[int, Field(ge=0)] = Field(
        default=5, description="Restarts in a row before a part that keeps dying is given up."
    )
    settled_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=10.0, description="A part that has run for so long is sound: its next death is the first in a row."
    )


class EngineConfig(_Settings):
    """Everything that one engine is told."""

    ingest: IngestSettings = IngestSettings()
    output: OutputSocketSettings = OutputSocketSettings()
    bundle: Path | None = Field(default=None, description="Folder of the model bundle.")
    overlay: Path | None = Field(default=None, description="Parameters of the day, laid over the bundle's.")
    provider: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="What runs the decoder.")
    executor: Literal["onnx", "incremental"] = Field(
        default="onnx",
        description="onnx: the whole step in ONNX Runtime at the end of a bin; incremental: what can be computed "
        "before the bin's last packet is, on the CPU, with outputs equal to about 1e-6.",
    )
    armed: bool = Field(default=False, description="Whether outputs are commands from the start.")
    thresholds: Path | None = Field(default=None, description="File with the channels' thresholds in microvolts.")
    budgets: Path | None = Field(default=None, description="File with the latency budgets to watch.")
    run_dir: Path = Field(
        default_factory=lambda: default_run_dir(os.environ),
        description="Folder of telemetry, tap and control socket; one engine each.",
    )
    control: Endpoint | None = Field(
        default=None, description="Endpoint of the control socket; by default one in the run directory."
    )
    tap: TapSettings = TapSettings()
    recorder: RecorderSettings = RecorderSettings()
    front_end: dict[str, Any] = Field(
        default_factory=dict,
        description="Front-end settings that replace the bundle's, checked by the pipeline.",
    )
    pipeline: PipelineSettings = PipelineSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    api: ApiSettings = ApiSettings()
    security: SecuritySettings = SecuritySettings()
    supervisor: SupervisorSettings = SupervisorSettings()

    @model_validator(mode="after")
    def _overlay_needs_bundle(self) -> Self:
        if self.overlay is not None and self.bundle is None:
            raise ValueError("overlay: expected a bundle that it belongs to, got none")
        return self

    def describe(self) -> str:
        """Return every key with its value, one `path = value` per line, in the order of the tree."""
        return "\n".join(f"{'.'.join(path)} = {value}" for path, value in _leaves(self.model_dump(mode="json")))


def default_run_dir(env: Mapping[str, str]) -> Path:
    """Return `$XDG_RUNTIME_DIR/cortexwire`, or without that a folder per user under the temporary folder."""
    base = env.get("XDG_RUNTIME_DIR", "")
    if base and Path(base).is_dir():
        return Path(base) / "cortexwire"
    return Path(tempfile.gettempdir()) / f"cortexwire-{os.getuid()}"


def load_config(
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> EngineConfig:
    """Make the configuration from its sources, the later ones over the earlier.

    Args:
        file: TOML file, or none.
        env: Environment; None means the process's own.
        flags: Values by dotted path (`{"ingest.bind": True}`) or nested; None values are flags not given.
        assignments: `path=value` each, with values as in the environment.

    Raises:
        ConfigError: All that is wrong, one line per key, each with the place that it came from.
    """
    env = os.environ if env is None else env
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    problems: list[str] = []
    sources = (
        _from_file(file, problems),
        _from_env(env, problems),
        _from_flags(flags or {}),
        _from_assignments(assignments, problems),
    )
    for source in sources:
        for path, value, origin in source:
            _put(merged, path, value)
            origins[path] = origin
    merged.setdefault("run_dir", default_run_dir(env))
    if not problems:
        try:
            return EngineConfig(**merged)
        except ValidationError as error:
            problems += [_explain(fault, origins) for fault in error.errors()]
    raise ConfigError("\n".join(problems))


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[path[-1]] = value


_Source = list[tuple[tuple[str, ...], Any, str]]


def _from_file(file: Path | None, problems: list[str]) -> _Source:
    if file is None:
        return []
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"configuration file {file}: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"configuration file {file}: expected TOML: {error}")
    else:
        return [(path, value, f"in {file}") for path, value in _leaves(tree)]
    return []


def _from_env(env: Mapping[str, str], problems: list[str]) -> _Source:
    found: _Source = []
    for name in sorted(env):
        if not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES:
            continue
        path = tuple(name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER))
        if path[0] not in EngineConfig.model_fields:
            close = difflib.get_close_matches(path[0], EngineConfig.model_fields, 1)
            hint = f"; did you mean {ENV_PREFIX}{close[0].upper()}?" if close else ""
            problems.append(f"environment variable {name}: there is no setting {path[0]!r}{hint}")
            continue
        found += _spread(path, parse_value(env[name]), f"from environment variable {name}")
    return found


def _spread(path: tuple[str, ...], value: Any, origin: str) -> _Source:
    inner = _leaves(value, path) if isinstance(value, dict) and value else [(path, value)]
    return [(leaf, content, origin) for leaf, content in inner]


def parse_value(text: str) -> Any:
    """Read JSON where it is a list, a table or null; all else stays text, which the settings convert."""
    if text == "null" or text[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def _from_flags(flags: Mapping[str, Any]) -> _Source:
    return [
        (tuple(part for step in path for part in step.split(".")), value, "from a flag")
        for path, value in _leaves(flags)
        if value is not None
    ]


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `path=value` each: values by dotted path, as `load_config` reads them.

    Raises:
        ConfigError: One has no `=`, or no path before it.
    """
    values = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not (path and equals):
            raise ConfigError(f"--set {text}: expected KEY=VALUE")
        values[path.strip()] = parse_value(value.strip())
    return values


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn values by dotted path into a tree."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        _put(tree, tuple(path.split(".")), value)
    return tree


def _from_assignments(assignments: Sequence[str], problems: list[str]) -> _Source:
    try:
        values = parse_assignments(assignments)
    except ConfigError as error:
        problems.append(str(error))
        return []
    return [leaf for path, value in values.items() for leaf in _spread(tuple(path.split(".")), value, "from --set")]


def _explain(fault: ErrorDetails, origins: Mapping[tuple[str, ...], str]) -> str:
    path = tuple(str(step) for step in fault["loc"])
    if not path:
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "there is no such setting"
    elif fault["type"] == "string_pattern_mismatch":
        expected = "HOST:PORT" if path == ("api", "bind") else "tcp://HOST:PORT or ipc://PATH"
        message = f"expected {expected}, got {fault['input']!r}"
    else:
        message = f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, got {fault['input']!r}"
    # A union adds a step below the key that was given; a table where a value belongs has its keys below it.
    for length in range(len(path), 0, -1):
        for key, origin in origins.items():
            if key[:length] == path[:length]:
                return f"{'.'.join(path[:length])} ({origin}): {message}"
    return f"{'.'.join(path)}: {message}"

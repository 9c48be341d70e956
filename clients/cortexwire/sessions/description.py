"""`session.toml`: how one lab's file is laid out, so that it can be read without code.

The structures below are the whole schema; `docs/sessions.md` explains them with examples. A key that is not
listed here is an error, because a misspelt setting that is silently ignored reads the wrong data.
"""

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from cortexwire.errors import SessionError
from cortexwire.sessions.grid import TimeUnit

Orientation = Literal["time_first", "channels_first"]
Number = int | float | str
"""A decimal number; text where it is to be exact beyond what a float holds, e.g. `"48828125/2000"`."""


class WidebandSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="wideband"
):
    """Voltages.

    Attributes:
        key: The matrix of samples; left out for a folder of wav files.
        rate_hz: Sample rate; left out where the file states it.
        uv_per_bit: Microvolts per unit.
        reference: What the voltages were measured against, in words.
    """

    key: str | None = None
    rate_hz: Number | None = None
    uv_per_bit: float | None = None
    orientation: Orientation = "time_first"
    reference: str = ""


class CountsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="counts"):
    """Counts per recorded bin.

    Attributes:
        key: The matrix of counts.
        bin_ms: Width of a recorded bin.
        scale: Count = recorded value x scale.
        rate_hz: Sample clock that the bins are laid on.
        stream: Whether the session gives events (each count placed at random inside its bin) or counts.
        seed: Seed of the placement.
    """

    key: str
    bin_ms: Number
    scale: float = 1.0
    rate_hz: Number = 30000
    stream: Literal["events", "counts"] = "events"
    seed: int = 0
    orientation: Orientation = "time_first"


class EventsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="events"):
    """A list of events, one time and channel each.

    Attributes:
        times: Times of the events.
        channels: Channel number of each.
        units: Sorted unit of each; left out where unsorted.
        rate_hz: Sample clock.
        unit: Unit of `times`.
        first_channel: Number of the first channel in the file.
        n_channels: Number of channels; by default the highest that occurs.
        duration_s: Length of the recording; by default up to the last event.
    """

    times: str
    channels: str
    units: str | None = None
    rate_hz: Number = 30000
    unit: TimeUnit = "s"
    first_channel: int = 0
    n_channels: int | None = None
    duration_s: Number | None = None


class RecordedSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="recorded"
):
    """The signal of a recording of a known format, as it says itself.

    Attributes:
        stream: Which of its streams, as behind `#`.
    """

    stream: str = ""


ArraySpec = WidebandSpec | CountsSpec | EventsSpec
"""Signals in files of named arrays."""
SignalSpec = ArraySpec | RecordedSpec


class ColumnSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kinematics column.

    Attributes:
        key: The array that holds it.
        column: Which column of that array, from 0.
        scale: Value = recorded value x scale.
        unit: Unit of the scaled value, in words.
        interpolate: Between rows `linear`, or `step`: a row's value holds throughout the row.
        derivative_of: Name of another column: this one is its slope per second, and has no `key`.
    """

    key: str | None = None
    column: int = 0
    scale: float = 1.0
    unit: str = ""
    interpolate: Literal["linear", "step"] = "linear"
    derivative_of: str | None = None


class KinematicsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the rows of the kinematics were taken. By default they are the recorded bins of the counts.

    Attributes:
        file: Another file that holds columns and trials, found like the recording itself.
        row_ms: Width of a row.
        rate_hz: Rows per second, in place of `row_ms`.
        times: Array with the time of each row, in place of both.
        unit: Unit of `times`.
        anchor: Where inside its row a recorded value holds exactly.
        first: Before the first value of a trial a column is undefined, or holds that value (with slope 0).
    """

    file: str | None = None
    row_ms: Number | None = None
    rate_hz: Number | None = None
    times: str | None = None
    unit: TimeUnit = "s"
    anchor: Literal["end", "centre", "start"] = "end"
    first: Literal["undefined", "hold"] = "undefined"
    orientation: Orientation = "time_first"


class NoTrials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="rule", tag="none"):
    """The recording is one continuous stretch."""


class ZeroRows(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="rule", tag="zero_rows"
):
    """Each row in which all `columns` of `key` are exactly 0 starts a trial."""

    key: str
    columns: tuple[int, ...] | None = None
    joined: bool = True


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="rule", tag="change"):
    """A trial starts wherever the value of a column differs from the row before."""

    key: str
    column: int = 0
    joined: bool = True


class TrialTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="rule", tag="table"):
    """One row per trial.

    Attributes:
        key: The table.
        file: Another file that holds it, found like the recording itself.
        start: Column with the start.
        stop: Column with the end.
        unit: Unit of both; `rows` are rows of the kinematics.
        first_row: Number of the first row, sample or row index in the file (1 for MATLAB's).
        joined: Whether the recording consists of trials joined end to end, so that nothing is interpolated
            across their edges.
    """

    key: str
    file: str | None = None
    start: int = 0
    stop: int = 1
    unit: TimeUnit | Literal["rows"] = "s"
    first_row: int = 0
    joined: bool = False


TrialsSpec = NoTrials | ZeroRows | Change | TrialTable


class ElectrodesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Identities of the channels, in order. By default the names in the file, or none.

    Attributes:
        names: The identities themselves.
        key: Array that holds them.
        column: Which column of it.
        bank_size: Channels per bank; banks are named A, B, C, ...
    """

    names: tuple[str, ...] | None = None
    key: str | None = None
    column: int = 0
    bank_size: int | None = None


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole `session.toml`."""

    file: str
    signal: SignalSpec
    name: str | None = None
    about: str = ""
    columns: dict[str, ColumnSpec] = msgspec.field(default_factory=dict)
    kinematics: KinematicsSpec = KinematicsSpec()
    trials: TrialsSpec = NoTrials()
    electrodes: ElectrodesSpec = ElectrodesSpec()


def read_description(path: Path) -> Description:
    """Read a `session.toml`.

    Raises:
        SessionError: It is missing, no TOML, or breaks the schema; the message says where in the file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SessionError(f"{path}: expected a readable TOML file, got: {error}") from error
    try:
        return msgspec.convert(content, Description)
    except msgspec.ValidationError as error:
        raise SessionError(f"{path}: {str(error).replace('$.', '')}") from error

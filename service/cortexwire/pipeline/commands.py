"""What an operator can tell a running pipeline: one struct per command, and their JSON form.

Commands are the pipeline's third input beside packets and ticks. They apply between two bins and are logged
as these bytes, so a replay repeats them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cortexwire.errors import ConfigError

Channel = Annotated[int, Meta(ge=0, lt=65536)]
HexHash = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
"""A 64-bit hash as 16 hexadecimal digits, since JSON readers lose integers beyond 2^53."""
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""The hash of a bundle's manifest, and thereby of the bundle."""


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="arm"):
    """Let decoded bins be commands, unless something blocks it."""


class Disarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="disarm"):
    """Go on decoding and publishing, as shadow output."""


class Neutral(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="neutral"):
    """The neutral stop: zeros from now on, until it is released."""

    on: bool = True


class SetGain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="set_gain"):
    """Change the output gain: a factor, or a 2 x 2 matrix by rows."""

    gain: float | tuple[tuple[float, float], tuple[float, float]]


class SetOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="set_offset"):
    """Change the output offset, in units/s."""

    offset: tuple[float, float]


class SetThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="set_thresholds"):
    """Use these thresholds, one per channel; null disables a channel."""

    thresholds_uv: Annotated[tuple[float | None, ...], Meta(min_length=1)]


class Recalibrate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="recalibrate"):
    """Measure thresholds anew over this much observed signal; the output is safe meanwhile."""

    seconds: Annotated[float, Meta(gt=0, le=3600)]


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="mask"):
    """Take channels out (they enter the decoder at their training mean), or back in."""

    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]
    masked: bool = True


class ApplyOverlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="apply_overlay"):
    """Apply a parameter overlay: the file that the shell loads, and the hash that it must have."""

    path: Annotated[str, Meta(min_length=1)]
    hash: HexHash


class RollbackOverlay(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="rollback_overlay"
):
    """Go back to the parameters before the last overlay."""


class ConfirmIdentity(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="confirm_identity"
):
    """The operator has made sure that it is the right array."""


class AttachBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="attach_bundle"):
    """A bundle that the shell has loaded and warmed runs in shadow from here on, as the candidate.

    It is what becomes of a `StageBundle`, and the form that a log has: nobody asks for it directly.
    """

    path: Annotated[str, Meta(min_length=1)]
    sha256: Sha256
    overlay: str | None = None
    overlay_hash: HexHash | None = None


class ActivateBundle(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="activate_bundle"
):
    """The candidate takes over at a bin (the open one, if none is named), over so many bins of cross-fade.

    With `bundle_hash` only that bundle does: whoever asks may not know of the newest.
    """

    at_bin: Annotated[int, Meta(ge=0, lt=2**62)] | None = None
    crossfade_bins: Annotated[int, Meta(ge=0, le=250)] = 0
    bundle_hash: HexHash | None = None


class RollbackBundle(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="rollback_bundle"
):
    """Go back to the bundle before, at once; the one that was in command stays in shadow in its place."""


class UnstageBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="unstage_bundle"):
    """Drop the candidate, or the bundle before; `why` is for the log."""

    which: Literal["candidate", "previous"] = "candidate"
    why: str = ""


class StageBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="stage_bundle"):
    """Load and warm a bundle, behind the engine's back, then attach it; where a hash is given, it has to be that."""

    path: Annotated[str, Meta(min_length=1)]
    sha256: Sha256 | None = None
    overlay: Annotated[str, Meta(min_length=1)] | None = None


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="mark"):
    """Put a user's marker into the log at this bin."""

    code: Annotated[int, Meta(ge=256, lt=2**32)]
    value: float | None = None


Command = (
    Arm
    | Disarm
    | Neutral
    | SetGain
    | SetOffset
    | SetThresholds
    | Recalibrate
    | Mask
    | ApplyOverlay
    | RollbackOverlay
    | ConfirmIdentity
    | AttachBundle
    | ActivateBundle
    | RollbackBundle
    | UnstageBundle
    | Mark
)
Request = Command | StageBundle
"""What an operator may ask for: a command, or what becomes one in its time."""

_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def encode_command(command: Command) -> bytes:
    """Write a command as JSON, e.g. `{"command":"set_gain","gain":1.5}`.

    Raises:
        ConfigError: A field is out of its range.
    """
    payload = msgspec.json.encode(command)
    if decode_command(payload) != command:
        raise ConfigError(f"expected a command of finite numbers and tuples, got {command}")
    return payload


def decode_command(payload: bytes | str) -> Command:
    """Read a command from JSON.

    Raises:
        ConfigError: It is no JSON, no command, or a field is missing, unknown or out of its range.
    """
    try:
        return _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"not a command: {error}") from error


def decode_request(payload: bytes | str) -> Request:
    """Read what an operator asks for from JSON.

    Raises:
        ConfigError: As `decode_command`.
    """
    try:
        return _REQUESTS.decode(payload)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"not a command: {error}") from error

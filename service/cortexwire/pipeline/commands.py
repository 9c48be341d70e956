"""What an operator can tell a running pipeline: one struct per command, and their JSON form.

Commands are the pipeline's third input beside packets and ticks. They apply between two bins and are logged
as these bytes, so a replay repeats them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from cortexwire.errors import ConfigError

Channel = Annotated[int, Meta(ge=0, lt=65536)]
HexHash = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
"""A 64-bit hash as 16 hexadecimal digits, since JSON readers lose integers beyond 2^53."""


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
    | Mark
)

_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


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

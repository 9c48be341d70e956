import msgspec
import pytest

from cortexwire.errors import ConfigError
from cortexwire.pipeline.commands import (
    ApplyOverlay,
    Arm,
    Command,
    ConfirmIdentity,
    Disarm,
    Mark,
    Mask,
    Neutral,
    Recalibrate,
    RollbackOverlay,
    SetGain,
    SetOffset,
    SetThresholds,
    decode_command,
    encode_command,
)

ALL: list[Command] = [
    Arm(),
    Disarm(),
    Neutral(),
    Neutral(on=False),
    SetGain(1.5),
    SetGain(((0.0, 1.0), (-1.0, 0.0))),
    SetOffset((0.5, -0.5)),
    SetThresholds((-50.0, None, -42.25)),
    Recalibrate(10.0),
    Mask((0, 7), masked=False),
    ApplyOverlay("/days/today", "00ff00ff00ff00ff"),
    RollbackOverlay(),
    ConfirmIdentity(),
    Mark(256, 1.0),
    Mark(300),
]


@pytest.mark.parametrize("command", ALL)
def test_a_command_survives_json(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


def test_every_kind_of_command_is_tried() -> None:
    tags = {msgspec.json.decode(encode_command(command))["command"] for command in ALL}
    assert len(tags) == 12


def test_json_is_readable() -> None:
    assert encode_command(SetGain(1.5)) == b'{"command":"set_gain","gain":1.5}'
    assert decode_command('{"command": "arm"}') == Arm()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "truncated"),
        (b"\xff", "not a command"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `command`"),
        (b'{"command":"explode"}', "explode"),
        (b'{"command":"arm","now":true}', "unknown field `now`"),
        (b'{"command":"set_gain"}', "missing required field `gain`"),
        (b'{"command":"set_gain","gain":[[1,0]]}', "length 2"),
        (b'{"command":"set_gain","gain":null}', "got `null`"),
        (b'{"command":"recalibrate","seconds":0}', "> 0"),
        (b'{"command":"recalibrate","seconds":1e999}', "out of range"),
        (b'{"command":"mask","channels":[]}', ">= 1"),
        (b'{"command":"mask","channels":[-1]}', ">= 0"),
        (b'{"command":"apply_overlay","path":"x","hash":"12"}', "matching regex"),
        (b'{"command":"mark","code":1}', ">= 256"),
    ],
)
def test_what_is_no_command_says_why(payload: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^not a command: .*{message}|^{message}"):
        decode_command(payload)


@pytest.mark.parametrize(
    "command",
    [
        SetGain(float("nan")),
        SetOffset((0.0, float("inf"))),
        SetThresholds((float("nan"),)),
        Mask((-1,)),
        Mark(1),
    ],
)
def test_a_command_that_cannot_be_read_back_is_not_written(command: Command) -> None:
    with pytest.raises(ConfigError):
        encode_command(command)

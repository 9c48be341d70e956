import hashlib
import wave
from pathlib import Path

import pytest

from cortexwire.cli.control import parse_command
from cortexwire.runtime.rundir import RunDir
from tests.cli.running import Command

COMMANDS = (
    "demo", "engine", "serve", "control", "subscribe", "replay", "simulate", "decode", "evaluate", "calibrate", "train",
    "inspect", "bench",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_page_has_examples(command: Command, name: str) -> None:
    ran = command(name, "--help")
    assert ran.code == 0
    assert "Examples" in ran.out
    assert f"cortexwire {name}" in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("engine", "--bundle", "nothing", "--output", "tcp://192.0.2.1:9"), "3 problem(s) at start-up"),
        (("engine", "--fifo", "200"), "realtime.fifo_priority (from a flag)"),
        (("engine", "--set", "ingest.endpoint=udp://x"), "ingest.endpoint (from --set): expected tcp://HOST:PORT"),
        (("engine", "--config", "nothing.toml"), "configuration file nothing.toml"),
        (("demo", "--seed", "1"), "expected a seed that the bundle was not trained on, got 1"),
        (("decode", "nothing.toml", "--bundle", "reference"), "nothing.toml"),
        (("decode", "sim:seconds=1"), "--bundle: expected the folder"),
        (("decode", "sim:channels=many", "--bundle", "reference"), "channels"),
        (("replay", "sim:seconds=1", "--packet-samples", "0"), "expected N or LOW-HIGH"),
        (("replay", "sim:seconds=1", "--packet-samples", "3", "--packet-ms", "1"), "expected one of them, got both"),
        (("replay", "sim:channels=2,seconds=1", "--speed", "quick"), "expected a number or fast"),
        (("control", "fly"), "expected one of arm, disarm"),
        (("control", "gain"), "expected a factor"),
        (("control", "gain", "much"), "expected a factor, got 'much'"),
        (("control", "mark", "7"), "control mark: expected a code from 256 to 4294967295, got '7'"),
        (("control", "recalibrate", "0"), "control recalibrate: expected seconds above 0, 3600 at most, got '0'"),
        (("api", "--bind", "foo"), "api.bind (from a flag): expected HOST:PORT, got 'foo'"),
        (("inspect", "sim:channels=8,sed=3"), "there is no setting 'sed'; expected one of seconds, "),
        (("control", "arm", "now"), "expected no argument"),
        (("control", "activate", "soon"), "expected bins of cross-fade, 250 at most, or nothing, got 'soon'"),
        (("control", "stage"), "expected the folder of a bundle"),
        (("control", '{"command": "arm"}', "now"), "expected nothing behind"),
        (("control", '{"command": "fly"}'), "not a command"),
        (("control", "thresholds", "nothing.json"), "cannot read nothing.json"),
        (("control", "overlay", "nothing.overlay"), "No such file or directory: "),
        (("fly",), "No such command"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    ran = command(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_no_engine_no_answer(command: Command, tmp_path: Path) -> None:
    ran = command("control", "state", "--run-dir", tmp_path, "--timeout", "0.05")
    assert (ran.code, f"no engine runs in {tmp_path}" in ran.err) == (2, True)
    ran = command("inspect", tmp_path)
    assert (ran.code, f"no engine runs in {tmp_path}" in ran.err) == (2, True)
    engine = RunDir(tmp_path)
    engine.acquire()
    ran = command("control", "state", "--run-dir", tmp_path, "--timeout", "0.05")
    engine.close()
    assert (ran.code, "no answer within 0.05 s" in ran.err) == (1, True)


def test_the_version_is_told(command: Command) -> None:
    assert command("--version").out.startswith("cortexwire ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("arm",), {"command": "arm"}),
        (("release",), {"command": "neutral", "on": False}),
        (("unmask", "3,17"), {"command": "mask", "channels": [3, 17], "masked": False}),
        (("gain", "-3"), {"command": "set_gain", "gain": -3.0}),
        (("recalibrate", "5"), {"command": "recalibrate", "seconds": 5.0}),
        (("mark", "300"), {"command": "mark", "code": 300}),
        (("stage", "/b/new"), {"command": "stage_bundle", "path": "/b/new"}),
        (("activate",), {"command": "activate_bundle"}),
        (("activate", "25"), {"command": "activate_bundle", "crossfade_bins": 25}),
        (("rollback-bundle",), {"command": "rollback_bundle"}),
        (("unstage",), {"command": "unstage_bundle"}),
        (('{"command": "state"}',), {"command": "state"}),
        (('{"command": "set_gain", "gain": 2}',), {"command": "set_gain", "gain": 2}),
    ],
)
def test_short_commands_stand_for_the_protocols(words: tuple[str, ...], expected: dict[str, object]) -> None:
    assert parse_command(words[0], words[1] if len(words) > 1 else None) == expected


def test_files_of_a_command_are_read_and_hashed(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.json"
    file.write_text('{"thresholds_uv": [-30, null]}')
    thresholds = {"command": "set_thresholds", "thresholds_uv": [-30.0, None]}
    assert parse_command("thresholds", str(file)) == thresholds
    short = int.from_bytes(hashlib.sha256(file.read_bytes()).digest()[:8], "little")
    overlay = {"command": "apply_overlay", "path": str(file), "hash": f"{short:016x}"}
    assert parse_command("overlay", str(file)) == overlay


def test_what_a_recording_does_not_say_is_said(command: Command, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 20_000, 0, "NONE", ""))
        file.writeframes(bytes(4000))
    ran = command("inspect", tmp_path)
    assert ran.code == 0
    assert "wideband, 1 channels at 20000 Hz" in ran.out
    assert "1.0 is assumed" in ran.err

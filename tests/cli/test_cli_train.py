import json
from pathlib import Path

import pytest

from cortexwire.decoders import load_bundle
from tests.cli.running import Command

SOURCE = "sim:channels=12,seconds=40,seed=2,modulation_hz=40"
CHAIN = ("--reference", "mean", "--set", "threshold.calibration_s=2")


@pytest.fixture
def trained(command: Command, tmp_path: Path) -> Path:
    ran = command("train", SOURCE, *CHAIN, "--history", "5", "--unit", "cm/s", "--out", tmp_path / "bundle")
    assert ran.code == 0, ran.err
    assert "R2 intended_vx" in ran.out
    return tmp_path / "bundle"


def test_a_bundle_remembers_the_command_that_made_it(trained: Path) -> None:
    bundle = load_bundle(trained)
    command = f"cortexwire train {SOURCE} --reference mean --set threshold.calibration_s=2 --history 5"
    assert bundle.manifest.training.settings["command"].startswith(command)
    assert command in bundle.card
    assert bundle.manifest.velocity.unit == "cm/s"
    assert bundle.manifest.memory_bins == 5
    assert bundle.manifest.front_end["reference"]["mode"] == "mean"


def test_what_was_trained_on_is_scored_apart_from_what_was_held_out(command: Command, trained: Path) -> None:
    ran = command("evaluate", SOURCE, "--bundle", trained, "--json")
    scores = json.loads(ran.out)
    training = load_bundle(trained).manifest.training
    assert scores["r2_held_out"] == pytest.approx(training.scores["r2_held_out"], abs=1e-4)
    assert "trust the score of the held-out part only" in ran.err


def test_a_bundle_is_replaced_only_when_told_so(command: Command, trained: Path) -> None:
    again = ("train", SOURCE, *CHAIN, "--history", "3", "--out", trained, "--json")
    assert command(*again).code == 2
    ran = command(*again, "--replace", "--decoder-set", "validation_fraction=0.3")
    said = json.loads(ran.out)
    bundle = load_bundle(trained)
    assert said["sha256"] == bundle.sha256
    assert bundle.manifest.training.settings["validation_fraction"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--columns", "vx,vy"), "expected distinct columns"),
        (("--velocity", "vx,vy"), "velocity: expected two of"),
        (("--int8",), "expected a network with recurrent layers"),
        (("--decoder", "oracle"), "expected one of"),
        (("--set", "filter.high_hz=14900"), r"expected at most 13500 Hz"),
        (("--features", "loudness"), "signal chain: features"),
    ],
)
def test_a_training_that_cannot_be_says_why(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = command("train", "sim:channels=4,seconds=4", "--out", tmp_path / "bundle", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_session_and_a_bundle_are_described(command: Command, trained: Path) -> None:
    said = json.loads(command("inspect", trained, "--json").out)
    assert said["manifest"]["family"] == "wiener"
    assert said["sha256"] == load_bundle(trained).sha256
    assert "12 channels named" in command("inspect", trained).out
    said = json.loads(command("inspect", "sim:channels=3,seconds=2", "--json").out)
    assert (said["kind"], said["channels"], said["seconds"]) == ("session", 3, 2.0)
    ran = command("inspect", trained.parent / "nothing")
    assert ran.code == 2
    assert "there is nothing of that name" in ran.err

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


@pytest.mark.parametrize("given", ["thresholds", "kept"])
def test_what_was_held_out_is_found_by_its_samples_where_nothing_is_calibrated(
    command: Command, tmp_path: Path, given: str
) -> None:
    kept = ("--keep-thresholds",) if given == "kept" else ()
    asked = ("train", SOURCE, *CHAIN, "--history", "5", *kept, "--out", tmp_path / "b", "--json")
    trained = json.loads(command(*asked).out)["r2_held_out"]
    more: tuple[str | Path, ...] = ()
    if given == "thresholds":
        more = ("--thresholds", tmp_path / "t.json")
        assert command("calibrate", SOURCE, "--bundle", tmp_path / "b", "--out", tmp_path / "t.json").code == 0
    found = json.loads(command("evaluate", SOURCE, "--bundle", tmp_path / "b", *more, "--json").out)
    assert found["r2_held_out"] == pytest.approx(trained, abs=0.01)
    assert found["r2"] != pytest.approx(trained, abs=0.01)


def test_another_recording_of_that_name_is_another_recording(command: Command, trained: Path) -> None:
    ran = command("evaluate", SOURCE.replace("seconds=40", "seconds=30"), "--bundle", trained, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["r2_held_out"] is None


def test_a_report_scores_what_was_held_out(command: Command, trained: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = command("evaluate", SOURCE, "--bundle", trained, "--report", page)
    assert ran.code == 0, ran.err
    held_out = load_bundle(trained).manifest.training.scores["r2_held_out"]
    text = page.read_text()
    assert all(f"{value:.2f}" in text for value in held_out.values())
    assert command("evaluate", SOURCE, "--bundle", trained, "--report", tmp_path / "no" / "page.html").code == 2


def test_what_cannot_be_written_is_said_before_the_work(command: Command, trained: Path, tmp_path: Path) -> None:
    for more, said in (
        (("--out", trained), "replace it with --replace"),
        (("--out", tmp_path / "no" / "bundle"), "to put it in"),
        (("--out", tmp_path / "new", "--held-out", "1.5"), "between 0 and 1"),
    ):
        ran = command("train", SOURCE, *CHAIN, *more)
        assert ran.code == 2
        assert said in ran.err
        assert "calibrated" not in ran.err


def test_families_are_compared_in_words_and_as_json(command: Command, tmp_path: Path) -> None:
    asked = ("compare", SOURCE, *CHAIN, "--decoders", "wiener,kalman", "--quick", "--bin-ms", "50")
    ran = command(*asked, "--keep", tmp_path / "kept", "--out", tmp_path / "report.html")
    assert ran.code == 0, ran.err
    assert all(name in ran.out for name in ("wiener", "kalman", "stereotypy"))
    assert "wiener" in (tmp_path / "report.html").read_text()
    described = command("inspect", tmp_path / "kept" / "wiener")
    assert "intended_vx, intended_vy in cm/s" in described.out
    assert len(json.loads(command(*asked, "--json").out)["entries"]) == 4


def test_thresholds_and_overlay_of_a_day_are_one_json(command: Command, trained: Path, tmp_path: Path) -> None:
    both = ("--out", tmp_path / "t.json", "--overlay-out", tmp_path / "day.overlay")
    said = json.loads(command("calibrate", SOURCE, "--bundle", trained, *both, "--json").out)
    assert said["overlay"].endswith("day.overlay")
    assert len(said["thresholds_uv"]) == 12
    ran = command("calibrate", SOURCE, "--bundle", trained, *both[2:], "--seconds", "3")
    assert ran.code == 2
    assert "which speak of thresholds" in ran.err

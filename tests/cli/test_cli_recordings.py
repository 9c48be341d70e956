import json
import struct
from pathlib import Path

import numpy as np
import pytest

from cortexwire.decoders import load_bundle
from cortexwire.runtime.assembly import read_thresholds
from cortexwire.runtime.shipped import bundle_folder, reference_bundle
from cortexwire.training import shuffled_bundle
from cortexwire.wire import OutKind, decode_output, strip_times
from tests.cli.running import Command

SOURCE = "sim:channels=96,seconds=6,seed=11"
LONGER = "sim:channels=96,seconds=15,seed=12"
QUICK = ("--set", "front_end.threshold.calibration_s=2")


def frames(file: Path) -> list[bytes]:
    """The frames of a file that decode wrote."""
    found, data = [], file.read_bytes()
    while data:
        (length,) = struct.unpack("<I", data[:4])
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def worse_r2(command: Command, bundle: Path) -> float:
    ran = command("evaluate", LONGER, "--bundle", bundle, *QUICK, "--json")
    assert ran.code == 0, ran.err
    return float(min(json.loads(ran.out)["r2"].values()))


def test_the_shipped_bundle_decodes_what_it_has_not_seen_and_its_weights_shuffled_do_not(
    command: Command, tmp_path: Path
) -> None:
    assert worse_r2(command, Path("reference")) >= 0.70
    shuffled_bundle(load_bundle(reference_bundle()), tmp_path / "shuffled", seed=4)
    assert worse_r2(command, tmp_path / "shuffled") < 0.1


def test_the_shipped_bundle_is_small_and_names_the_command_that_makes_it() -> None:
    bundle = load_bundle(reference_bundle())
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 300_000
    assert "cortexwire train sim:channels=96,seconds=300,seed=1 --decoder wiener" in bundle.card


def test_a_score_too_low_fails_the_check(command: Command) -> None:
    span = ("--from", "0", "--to", "4")
    ran = command("evaluate", SOURCE, "--bundle", "reference", *QUICK, *span, "--min-r2", "0.999")
    assert ran.code == 1
    assert "R2 intended_vx" in ran.out


def test_decoded_frames_do_not_depend_on_packet_sizes(command: Command, tmp_path: Path) -> None:
    written = []
    for sizes in ("600", "7-900"):
        file = tmp_path / f"{sizes}.frames"
        ran = command(
            "decode", SOURCE, "--bundle", "reference", *QUICK, "--epoch", "9", "--packet-samples", sizes, "--out", file
        )
        assert ran.code == 0, ran.err
        assert "safe messages for missed deadlines are absent" in ran.err
        written.append([strip_times(frame) for frame in frames(file)])
    assert written[0] == written[1]
    kinds = [decode_output(frame).kind for frame in written[0]]
    assert kinds.count(OutKind.DECODED) > 150


def test_decode_says_what_came_out_and_writes_arrays(command: Command, tmp_path: Path) -> None:
    ran = command("decode", SOURCE, "--bundle", "reference", *QUICK, "--out", tmp_path / "out.npz", "--json")
    said = json.loads(ran.out)
    assert said["bins"] == said["valid"] == said["counters"]["decoded_bins"] > 150
    assert said["safe"]["calibrating"] > 90
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["decoded_velocity"].shape == (said["bins"], 2)
        assert arrays["decoded_counts"].shape == (said["bins"], 96)
        assert len(arrays["safe_velocity"]) == sum(said["safe"].values())
    assert list(tmp_path.iterdir()) == [tmp_path / "out.npz"]


def test_a_bundle_that_does_not_fit_a_recording_is_a_configuration_error(command: Command) -> None:
    ran = command("decode", "sim:channels=95,seconds=3", "--bundle", "reference")
    assert ran.code == 2
    assert "channels: expected 96, got 95" in ran.err
    assert "Traceback" not in ran.err


def test_thresholds_found_beforehand_spare_the_calibration(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "thresholds.json"
    ran = command("calibrate", SOURCE, "--bundle", "reference", "--seconds", "2", "--out", file)
    assert ran.code == 0, ran.err
    assert "96, of which 0 disabled" in ran.out
    assert len(read_thresholds(file)) == 96
    ran = command("decode", SOURCE, "--bundle", "reference", "--thresholds", file, "--json")
    assert json.loads(ran.out)["safe"].get("calibrating", 0) == 0


def test_calibration_needs_no_bundle_and_follows_the_chain_that_is_named(command: Command, tmp_path: Path) -> None:
    file, source = tmp_path / "thresholds.json", "sim:channels=8,seconds=3,dead=false"
    ran = command("calibrate", source, "--seconds", "1", "--out", file, "--json")
    usual = json.loads(ran.out)["thresholds_uv"]
    ran = command("calibrate", source, "--seconds", "1", "--out", file, "--set", "threshold.multiplier=-9", "--json")
    assert json.loads(ran.out)["thresholds_uv"] == pytest.approx([2 * value for value in usual])
    assert json.loads(file.read_bytes())["thresholds_uv"] == pytest.approx([2 * value for value in usual])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seconds", "5"), "expected 5 s of clean signal"),
        (("--set", "threshold.mode=absolute"), "expected rms or mad, got absolute"),
        (("--set", "threshold.mode=loud"), "signal chain: threshold.mode"),
        (("--set", "loud"), "expected KEY=VALUE"),
        (("--from", "4"), "expected a part of the 2 s"),
    ],
)
def test_a_calibration_that_cannot_be_says_why(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = command("calibrate", "sim:channels=8,seconds=2", "--out", tmp_path / "thresholds.json", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_ones_own_goes_before_the_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_folder(Path("reference")) == reference_bundle()
    (tmp_path / "reference").mkdir()
    assert bundle_folder(Path("reference")) == Path("reference")

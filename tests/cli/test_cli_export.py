import json
from pathlib import Path

import numpy as np
import pytest

from cortexwire.sessions import open_session
from tests.cli.running import Command

pytest.importorskip("pynwb")
SOURCE = "sim:channels=96,seconds=3,seed=11"
QUICK = ("--set", "front_end.threshold.calibration_s=1")


def test_what_nwb_needs_is_looked_for_before_anything_is_read(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortexwire.runtime.nwb_export.writing.find_spec", lambda _: None)
    ran = command("export-nwb", tmp_path / "no such recording", tmp_path / "a.nwb")
    assert (ran.code, "NWB needs pynwb and hdmf" in ran.err) == (2, True)


def test_export_then_decode_gives_the_same_counts(command: Command, tmp_path: Path) -> None:
    nwb = tmp_path / "sim.nwb"
    ran = command(
        *("export-nwb", SOURCE, nwb, "--bundle", "reference", *QUICK, "--json"),
        *("--start", "2024-05-01T10:30:00+02:00", "--subject", "M1", "--species", "Macaca mulatta"),
    )
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert (said["samples"], said["channels"], said["bytes"]) == (90_000, 96, nwb.stat().st_size)
    assert said["decoded_bins"] > 90
    arrays = []
    for name, source in (("a", SOURCE), ("b", nwb)):
        ran = command("decode", source, "--bundle", "reference", *QUICK, "--out", tmp_path / f"{name}.npz")
        assert ran.code == 0, ran.err
        with np.load(tmp_path / f"{name}.npz") as file:
            arrays.append({key: file[key] for key in file.files if key != "epoch"})
    assert arrays[0].keys() == arrays[1].keys()
    for key, values in arrays[0].items():
        np.testing.assert_array_equal(arrays[1][key], values)
    ran = command("evaluate", nwb, "--bundle", "reference", *QUICK, "--json")
    assert json.loads(ran.out)["r2"].keys() == {"intended_vx", "intended_vy"}


def test_without_a_bundle_crossings_are_those_of_the_default_chain(command: Command, tmp_path: Path) -> None:
    ran = command("export-nwb", "sim:channels=8,seconds=2", tmp_path / "short.nwb")
    assert ran.code == 0, ran.err
    assert "too short to find thresholds on" in ran.err
    assert "when it was recorded is not known" in ran.err
    assert open_session(tmp_path / "short.nwb").n_samples == 60_000


def test_what_cannot_be_written_is_said_before_the_work(command: Command, tmp_path: Path) -> None:
    (tmp_path / "there.nwb").write_bytes(b"mine")
    ran = command("export-nwb", SOURCE, tmp_path / "there.nwb")
    assert ran.code == 2
    assert "there is one already; --force replaces it" in ran.err
    assert (tmp_path / "there.nwb").read_bytes() == b"mine"
    ran = command("export-nwb", SOURCE, tmp_path / "no" / "out.nwb")
    assert (ran.code, "expected the folder" in ran.err) == (2, True)
    ran = command("export-nwb", SOURCE, tmp_path / "out.nwb", "--start", "yesterday")
    assert (ran.code, "--start: expected a time in ISO 8601" in ran.err) == (2, True)
    ran = command("export-nwb", SOURCE, tmp_path / "out.h5")
    assert (ran.code, "a name that ends in .nwb" in ran.err) == (2, True)

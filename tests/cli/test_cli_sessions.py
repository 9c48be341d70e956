import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from cortexwire.cli.picture import Stretch, draw
from cortexwire.sessions import open_session
from tests.cli.running import Command
from tests.sessions.make_recordings import wav_folder, write_wav

COUNTS = """file = "a.csv"
[signal]
kind = "counts"
key = "u*"
bin_ms = 10
rate_hz = 1000
[columns]
px = { key = "x", unit = "mm" }
vx = { derivative_of = "px", unit = "mm/s" }
[trials]
rule = "change"
key = "x"
"""


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    rows = "\n".join(f"{k % 3},{k % 2},{k // 50}" for k in range(200))
    (tmp_path / "a.csv").write_text(f"u1,u2,x\n{rows}\n")
    (tmp_path / "counts.toml").write_text(COUNTS)
    return tmp_path / "counts.toml"


def words_of(svg: str) -> str:
    """All that a drawing says; it has to be well-formed for that."""
    return "\n".join(node.text or "" for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text"))


def test_a_folder_of_recordings_is_listed_with_what_is_wrong(command: Command, tmp_path: Path, counts: Path) -> None:
    wav_folder(tmp_path / "clips")
    (tmp_path / "torn.nev").write_bytes(b"NEURALEV")
    ran = command("sessions", tmp_path)
    assert ran.code == 0
    lines = {line.split()[0]: line for line in ran.out.splitlines()}
    assert list(lines) == ["name", "clips", "counts.toml", "torn.nev"]
    assert "px, vx" in lines["counts.toml"]
    assert "unreadable" in lines["torn.nev"]
    assert "torn.nev: " in ran.err
    assert "expected a whole Blackrock recording" in ran.err
    found = json.loads(command("sessions", tmp_path, "--json").out)["recordings"]
    assert [entry["name"] for entry in found] == ["clips", "counts.toml", "torn.nev"]
    assert found[1]["trials"] == 4
    assert found[2]["error"]


def test_a_folder_that_is_not_there_is_an_error(command: Command, tmp_path: Path) -> None:
    ran = command("sessions", tmp_path / "no")
    assert ran.code == 2
    assert "expected a folder of recordings" in ran.err
    assert command("sessions", tmp_path).err.strip().endswith("no recordings")


def test_commands_take_the_names_of_the_list(command: Command, tmp_path: Path, counts: Path) -> None:
    ran = command("inspect", tmp_path / "counts", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["format"], found["events"], found["units"], found["trials"]) == ("session.toml", 299, 2, 4)
    assert found["columns"] == {"px": "mm", "vx": "mm/s"}


def test_a_picture_says_what_it_shows(command: Command, tmp_path: Path, counts: Path) -> None:
    for name in ("a.svg", "a.html"):
        ran = command("inspect", counts, "--picture", tmp_path / name)
        assert ran.code == 0, ran.err
    svg = (tmp_path / "a.svg").read_text()
    words = words_of(svg)
    for expected in (
        "counts",
        "spikes: 299 on 2 channels",
        "kinematics in mm",
        "kinematics in mm/s",
        "4 trials",
        "time (s)",
    ):
        assert expected in words
    assert "voltage: none recorded" in words
    assert svg in (tmp_path / "a.html").read_text()


def test_a_picture_of_voltage_has_traces_and_a_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "w").mkdir()
    for channel in range(14):
        write_wav(tmp_path / "w" / f"e{channel:02}.wav", rng.normal(0, 100, 30_000).astype(np.int16))
    svg = draw(open_session(tmp_path / "w"), "wav")
    assert svg.count('class="trace"') == 12
    words = words_of(svg)
    assert "one second of voltage, 12 of 14 channels" in words
    assert "threshold crossings at -4.5 RMS" in words
    assert "units" in words
    assert "uv_per_bit is not stated" in words


def test_flat_channels_cost_a_picture_no_more_than_their_own_raster(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "w").mkdir()
    for channel in range(3):
        signal = np.zeros(30_000) if channel == 1 else rng.normal(0, 100, 30_000)
        if channel != 1:
            signal[500 + 100 * channel :: 1000] -= 3000
        write_wav(tmp_path / "w" / f"e{channel}.wav", signal.astype(np.int16))
    words = words_of(draw(open_session(tmp_path / "w"), "wav"))
    assert "no raster" not in words
    assert "1 flat channel left out: " in words
    assert " on 2 channels" in words


def test_gaps_are_drawn_and_said(tmp_path: Path, counts: Path) -> None:
    session = open_session(counts)
    svg = draw(session, "x", (Stretch(0.0, 2.0), Stretch(3.5, 4.0, shown=False)))
    assert "2 stretches, 1.500 s between them not recorded" in words_of(svg)
    assert 'class="gap"' in svg
    assert 'class="gap"' not in draw(session, "x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--picture", "a.jpg"), "expected a file that ends in .svg, .html, .png"),
        (("--picture", "no/a.svg"), "expected the folder"),
        (("--picture", "a.svg", "--from", "99"), "expected a time within the 2 s of counts"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(
    command: Command, counts: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(counts.parent)
    ran = command("inspect", counts, *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert not list(counts.parent.glob("*.svg"))


def test_a_png_without_a_browser_is_refused_before_anything_is_read(
    command: Command, counts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(counts.parent))
    ran = command("inspect", counts, "--picture", counts.parent / "a.png")
    assert ran.code == 2
    assert "write a .svg" in ran.err

"""What `train` can be asked for besides: several recordings, named columns, a search, and bars to watch."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from cortexwire.cli.training import Bars, Silent, watching
from cortexwire.decoders import load_bundle
from cortexwire.decoders.hop import Hop, hop_of
from cortexwire.training.progress import Epoch, listening, tell
from cortexwire.training.search import Tried
from tests.cli.running import Command

SOURCES = [f"sim:channels=8,seconds=24,seed={seed},modulation_hz=40" for seed in (2, 3)]
CHAIN = ("--reference", "mean", "--set", "threshold.calibration_s=2", "--decoder-set", "lambdas=[1.0]")


def test_several_recordings_make_one_decoder(command: Command, tmp_path: Path) -> None:
    ran = command("train", *SOURCES, *CHAIN, "--history", "3", "--out", tmp_path / "b", "--json")
    assert ran.code == 0, ran.err
    training = load_bundle(tmp_path / "b").manifest.training
    assert len(training.sessions) == 2
    assert set(training.split) == set(training.sessions)
    ran = command("evaluate", SOURCES[0], "--bundle", tmp_path / "b")
    assert "trust the score of the held-out part only" in ran.err


def test_columns_are_named_and_two_of_them_declared_a_velocity(command: Command, tmp_path: Path) -> None:
    names = ("--columns", "intended_vx,intended_vy", "--history", "3")
    ran = command("train", SOURCES[0], *CHAIN, *names, "--velocity", "", "--out", tmp_path / "c", "--json")
    assert ran.code == 0, ran.err
    (columns,) = (spec for spec in load_bundle(tmp_path / "c").manifest.outputs if spec.role != "state")
    assert (columns.role, columns.columns) == ("columns", ("intended_vx", "intended_vy"))
    described = command("inspect", tmp_path / "c")
    assert described.code == 0, described.err
    assert "intended_vx, intended_vy" in described.out
    refused = command("decode", SOURCES[0], "--bundle", tmp_path / "c")
    assert refused.code == 2
    assert "expected exactly one velocity output" in refused.err
    swapped = ("--velocity", "intended_vy,intended_vx", "--out", tmp_path / "v", "--json")
    assert json.loads(command("train", SOURCES[0], *CHAIN, *names, *swapped).out)["columns"] == [
        "intended_vy",
        "intended_vx",
    ]


def test_a_search_is_told_and_goes_on(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="search tests skip: install the train extra")
    asked = ("train", SOURCES[0], *CHAIN, "--out", tmp_path / "b")
    ran = command(*asked, "--search", "2")
    assert ran.code == 0, ran.err
    assert "2 trials (0 of them before)" in ran.out
    ran = command(*asked, "--search", "3", "--replace")
    assert "3 trials (2 of them before)" in ran.out


def test_bars_show_the_validation_score() -> None:
    column = TextColumn("{task.description} {task.fields[score]}")
    with Progress(column, console=Console(file=sys.stderr, width=200), disable=True) as progress:
        bars = Bars(progress)
        bars.stage("reading")
        bars.read(0.5)
        bars.stage("searching")
        bars.tried(Tried(2, 5, 0.5, 0.625))
        bars.epoch(Epoch(1, 9, 0.1, 0.1, (0.9, 0.9), True))
        bars.stage("fitting")
        with listening(bars.epoch):
            tell(Epoch(1, 4, 0.25, 0.1, (0.5, 0.7), True))
            tell(Epoch(2, 4, 0.5, 0.1, (0.4, 0.6), False))
        said = [(task.description, task.percentage, task.fields["score"]) for task in progress.tasks]
    assert said == [
        ("reading", 100, ""),
        ("searching", 100, "trial 2 of 5, validation R2 0.500, best 0.625"),
        ("fitting", 50, "epoch 2, validation R2 0.500, best 0.600, loss 0.100"),
    ]


def test_nobody_is_shown_bars_where_nobody_watches() -> None:
    with watching() as watched:
        assert isinstance(watched, Silent)
        watched.stage("reading")
        watched.read(0.5)
        watched.tried(Tried(1, 1, 0.5, 0.5))


def test_classes_are_trained_alone(command: Command, tmp_path: Path) -> None:
    asked = ("train", SOURCES[0], *CHAIN[:4], "--out", tmp_path / "b", "--classes", "intended_vx")
    ran = command(*asked)
    assert ran.code == 2
    assert "expected a column of 2 to 64 states" in ran.err
    ran = command(*asked, "--decoder", "gru")
    assert "--classes: expected one session and none of --decoder" in ran.err
    assert "got --decoder" in ran.err
    assert "got --lag-ms" in command(*asked, "--lag-ms", "20").err


def test_finer_output_is_trained_shown_and_decoded(command: Command, tmp_path: Path) -> None:
    esn = ("--decoder", "esn", "--decoder-set", "units=40", "--decoder-set", "leaks=[0.3]")
    chain = CHAIN[:4]
    ran = command("train", SOURCES[0], *chain, *esn, "--hop-ms", "5", "--out", tmp_path / "b", "--json")
    assert ran.code == 0, ran.err
    assert hop_of(load_bundle(tmp_path / "b").manifest) == Hop(4, False)
    assert "every 5 ms by one state stepped every hop" in " ".join(command("inspect", tmp_path / "b").out.split())
    decoded = command("decode", SOURCES[0], "--bundle", tmp_path / "b", "--json")
    assert decoded.code == 0, decoded.err
    refused = command("train", SOURCES[0], *chain, "--hop-ms", "5", "--per-hop", "--out", tmp_path / "c")
    assert refused.code == 2
    assert "a wiener decoder counts time in bins" in refused.err

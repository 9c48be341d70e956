"""A recording of an engine that ran, by the commands that take it."""

import json
import shutil
from pathlib import Path

import pytest
import zmq

from cortexwire.decoders import Bundle, StreamSpec
from cortexwire.pipeline.commands import Mark
from cortexwire.training import seeded_bundle
from cortexwire.wire import RecordKind
from tests.cli.running import Command
from tests.clients.peers import in_background, receiver
from tests.runtime.fakes import config
from tests.sessions.logs import (
    N_CHANNELS,
    Raw,
    event_frames,
    loss,
    packets,
    running,
    tap_records,
    wideband_frames,
    write_log,
)

STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=N_CHANNELS, bin_ms=20.0)
FRAMES = event_frames(120, described=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[Raw]]:
    folder = tmp_path_factory.mktemp("ran")
    bundle = seeded_bundle(folder / "bundle", seed=1, stream=STREAM, history=4)
    settings = config(folder, bundle=bundle.path)
    with running(settings) as (_, give):
        give([*FRAMES[:50], Mark(300), *FRAMES[50:]])
    return bundle, tap_records(settings.run_dir)


def test_what_was_recorded_agrees(command: Command, tmp_path: Path, ran: tuple[Bundle, list[Raw]]) -> None:
    log = write_log(tmp_path / "today", ran[1], 60)
    said = command("decode", log, "--against", "recorded")
    assert said.code == 0, said.err
    assert "equal bit for bit, times aside" in said.out
    found = json.loads(command("decode", log, "--against", "recorded", "--json").out)
    assert (found["passed"], found["different"], found["commands"]) == (True, 0, 1)
    assert found["compared"] == found["equal"] > 50


def test_what_does_not_agree_exits_with_1_and_is_shown(
    command: Command, tmp_path: Path, ran: tuple[Bundle, list[Raw]]
) -> None:
    frames = [k for k, (kind, _, _) in enumerate(ran[1]) if kind is RecordKind.PACKET]
    swapped = list(ran[1])
    swapped[frames[40]], swapped[frames[47]] = swapped[frames[47]], swapped[frames[40]]
    log = write_log(tmp_path / "today", swapped)
    said = command("decode", log, "--against", "recorded")
    assert said.code == 1
    assert "counts" in said.out
    assert "record" in said.out


def test_nothing_but_the_bundle_may_be_named_beside_it(command: Command, tmp_path: Path) -> None:
    log = write_log(tmp_path / "today", packets(FRAMES))
    said = command("decode", log, "--against", "recorded", "--armed")
    assert (said.code, "expected only --bundle and --json beside it, got --armed" in said.err) == (2, True)
    said = command("decode", "sim:channels=4", "--against", "recorded")
    assert (said.code, "expected the folder of a log" in said.err) == (2, True)


def test_a_log_without_a_beginning_is_said_not_to_be_reproducible(command: Command, tmp_path: Path) -> None:
    said = command("decode", write_log(tmp_path / "today", packets(FRAMES)), "--against", "recorded")
    assert said.code == 1
    assert "not reproducible: records 0 to 120: the log joined in the middle" in said.err


def test_a_log_is_decoded_as_any_session(command: Command, tmp_path: Path, ran: tuple[Bundle, list[Raw]]) -> None:
    log, bundle = write_log(tmp_path / "today", ran[1]), ran[0].path
    out = tmp_path / "out.npz"
    said = command("decode", log, "--bundle", bundle, "--out", out, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["bins"] == 120 * 250 // 600
    assert out.exists()
    rows = json.loads(command("inspect", log, "--json").out)
    assert (rows["signal"], rows["channels"], rows["samples"]) == ("events", N_CHANNELS, 30_000)


def test_a_whole_log_verifies(command: Command, tmp_path: Path, ran: tuple[Bundle, list[Raw]]) -> None:
    log = write_log(tmp_path / "today", ran[1], 60)
    said = command("log", "verify", log)
    assert said.code == 0, said.out
    assert "with a pipeline's start" in said.out
    assert "121 packet" in said.out
    assert f"{99:016x}" in said.out
    found = json.loads(command("log", "verify", log, "--json").out)
    assert (found["whole"], found["streams"][0]["samples"]) == (True, 30_000)


def test_what_is_wrong_with_a_log_is_shown_and_repaired_in_a_copy(command: Command, tmp_path: Path) -> None:
    records = packets(wideband_frames())
    records[30] = (RecordKind.LOSS, 0, loss(1, packets=1, samples=30))
    log = write_log(tmp_path / "today", records, 40)
    last = sorted(log.glob("*.cxlog"))[-1]
    last.write_bytes(last.read_bytes()[:-9])
    out = tmp_path / "repaired"
    said = command("log", "verify", log, "--repair", out)
    assert said.code == 1
    assert "torn tail: the last" in said.out
    assert f"{last.name} at byte" in said.out
    assert "loss at record 30: 1 records (overrun), 30 samples" in said.out
    assert "NOT WHOLE" in said.out
    assert "2 of 3 segments as they were" in said.err
    again = json.loads(command("log", "verify", out, "--json").out)
    assert (again["faults"], len(again["losses"])) == ([], 1)
    said = command("log", "verify", log, "--repair", out)
    assert (said.code, "expected a folder that is to be made" in said.err) == (2, True)


def test_what_is_no_log_is_refused(command: Command, tmp_path: Path) -> None:
    said = command("log", "verify", tmp_path)
    assert (said.code, "expected a recording with segments" in said.err) == (2, True)


def test_a_log_is_replayed_as_it_came_and_a_stream_of_it_as_a_session(command: Command, tmp_path: Path) -> None:
    log = write_log(tmp_path / "today", packets([*FRAMES, b"no packet"]))
    endpoint = f"ipc://{tmp_path}/rig"
    to = ("--endpoint", endpoint, "--socket", "push", "--connect", "--speed", "fast")
    with receiver(zmq.PULL, endpoint) as pull:
        with in_background(pull.frames, len(FRAMES) + 1) as came:
            said = command("replay", log, *to, "--json")
        assert (said.code, json.loads(said.out)["packets"]) == (0, len(FRAMES) + 1)
        assert came.result() == [*FRAMES, b"no packet"]
        with in_background(pull.until_end) as came:
            said = command("replay", f"{log}#1", *to, "--packet-ms", "20")
        assert said.code == 0, said.err
        assert sum(packet.n_samples for packet in came.result()) == 30_000
    refused = command("replay", f"{log}#1", *to, "--stamp")
    assert (refused.code, "it is for logs" in refused.err) == (2, True)


def test_a_gap_is_told_when_a_log_is_opened(command: Command, tmp_path: Path) -> None:
    records = packets(wideband_frames())
    records[30] = (RecordKind.LOSS, 0, loss(1, packets=1, samples=30))
    assert "the recorder lost records 1 time(s)" in command("inspect", write_log(tmp_path / "today", records)).err
    records[31] = (RecordKind.LOSS, 0, loss(1, packets=1, samples=30))
    said = command("inspect", write_log(tmp_path / "other", records))
    assert "30 samples are missing in the recording, in 1 gap(s)" in said.err


def test_each_stream_of_a_log_can_be_inspected(command: Command, tmp_path: Path) -> None:
    log = write_log(tmp_path / "today", packets([*wideband_frames(), *wideband_frames(20, epoch=8)]))
    said = command("inspect", f"{log}#2", "--json")
    assert (said.code, json.loads(said.out)["samples"]) == (0, 600)
    assert f"to read it name {log}#1" in said.err


def test_verifying_says_where_the_bundle_is(command: Command, tmp_path: Path, ran: tuple[Bundle, list[Raw]]) -> None:
    log = write_log(tmp_path / "today", ran[1])
    assert f"not in the recording; it was {ran[0].path}" in command("log", "verify", log).out
    shutil.copytree(ran[0].path, log / "bundle")
    assert json.loads(command("log", "verify", log, "--json").out)["bundles"] == {ran[0].sha256: str(log / "bundle")}

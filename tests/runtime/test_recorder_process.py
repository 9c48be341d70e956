import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cortexwire.runtime.control import describe_state
from cortexwire.runtime.recorder import read_status, recorder_state
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.telemetry import TelemetryReader, TelemetryWriter
from cortexwire.wire import RecordKind, Sidecar, Start
from tests.runtime.recordings import (
    CHANNELS,
    SAMPLES,
    Feeder,
    assert_same,
    losses,
    only_folder,
    read_log,
    recorder,
)


def start_payload(bundle: Path = Path("nowhere")) -> bytes:
    return msgspec.json.encode(
        Start(pid=1, t_realtime_ns=2, config={}, bundle=str(bundle), bundle_sha256="0" * 64, fingerprint="f")
    )


def sidecar_of(folder: Path) -> Sidecar:
    return msgspec.json.decode((folder / "recording.json").read_bytes(), type=Sidecar)


def test_all_that_the_tap_holds_is_written_in_order_over_several_segments(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run")
    feeder.put(RecordKind.START, start_payload())
    with recorder(tmp_path / "run", tmp_path / "out", "recorder.segment_megabytes=1") as recording:
        for _ in range(10):
            feeder.packets(80)
            recording.until_written(feeder)
        summary, log = recording.stop()
    folder = only_folder(tmp_path / "out")
    entries = read_log(folder)
    assert_same(entries, feeder.sent)
    assert len(entries) == len(feeder.sent) == summary["records"]
    assert entries[-1].segment >= 3
    assert max(path.stat().st_size for path in folder.glob("*.cxlog")) <= 2**20
    assert summary["written_bytes"] == sum(path.stat().st_size for path in folder.glob("*.cxlog"))
    assert (summary["losses"], summary["state"]) == (0, "idle")
    sidecar = sidecar_of(folder)
    assert sidecar.from_start
    assert sidecar.start is not None
    assert sidecar.start["fingerprint"] == "f"
    assert sidecar.stopped is not None
    assert any("nowhere" in line.get("why", "") for line in log), "the bundle that could not be copied is said"
    assert read_status(RunDir(tmp_path / "run").recorder).health == "closed"
    feeder.close()


def test_a_recorder_waits_for_an_engine_and_follows_one_with_another_ring_into_another_recording(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until(lambda status: status.state == "idle")
        first = Feeder(tmp_path / "run", 2)
        first.packets(50)
        recording.until_written(first)
        second = Feeder(tmp_path / "run", 3, epoch=8)
        second.packets(30)
        recording.until(lambda status: status.durable_index == len(second.sent) and status.records < 50)
        recording.stop()
    old, new = sorted(tmp_path.glob("out/*"), key=lambda folder: sidecar_of(folder).started)
    assert_same(read_log(old), first.sent)
    assert_same(read_log(new), second.sent)
    assert len(read_log(old)) == len(first.sent)
    assert len(read_log(new)) == len(second.sent)
    first.close()
    second.close()


def test_what_a_dead_engine_left_is_not_recorded_and_the_next_one_is_from_its_start(tmp_path: Path) -> None:
    dead = Feeder(tmp_path / "run")
    dead.put(RecordKind.START, start_payload())
    dead.packets(40)
    dead.close()
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        status = recording.until(lambda status: status.note)
        assert (status.state, status.note) == ("idle", f"no engine runs in {tmp_path / 'run'}: waiting")
        assert not (tmp_path / "out").exists()
        alive = Feeder(tmp_path / "run", epoch=8)
        # It has opened the ring, and its own START is still to come.
        recording.until(lambda status: status.state == "recording")
        alive.put(RecordKind.START, start_payload())
        alive.packets(30)
        recording.until(lambda status: status.durable_index == len(dead.sent) + len(alive.sent))
        recording.stop()
    folder = only_folder(tmp_path / "out")
    entries = read_log(folder)
    assert [entry.index for entry in entries] == [len(dead.sent) + number for number in range(len(alive.sent))]
    assert entries[0].kind is RecordKind.START
    alive.close()


def test_an_engine_that_came_and_went_between_two_looks_is_recorded(tmp_path: Path) -> None:
    dead = Feeder(tmp_path / "run")
    dead.packets(40)
    dead.close()
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        recording.until(lambda status: status.note)
        recording.process.send_signal(signal.SIGSTOP)
        brief = Feeder(tmp_path / "run", epoch=8)
        brief.packets(30)
        brief.close()
        recording.process.send_signal(signal.SIGCONT)
        recording.until(lambda status: status.durable_index == len(dead.sent) + len(brief.sent))
        recording.stop()
    assert len(read_log(only_folder(tmp_path / "out"))) == len(brief.sent)


def test_a_recording_begins_and_ends_when_told_and_is_named(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "run")
    with recorder(tmp_path / "run", tmp_path / "out", "recorder.autostart=false") as recording:
        recording.until(lambda status: status.state == "idle")
        feeder.packets(20)
        assert recording.tell(command="stop")["problem"] == "recorder: nothing is being recorded"
        answer = recording.tell(command="start", name="day 1/a", about="first words")
        assert answer["problem"] is None
        assert answer["status"]["state"] == "recording"
        assert "recording already" in recording.tell(command="start")["problem"]
        begun = len(feeder.sent)
        feeder.packets(40)
        recording.until_written(feeder)
        assert recording.tell(command="stop")["status"]["state"] == "idle"
        feeder.packets(10)
        assert "not a request" in recording.tell(command="nonsense")["problem"]
        recording.stop()
    folder = only_folder(tmp_path / "out")
    assert folder.name.endswith("-day_1_a")
    sidecar = sidecar_of(folder)
    assert (sidecar.name, sidecar.about, sidecar.from_start) == ("day 1/a", "first words", False)
    entries = read_log(folder)
    assert [entry.index for entry in entries] == list(range(begun, begun + 42))
    feeder.close()


def test_there_is_one_recorder_of_a_run_directory(tmp_path: Path) -> None:
    with recorder(tmp_path / "run", tmp_path / "out") as first:
        first.until(lambda _: True)
        with recorder(tmp_path / "run", tmp_path / "out") as second:
            _, err = second.process.communicate()
            assert b"another recorder" in err
            assert second.process.returncode == 2


def test_a_recorder_that_was_stopped_for_a_while_counts_what_the_ring_did_not_keep_to_the_sample(
    tmp_path: Path,
) -> None:
    feeder = Feeder(tmp_path / "run", 1)
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        feeder.packets(100)
        recording.until_written(feeder)
        recording.process.send_signal(signal.SIGSTOP)
        feeder.packets(1000)
        recording.process.send_signal(signal.SIGCONT)
        recording.until(lambda status: status.losses == 1)
        feeder.packets(10)
        status = recording.until_written(feeder)
        _, log = recording.stop()
    entries = read_log(only_folder(tmp_path / "out"))
    assert_same(entries, feeder.sent)
    (loss,) = losses(entries)
    kept = {entry.index for entry in entries if entry.kind is not RecordKind.LOSS}
    missing = [record for index, record in enumerate(feeder.sent) if index not in kept]
    lost_packets = sum(kind is RecordKind.PACKET for kind, *_ in missing)
    assert 0 < loss.records == len(missing) == status.lost_records
    assert loss.why == "overrun"
    assert loss.packets == lost_packets == status.lost_packets
    assert loss.samples == lost_packets * SAMPLES == status.lost_samples
    (span,) = loss.spans
    # A process that is told to stop may read a little more.
    before = sum(kind is RecordKind.PACKET for kind, *_ in feeder.sent[: feeder.sent.index(missing[0])])
    assert before >= 100
    assert (span.epoch, span.start, span.stop) == (f"{7:016x}", before * SAMPLES, before * SAMPLES + loss.samples)
    said = [line for line in log if line["event"] == "records lost"]
    assert [(line["records"], line["samples"]) for line in said] == [(loss.records, loss.samples)]
    feeder.close()


def test_the_engines_state_shows_the_recorder(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    engine = TelemetryWriter(run_dir.telemetry, CHANNELS)
    assert recorder_state(run_dir.recorder) is None
    with recorder(tmp_path, tmp_path / "out") as recording:
        recording.until(lambda _: True)
        with TelemetryReader(run_dir.telemetry) as reader:
            state = describe_state(reader.read(), recorder_state(run_dir.recorder))
        assert state["recorder"]["state"] == "idle"
        assert json.dumps(state["recorder"])
        recording.kill()
    assert recorder_state(run_dir.recorder) is not None
    del engine


@pytest.mark.parametrize("words", [("status",), ("start", "--name", "x"), ("stop",)])
def test_the_command_line_tells_a_recorder_that_runs(tmp_path: Path, words: tuple[str, ...]) -> None:
    feeder = Feeder(tmp_path / "run")
    wait = () if words == ("stop",) else ("recorder.autostart=false",)
    with recorder(tmp_path / "run", tmp_path / "out", *wait) as recording:
        recording.until(lambda status: status.state == ("recording" if words == ("stop",) else "idle"))
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "cortexwire.cli", "record", *words, "--run-dir", str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("recording" if words[0] == "start" else "idle") in ran.stdout
    feeder.close()

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Never

import numpy as np
import pytest
import zmq
from structlog.testing import capture_logs

from cortexwire.config import (
    EngineConfig,
    IngestSettings,
    OutputSocketSettings,
    RealtimeSettings,
    TapSettings,
)
from cortexwire.errors import BundleError, StartupError
from cortexwire.pipeline.commands import Arm, Mark, Neutral, encode_command
from cortexwire.pipeline.settings import IntakeSettings, PipelineSettings
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.engine import Engine, stop_on_signals
from cortexwire.runtime.notelog import NoteLog
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.tap import TapReader
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot
from cortexwire.types import Rate
from cortexwire.wire import (
    Applied,
    Clock,
    OutKind,
    Output,
    RecordKind,
    Start,
    decode_journal,
    decode_output,
    strip_times,
)
from tests.runtime.fakes import BIN_SAMPLES, FakePipeline, Rig, built_with, config, running


def output_of(rig: Rig, wanted: Callable[[Output], bool]) -> Output:
    while not wanted(output := decode_output(rig.sub.recv())):
        pass
    return output


def telemetry_of(folder: Path, wanted: Callable[[TelemetrySnapshot], bool]) -> TelemetrySnapshot:
    until = time.monotonic() + 10.0
    with TelemetryReader(folder / "run" / "telemetry.map") as reader:
        while not wanted(snapshot := reader.read()):
            assert time.monotonic() < until
            time.sleep(0.005)
    return snapshot


def test_every_frame_becomes_an_output_stamped_when_it_was_published(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        before = time.monotonic_ns()
        rig.push.send(b"last")
        while ("packet", b"last") not in rig.pipeline.taken:
            time.sleep(0.001)
        count = len(rig.pipeline.taken)
        output = output_of(rig, lambda output: output.bin == count - 1)
        summary = rig.finish()
    assert before <= output.times.received_ns <= output.times.published_ns <= time.monotonic_ns()
    assert output.clocks.published == Clock.MONOTONIC
    assert (summary.frames, summary.bins) == (count, count)
    assert summary.counters["frames"] == summary.counters["outputs"] == count
    assert summary.latency["received_to_binned"].total == count
    assert summary.latency["sent_to_published"].total == count
    assert 0 < summary.hot_thread_cpu_s <= summary.cpu_s
    assert rig.pipeline.warm


def test_a_tick_that_is_due_comes_before_the_packet(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        rig.push.send(b"due")
        output_of(rig, lambda output: output.kind is OutKind.SAFE)
        rig.push.send(b"after")
        while ("packet", b"after") not in rig.pipeline.taken:
            time.sleep(0.001)
        summary = rig.finish()
    kinds = [kind for kind, what in rig.pipeline.taken if what != b"hello"]
    assert kinds == ["packet", "tick", "packet"]
    assert summary.counters["ticks"] == 1


def test_a_tick_comes_without_packets_too_and_not_before_it_is_due(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        due = time.monotonic_ns() + 70_000_000
        rig.pipeline.next_due_ns = due
        output = output_of(rig, lambda output: output.kind is OutKind.SAFE)
        assert output.times.published_ns >= due


def test_a_command_takes_effect_between_packets_and_is_answered_with_its_bin(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig, ControlClient(RunDir(tmp_path / "run").control_endpoint) as client:
        reply = client.send(Arm())
        assert reply.problem is None
        assert reply.bin is not None
        assert reply.bin > 0
        assert output_of(rig, lambda output: output.kind is OutKind.SAFE).bin == reply.bin - 1
        assert client.send(Neutral()).problem == "not now"
        state = client.state().state
        assert state is not None
        assert state["armed"]
        assert rig.finish().counters["commands"] == 2


def test_no_request_ends_the_loop(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig, ControlClient(RunDir(tmp_path / "run").control_endpoint) as client:
        assert client.send(Mark(256)).problem == "command failed: ValueError: no marks here"
        assert client.send({"command": "nonsense"}).problem is not None
        bins = len(rig.pipeline.taken)
        rig.push.send(b"still alive")
        output_of(rig, lambda output: output.bin >= bins - 3)
        snapshot = telemetry_of(tmp_path, lambda snapshot: snapshot.status.notes == 1)
        assert snapshot.status.last_note == "command failed: ValueError: no marks here"


def test_the_tap_holds_what_went_in_before_what_came_out_of_it(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig, ControlClient(RunDir(tmp_path / "run").control_endpoint) as client:
        rig.push.send(b"bad")
        rig.push.send(b"due")
        output_of(rig, lambda output: output.kind is OutKind.SAFE)
        armed = client.send(Arm())
        rig.finish()
    with TapReader(tmp_path / "run" / "tap.ring") as tap:
        records = list(tap)
    inputs = {RecordKind.PACKET: "packet", RecordKind.TICK: "tick", RecordKind.COMMAND: "command"}
    taken = [inputs[record.kind] for record in records if record.kind in inputs]
    assert taken == [kind for kind, _ in rig.pipeline.taken]
    assert [record.kind for record in records[:3]] == [RecordKind.START, RecordKind.PACKET, RecordKind.OUTPUT]
    left = decode_journal((tmp_path / "run" / "start.json").read_bytes(), Start)
    assert decode_journal(records[0].payload, Start).bundle_sha256 == left.bundle_sha256
    assert [record.payload for record in records if record.kind is RecordKind.COMMAND] == [encode_command(Arm())]
    applied = [decode_journal(record.payload, Applied) for record in records if record.kind is RecordKind.APPLIED]
    assert [(said.bin, said.problem) for said in applied] == [(armed.bin, None)]
    assert [record.payload for record in records if record.kind is RecordKind.NOTE] == [b"packet 3: expected magic"]
    for record in records:
        if record.kind is RecordKind.OUTPUT:
            assert decode_output(record.payload).times.published_ns == record.t_ns
            assert len(strip_times(record.payload)) == len(record.payload)
    assert [record.t_ns for record in records if record.kind in inputs] == sorted(
        record.t_ns for record in records if record.kind in inputs
    )


def test_without_a_tap_there_is_no_ring(tmp_path: Path) -> None:
    with running(config(tmp_path, tap=TapSettings(enabled=False))) as rig:
        assert rig.finish().counters["tap_refused"] == 0
    assert not (tmp_path / "run" / "tap.ring").exists()


def test_telemetry_follows_the_outputs_and_outlives_the_engine(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        rig.push.send(b"bad")
        live = telemetry_of(tmp_path, lambda snapshot: snapshot.counters["malformed_magic"] == 1)
        assert live.writer == "live"
        summary = rig.finish()
    after = telemetry_of(tmp_path, lambda _: True)
    status = after.status
    assert after.writer == "closed"
    assert after.counters == summary.counters
    assert {name: table.summary() for name, table in after.latency.items()} == summary.latency
    assert (status.state, status.armed, status.epoch, status.rate) == ("running", False, 77, Rate(30000))
    assert status.bin == summary.bins - 1
    assert status.sample_index == summary.bins * BIN_SAMPLES
    assert status.velocity == (float(status.bin), float(-status.bin))
    assert (status.bundle_hash, status.overlay_hash) == (5, 6)
    assert (status.notes, status.last_note) == (1, "packet 3: expected magic")
    assert status.rms_uv.tolist() == [11.0, 12.0]
    assert np.array_equal(status.status, [0, 1])


def test_the_heart_beats_without_data(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        rig.push.send(b"silent")
        while ("packet", b"silent") not in rig.pipeline.taken:
            time.sleep(0.001)
        first = telemetry_of(tmp_path, lambda _: True)
        telemetry_of(tmp_path, lambda snapshot: snapshot.heartbeat_ns > first.heartbeat_ns)


def test_a_stream_that_stops_is_said_to_be_silent_until_it_goes_on(tmp_path: Path) -> None:
    settings = config(tmp_path, pipeline=PipelineSettings(intake=IntakeSettings(reset_after_ms=50.0)))
    with running(settings) as rig:
        telemetry_of(tmp_path, lambda snapshot: snapshot.status.state == "silent")
        rig.push.send(b"more")
        telemetry_of(tmp_path, lambda snapshot: snapshot.status.state == "running")


def test_a_fault_of_our_own_ends_the_engine_and_is_told(tmp_path: Path) -> None:
    with capture_logs() as logs, running(config(tmp_path)) as rig:
        rig.push.send(b"fall")
        rig.thread.join()
        assert str(rig.error) == "a fault of our own"
    after = telemetry_of(tmp_path, lambda _: True)
    assert after.status.last_note == "RuntimeError: a fault of our own"
    with TapReader(tmp_path / "run" / "tap.ring") as tap:
        assert list(tap)[-1].payload == b"fall"
    assert "engine fell" in [entry["event"] for entry in logs]


def test_the_collector_is_as_before_once_the_loop_ends(tmp_path: Path) -> None:
    def how() -> tuple[bool, bool, float]:
        return gc.isenabled(), gc.get_freeze_count() > 0, sys.getswitchinterval()

    before = how()
    with running(config(tmp_path)) as rig:
        assert how()[:2] == (False, True)
        rig.finish()
        assert how() == before == (True, False, before[2])


def test_nothing_is_published_after_the_stop(tmp_path: Path) -> None:
    with running(config(tmp_path)) as rig:
        summary = rig.finish()
        rig.push.send(b"too late")
        got = []
        while rig.sub.poll(100):
            got.append(decode_output(rig.sub.recv()).bin)
        assert not got or got[-1] < summary.bins


def test_an_engine_may_run_again_in_the_same_place(tmp_path: Path) -> None:
    for _ in range(2):
        with running(config(tmp_path)) as rig:
            rig.finish()
    with TapReader(tmp_path / "run" / "tap.ring") as tap:
        assert len([record for record in tap if record.kind is RecordKind.OUTPUT]) >= 2


def test_everything_wrong_at_start_up_is_told_at_once_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        settings = EngineConfig(
            ingest=IngestSettings(endpoint=endpoint, bind=True),
            output=OutputSocketSettings(endpoint=endpoint),
            control=f"ipc://{tmp_path}/absent/control",
            run_dir=tmp_path / "run",
        )

        def build(_: EngineConfig) -> Never:
            raise StartupError(["bundle: expected a manifest", "front_end: expected a filter"])

        engine = Engine(settings, build)
        with pytest.raises(StartupError, match="5 problem") as raised:
            engine.prepare()
    problems = [problem.split(":")[0] for problem in raised.value.problems]
    assert problems == ["bundle", "front_end", "control", "output.endpoint", "ingest.endpoint"]
    folder = RunDir(tmp_path / "run")
    folder.acquire()
    folder.close()


def test_a_run_directory_in_use_is_a_start_up_problem(tmp_path: Path) -> None:
    with running(config(tmp_path)):
        with pytest.raises(StartupError, match="another engine") as raised:
            Engine(config(tmp_path), built_with(FakePipeline())).prepare()
        assert len(raised.value.problems) == 1


def test_kernels_are_not_compiled_in_vain(tmp_path: Path) -> None:
    pipeline = FakePipeline()
    (tmp_path / "file").write_text("")
    settings = config(tmp_path, run_dir=tmp_path / "file" / "run")
    with pytest.raises(StartupError, match="run_dir"):
        Engine(settings, built_with(pipeline)).prepare()
    assert not pipeline.warm


def test_a_problem_with_the_bundle_is_told_as_it_is(tmp_path: Path) -> None:
    def build(_: EngineConfig) -> Never:
        raise BundleError("bundle: expected sha256 ab, got cd")

    with pytest.raises(StartupError) as raised:
        Engine(config(tmp_path), build).prepare()
    assert raised.value.problems == ("bundle: expected sha256 ab, got cd",)


def test_what_was_granted_is_in_the_summary(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with running(config(tmp_path, realtime=RealtimeSettings(fifo_priority=3, cpu=cpu))) as rig:
        granted = rig.finish().scheduling
    assert granted.cpus == (cpu,)
    assert (granted.fifo_priority == 3) != bool(granted.refusals)


def test_an_engine_that_was_not_prepared_does_not_run(tmp_path: Path) -> None:
    engine = Engine(config(tmp_path), built_with(FakePipeline()))
    with pytest.raises(RuntimeError, match="call prepare"):
        engine.run(threading.Event())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_loop_and_their_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5.0)
    assert signal.getsignal(number) == before


def test_bursts_of_notes_are_logged_a_few_at_a_time(tmp_path: Path) -> None:
    with capture_logs() as logs, running(config(tmp_path)) as rig:
        rig.pipeline.notes += [f"note {n}" for n in range(100)]
        rig.push.send(b"hello")
        telemetry_of(tmp_path, lambda snapshot: snapshot.status.notes == 100)
        rig.finish()
        rig.engine.close()
    shown = [entry["text"] for entry in logs if entry["event"] == "note"]
    hidden = sum(entry["count"] for entry in logs if entry["event"] == "notes not shown")
    assert shown[0] == "note 0"
    assert len(shown) + hidden == 100
    assert len(shown) <= 10


def test_notes_are_logged_while_the_loop_goes_on() -> None:
    with capture_logs() as logs:
        notes = NoteLog(period_s=0.005)
        notes.put("calibrated")
        until = time.monotonic() + 10.0
        while not logs and time.monotonic() < until:
            time.sleep(0.005)
        notes.close()
    assert logs == [{"event": "note", "log_level": "info", "text": "calibrated"}]


ENGINE_PROCESS = """
import pathlib, sys
from cortexwire.runtime.engine import Engine, stop_on_signals
from tests.runtime.fakes import FakePipeline, built_with, config
with stop_on_signals() as stop, Engine(config(pathlib.Path(sys.argv[1])), built_with(FakePipeline())) as engine:
    print(engine.ingest_endpoint, flush=True)
    summary = engine.run(stop)
sys.exit(0 if summary.frames == 1 else 3)
"""


@pytest.mark.parametrize(
    ("number", "code", "health"),
    [(signal.SIGINT, 0, "closed"), (signal.SIGTERM, 0, "closed"), (signal.SIGKILL, -9, "live")],
)
def test_what_an_engine_leaves_behind_however_it_ends(
    tmp_path: Path, number: signal.Signals, code: int, health: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE_PROCESS, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout, zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(next(line for line in process.stdout if line.startswith("tcp://")).strip())
        push.send(b"the only one")
        telemetry_of(tmp_path, lambda snapshot: snapshot.status.bin == 0)
        process.send_signal(number)
        assert process.wait(10.0) == code
    after = telemetry_of(tmp_path, lambda _: True)
    assert (after.writer, after.status.bin) == (health, 0)
    with TapReader(tmp_path / "run" / "tap.ring") as tap:
        assert [record.payload for record in tap if record.kind is RecordKind.PACKET] == [b"the only one"]
        with running(config(tmp_path)) as rig:
            rig.push.send(b"of the next")
            while ("packet", b"of the next") not in rig.pipeline.taken:
                time.sleep(0.001)
        assert b"of the next" in [record.payload for record in tap]
        assert tap.lost == 0


def test_processor_time_of_packets_is_measured_where_asked_for(tmp_path: Path) -> None:
    measured = config(tmp_path, realtime=RealtimeSettings(measure_cpu=True))
    with running(measured) as rig:
        rig.push.send(b"frame")
        rig.sub.recv()
        summary = rig.finish()
        assert summary.latency["packet_cpu"].total == summary.frames
        assert summary.latency["packet_cpu"].max_ns > 0

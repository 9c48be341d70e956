import fcntl
import io
import json
import re
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.console import Console

from cortexwire.decoders import load_bundle
from cortexwire.errors import ConfigError
from cortexwire.runtime.braille import Canvas
from cortexwire.runtime.children import ChildError
from cortexwire.runtime.demo import DemoScene, DemoSettings, as_json, choose_seed, latency, remove_abandoned, run_demo
from cortexwire.runtime.demo_lines import LineView
from cortexwire.runtime.demo_record import DemoRecord
from cortexwire.runtime.demo_view import LiveView, bar, picture, sparkline
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.runtime.telemetry import EngineStatus, TelemetryReader, TelemetryWriter
from cortexwire.training.metrics import r2
from cortexwire.wire import Clock, Clocks, Columns, Executor, OutFlag, OutKind, Output, Times, Validity
from tests.cli.running import Command


def output(bin_index: int, velocity: tuple[float, float], kind: OutKind = OutKind.DECODED, sent_ns: int = 0) -> Output:
    """An output of bin `bin_index` at 600 samples a bin."""
    return Output(
        kind=kind,
        epoch=1,
        bin=bin_index,
        end_sample=600 * (bin_index + 1),
        validity=Validity.VALID,
        flags=OutFlag.ARMED,
        valid_for_ms=100.0,
        observed_fraction=1.0,
        source=0,
        executor=Executor.ONNX,
        bundle_hash=0,
        overlay_hash=0,
        restart=0,
        missing_samples=0,
        times=Times(0, sent_ns, 0, 0, 0),
        clocks=Clocks(Clock.NONE, Clock.MONOTONIC, Clock.NONE, Clock.NONE, Clock.NONE),
        tensors={"velocity": np.array(velocity, np.float32), "counts": np.full(96, 2, np.uint16)},
    )


def filled(n_bins: int = 200) -> DemoRecord:
    """A record in which the decoded velocity is the intended one."""
    record = DemoRecord(96, 20.0)
    for k in range(n_bins):
        vx, vy = 20 * np.sin(k / 15), 10 * np.cos(k / 15)
        record.take_columns(600 * k, Columns(np.array([599], np.uint32), np.array([[vx, vy, 0, 0]], np.float32)))
        record.take_output(output(k, (vx, vy), sent_ns=1_000_000), 3_500_000)
    return record


def scene(record: DemoRecord, tmp_path: Path) -> DemoScene:
    status = EngineStatus(state="running", status=np.array([2, 4, 8, 1] + [0] * 92, np.uint8))
    nothing = np.full(96, np.nan, np.float32)
    status.rate_hz = status.rms_uv = status.threshold_uv = nothing
    status.last_note = "channels [0] are dead"
    writer = TelemetryWriter(tmp_path / "map", 96, ("frames", "lost_packets"))
    writer.close(status, [7, 3])
    with TelemetryReader(tmp_path / "map") as reader:
        return DemoScene(5, "cm/s", 10.0, record, reader.read())


def drawn(thing: object, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_score_compares_each_bin_with_the_intention_at_its_last_sample() -> None:
    record = DemoRecord(2, 20.0)
    record.take_columns(0, Columns(np.array([0, 1199], np.uint32), np.array([[0, 5], [1199, 5]], np.float32)))
    for k in range(3):
        record.take_output(output(k, (k, -k)), 0)
    true, decoded = record.scored()
    assert true.tolist() == [[599, 5], [1199, 5]]
    assert decoded.tolist() == [[0, 0], [1, -1]]


def test_outputs_that_did_not_come_are_counted() -> None:
    record = DemoRecord(96, 20.0)
    for k in (4, 5, 8, 9):
        record.take_output(output(k, (0, 0)), 0)
    record.take_output(output(10, (0, 0), OutKind.SAFE), 0)
    assert (record.missing_bins, record.decoded, record.safe, record.seconds) == (2, 4, 1, 0.08)


def test_latency_runs_from_closing_packet_sent_to_velocity_received() -> None:
    assert latency(filled().latencies_ms) == pytest.approx({"p50": 2.5, "p99": 2.5, "max": 2.5})
    assert latency(DemoRecord(1, 20.0).latencies_ms) == {}


def test_a_record_without_intention_scores_nothing() -> None:
    record = DemoRecord(96, 20.0)
    record.take_output(output(0, (0, 0)), 0)
    assert len(record.scored()[0]) == 0


@pytest.mark.parametrize(("width", "height"), [(70, 22), (110, 34), (250, 70)])
def test_the_picture_fits_the_terminal_and_shows_everything(tmp_path: Path, width: int, height: int) -> None:
    lines = drawn(picture(scene(filled(), tmp_path), width, height), width, height).rstrip("\n").split("\n")
    assert len(lines) <= height
    assert {len(line) for line in lines} == {width}
    text = "\n".join(lines)
    for part in ("● armed", "seed 5", "4.0 of 10 s", "○", "p99 2.50", "lost 3", "decoded 200", "channels ["):
        assert part in text
    assert "small" in drawn(picture(scene(filled(), tmp_path), 40, 10), 40, 10)


def test_a_live_view_draws_no_more_often_than_a_person_can_see(tmp_path: Path) -> None:
    from rich.live import Live

    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True)
    with Live(console=console, auto_refresh=False) as live:
        view = LiveView(live, console)
        view.say("compiling")
        view.show(scene(DemoRecord(96, 20.0), tmp_path))
        assert isinstance(console.file, io.StringIO)
        length = len(console.file.getvalue())
        view.show(scene(filled(), tmp_path))
        assert len(console.file.getvalue()) == length


def test_plain_lines_come_once_a_second(tmp_path: Path) -> None:
    out = io.StringIO()
    view = LineView(out)
    view.say("calibrating")
    for _ in range(3):
        view.show(scene(filled(), tmp_path))
    said, line = out.getvalue().splitlines()
    assert said == "calibrating"
    assert "bins 200" in line
    assert "lost 3" in line


def test_dots_lie_where_they_belong_and_inside() -> None:
    canvas = Canvas(2, 1, (0.0, 3.0), (0.0, 3.0))
    canvas.line([(0.0, 0.0), (0.0, 9.0)], "cyan")
    canvas.points([(3.0, 0.0)], "yellow")
    assert canvas.text().plain == "\u2847\u2880"
    canvas.mark(3.0, 3.0, "x", "red")
    assert canvas.text().plain == "\u2847x"
    assert (bar(-1.0), bar(0.0), bar(2.0), sparkline([0, 1, 2])) == ("▁", "▁", "█", "▁▅█")


def test_a_seed_is_drawn_that_was_not_trained_on() -> None:
    bundle = load_bundle(reference_bundle())
    drawn_seeds = {choose_seed(bundle, None) for _ in range(20)}
    assert len(drawn_seeds) == 20
    assert 1 not in drawn_seeds
    assert choose_seed(bundle, 4) == 4
    with pytest.raises(ConfigError, match="not trained on, got 1"):
        choose_seed(bundle, 1)


def test_the_demo_decodes_a_run_that_nobody_saw_and_loses_nothing(command: Command) -> None:
    ran = command("demo", "--seconds", "4", "--calibration", "2", "--seed", "5")
    assert ran.code == 0, ran.err
    *_, seed, bins, drops, took, _, score = ran.out.splitlines()
    assert re.match(r"simulator seed +\d+ \(trained on sim:channels=96,subject=7,seed=1\)", seed)
    assert int(bins.split()[2]) >= 150
    assert drops.split()[1] == "0"
    assert re.search(r"p50 [\d.]+ ms  p99 [\d.]+ ms  max [\d.]+ ms", took)
    assert re.fullmatch(r"R2 0\.\d\d", score)
    assert float(score.split()[1]) >= 0.5  # of few reaches; ten seconds of them give more than 0.8


def test_the_demo_serves_the_page_of_its_engine() -> None:
    found: list[tuple[str, str]] = []

    class Browsing(LineView):
        """Whoever opens the page as soon as it is said where it is."""

        def say(self, text: str) -> None:
            """Look at the page, and at what it would be told."""
            if text.startswith("page "):
                url = text.removeprefix("page ")
                found.append((httpx.get(url).text, httpx.get(f"{url}/v1/state").json()["engine"]["bundle_name"]))

    run_demo(DemoSettings(reference_bundle(), 2.0, 5, 1.0), Browsing(io.StringIO()), r2, threading.Event())
    [(page, name)] = found
    assert "<title>" in page
    assert name == "reference"


def test_folders_of_killed_demos_are_removed_and_no_others(tmp_path: Path) -> None:
    killed, alive, other = (tmp_path / name for name in ("cortexwire-demo-a", "cortexwire-demo-b", "cortexwire-0"))
    for folder in (killed, alive, other):
        (folder / "run").mkdir(parents=True)
        (folder / "demo.lock").touch()
    with (alive / "demo.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_abandoned(tmp_path)
    assert not killed.exists()
    assert alive.exists()
    assert other.exists()


def test_a_stopped_demo_ends_in_good_order() -> None:
    stop = threading.Event()
    stop.set()
    summary = run_demo(DemoSettings(reference_bundle()), LineView(io.StringIO()), r2, stop)
    assert (summary.interrupted, summary.bins, summary.r2) == (True, 0, None)
    assert json.loads(json.dumps(as_json(summary)))["r2_worse_axis"] is None


def test_a_demo_whose_engine_cannot_start_says_why(tmp_path: Path) -> None:
    settings = DemoSettings(reference_bundle(), 1.0, calibration_s=-1.0)
    with pytest.raises(ChildError, match=r"the engine ended by itself \(exit code 2\)(?s:.*)calibration_s"):
        run_demo(settings, LineView(io.StringIO()), r2, threading.Event())

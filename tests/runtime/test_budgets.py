"""Files of budgets are read whole or refused whole; the watch is what sorting the window would say."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cortexwire.errors import BundleError, ConfigError, StartupError
from cortexwire.runtime.budget_watch import BudgetWatch
from cortexwire.runtime.budgets import Budgets, LatencyBudget, read_budgets
from cortexwire.runtime.control import ControlClient, describe_state
from cortexwire.runtime.engine import Engine
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.shipped import budgets_file, default_budgets
from cortexwire.runtime.tap import TapReader
from cortexwire.runtime.telemetry import EngineStatus, TelemetryReader, TelemetryWriter
from cortexwire.wire import RecordKind, Times
from tests.runtime.fakes import FakePipeline, config, running

LINES = """
[[latency]]
stage = "binned_to_decoded"
percentile = 99
max_us = 600
channels = 1024

[[latency]]
stage = "sent_to_received"
percentile = 99.9
over_sleeper_us = 1000

[[latency]]
stage = "sent_to_received"
percentile = 50
over_reference = { name = "echo", plus_us = 120 }

[[resource]]
name = "engine_core_share"
max = 0.08
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "budgets.toml"
    file.write_text(text)
    return file


def budgets(*lines: tuple[str, float, float]) -> Budgets:
    """Absolute lines: stage, percentile, microseconds."""
    return Budgets(latency=tuple(LatencyBudget(stage=s, percentile=p, max_us=limit) for s, p, limit in lines))


def watch(*lines: tuple[str, float, float], window_bins: int = 500) -> BudgetWatch:
    return BudgetWatch(budgets(*lines), 96, same_host=True, window_bins=window_bins)


def decoded_in(us: float) -> Times:
    """A bin every stage of which but the decoder took no time."""
    end = 10**9 + int(us * 1000)
    return Times(0, 10**9, 10**9, 10**9, end, end)


def test_a_file_says_what_is_limited_by_what(tmp_path: Path) -> None:
    found = read_budgets(written(tmp_path, LINES))
    assert [str(line) for line in (*found.latency, *found.resource)] == [
        "binned_to_decoded p99 <= 600 us",
        "sent_to_received p99.9 <= sleeper + 1000 us",
        "sent_to_received p50 <= 1 x echo + 120 us",
        "engine_core_share <= 0.08",
    ]
    assert found.latency[0].channels == (1024,)


def test_the_shipped_file_is_sound_and_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_budgets(budgets_file(Path("default"))).latency
    assert default_budgets().resolve() == (Path(__file__).parents[2] / "bench" / "budgets.toml").resolve()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_text(LINES)
    assert budgets_file(Path("default")) == Path("default")


def test_the_shipped_file_is_found_in_sources_before_an_installed_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, sources = tmp_path / "site-packages" / "cortexwire", tmp_path / "bench" / "cortexwire"
    for root in (installed, sources):
        (root / "bench").mkdir(parents=True)
    copy, kept = installed / "bench" / "budgets.toml", tmp_path / "bench" / "budgets.toml"
    copy.write_text(LINES)
    kept.write_text(LINES)
    monkeypatch.setattr("cortexwire.__path__", [str(installed)])
    assert default_budgets() == copy
    monkeypatch.setattr("cortexwire.__path__", [str(installed), str(sources)])
    assert default_budgets() == kept


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected at least one [[latency]] or [[resource]] table, got none"),
        ("[[latency]\n", "expected TOML in"),
        ("[[latancy]]\nmax_us = 1\n", "latancy: there is no such key"),
        (LINES.replace("99.9", "98"), "latency 2 percentile: expected one of 50, 90, 99, 99.9, 100, got 98"),
        (LINES.replace("max_us = 600", "max_us = 0"), "latency 1 max_us: input should be greater than 0, got 0"),
        (LINES.replace("max_us = 600", 'max_us = "600"'), "max_us: input should be a valid number, got '600'"),
        (LINES.replace("max_us = 600", ""), "latency 1: expected exactly one of max_us, over_sleeper_us, "),
        (LINES.replace("over_sleeper_us", "max_us = 1\nover_sleeper_us"), "latency 2: expected exactly one of"),
        (LINES.replace('"binned_to_decoded"', '"decoding"'), "latency 1 stage: expected one of received_to_binned, "),
        (LINES.replace('name = "echo", ', ""), "latency 3 over_reference name: is missing"),
        (LINES.replace("= 1024", "= [0]"), "latency 1 channels 1: input should be greater than 0, got 0"),
        (LINES.replace("= 1024", "= true"), "latency 1 channels: input should be a valid tuple, got True"),
        (LINES.replace('"engine_core_share"', '"rig_core_share"'), "resource 1 name: input should be 'engine_core"),
        (LINES.replace("max = 0.08", "maximum = 1"), "resource 1 maximum: there is no such key"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(problem)) as raised:
        read_budgets(file)
    assert str(raised.value).startswith("budgets: ")
    assert str(file) in str(raised.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read_budgets(written(tmp_path, LINES.replace("99.9", "98").replace("= 600", "= -1").replace("0.08", "-1")))
    assert str(raised.value).count("got ") == 3
    with pytest.raises(ConfigError, match=r"budgets: cannot read .*absent"):
        read_budgets(tmp_path / "absent")


durations = st.lists(st.integers(0, 1200), min_size=1, max_size=300)


@given(durations, st.sampled_from([50.0, 90.0, 99.0, 100.0]))
def test_a_breach_begins_when_the_percentile_of_the_window_exceeds_the_limit(took: list[int], percent: float) -> None:
    """Against a plain sort of the window, in which what has not come yet is within."""
    line = watch(("binned_to_decoded", percent, 1000.0), window_bins=100)
    window = 500 if percent == 99.0 else 100
    allowed = round(window * (100 - percent) / 100)
    breached = False
    for n, us in enumerate(took, 1):
        line.take(decoded_in(us), sent=True)
        newest = sorted([0] * window + took[:n][-window:])[-window:]
        beyond = allowed // 2 if breached else allowed
        breached = newest[window - beyond - 1] > 1000
        assert line.over == int(breached)


def test_a_breach_of_p99_takes_six_bins_of_five_hundred_and_is_told_once() -> None:
    line = watch(("binned_to_decoded", 99.0, 600.0))
    for _ in range(300):
        line.take(decoded_in(500.0), sent=True)
    for n in range(10):
        assert line.over == int(n >= 6)
        line.take(decoded_in(812.0), sent=True)
    (note,) = line.drain_notes()
    assert note == "budget: binned_to_decoded p99 812 us over the last 306 bins, limit 600 us: over by 212 us"
    assert (line.breaches, line.over_bins) == (1, 5)
    for _ in range(492):
        line.take(decoded_in(500.0), sent=True)
    assert line.over == 1
    for _ in range(8):
        line.take(decoded_in(500.0), sent=True)
    assert line.over == 0
    (note,) = line.drain_notes()
    assert note == "budget: binned_to_decoded p99 back within its limit of 600 us: 500 us over the last 500 bins"
    assert not line.drain_notes()
    assert line.breaches == 1


def test_a_line_at_its_limit_does_not_flicker() -> None:
    """Six slow bins of five hundred break it; five are no recovery."""
    line = watch(("binned_to_decoded", 99.0, 600.0))
    for n in range(5000):
        line.take(decoded_in(700.0 if n % 90 < 1 else 500.0), sent=True)
    assert (line.breaches, line.over) == (1, 1)


def test_each_stage_is_held_against_its_own_lines_and_changes_are_told_in_one_note() -> None:
    stages = ("received_to_binned", "binned_to_decoded", "decoded_to_published", "sent_to_published")
    line = watch(*((stage, 100.0, 100.0) for stage in stages))
    for bit, times in enumerate(
        (Times(0, 200_000, 200_000, 400_000, 400_000, 400_000), Times(0, 0, 0, 0, 200_000, 200_000))
    ):
        line.take(times, sent=False)
        assert line.over == (0b1, 0b11)[bit]
    line.take(Times(0, 0, 0, 0, 0, 200_000), sent=True)
    assert line.over == 0b1111
    (note,) = line.drain_notes()
    assert [note.count(stage) for stage in stages] == [1, 1, 1, 1]
    assert line.breaches == 4
    assert line.over_bins == 3


def test_a_rare_percentile_looks_at_as_many_bins_as_it_takes() -> None:
    line = watch(("binned_to_decoded", 99.9, 100.0))
    for n in range(7):
        assert line.over == int(n >= 6)
        line.take(decoded_in(200.0), sent=True)


def test_what_cannot_be_watched_is_listed_with_the_reason(tmp_path: Path) -> None:
    found = read_budgets(written(tmp_path, LINES + LINES.replace("1024", "[96, 256]").partition("\n\n")[0]))
    found = Budgets(
        latency=(
            *found.latency,
            LatencyBudget(stage="sent_to_published", percentile=50, max_us=5),
            LatencyBudget(stage="sent_to_received", percentile=50, max_us=5),
        ),
        resource=found.resource,
    )
    line = BudgetWatch(found, 96, same_host=False)
    assert line.lines == ("binned_to_decoded p99 <= 600 us",)
    assert line.not_watched == (
        "binned_to_decoded p99 <= 600 us: for 1024 channels, here are 96",
        "sent_to_received p99.9 <= sleeper + 1000 us: relative, only a benchmark has what it compares with",
        "sent_to_received p50 <= 1 x echo + 120 us: relative, only a benchmark has what it compares with",
        "sent_to_published p50 <= 5 us: packets come from another host, whose clock is another",
        "sent_to_received p50 <= 5 us: only a benchmark measures it",
        "engine_core_share <= 0.08: only a benchmark measures it",
    )


def test_watching_nothing_costs_no_note_and_no_flag() -> None:
    line = BudgetWatch(None, 96, same_host=True)
    line.take(decoded_in(1e6), sent=True)
    assert (line.lines, line.over, line.over_bins, tuple(line.drain_notes())) == ((), 0, 0, ())


def test_the_map_names_the_lines_in_breach(tmp_path: Path) -> None:
    lines = tuple(f"stage{n} p99 <= {n} us" for n in range(64))
    writer = TelemetryWriter(tmp_path / "map", 3, ("lost",), lines=lines)
    row = np.arange(3, dtype=np.float32)
    status = EngineStatus(
        over_budget=1 << 63 | 1, rate_hz=row, rms_uv=row, threshold_uv=row, status=np.arange(3, dtype=np.uint8)
    )
    writer.publish(status, (5,))
    with TelemetryReader(tmp_path / "map") as reader:
        snapshot = reader.read()
        assert tuple(snapshot.budgets) == lines
        assert [line for line, over in snapshot.budgets.items() if over] == [lines[0], lines[63]]
        assert snapshot.status.status.tolist() == [0, 1, 2]
        assert snapshot.counters == {"lost": 5}
        assert describe_state(snapshot)["budgets"][lines[63]] == "over"
        writer.publish(EngineStatus(), (5,))
        assert not any(reader.read().budgets.values())


def test_the_flags_lie_where_the_layout_says(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path / "map", 1, lines=("a p99 <= 1 us", "b p99 <= 2 us"))
    writer.publish(EngineStatus(over_budget=2), ())
    raw = (tmp_path / "map").read_bytes()
    count, at = (int.from_bytes(raw[offset : offset + 4], "little") for offset in (72, 76))
    assert raw[728:736] == (2).to_bytes(8, "little")
    assert raw[at + 48 : at + 96].rstrip(b"\0") == b"b p99 <= 2 us"
    facts, facts_bytes = (int.from_bytes(raw[offset : offset + 4], "little") for offset in (80, 84))
    assert (count, facts, len(raw)) == (2, at + 96, facts + facts_bytes)


LIVE = """
[[latency]]
stage = "decoded_to_published"
percentile = 99
max_us = 0.001
[[latency]]
stage = "received_to_binned"
percentile = 99
max_us = 1
[[latency]]
stage = "sent_to_received"
percentile = 99
max_us = 600
"""


def test_an_engine_over_budget_says_so_everywhere(tmp_path: Path) -> None:
    """Its fake pipeline stamps receipt and bin alike, so one line cannot break and the other cannot hold."""
    with capture_logs() as logs, running(config(tmp_path, budgets=written(tmp_path, LIVE))) as rig:
        with TelemetryReader(tmp_path / "run" / "telemetry.map") as reader:
            until = time.monotonic() + 10.0
            while not any(reader.read().budgets.values()):
                assert time.monotonic() < until
                rig.push.send(b"more")
                time.sleep(0.001)
            snapshot = reader.read()
        with ControlClient(RunDir(tmp_path / "run").control_endpoint) as client:
            state = client.state().state
        summary = rig.finish()
    lines = {"decoded_to_published p99 <= 0.001 us": True, "received_to_binned p99 <= 1 us": False}
    assert snapshot.budgets == lines
    assert snapshot.status.over_budget == 1
    assert snapshot.status.last_note.startswith("budget: decoded_to_published p99 ")
    assert state is not None
    assert state["budgets"] == dict(zip(lines, ("over", "within"), strict=True))
    assert summary.counters["budget_breaches"] == 1
    assert 0 < summary.counters["over_budget_bins"] <= summary.bins - 5
    (said,) = [entry for entry in logs if entry["event"] == "budgets"]
    assert said["watched"] == tuple(lines)
    assert said["not_watched"] == ("sent_to_received p99 <= 600 us: only a benchmark measures it",)
    assert [entry["text"] for entry in logs if entry["event"] == "note"] == [snapshot.status.last_note]
    with TapReader(tmp_path / "run" / "tap.ring") as tap:
        assert [record.payload.decode() for record in tap if record.kind is RecordKind.NOTE] == [
            snapshot.status.last_note
        ]


def test_a_bad_file_is_told_with_all_other_problems_of_a_start_up(tmp_path: Path) -> None:
    def build(_: object) -> tuple[FakePipeline, None]:
        raise BundleError("bundle: expected a manifest")

    settings = config(tmp_path, budgets=written(tmp_path, "[[latency]]\nmax_us = 1\n"))
    with pytest.raises(StartupError, match="2 problem") as raised:
        Engine(settings, build).prepare()  # type: ignore[arg-type]
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["bundle", "budgets"]
    assert "latency 1 stage: is missing; latency 1 percentile: is missing" in raised.value.problems[1]

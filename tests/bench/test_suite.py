"""Every benchmark runs from end to end; how fast anything is, no test says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.bench import everything, latency, turns
from cortexwire.bench.batched_step import BatchedStep
from cortexwire.bench.decoders import EXECUTORS, run_decoders
from cortexwire.bench.drawn_decoders import Drawn, drawn_bundle, drawn_fitted
from cortexwire.bench.everything import Part, estimate_s, run_all
from cortexwire.bench.followed_step import FollowedStep
from cortexwire.bench.latency import run_latency
from cortexwire.bench.live import RunError
from cortexwire.bench.loads import Load, units_for
from cortexwire.bench.report import report_html, write_page
from cortexwire.bench.scale import run_scale
from cortexwire.bench.soak import flatness, run_soak
from cortexwire.bench.stages import SPANS, STAGES
from cortexwire.bench.turns import InParts, hot, paced
from cortexwire.decoders import OnnxDecoder, make_decoder
from cortexwire.decoders.contract import CountingDecoder
from cortexwire.errors import ConfigError
from cortexwire.training.network import FittedNetwork
from cortexwire.training.seeded_gru import drawn_counts

SMALL = Drawn("gru", 8, 12)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CALIBRATION_S", 0.3)
    monkeypatch.setattr(latency, "SETTLE_S", 0.5)


def page_of(found: dict[str, Any]) -> str:
    page = report_html(found)
    for word in ("http:", "https:", "src=", "@import", "<script"):
        assert word not in page
    assert "nan" not in page.replace("dominant", "")
    return page


@pytest.mark.usefixtures("short")
def test_latency_of_a_gru_tells_every_stage_and_process() -> None:
    told: list[float] = []
    found = run_latency(
        (8,), 1.0, transport="ipc", decoder="gru", units=12, repeats=2, deadline_ms=30.0,
        told=lambda share, _: told.append(share),
    )  # fmt: skip
    (row,) = json.loads(json.dumps(found))["results"]
    assert told == [0.0, 0.5]
    assert (row["decoder"], row["units"], row["deadline_ms"]) == ("gru", 12, 30.0)
    assert len(row["runs"]) == len(row["samples"]["sent_to_received_us"]) == 2
    assert row["stages_us"].keys() == {*STAGES, *SPANS}
    assert row["processes"].keys() == {"rig", "engine", "subscriber"}
    assert all(used["resident_mib"] > 0 for used in row["processes"].values())
    assert row["histograms"].keys() >= {"sent_to_received", "sleeper", "transport_in"}
    assert row["data_age_ms"]["mean"] > row["data_age_ms"]["half_bin"] == 10.0
    assert row["engine_resident_mib"] > 0
    page = page_of(found)
    assert "decoder step" in page
    assert ("Tails not judged" in page) == (not row["judged"])


@pytest.mark.usefixtures("short")
def test_an_executor_that_the_engine_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="executor"):
        run_latency((8,), 1.0, transport="ipc", executors=("no such thing",))


def test_units_go_with_the_channels() -> None:
    assert [units_for(n) for n in (8, 96, 97, 256, 1024, 4096)] == [128, 128, 256, 256, 512, 512]
    assert Load(256).hidden is None
    assert Load(256, decoder="gru").hidden == 256
    assert Load(packet_ms=0.5).packet_samples == 15


@pytest.mark.usefixtures("short")
def test_a_soak_is_read_all_the_while(tmp_path: Path) -> None:
    found = json.loads(json.dumps(run_soak(Load(8, 1.0, transport="ipc", decoder="gru", units=12), poll_ms=20)))
    (row,) = found["results"]
    assert row["telemetry_reader"]["polls"] > 5
    assert row["telemetry_reader"]["torn"] == row["telemetry_reader"]["not_live"] == 0
    assert "telemetry reader" in row["processes"]
    assert row["memory_growth_mib"] == 0.0
    assert not found["interrupted"]
    write_page(found, tmp_path / "soak.html")
    assert "resident memory" in (tmp_path / "soak.html").read_text()


@pytest.mark.usefixtures("short")
def test_ctrl_c_leaves_what_a_soak_has_so_far() -> None:
    def interrupt(_share: float, _what: str) -> None:
        raise KeyboardInterrupt

    found = run_soak(Load(8, 60.0, transport="ipc"), told=interrupt)
    assert found["interrupted"]
    assert 0 < found["seconds"] < 30
    assert found["results"][0]["bins"] > 10
    assert found["results"][0]["losses"]["end_of_stream_not_heard"] == 0


def test_memory_is_flat_from_the_tenth_second() -> None:
    assert flatness([50.0] * 10 + [100.0, 100.5, 99.0]) == pytest.approx(0.01)
    assert flatness([]) == flatness([100.0]) == 0.0


@pytest.mark.usefixtures("short")
def test_scale_tells_each_point_of_each_axis() -> None:
    base = Load(transport="ipc", decoder="gru", units=12)
    found = json.loads(json.dumps(run_scale((8,), (), (1, 3), 1.0, load=base)))
    assert [row["axis"] for row in found["results"]] == ["channels", "sessions", "sessions"]
    assert found["results"][0]["megabytes_per_s"] == 0.5
    assert all(row["us_per_session"] > 0 for row in found["results"][1:])
    assert "sessions in one step" in page_of(found)


def test_decoders_take_turns_and_agree() -> None:
    found = json.loads(json.dumps(run_decoders([SMALL, Drawn("esn", 8, 20), Drawn("wiener", 8, 5)], 0.2, batch=3)))
    gru, esn, wiener = found["results"]
    float32 = {"onnx", "incremental", "onnx batch 3"}
    assert gru["hot_us"].keys() == gru["paced_us"].keys() >= float32 | {"onnx int8", "onnx int8 dynamic"}
    assert esn["hot_us"].keys() == wiener["hot_us"].keys() == float32
    assert all(row["differs_by"]["incremental"] < 1e-5 for row in (gru, esn, wiener))
    assert all(row["ahead_us"]["paced"]["incremental"]["p50"] > 0 for row in (gru, esn, wiener))
    assert 0 < gru["differs_by"]["onnx int8"] < 0.05
    assert 0 < gru["differs_by"]["onnx int8 dynamic"] < 0.05
    assert "torch eager" in gru["hot_us"] or "torch is not installed" in gru["absent"]["torch eager"]
    assert "gru 8/12" in page_of(found)


def test_executors_come_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXECUTORS, "again", EXECUTORS["onnx"])
    (row,) = run_decoders([SMALL], 0.2, executors=("onnx", "again"), batch=2)["results"]
    assert row["differs_by"]["again"] == 0
    assert row["paced_ratio"]["again"] > 0
    with pytest.raises(ConfigError, match="expected some of onnx, incremental, again, got nonsense"):
        run_decoders([SMALL], executors=("nonsense",))


def test_a_step_in_parts_is_told_of_each_crossing_once(tmp_path: Path) -> None:
    bundle, features = drawn_bundle(SMALL, tmp_path / "b"), drawn_counts(8, 2)[:30]
    decoder, whole = make_decoder(bundle, "incremental"), OnnxDecoder(bundle, "cpu")
    assert isinstance(decoder, CountingDecoder)
    summed: list[int] = []
    decoder._sum_and_close = lambda: summed.append(1)  # type: ignore[attr-defined]  # not of the protocol
    step = FollowedStep(decoder, features)
    for row in [*features, *features]:
        np.testing.assert_allclose(step.bin_of(row)["velocity"], whole.step(row)["velocity"], rtol=0, atol=1e-3)
    assert not summed
    assert len(step.ahead_us) == 60
    with pytest.raises(ValueError, match="expected its own counts"):
        step.bin_of(features[0] + 1)


class Clock:
    """Stands in for the module `time`; it moves only when told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        """Nanoseconds."""
        return self.now_ns

    def monotonic(self) -> float:
        """Seconds."""
        return self.now_ns / 1e9

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now_ns += round(seconds * 1e9)


def test_only_the_end_of_a_step_in_parts_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(), list[int]()
    monkeypatch.setattr(turns, "time", clock)

    class Slow(InParts):
        parts = 4

        def ahead(self, part: int) -> None:
            told.append(part)
            clock.now_ns += 1_000_000

        def __call__(self) -> None:
            assert told == [0, 1, 2, 3]
            told.clear()
            clock.now_ns += 10_000

    for times in (hot({"slow": Slow()}, 0.2), paced({"slow": Slow()}, 0.2, 30.0, parts=2)):
        flat = [value for turn in times["slow"] for value in turn]
        assert len(flat) > 3
        assert set(flat) == {10.0}


@pytest.mark.parametrize("family", ["gru", "lstm"])
def test_torch_eager_decodes_the_same(family: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is absent: pip install 'cortexwire[train]'")
    from cortexwire.bench.peers.torch_step import TorchStep

    drawn = Drawn(family, 8, 12)
    fitted = drawn_fitted(drawn)
    assert isinstance(fitted, FittedNetwork)
    step, ours = TorchStep(fitted).step, OnnxDecoder(drawn_bundle(drawn, tmp_path / "b"), "cpu")
    for row in drawn_counts(8, 3)[:100]:
        np.testing.assert_allclose(step(row), ours.step(row)["velocity"], rtol=1e-4, atol=1e-4)


def test_sessions_decoded_together_are_those_decoded_alone(tmp_path: Path) -> None:
    bundle = drawn_bundle(SMALL, tmp_path / "b")
    alone, together = [OnnxDecoder(bundle, "cpu") for _ in range(3)], BatchedStep(bundle, 3)
    features = drawn_counts(8, 4).reshape(-1, 1, 8)[:60].reshape(20, 3, 8)
    for rows in features:
        together.features[:] = rows
        found = together.step()["velocity"]
        for one, row, velocity in zip(alone, rows, found, strict=True):
            np.testing.assert_allclose(velocity, one.step(row)["velocity"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("take", [hot, paced])
def test_contenders_take_turns(take: Callable[..., Any]) -> None:
    order: list[str] = []
    times = take({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.2)
    turns = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    assert "".join(turns).endswith("abab")
    assert len(times["a"]) == len(times["b"]) >= 2


def test_everything_goes_on_when_one_fails_and_leaves_out_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: Any) -> dict[str, Any]:
        raise RunError("engine: ended")

    def works(told: Callable[[float, str], object], **settings: Any) -> dict[str, Any]:
        told(0.5, "half")
        return {"benchmark": "latency", "results": [], **settings}

    parts = {
        "latency": Part("latency", "run_latency", 30, 10, {}, {"seconds": 1.0}),
        "scale": Part("scale", "run_scale", 30, 10, tells=False),
        "imagined": Part("imagined.part", "run_it", 30, 10),
    }
    monkeypatch.setattr(everything, "PARTS", parts)
    monkeypatch.setattr(latency, "run_latency", works)
    monkeypatch.setattr("cortexwire.bench.scale.run_scale", fails)
    assert (estimate_s(quick=True), estimate_s(quick=False)) == (20, 60)
    told: list[tuple[float, str]] = []
    found = run_all(quick=True, told=lambda share, what: told.append((share, what)))
    assert found["parts"] == {"latency": {"benchmark": "latency", "results": [], "seconds": 1.0}}
    assert (found["failed"], found["absent"]) == ({"scale": "engine: ended"}, ["imagined"])
    assert told == [(0.0, "latency"), (0.25, "latency: half"), (0.5, "scale")]
    assert found["took_s"].keys() == {"latency", "scale"}

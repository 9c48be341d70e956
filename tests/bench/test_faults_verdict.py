"""The verdicts notice every way in which a run can be wrong, one by one."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from cortexwire.bench.faults import Verdict, event_rig, judge
from cortexwire.bench.faults.scenario import Plan, Scenario, fault_bundle, rules_of, scenario
from cortexwire.bench.faults.stall import Stall, StallRun, judge_stalls, stalling_stream
from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.wire import Clock, Clocks, OutFlag, OutKind, Output, Times, Validity, decode_output, encode_output
from tests.pipeline.streams import NOTHING, QUIET

MS = 1_000_000
S = 1_000 * MS
RIG = event_rig(1, 3, 8.0)
PLAN = Plan(seconds=(0.8, 1.5, 0.5), stall_s=0.6, mix=replace(NOTHING, drop_share=0.005, garbage=3))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return fault_bundle(tmp_path_factory.mktemp("bundle") / "b", RIG, "events", 2)


@pytest.fixture(scope="module")
def drawn() -> Scenario:
    return scenario(RIG, PLAN, 4)


@pytest.fixture(scope="module")
def runs(bundle: Bundle, drawn: Scenario) -> tuple[list[Output], list[bytes], dict[str, int]]:
    """Outputs of the disturbed run, frames of the undisturbed one, and counters of the former."""
    whole = [sent.frame for stream in drawn.whole for sent in stream.packets]
    outputs, counters = decode(bundle, list(drawn.injection.frames))
    return outputs, [encode_output(output) for output in decode(bundle, whole)[0]], counters


def decode(bundle: Bundle, frames: list[bytes]) -> tuple[list[Output], dict[str, int]]:
    pipeline = Pipeline(QUIET, OnnxDecoder(bundle, "cpu"), armed=True)
    outputs = [output for frame in frames for output in pipeline.packet(frame)]
    return outputs, pipeline.counters.as_dict()


Runs = tuple[list[Output], list[bytes], dict[str, int]]


def verdict_of(bundle: Bundle, drawn: Scenario, runs: Runs) -> Verdict:
    outputs, undisturbed, counters = runs
    frames = [encode_output(output) for output in outputs]
    rules = rules_of(bundle)
    return judge(frames, undisturbed, drawn.injection.expected(rules), counters, drawn.injection.counters(rules))


def unmarked(outputs: list[Output]) -> int:
    """A decoded output in the middle that nothing is to be said of."""
    clean = (OutFlag.ARMED | OutFlag.COMMAND, Validity.VALID)
    return next(k for k, o in enumerate(outputs) if k > 60 and (o.flags, o.validity) == clean)


def test_a_run_as_it_must_be_passes(bundle: Bundle, drawn: Scenario, runs: Runs) -> None:
    verdict = verdict_of(bundle, drawn, runs)
    assert verdict.differences == []
    assert verdict.passed
    assert verdict.bins == verdict.marked + verdict.unmarked
    assert 0 < verdict.identical < verdict.unmarked
    assert verdict.figures()["passed"]


def other_counts(outputs: list[Output]) -> None:
    k = unmarked(outputs)
    outputs[k] = msgspec.structs.replace(
        outputs[k], tensors=outputs[k].tensors | {"counts": outputs[k].tensors["counts"] + np.uint16(1)}
    )


def other_velocity(outputs: list[Output]) -> None:
    k = unmarked(outputs)
    moved = outputs[k].tensors | {"velocity": np.nextafter(outputs[k].tensors["velocity"], np.float32(9))}
    outputs[k] = msgspec.structs.replace(outputs[k], tensors=moved)


def marked_for_nothing(outputs: list[Output]) -> None:
    k = unmarked(outputs)
    outputs[k] = msgspec.structs.replace(outputs[k], validity=Validity.PARTIAL)


def not_marked(outputs: list[Output]) -> None:
    k = next(k for k, o in enumerate(outputs) if o.validity is Validity.PARTIAL)
    outputs[k] = msgspec.structs.replace(outputs[k], validity=Validity.VALID)


def no_history(outputs: list[Output]) -> None:
    k = next(k for k, o in enumerate(outputs) if OutFlag.HISTORY in o.flags)
    outputs[k] = msgspec.structs.replace(outputs[k], flags=outputs[k].flags & ~OutFlag.HISTORY)


def one_bin_less(outputs: list[Output]) -> None:
    del outputs[unmarked(outputs)]


def one_bin_twice(outputs: list[Output]) -> None:
    outputs.append(outputs[unmarked(outputs)])


def two_commands(outputs: list[Output]) -> None:
    k = unmarked(outputs)
    outputs.insert(k, msgspec.structs.replace(outputs[k], kind=OutKind.SAFE))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_counts, "counts differ"),
        (other_velocity, "bytes differ"),
        (marked_for_nothing, "validity: expected VALID, got PARTIAL"),
        (not_marked, "validity: expected PARTIAL, got VALID"),
        (no_history, "history: expected True, got False"),
        (one_bin_less, "1 missing"),
        (one_bin_twice, "1 more"),
        (two_commands, "at most one command, got 2"),
    ],
)
def test_every_difference_of_an_output_is_noticed(
    bundle: Bundle, drawn: Scenario, runs: Runs, spoil: Callable[[list[Output]], None], words: str
) -> None:
    outputs, undisturbed, counters = list(runs[0]), *runs[1:]
    spoil(outputs)
    verdict = verdict_of(bundle, drawn, (outputs, undisturbed, counters))
    assert not verdict.passed
    assert any(words in said for said in verdict.differences)


def test_every_counter_is_compared(bundle: Bundle, drawn: Scenario, runs: Runs) -> None:
    for name, count in runs[2].items():
        verdict = verdict_of(bundle, drawn, (*runs[:2], runs[2] | {name: count + 1}))
        assert verdict.differences == [f"counter {name}: expected {count}, got {count + 1}"]
    rules = rules_of(bundle)
    ledger = drawn.injection.counters(rules) + Counter(unheard_of=3)
    verdict = judge([], [], {}, runs[2], ledger)
    assert verdict.differences == ["counter unheard_of: expected 3, and there is none"]
    assert not verdict.passed


VELOCITY = np.array([30.0, -40.0], np.float32)
SPEED = 50.0


def steered(hold_ms: float = 100.0, cut_ms: float = 1e9) -> StallRun:
    """A run as it has to be, computed by hand: 1 s of good commands, two stalls, good commands between and behind.

    Args:
        hold_ms: How long the engine holds the last good command.
        cut_ms: When the subscriber comes to rest by itself, in milliseconds of a stall.
    """
    stream, (held, over) = stalling_stream(RIG, 5, 1)
    skip = next(b.start for a, b in zip(stream.packets, stream.packets[1:], strict=False) if b.start > a.stop + 60)
    ms = 1000 / RIG.rate.hz
    stalls = [
        Stall("backlog", round(held * ms * MS), round(over * ms * MS)),
        Stall("skip", round((skip * ms - 2000) * MS), round(skip * ms * MS)),
    ]
    outputs = []
    good_end = 0.0
    for k in range(round(stream.packets[-1].start * ms) // 20):
        end_ms = 20.0 * (k + 1)
        stall = next((s for s in stalls if s.begun_ns < end_ms * MS <= s.over_ns), None)
        if stall is None:
            good_end = end_ms
            outputs.append(command(OutKind.DECODED, k, VELOCITY, end_ms, OutFlag(0)))
        elif end_ms - good_end <= 500:
            age = end_ms - good_end
            share = float(np.clip(1 - (age - hold_ms) / 200, 0, 1))
            flags = OutFlag(0) if share else OutFlag.NEUTRAL
            outputs.append(command(OutKind.SAFE, k, VELOCITY * np.float32(share), end_ms + 20, flags))
    looks = np.array(list(looked(outputs, stalls, cut_ms)))
    return StallRun(stream, 0, tuple(stalls), looks, tuple(outputs))


def command(kind: OutKind, k: int, velocity: np.ndarray, at_ms: float, flags: OutFlag) -> Output:
    at = round(at_ms * MS)
    clock = Clock.MONOTONIC
    return Output(
        kind=kind,
        epoch=5,
        bin=k,
        end_sample=600 * (k + 1),
        flags=OutFlag.ARMED | OutFlag.COMMAND | flags,
        times=Times(received_ns=at, published_ns=at),
        clocks=Clocks(received=clock, published=clock),
        tensors={"velocity": velocity},
    )


def looked(outputs: list[Output], stalls: list[Stall], cut_ms: float) -> Iterator[tuple[float, float, float]]:
    at = [output.times.published_ns for output in outputs]
    for t in range(0, at[-1], MS):
        now = int(np.searchsorted(at, t, "right")) - 1
        x, y = outputs[now].tensors["velocity"].tolist() if now >= 0 else (0.0, 0.0)
        rests = any(s.begun_ns + cut_ms * MS < t < s.over_ns for s in stalls)
        yield (t, 0.0, 0.0) if rests else (t, x, y)


def test_a_stall_that_holds_decays_and_rests_is_within_its_bound() -> None:
    for found in judge_stalls(steered(), PipelineSettings(), 20.0):
        assert found["problems"] == []
        assert found["bound_mm"] == pytest.approx(SPEED * 0.24)
        assert found["displacement_mm"] == pytest.approx(SPEED * 0.23, rel=0.01)
        assert found["neutral_after_ms"] == pytest.approx(320, abs=2)
        assert found["of_bound"] < 1


def test_one_that_holds_too_long_or_not_at_all_is_noticed() -> None:
    for found in judge_stalls(steered(hold_ms=200), PipelineSettings(), 20.0):
        words = " ".join(found["problems"])
        assert "expected at most 12.0" in words
        assert "expected a safe command of" in words
    for found in judge_stalls(steered(cut_ms=60), PipelineSettings(), 20.0):
        assert "expected a hold of 100.0 ms" in " ".join(found["problems"])


def test_a_command_of_old_samples_behind_a_stall_is_noticed() -> None:
    run = steered()
    first = run.stalls[0]
    old = command(OutKind.DECODED, 60, VELOCITY, first.over_ns / MS + 1, OutFlag(0))
    twice = next(o for o in run.outputs if o.times.published_ns > first.over_ns)
    spoiled = replace(run, outputs=(*run.outputs, old, twice))
    found = judge_stalls(spoiled, PipelineSettings(), 20.0)[0]
    words = " ".join(found["problems"])
    assert "bin 60: expected a command at most 40.0 ms old" in words
    assert f"bin {twice.bin}: expected at most one command" in words


def test_outputs_made_by_hand_are_outputs() -> None:
    for output in steered().outputs[:80]:
        assert decode_output(encode_output(output)).bin == output.bin

"""The pipeline under faults: every counter equals the ledger, and every bin without a mark is that of the whole stream.

The ledger and the marks come from `cortexwire.bench.faults`, which knows what was done to the streams and nothing of
how the pipeline finds out.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortexwire.bench.faults import FaultMix, Verdict, event_rig, inject, judge, simulated_rig
from cortexwire.bench.faults.marks import expected_bins
from cortexwire.bench.faults.rig import FaultyRig, Sent
from cortexwire.bench.faults.scenario import Plan, Scenario, fault_bundle, rules_of, scenario
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.decoders.manifest import StreamKind
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.wire import encode_output
from tests.pipeline.streams import NOTHING, QUIET, with_settings

SHORT = Plan(
    seconds=(2.4, 3.4, 1.2),
    mix=FaultMix(drop_share=0.002, duplicates=3, garbage=9, truncated=2, truncated_copies=2, lead_s=0.5),
)
"""A second of each fault run, for tests."""


def rig_of(kind: StreamKind, seed: int) -> FaultyRig:
    if kind == "events":
        return event_rig(seed, 6, sum(SHORT.seconds) + 1)
    return simulated_rig(SimulatorSettings(channels=12, seed=seed, artefacts=False, railing=False))


def decode(bundle: Bundle, frames: list[bytes] | tuple[bytes, ...]) -> tuple[list[bytes], Pipeline]:
    pipeline = Pipeline(QUIET, OnnxDecoder(bundle, "cpu"), armed=True)
    outputs = [output for frame in frames for output in pipeline.packet(frame)]
    return [encode_output(output) for output in outputs + pipeline.finish()], pipeline


def verdict_of(bundle: Bundle, drawn: Scenario, *, artefacts: bool = False) -> Verdict:
    rules = rules_of(bundle)
    disturbed, pipeline = decode(bundle, drawn.injection.frames)
    undisturbed, _ = decode(bundle, [sent.frame for stream in drawn.whole for sent in stream.packets])
    return judge(
        disturbed,
        undisturbed,
        drawn.injection.expected(rules),
        pipeline.counters.as_dict(),
        drawn.injection.counters(rules),
        artefacts=artefacts,
    )


@pytest.mark.parametrize("history", [1, 10])
@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_counters_equal_the_ledger_and_unmarked_bins_the_whole_stream(
    folder: Path, kind: StreamKind, history: int
) -> None:
    made = fault_bundle(folder / f"{kind}-{history}", rig_of(kind, 0), kind, history)
    for seed in range(2):
        verdict = verdict_of(made, scenario(rig_of(kind, seed), SHORT, seed))
        assert verdict.differences == []
        assert verdict.passed
        assert verdict.marked > 10
        assert verdict.commands == verdict.bins + 1
        assert verdict.identical == verdict.unmarked if history == 1 else verdict.identical < verdict.unmarked


def test_with_artefacts_of_its_own_a_rig_is_marked_where_no_fault_is_as_in_the_whole_stream(folder: Path) -> None:
    for seed in (4, 5):
        rig = simulated_rig(SimulatorSettings(channels=12, seed=seed, artefact_every_s=1.0))
        made = fault_bundle(folder / f"artefacts-{seed}", rig, "wideband", 3)
        verdict = verdict_of(made, scenario(rig, SHORT, seed), artefacts=True)
        assert verdict.differences == []
        assert verdict.passed


def test_packets_of_other_sizes_give_the_same_ledger(folder: Path) -> None:
    made = fault_bundle(folder / "sizes", rig_of("wideband", 0), "wideband", 3)
    for size in (7, 100):
        mix = replace(SHORT.mix, drop_share=0.0005 if size == 7 else 0.004, lost_run_ms=30.0)
        verdict = verdict_of(made, scenario(rig_of("wideband", 1), replace(SHORT, mix=mix, packet_samples=size), size))
        assert verdict.differences == []
        assert verdict.passed


@pytest.fixture(scope="module")
def small(folder: Path) -> Bundle:
    """Two channels of events, three bins of history."""
    return fault_bundle(folder / "small", event_rig(1, 2, 4.0), "events", 3)


few = st.integers(0, 4)


@settings(max_examples=20)
@given(
    st.builds(
        FaultMix,
        drop_share=st.sampled_from([0.0, 0.002, 0.02]),
        lost_runs=st.integers(0, 2),
        lost_run_ms=st.sampled_from([5.0, 20.0, 50.0]),
        duplicates=few,
        swaps=few,
        delays=few,
        farthest=st.integers(2, 12),
        truncated=few,
        truncated_copies=few,
        garbage=few,
        garbled=few,
        wrong_channels=few,
        wrong_channel_copies=few,
        stragglers=st.integers(0, 5),
        lead_s=st.just(0.1),
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([30, 50, 90]),
)
def test_any_mix_of_faults_is_accounted_for(small: Bundle, mix: FaultMix, seed: int, size: int) -> None:
    rig = event_rig(1, 2, 4.0)
    plan = Plan(seconds=(0.8, 1.3, 0.6), skip_ms=13.0, stall_s=0.6, mix=mix, packet_samples=size)
    verdict = verdict_of(small, scenario(rig, plan, seed))
    assert verdict.differences == []


@st.composite
def arrivals(draw: st.DrawFn) -> list[int]:
    """Numbers of a stream's packets in the order of their arrival: some never, some again, some late."""
    n = draw(st.integers(2, 60))
    copies = draw(st.lists(st.sampled_from([0, 1, 1, 1, 1, 1, 2]), min_size=n, max_size=n))
    sent = [k for k, times in enumerate(copies) for _ in range(times)] or [0]
    delays = draw(st.lists(st.sampled_from([0, 0, 0, 1, 3, 9]), min_size=len(sent), max_size=len(sent)))
    return [sent[i] for i in sorted(range(len(sent)), key=lambda i: (i + delays[i], i))]


@given(arrivals(), st.sampled_from([50, 150, 400]))
def test_whatever_the_order_of_arrival_marks_follow_from_the_samples_used(
    small: Bundle, order: list[int], size: int
) -> None:
    rig = event_rig(1, 2, 4.0)
    bare = replace(rig, descriptor=replace(rig.descriptor, columns=()))
    packets = [sent for sent in bare.stream(1, 60 * size / 30_000, packet_samples=size).packets if sent.signal]
    used: list[Sent] = []
    for number in order:
        # By definition: a packet is used if and only if none behind it came before it.
        if not used or number > max(packets.index(sent) for sent in used):
            used.append(packets[number])
    rules = rules_of(small)
    expected = expected_bins([(sent.start, sent.stop) for sent in used], rules)
    disturbed, pipeline = decode(small, [packets[number].frame for number in order])
    undisturbed, _ = decode(small, [sent.frame for sent in packets])
    seen = set(order)
    lost = len(set(range(order[0], max(order) + 1)) - seen)
    late = [k for i, k in enumerate(order) if k not in order[:i] and k < max(order[:i], default=-1)]
    ledger = expected.counters | {
        "accepted": len(used),
        "lost_packets": lost,
        "duplicates": len(order) - len(seen),
        "reordered": len(late),
        "reordered_unused": len(late),
    }
    verdict = judge(disturbed, undisturbed, {(1, 0): expected}, pipeline.counters.as_dict(), ledger)
    skip = [said for said in verdict.differences if "bytes differ" not in said or used[0] is packets[0]]
    assert skip == []


def test_with_a_window_a_delay_costs_nothing_and_a_loss_what_it_costs_without(small: Bundle) -> None:
    rig = event_rig(1, 2, 4.0)
    stream = rig.stream(1, 2.0, end=True)
    injection = inject([stream], replace(NOTHING, swaps=5, delays=5), 3)
    pipeline = Pipeline(with_settings(intake={"reorder_window_packets": 10}), OnnxDecoder(small, "cpu"), armed=True)
    disturbed = [encode_output(output) for frame in injection.frames for output in pipeline.packet(frame)]
    undisturbed, _ = decode(small, [sent.frame for sent in stream.packets])
    assert disturbed == undisturbed
    counters = pipeline.counters
    assert (counters.reordered, counters.reordered_unused, counters.lost_packets, counters.gaps) == (10, 0, 0, 0)

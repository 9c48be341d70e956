"""One real engine under faults, over real sockets: what the evidence does at length, once and short."""

from collections.abc import Iterator

import pytest

from cortexwire.bench.faults import Injection, event_rig, inject, judge
from cortexwire.bench.faults.live import LiveEngine, live_engine
from cortexwire.bench.faults.scenario import Plan, Scenario, fault_bundle, rules_of, scenario
from cortexwire.bench.live import lossless_config, short_folder
from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.wire import OutKind, PacketEncoder, decode_output, encode_output, make_events
from tests.pipeline.streams import NOTHING, QUIET
from tests.pipeline.test_pipeline_faults import SHORT

RIG = event_rig(2, 4, 8.0)
NAMES = tuple(Counters().as_dict())


@pytest.fixture
def started() -> Iterator[tuple[LiveEngine, Bundle]]:
    with short_folder() as folder:
        bundle = fault_bundle(folder / "b", RIG, "events", 3)
        with live_engine(lossless_config(bundle.path, folder, armed=True), RIG.rate, RIG.n_channels) as engine:
            yield engine, bundle


def undisturbed(bundle: Bundle, drawn: Scenario) -> list[bytes]:
    pipeline = Pipeline(QUIET, OnnxDecoder(bundle, "cpu"), armed=True)
    frames = [sent.frame for stream in drawn.whole for sent in stream.packets]
    return [encode_output(output) for frame in frames for output in pipeline.packet(frame)]


def test_a_real_engine_accounts_for_every_fault(started: tuple[LiveEngine, Bundle]) -> None:
    engine, bundle = started
    drawn, rules = scenario(RIG, SHORT, 7), rules_of(bundle)
    engine.send(drawn.injection.frames)
    outputs = list(engine.until_end(drawn.streams[-1].epoch))
    counted = engine.stop()["counters"]
    ledger = drawn.injection.counters(rules)
    ledger.update(engine.probed())
    counters = {name: counted[name] for name in NAMES}
    verdict = judge(outputs, undisturbed(bundle, drawn), drawn.injection.expected(rules), counters, ledger)
    assert verdict.differences == []
    assert verdict.passed
    assert counted["frames"] == len(drawn.injection.frames) + engine.probes


def absurd(epoch: int) -> list[bytes]:
    """Headers with a right checksum and the largest numbers that they hold."""
    nothing = make_events([], [])
    encoder = PacketEncoder(RIG.rate, RIG.n_channels, epoch=epoch)
    frames = [encoder.events(0, 30, nothing)]
    for sequence, at, n in (
        (2**64 - 2, 2**53 - 60, 30),
        (2**64 - 1, 2**62 - 100, 30),
        (1, 30, 2**32 - 1),
        (2**63, 0, 30),
        (2, 0, 1_800_000),
    ):
        encoder.sequence = sequence
        frames.append(encoder.events(at, n, nothing))
    return frames


def test_a_real_engine_survives_absurd_numbers(started: tuple[LiveEngine, Bundle]) -> None:
    engine, _ = started
    for epoch in range(100, 105):
        engine.send(absurd(epoch))
    injection: Injection = inject([RIG.stream(200, 1.0, end=True)], NOTHING, 0)
    engine.send(injection.frames)
    last = [decode_output(frame) for frame in engine.until_end(200)]
    assert [o.bin for o in last if o.kind is OutKind.DECODED and o.epoch == 200] == list(range(50))
    counted = engine.stop()["counters"]
    assert counted["lost_packets"] > 2**64
    assert counted["frames"] == 5 * len(absurd(1)) + len(injection.frames) + engine.probes


def test_the_plan_of_the_evidence_has_room_for_its_faults() -> None:
    plan = Plan(seconds=(6.0, 6.0, 3.0))
    drawn = scenario(event_rig(0, 2, 16.0), plan, 0)
    assert sum(drawn.injection.ledger.injected.values()) > 60

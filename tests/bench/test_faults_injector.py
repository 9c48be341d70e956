"""The injector does what its ledger says, and the same again for the same seed."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cortexwire.bench.faults import FaultMix, event_rig, inject, simulated_rig
from cortexwire.bench.faults.damage import GARBAGE, cut, garbage, wrong_channels
from cortexwire.bench.faults.ledger import Ledger
from cortexwire.bench.faults.marks import BinRules, expected_bins
from cortexwire.bench.faults.rig import FaultyRig
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.errors import PacketError
from cortexwire.types import Rate
from cortexwire.wire import Kind, Validity, decode_packet
from tests.pipeline.streams import NOTHING

RIGS = {
    "events": event_rig(1, 3, 4.0),
    "wideband": simulated_rig(SimulatorSettings(channels=5, seed=1)),
}
MANY = FaultMix(lead_s=0.2)


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
def test_garbage_is_refused_for_the_reason_that_the_ledger_names(rig: FaultyRig) -> None:
    rng = np.random.default_rng(0)
    frames = [sent.frame for sent in rig.stream(1, 1.2, end=True).packets]
    for number, frame in enumerate([frames[0], frames[1], frames[20], frames[-1]] * len(GARBAGE)):
        for damaged in (garbage(frame, number, rng), cut(frame, rng)):
            with pytest.raises(PacketError) as caught:
                decode_packet(damaged.frame)
            assert caught.value.reason == damaged.reason


def test_garbage_is_of_every_reason() -> None:
    assert {reason for _, reason in GARBAGE} == {
        "length", "magic", "version", "checksum", "kind", "field", "value", "payload",
    }  # fmt: skip


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
def test_a_wrong_channel_count_is_a_well_formed_packet(rig: FaultyRig) -> None:
    frame = next(sent.frame for sent in rig.stream(1, 0.1).packets if sent.signal)
    right, wrong = decode_packet(frame), decode_packet(wrong_channels(frame))
    assert abs(wrong.n_channels - right.n_channels) == 1
    assert (wrong.sequence, wrong.sample_index, wrong.n_samples) == (
        right.sequence,
        right.sample_index,
        right.n_samples,
    )


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
@pytest.mark.parametrize("size", [30, 77])
def test_a_stream_covers_every_sample_but_those_skipped(rig: FaultyRig, size: int) -> None:
    whole, skipping = (rig.stream(9, 1.5, packet_samples=size, skips=skips) for skips in ((), [(15_000, 15_500)]))
    for stream, missing in ((whole, set()), (skipping, set(range(15_000, 15_500)))):
        packets = [decode_packet(sent.frame) for sent in stream.packets]
        assert [packet.sequence for packet in packets] == list(range(len(packets)))
        came = [k for sent in stream.packets for k in range(sent.start, sent.stop)]
        assert came == sorted(set(range(45_000)) - missing)
        assert [packet.kind for packet in packets].count(Kind.DESCRIPTOR) == 2
    assert whole.key == (9, 0)


def test_the_same_seed_gives_the_same_faults_and_another_others() -> None:
    stream = RIGS["events"].stream(1, 3.0)
    first, again, other = (inject([stream], MANY, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.frames != other.frames
    assert first.ledger.injected["lost run"] == other.ledger.injected["lost run"] == 1


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    streams = [RIGS["events"].stream(epoch, 1.0) for epoch in (1, 2)]
    injection = inject(streams, NOTHING, 0)
    assert list(injection.frames) == [sent.frame for stream in streams for sent in stream.packets]
    assert injection.ledger.total() == Counter(accepted=len(injection.frames), restarts=1)


def test_there_are_as_many_faults_as_were_asked_for() -> None:
    stream = RIGS["events"].stream(1, 3.5)
    injection = inject([stream], MANY, 5)
    injected = injection.ledger.injected
    classes: Counter[str] = Counter()
    for fault, times in injected.items():
        classes[fault.partition(" (")[0]] += times
    n = len(stream.packets)
    assert classes == {
        "sent": n, "lost run": 1, "delayed": 3, "duplicated": 6, "swapped": 3, "dropped": round(0.001 * n),
        "truncated": 3, "truncated copy": 5, "garbled": 2, "garbage": 18, "wrong channels": 2, "wrong channels copy": 3,
    }  # fmt: skip
    total = injection.ledger.total()
    sent_again = Counter(injection.frames) - Counter(sent.frame for sent in stream.packets)
    assert total["duplicates"] == sum(decodes(frame) for frame in sent_again.elements()) - 5
    assert len(injection.used[1, 0]) == total["accepted"]
    malformed = sum(count for name, count in total.items() if name.startswith("malformed"))
    arrivals = ("accepted", "duplicates", "reordered_unused", "mismatched")
    assert len(injection.frames) == malformed + sum(total[name] for name in arrivals)


def decodes(frame: bytes) -> bool:
    try:
        decode_packet(frame)
    except PacketError:
        return False
    return True


def test_a_lost_run_is_as_long_as_was_asked_for() -> None:
    stream = RIGS["events"].stream(1, 2.0)
    injection = inject([stream], replace(NOTHING, lost_runs=1, lost_run_ms=50.0), 1)
    lost = sum(sent.stop - sent.start for sent in stream.packets) - sum(
        sent.stop - sent.start for sent in injection.used[1, 0]
    )
    assert 1440 <= lost <= 1560


def test_the_beginning_and_the_end_of_a_stream_are_left_alone() -> None:
    stream = RIGS["events"].stream(1, 2.0)
    for seed in range(5):
        injection = inject([stream], replace(MANY, lead_s=0.5), seed)
        n = next(k for k, sent in enumerate(stream.packets) if sent.start >= 15_000)
        whole = [sent.frame for sent in stream.packets]
        assert list(injection.frames[:n]) == whole[:n]
        assert list(injection.frames[-40:]) == whole[-40:]


def test_more_faults_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="expected room for 1 more packets"):
        inject([RIGS["events"].stream(1, 1.0)], replace(MANY, drop_share=0.9), 0)


def test_a_ledger_adds_up_what_faults_do() -> None:
    ledger = Ledger()
    ledger.enter("sent", 10, accepted=1)
    ledger.enter("dropped", accepted=-1, lost_packets=1)
    ledger.enter("dropped", accepted=-1, lost_packets=1)
    assert ledger.injected == {"sent": 10, "dropped": 2}
    assert ledger.deltas["dropped"] == {"accepted": -2, "lost_packets": 2}
    assert ledger.total() == {"accepted": 8, "lost_packets": 2}


def test_bins_are_marked_by_the_samples_that_they_saw() -> None:
    rng = np.random.default_rng(0)
    rules = BinRules(Rate(30_000), 20.0, settling=0, reset=30_000, memory=1, warm_up=0)
    edges = np.unique(rng.integers(0, 30_000, 22))
    came = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    expected = expected_bins(came, rules)
    present = np.zeros(30_600, bool)
    for start, stop in came:
        present[start:stop] = True
    for made in expected.bins:
        inside = present[made.index * 600 : made.index * 600 + 600]
        assert made.observed_fraction == inside.mean()
        assert made.missing == 600 - inside.sum()
    assert expected.counters["missing_samples"] == sum(b - a for (_, a), (b, _) in pairwise(came))


def test_settling_history_and_resets_are_marked() -> None:
    rules = BinRules(Rate(30_000), 20.0, settling=700, reset=6000, memory=3, warm_up=2)
    expected = expected_bins([(0, 3000), (3001, 7200), (13_200, 16_800)], rules)
    marks = {made.index: (made.validity, made.history, made.warming) for made in expected.bins}
    valid, partial, stale = Validity.VALID, Validity.PARTIAL, Validity.STALE
    assert marks == {
        0: (stale, False, True),
        1: (partial, True, True),
        2: (valid, True, False),
        3: (valid, True, False),
        4: (valid, False, False),
        5: (stale, False, False),
        6: (partial, True, False),
        7: (valid, True, False),
        8: (valid, True, False),
        9: (valid, False, False),
        10: (valid, False, False),
        11: (valid, False, False),
        12: (stale, False, False),
        22: (stale, False, True),
        23: (partial, True, True),
        24: (valid, True, False),
        25: (valid, True, False),
        26: (valid, False, False),
        27: (valid, False, False),
    }
    assert expected.counters == {
        "gaps": 2, "missing_samples": 6001, "resets": 1, "skipped_bins": 9, "decoded_bins": 19,
        "partial_bins": 3, "stale_bins": 4, "safe_bins": 6, "settling_samples": 2100,
    }  # fmt: skip


def test_edges_of_any_rational_rate_are_the_protocols() -> None:
    rules = BinRules(Rate(390_625, 16), 20.0, settling=0, reset=10**6, memory=1, warm_up=0)
    assert [rules.edge(k) for k in range(4)] == [0, 488, 976, 1464]
    assert [rules.bin_of(sample) for sample in (0, 487, 488, 975, 976)] == [0, 0, 1, 1, 2]

"""The laws of the pipeline: what comes out for every bin, what may be a command, and that nothing else decides it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.bench.faults.rig import FaultyRig
from cortexwire.decoders import Bundle
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import Arm, ConfirmIdentity, Neutral
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    Descriptor,
    Electrode,
    MarkerCode,
    OutFlag,
    OutKind,
    Output,
    PacketEncoder,
    Validity,
    decode_output,
    encode_output,
    make_events,
    make_markers,
)
from tests.pipeline.streams import (
    BIN,
    MS,
    QUIET,
    RATE,
    Feed,
    N,
    Sender,
    Spy,
    bundle_for,
    event_bundle,
    events,
    frames_of,
    velocity,
    wideband,
    with_settings,
)

RECORDED = 300
"""Samples in a recorded bin of counts: two to a bin."""


def counts_of(outputs: list[Output]) -> list[list[int]]:
    return [output.tensors["counts"].tolist() for output in outputs if output.kind is OutKind.DECODED]


@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_no_byte_depends_on_packet_size(folder: Path, kind: str) -> None:
    rig = events() if kind == "events" else wideband()
    made = bundle_for(folder, rig, "events" if kind == "events" else "wideband")
    rng = np.random.default_rng(4)
    whole = Feed(made)
    whole.packets(frames_of(rig, seconds=1.0))
    for size in (7, 600, 1000, 30_000):
        other = Feed(made)
        other.packets(frames_of(rig, seconds=1.0, packet_samples=size))
        assert other.frames == whole.frames
    mixed = Feed(made)
    mixed.packets(random_sizes(rig, 1.0, rng))
    assert mixed.frames == whole.frames
    assert len(whole.decoded) == 50


def random_sizes(rig: FaultyRig, seconds: float, rng: np.random.Generator) -> list[bytes]:
    encoder = PacketEncoder(rig.rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    frames, at, n = [encoder.descriptor_packet(0)], 0, round(seconds * rig.rate.hz)
    while at < n:
        stop = min(n, at + int(rng.integers(1, 900)))
        frames.append(rig.encode(encoder, 0, at, stop))
        at = stop
    return frames


def test_every_bin_is_decoded_once_and_in_order(bundle: Bundle) -> None:
    feed = Feed(bundle)
    feed.packets(frames_of(events(), seconds=2.0))
    assert [output.bin for output in feed.decoded] == list(range(100))
    assert [output.end_sample for output in feed.decoded] == [BIN * (k + 1) for k in range(100)]
    assert {output.validity for output in feed.decoded} == {Validity.VALID}
    assert feed.nonzero() == {"accepted": 2201, "decoded_bins": 100, "safe_bins": 2}


def test_every_bin_has_one_command_and_no_other_bin_has(bundle: Bundle) -> None:
    feed = Feed(bundle)
    feed.packets(frames_of(events(), seconds=1.0, end=True))
    assert feed.commands == [(1, 0, k) for k in range(51)]
    assert [output.bin for output in feed.safe] == [0, 1, 50]


def test_an_engine_that_is_not_armed_gives_no_command(bundle: Bundle) -> None:
    armed, shadow = Feed(bundle), Feed(bundle, armed=False)
    for feed in (armed, shadow):
        feed.packets(frames_of(events(), seconds=1.0, end=True))
    assert shadow.commands == []
    assert not any(output.flags & (OutFlag.ARMED | OutFlag.BLOCKED) for output in shadow.outputs)
    assert [velocity(output) for output in shadow.outputs] == [velocity(output) for output in armed.outputs]


def test_until_the_decoder_has_warmed_up_the_command_is_safe(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    assert [(o.bin, o.kind, OutFlag.COMMAND in o.flags) for o in feed.outputs] == [
        (0, OutKind.DECODED, False),
        (0, OutKind.SAFE, True),
        (1, OutKind.DECODED, False),
        (1, OutKind.SAFE, True),
        (2, OutKind.DECODED, True),
        (3, OutKind.DECODED, True),
    ]
    assert all(OutFlag.WARMING in o.flags for o in feed.outputs[:4])
    assert all(velocity(o) == [0, 0] and OutFlag.NEUTRAL in o.flags for o in feed.safe)
    assert not any(OutFlag.WARMING in o.flags for o in feed.outputs[4:])


def test_a_stale_bin_is_no_command_and_what_it_leaves_behind_is_marked(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(5)])
    sender.skip(301)
    stale = feed.packets([sender.span(299), *sender.bins(3)])
    assert [(o.bin, o.kind) for o in stale[:2]] == [(5, OutKind.DECODED), (5, OutKind.SAFE)]
    marked, command = stale[:2]
    assert marked.validity is Validity.STALE
    assert marked.missing_samples == 301
    assert marked.observed_fraction == np.float32(299 / 600)
    assert OutFlag.UNOBSERVED in marked.flags
    assert OutFlag.COMMAND not in marked.flags
    assert OutFlag.COMMAND | OutFlag.UNOBSERVED in command.flags
    assert velocity(command) == velocity(feed.outputs[6])
    after = [o for o in stale[2:] if o.kind is OutKind.DECODED]
    assert [OutFlag.HISTORY in o.flags for o in after] == [True, True, False]
    assert all(OutFlag.COMMAND in o.flags for o in after)


def test_a_partial_bin_is_a_command_with_its_counts_as_they_came(bundle: Bundle) -> None:
    decoder = Spy(bundle)
    feed = Feed(bundle, decoder=decoder)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    sender.skip(150)
    output = feed.packets([sender.span(450, (3, 0, 1, 6))])[0]
    assert output.validity is Validity.PARTIAL
    assert OutFlag.COMMAND in output.flags
    assert output.tensors["counts"].tolist() == [3, 0, 1, 6]
    assert decoder.seen[-1].tolist() == [4, 0, np.float32(1 / 0.75), 8]


def test_of_a_stale_bin_the_decoder_sees_the_training_mean(bundle: Bundle) -> None:
    decoder = Spy(bundle)
    feed = Feed(bundle, decoder=decoder)
    sender = Sender()
    sender.skip(301)
    assert counts_of(feed.packets([sender.span(299, (9, 9, 9, 9))]))[0] == [9, 9, 9, 9]
    assert decoder.seen[0].tolist() == decoder.feature_mean.tolist()


def test_what_is_no_number_is_counted_and_replaced(bundle: Bundle) -> None:
    feed = Feed(bundle, decoder=Spy(bundle, lambda k: k in (5, 6)))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(9)])
    bad = [o for o in feed.outputs if OutFlag.NONFINITE in o.flags]
    assert [(o.bin, o.kind) for o in bad] == [(k, kind) for k in (5, 6) for kind in OutKind]
    assert all(np.isnan(o.tensors["velocity"]).all() and OutFlag.COMMAND not in o.flags for o in bad[::2])
    held = next(o for o in feed.decoded if o.bin == 4)
    assert all(velocity(o) == velocity(held) and OutFlag.COMMAND in o.flags for o in bad[1::2])
    assert feed.pipeline.counters.nonfinite_bins == 2
    assert [key[2] for key in feed.commands] == list(range(9))


def test_while_calibrating_there_are_only_safe_outputs(folder: Path) -> None:
    rig = wideband()
    made = bundle_for(folder, rig, "wideband")
    feed = Feed(made, front_end={"threshold": {"values_uv": None, "calibration_s": 0.2}})
    assert feed.pipeline.state == "waiting"
    feed.packets(frames_of(rig, seconds=1.0, packet_samples=100))
    before = [o for o in feed.outputs if o.bin <= feed.decoded[0].bin - 1]
    assert before
    assert all(o.kind is OutKind.SAFE and OutFlag.CALIBRATING | OutFlag.COMMAND in o.flags for o in before)
    assert feed.decoded[0].bin == 13  # 1208 samples of settling, then 6000 of calibration
    assert OutFlag.WARMING in feed.decoded[0].flags
    assert len(feed.commands) == len(set(feed.commands)) == 50
    assert feed.pipeline.state == "running"


def test_a_stream_of_other_electrodes_is_refused(bundle: Bundle) -> None:
    feed = Feed(bundle)
    other = tuple(Electrode(id=f"e{k:03}", bank="A") for k in (0, 2, 1, 3))
    encoder = PacketEncoder(RATE, N, Descriptor("rig", other), epoch=1)
    sender = Sender()
    sender.encoder = encoder
    feed.packets([sender.describe(), *sender.bins(5)])
    assert feed.pipeline.state == "refused"
    assert not feed.decoded
    assert not feed.commands
    assert all(OutFlag.BLOCKED in o.flags and velocity(o) == [0, 0] for o in feed.safe)
    index, problem = feed.command(Arm())
    assert index == 5
    assert problem is not None
    assert "channel 1 expected e001 (bank A), got e002 (bank A)" in problem
    assert "cannot confirm" in str(feed.command(ConfirmIdentity())[1])
    assert any("stream refused" in note for note in feed.pipeline.drain_notes())


def test_without_identities_arming_waits_for_a_confirmation(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender(descriptor=False)
    feed.packets(sender.bins(5))
    assert feed.commands == []
    assert all(OutFlag.BLOCKED in o.flags for o in feed.outputs)
    assert "no electrode identities" in str(feed.command(Arm())[1])
    assert feed.obey(ConfirmIdentity()) == 5
    feed.packets(sender.bins(2))
    assert feed.commands == [(1, 0, 5), (1, 0, 6)]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(("rates_hz", "armed"), [((150, 0, 50, 100), True), ((0, 150, 100, 50), False)])
def test_without_identities_rates_like_those_of_training_arm_at_the_same_bin_however_packets_are_cut(
    folder: Path, size: int, rates_hz: tuple[float, ...], armed: bool
) -> None:
    made = event_bundle(folder / f"rates-{size}-{armed}", electrodes=False, rates_hz=rates_hz)
    feed = Feed(made, with_settings(identity={"window_s": 0.2}))
    rig = PacketEncoder(RATE, N, epoch=1)
    for first in range(0, 100 // size * size, size):
        offsets = np.repeat(BIN * np.arange(size), 6)
        channels = np.tile([0, 0, 0, 2, 3, 3], size)
        feed.packets([rig.events(first * BIN, size * BIN, make_events(offsets, channels))])
    # The tenth bin completes the window, and is the first that may be a command.
    assert feed.commands[:1] == ([(1, 0, 9)] if armed else [])


def test_a_stream_that_is_recognised_needs_no_confirmation(bundle: Bundle) -> None:
    feed = Feed(bundle, armed=False)
    sender = Sender()
    feed.packets(sender.bins(3))
    assert "has not sent its electrode identities yet" in str(feed.command(Arm())[1])
    feed.packets([sender.describe(), *sender.bins(1)])
    assert feed.obey(Arm()) == 4
    feed.packets(sender.bins(1))
    assert feed.commands == [(1, 0, 4)]


def test_samples_of_an_unknown_rig_are_no_command_from_the_first_of_them_on(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    unknown = PacketEncoder(RATE, N, Descriptor("another"), epoch=1, sequence=sender.encoder.sequence)
    feed.packets([unknown.events(4 * BIN, 3 * BIN, make_events([], []))])
    assert [key[2] for key in feed.commands] == [0, 1, 2, 3]


def test_a_bin_past_its_deadline_is_decoded_and_is_no_command(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    sender, start = Sender(), 1_000 * MS
    feed.packets([sender.describe()], start)
    for k in range(5):
        feed.packets(sender.bins(1), start + 20 * k * MS)
    due = feed.pipeline.next_due_ns
    assert due == start - 20 * MS + 120 * MS + 20 * MS
    assert feed.tick(due - 1) == []
    (safe,) = feed.tick(due)
    assert (safe.bin, safe.kind, safe.validity) == (5, OutKind.SAFE, Validity.STALE)
    assert OutFlag.DEADLINE | OutFlag.COMMAND in safe.flags
    assert velocity(safe) == velocity(feed.decoded[4])
    (late,) = feed.packets(sender.bins(1), due + 1)
    assert (late.bin, late.kind) == (5, OutKind.DECODED)
    assert OutFlag.LATE in late.flags
    assert OutFlag.COMMAND not in late.flags
    (next_one,) = feed.packets(sender.bins(1), due + 2)
    assert OutFlag.LATE not in next_one.flags
    assert OutFlag.COMMAND in next_one.flags
    assert feed.pipeline.counters.late_bins == 1
    assert len(feed.commands) == len(set(feed.commands)) == 7


def test_lateness_leaves_what_is_decoded_alone(bundle: Bundle) -> None:
    on_time, late = Feed(bundle), Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    for feed in (on_time, late):
        sender = Sender()
        feed.packets([sender.describe(), *sender.bins(5)], 0)
        feed.tick(90 * MS + 20 * MS * 9)
        feed.packets(sender.bins(9, (1, 2, 3, 4)), 300 * MS)
    assert late.pipeline.counters.late_bins > 3
    assert [velocity(o) for o in late.decoded] == [velocity(o) for o in on_time.decoded]


def test_through_a_silence_commands_hold_then_decay_then_are_neutral_then_end(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(5)], 100 * MS)
    last = feed.decoded[-1]
    held = np.array(velocity(last))
    came: list[Output] = []
    while (due := feed.pipeline.next_due_ns) is not None:
        came += feed.tick(due)
    assert [o.bin for o in came] == list(range(5, 30))
    for output in came:
        age_ms = (output.end_sample - last.end_sample) / 30
        share = min(1.0, max(0.0, 1 - (age_ms - 100) / 200))
        np.testing.assert_allclose(velocity(output), share * held, rtol=1e-6)
        assert (OutFlag.NEUTRAL in output.flags) == (share == 0)
    assert len(feed.commands) == len(set(feed.commands))


def test_the_neutral_stop_commands_zeros_until_it_is_released(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    assert feed.obey(Neutral(True)) == 4
    stopped = feed.packets(sender.bins(2))
    assert feed.obey(Neutral(False)) == 6
    released = feed.packets(sender.bins(1))
    commanded = [o for o in stopped if OutFlag.COMMAND in o.flags]
    assert [(o.bin, o.kind, velocity(o)) for o in commanded] == [(k, OutKind.SAFE, [0.0, 0.0]) for k in (4, 5)]
    assert [o.kind for o in released] == [OutKind.DECODED]
    assert len(feed.commands) == len(set(feed.commands)) == 7


def test_a_gap_that_is_long_enough_resets_the_decoder(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(5)])
    sender.skip(15_000)
    came = feed.packets(sender.bins(3))
    assert [(o.bin, o.kind) for o in came if o.kind is OutKind.DECODED] == [
        (k, OutKind.DECODED) for k in (5, 30, 31, 32)
    ]
    warming = [OutFlag.WARMING in o.flags for o in came if o.kind is OutKind.DECODED]
    assert warming == [False, True, True, False]
    counters = feed.pipeline.counters
    assert (counters.resets, counters.skipped_bins, counters.gaps, counters.missing_samples) == (1, 24, 1, 15_000)
    alike = Feed(bundle)
    fresh = Sender()
    fresh.skip(sender.at - 3 * BIN)
    alike.packets([fresh.describe(), *fresh.bins(3)])
    assert [velocity(o) for o in alike.decoded] == [velocity(o) for o in feed.decoded[-3:]]


def test_a_shorter_gap_is_filled_with_stale_bins(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(5)])
    sender.skip(14_999)
    feed.packets([sender.span(1), *sender.bins(1)])
    assert [o.bin for o in feed.decoded] == list(range(31))
    assert {o.validity for o in feed.decoded[5:30]} == {Validity.STALE}
    assert feed.pipeline.counters.resets == feed.pipeline.counters.skipped_bins == 0


@pytest.mark.parametrize("rate", [Rate(30_000), Rate(300_000_007, 10_000)])
@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_a_huge_jump_costs_nothing_and_is_survived(folder: Path, kind: str, rate: Rate) -> None:
    rig = events() if kind == "events" else wideband()
    rig = FaultyRig(rate, rig.n_channels, rig.descriptor, rig.encode)
    name = folder / f"jump-{kind}-{rate.den}"
    name.mkdir(exist_ok=True)
    made = bundle_for(name, rig, "events" if kind == "events" else "wideband")
    feed = Feed(made)
    encoder = PacketEncoder(rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    feed.packets([encoder.descriptor_packet(0), *(rig.encode(encoder, 0, k * 100, k * 100 + 100) for k in range(20))])
    for at in (2**39, 2**40, 2**50, 2**52, 2**53 - 2000, 2**53, 2**62 - 100):
        feed.packets([rig.encode(encoder, 200 - at, at, at + 100) for at in (at, at + 100)])
    assert len(feed.decoded) < 40
    assert feed.pipeline.counters.mismatched >= 4
    feed.packets([rig.encode(encoder, 0, k * 100, k * 100 + 100) for k in range(60)])
    assert feed.outputs[-1].restart == 1
    assert feed.outputs[-1].kind is OutKind.DECODED
    assert feed.pipeline.counters.restarts_same_epoch == 1


def test_counts_and_events_are_the_same_stream(folder: Path, bundle: Bundle) -> None:
    rng = np.random.default_rng(2)
    recorded = rng.poisson(1.0, (100, N)).astype(np.uint16)
    from_events, from_counts = Feed(bundle), Feed(event_bundle(folder / "counts", kind="counts"))
    encoders = [PacketEncoder(RATE, N, events().descriptor, epoch=1) for _ in range(2)]
    from_events.packets([encoders[0].descriptor_packet(0)])
    from_counts.packets([encoders[1].descriptor_packet(0)])
    for k, counts in enumerate(recorded):
        channels = np.repeat(np.arange(N), counts)
        offsets = rng.integers(0, RECORDED, len(channels))
        from_events.packets([encoders[0].events(k * RECORDED, RECORDED, make_events(offsets, channels))])
        from_counts.packets([encoders[1].counts(k * RECORDED, RECORDED, counts)])
    assert len(from_counts.decoded) == 50
    assert (
        counts_of(from_counts.decoded) == counts_of(from_events.decoded) == recorded.reshape(50, 2, N).sum(1).tolist()
    )
    assert [velocity(o) for o in from_counts.decoded] == [velocity(o) for o in from_events.decoded]


def test_counts_of_two_bins_at_once_count_as_not_received(folder: Path) -> None:
    feed = Feed(event_bundle(folder / "counts-across", kind="counts"))
    encoder = PacketEncoder(RATE, N, events().descriptor, epoch=1)
    row = np.ones(N, np.uint16)
    feed.packets([encoder.counts(k * 400, 400, row) for k in range(3)])
    assert feed.nonzero() == {
        "accepted": 2, "lost_packets": 1, "mismatched": 1, "gaps": 1, "missing_samples": 400,
        "decoded_bins": 2, "partial_bins": 2, "safe_bins": 2,
    }  # fmt: skip
    assert "expected counts within one bin, got samples 400 to 800 across the edge at 600" in str(
        feed.pipeline.drain_notes()
    )


def test_counts_that_partly_came_before_are_missing(folder: Path) -> None:
    feed = Feed(event_bundle(folder / "counts-again", kind="counts"))
    encoder = PacketEncoder(RATE, N, events().descriptor, epoch=1)
    row = np.ones(N, np.uint16)
    feed.packets([encoder.counts(0, 300, row), encoder.counts(200, 300, row), encoder.counts(500, 100, row)])
    assert counts_of(feed.decoded) == [[2] * N]
    assert feed.decoded[0].missing_samples == 200
    assert feed.nonzero() == {
        "accepted": 3, "overlapping_samples": 100, "gaps": 1, "missing_samples": 200,
        "decoded_bins": 1, "partial_bins": 1, "safe_bins": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "size"),
    [("events", 30), ("events", 2000), ("counts", 30), ("counts", BIN), ("wideband", 30), ("wideband", 6000)],
)
def test_blanked_stretches_are_unobserved_however_many_a_packet_covers(folder: Path, kind: str, size: int) -> None:
    rig = wideband() if kind == "wideband" else events()
    made = (
        event_bundle(folder / f"blank-{size}", kind="counts")
        if kind == "counts"
        else bundle_for(folder, rig, "events" if kind == "events" else "wideband")
    )
    edges = [(3030, 3090), (3240, 3300), (4200, 5700), (5730, 5760)]
    feed = Feed(made)
    encoder = PacketEncoder(rig.rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    feed.packets([encoder.descriptor_packet(0)])
    for start in range(0, 12_000, size):
        rows = [
            (edge - start, code)
            for blank in edges
            for edge, code in zip(blank, (MarkerCode.BLANK_START, MarkerCode.BLANK_END), strict=True)
            if start <= edge < start + size
        ]
        if rows:
            feed.packets([encoder.markers(start, make_markers(*zip(*rows, strict=True)))])
        feed.packets(
            [encoder.counts(start, size, np.ones(N, np.uint16))]
            if kind == "counts"
            else [rig.encode(encoder, 0, start, min(start + size, 12_000))]
        )
    blanked = np.zeros(12_000, bool)
    for start, stop in edges:
        if kind == "counts":  # of a packet that is blanked in part, nobody can tell which counts were
            start, stop = start - start % size, stop + -stop % size
        blanked[start:stop] = True
    settled = 1208 if kind == "wideband" else 0
    wanted = [1 - np.count_nonzero(blanked[k * BIN : k * BIN + BIN]) / BIN for k in range(20)]
    assert [o.observed_fraction for o in feed.decoded if o.bin * BIN > settled] == [
        np.float32(share) for k, share in enumerate(wanted) if k * BIN > settled
    ]
    assert feed.pipeline.counters.artefact_samples == blanked.sum()


def test_an_artefact_at_the_end_of_a_stream_marks_nothing_of_the_next(folder: Path) -> None:
    rig = wideband()
    feed = Feed(bundle_for(folder, rig, "wideband"))
    encoder = PacketEncoder(rig.rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    step = np.zeros((600, rig.n_channels), np.int16)
    step[300:] = np.linspace(-9000, -12_000, rig.n_channels)
    quiet = np.zeros((600, rig.n_channels), np.int16)
    feed.packets([encoder.wideband(600 * k, step if k == 9 else quiet) for k in range(10)])
    assert OutFlag.ARTEFACT in feed.decoded[-1].flags
    feed.packets(frames_of(rig, epoch=2, seconds=0.2))
    assert [o.validity for o in feed.decoded[10:]] == [Validity.STALE] * 3 + [Validity.VALID] * 7
    assert not any(OutFlag.ARTEFACT in o.flags for o in feed.decoded[10:])


def test_a_blanking_that_began_before_the_stream_counts(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), sender.encoder.markers(0, make_markers([600], [MarkerCode.BLANK_END]))])
    feed.packets(sender.bins(3))
    assert [o.validity for o in feed.decoded] == [Validity.STALE, Validity.VALID, Validity.VALID]


def test_the_end_of_a_stream_is_said_once_and_neutral(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)], 80 * MS)
    (end,) = feed.packets([sender.encoder.end(sender.at)], 81 * MS)
    assert (end.kind, end.bin, velocity(end)) == (OutKind.SAFE, 4, [0.0, 0.0])
    assert OutFlag.ENDED | OutFlag.COMMAND | OutFlag.NEUTRAL in end.flags
    assert feed.pipeline.state == "ended"
    assert feed.pipeline.next_due_ns is None
    assert feed.tick(10_000 * MS) == []


def test_no_bin_gets_two_commands_around_an_end(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)], 80 * MS)
    feed.tick(80 * MS + 70 * MS)
    feed.packets([sender.encoder.end(sender.at)], 150 * MS)
    feed.packets([sender.encoder.end(sender.at)], 151 * MS)
    feed.packets(sender.bins(9), 152 * MS)
    assert feed.pipeline.state == "running"
    assert len(feed.commands) == len(set(feed.commands))
    assert [o.bin for o in feed.decoded] == list(range(13))
    assert OutFlag.COMMAND in feed.decoded[-1].flags


def test_a_gap_names_the_times_of_the_packet_that_closed_its_bins(bundle: Bundle) -> None:
    feed = Feed(bundle)
    encoder = PacketEncoder(RATE, N, epoch=1)
    nothing = make_events([], [])
    feed.packets([encoder.events(0, 500, nothing, sent_ns=7)], 8)
    (output, _) = feed.packets([encoder.events(900, 100, nothing, sent_ns=70)], 80)
    assert output.bin == 0
    assert (output.times.sent_ns, output.times.received_ns) == (70, 80)
    assert output.clocks.received is Clock.MONOTONIC
    assert decode_output(encode_output(output)).times == output.times


def test_a_stream_that_ends_where_the_last_one_did_has_deadlines_of_its_own(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(deadline={"deadline_ms": 20}))
    feed.packets(Sender(epoch=1).bins(1), 1_000 * MS)
    feed.packets(Sender(epoch=2).bins(1), 5_000 * MS)
    assert feed.pipeline.next_due_ns == 5_040 * MS


def test_a_front_end_that_does_not_fit_the_bundle_is_refused(folder: Path, bundle: Bundle) -> None:
    for changes, message in (
        ({"bin_ms": 10.0}, "expected 20.0 ms bins"),
        ({"features": ["band_power"]}, "expected 20.0 ms bins of"),
        ({"masked": 3}, "front_end.masked"),
        ({"no_such": 3}, "front_end.no_such"),
    ):
        with pytest.raises(BundleError, match=message):
            Feed(bundle, front_end=changes)
    assert Feed(bundle, front_end={"masked": [1]}).pipeline.bins.front_end.masked == (1,)


def test_a_masked_channel_enters_at_its_mean_and_is_said(bundle: Bundle) -> None:
    decoder = Spy(bundle)
    feed = Feed(bundle, decoder=decoder, front_end={"masked": [1]})
    sender = Sender()
    feed.packets(sender.bins(1, (1, 5, 2, 3)))
    assert counts_of(feed.decoded) == [[1, 5, 2, 3]]
    assert decoder.seen[0].tolist() == [1, decoder.feature_mean[1], 2, 3]
    assert OutFlag.CHANNELS in feed.decoded[0].flags


def test_a_window_that_is_wide_enough_leaves_no_trace_of_another_order(bundle: Bundle) -> None:
    frames = frames_of(events(), seconds=1.0, end=True)
    whole, mixed = Feed(bundle), Feed(bundle, with_settings(intake={"reorder_window_packets": 8}))
    whole.packets(frames)
    order = sorted(range(len(frames)), key=lambda k: k + (7.5 if k % 50 == 9 and k < 1000 else 0))
    mixed.packets([frames[k] for k in order])
    assert mixed.frames == whole.frames
    assert mixed.pipeline.counters.reordered == len(range(9, 1000, 50))
    assert mixed.pipeline.counters.lost_packets == mixed.pipeline.counters.gaps == 0


def test_what_waits_for_a_lost_packet_comes_out_at_the_end(bundle: Bundle) -> None:
    feed = Feed(bundle, with_settings(intake={"reorder_window_packets": 8}))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    sender.lose(1, BIN)
    assert feed.packets(sender.bins(2)) == []
    assert [o.bin for o in feed.pipeline.finish() if o.kind is OutKind.DECODED] == [4, 5, 6]


@given(st.lists(st.integers(0, 5), max_size=25), st.integers(0, 3))
def test_at_most_one_command_a_bin_whatever_the_order_of_packets_ticks_and_ends(
    bundle_once: Bundle, actions: list[int], seed: int
) -> None:
    feed = Feed(bundle_once, with_settings(deadline={"deadline_ms": 20}))
    rng = np.random.default_rng(seed)
    sender, now = Sender(), 0
    feed.packets([sender.describe()], now)
    for action in actions:
        now += int(rng.integers(0, 60)) * MS
        match action:
            case 0 | 1:
                feed.packets(sender.bins(int(rng.integers(1, 4))), now)
            case 2:
                feed.tick(now)
            case 3:
                sender.skip(int(rng.integers(1, 20_000)))
            case 4:
                feed.packets([sender.encoder.end(sender.at)], now)
            case _:
                sender = Sender(int(rng.integers(1, 5)))
    assert Counter(feed.commands) == Counter(set(feed.commands))
    decoded = [(o.epoch, o.restart, o.bin) for o in feed.decoded]
    assert decoded == list(dict.fromkeys(decoded))


@pytest.fixture(scope="module")
def bundle_once(bundle: Bundle) -> Bundle:
    """The same, under a name that says that examples share it."""
    return bundle


def test_a_pipeline_without_settings_of_its_own_runs(bundle: Bundle) -> None:
    assert Feed(bundle, QUIET).pipeline.channel_report().rates_hz.tolist() == [0.0] * N
    assert isinstance(Feed(bundle).pipeline, Pipeline)

"""The laws of finer output: bins that overlap change none that do not, and each state is a decoder of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.bench.faults.rig import FaultyRig, simulated_rig
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.decoders import Bundle, OnnxDecoder, load_overlay, write_overlay
from cortexwire.pipeline.bin_stage import BinStage, Closed
from cortexwire.pipeline.commands import (
    ApplyOverlay,
    Arm,
    Disarm,
    Mask,
    Neutral,
    Recalibrate,
    RollbackOverlay,
    SetThresholds,
)
from cortexwire.pipeline.hop_stage import HopStage
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.signal.binning import DEAD, RAILING, Bin
from cortexwire.types import Rate
from cortexwire.wire import MarkerCode, OutFlag, OutKind, PacketEncoder, Validity, make_markers
from tests.pipeline.hopping import hopping, of_state, same_at_bins
from tests.pipeline.streams import (
    BIN,
    MS,
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
from tests.pipeline.test_pipeline import random_sizes

FOUR = BIN // 4
"""Samples in a hop of 5 ms."""
ODD = Rate(390_625, 16)
"""24,414.0625 Hz, of which no bin and no hop is a whole number of samples."""


def rig_of(kind: str) -> FaultyRig:
    return events() if kind == "events" else wideband()


def made_for(folder: Path, kind: str) -> Bundle:
    return bundle_for(folder, rig_of(kind), "events" if kind == "events" else "wideband")


@pytest.mark.parametrize("parts", [2, 4, 20])
@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_outputs_at_the_ends_of_bins_are_those_without_hops(folder: Path, kind: str, parts: int) -> None:
    made = made_for(folder, kind)
    plain, fine = Feed(made), Feed(hopping(made, parts))
    for feed in (plain, fine):
        feed.packets(frames_of(rig_of(kind), seconds=1.0))
    same_at_bins(plain, fine, parts)
    assert len(plain.decoded) == 50
    assert [o.bin for o in fine.decoded] == list(range(50 * parts))
    assert [o.end_sample for o in fine.decoded] == [(k + 1) * BIN // parts for k in range(50 * parts)]


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_no_byte_depends_on_packet_size(folder: Path, kind: str, interleaved: bool) -> None:
    rig, made = rig_of(kind), hopping(made_for(folder, kind), 4, interleaved=interleaved)
    skips = [(4_321, 4_900), (9_000, 9_150)]
    whole = Feed(made)
    whole.packets(frames_of(rig, seconds=0.5, skips=skips))
    sizes = (7, 600, 1000, 30_000) if kind == "wideband" else (1, 7, 600, 1000, 30_000)
    for size in sizes:
        other = Feed(made)
        other.packets(frames_of(rig, seconds=0.5, packet_samples=size, skips=skips))
        assert other.frames == whole.frames
    unbroken, mixed = Feed(made), Feed(made)
    unbroken.packets(frames_of(rig, seconds=0.5))
    mixed.packets(random_sizes(rig, 0.5, np.random.default_rng(4)))
    assert mixed.frames == unbroken.frames
    assert len(whole.decoded) == 100


@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_outputs_at_the_ends_of_bins_are_those_without_hops_whatever_is_missing(folder: Path, kind: str) -> None:
    rig, made = rig_of(kind), made_for(folder, kind)
    # Inside a hop, over hops, over bins, exactly a hop, and a reset; then another stream, joined late.
    skips = [(4_000, 4_050), (5_000, 5_700), (7_000, 9_100), (9_150, 9_300), (12_345, 33_210)]
    first = frames_of(rig, seconds=1.6, packet_samples=77, skips=skips)
    second = frames_of(rig, epoch=2, seconds=0.6)[17:]
    plain, fine = Feed(made), Feed(hopping(made, 4))
    for feed in (plain, fine):
        feed.packets([*first, *second])
    same_at_bins(plain, fine, 4)
    assert plain.pipeline.counters.resets == fine.pipeline.counters.resets == 1
    assert {o.validity for o in fine.decoded} == set(Validity)
    keys = [(o.epoch, o.bin) for o in fine.decoded]
    assert keys == sorted(set(keys))
    seen = {bin_index for epoch, bin_index in keys if epoch == 1}
    assert len(seen) + fine.pipeline.counters.skipped_bins == 4 * 80


@pytest.mark.parametrize("kind", ["events", "wideband"])
def test_each_state_decodes_as_one_decoder_does_in_a_stream_whose_clock_is_ahead(folder: Path, kind: str) -> None:
    rig, made = rig_of(kind), made_for(folder, kind)
    skips = [(5_000, 5_400), (9_000, 9_900)]
    fine = Feed(hopping(made, 4))
    fine.packets(frames_of(rig, seconds=1.0, skips=skips))
    for state in range(1, 4):
        alone = Feed(made)
        alone.packets(ahead(rig, (4 - state) * FOUR, 1.0, skips))
        came, want = of_state(fine.outputs, 4, state, FOUR), of_state(alone.outputs, 1)
        assert len(came) == 50
        assert came == want[:50]


def ahead(rig: FaultyRig, by: int, seconds: float, skips: list[tuple[int, int]]) -> list[bytes]:
    """A stream whose clock reads `by` samples more: it begins inside a bin."""
    encoder = PacketEncoder(rig.rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    frames = [encoder.descriptor_packet(0)]
    edges = [0, *(edge for skip in skips for edge in skip), round(seconds * rig.rate.hz)]
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        frames.append(rig.encode(encoder, -by, start + by, stop + by))
    return frames


@pytest.mark.parametrize("parts", [2, 4, 10])
@pytest.mark.parametrize("rate", [30_000.0, 24_414.0625])
def test_an_overlapping_bin_is_the_sum_of_its_hops(folder: Path, rate: float, parts: int) -> None:
    rig = simulated_rig(SimulatorSettings(channels=9, seed=3, rate_hz=rate, dead=False, artefact_every_s=1.0))
    made = bundle_for(folder, rig, "wideband")
    stream = made.manifest.stream
    chain = front_end_of(made, {"features": ("counts", "band_power"), "artefact": {"channel_share": 0.1}})
    frames = frames_of(rig, seconds=0.8, packet_samples=111, skips=[(9_000, 9_050), (12_000, 13_111)])
    overlapping = bins_of(HopStage(stream, chain, parts), frames)
    hops = bins_of(BinStage(stream, chain.model_copy(update={"bin_ms": 20.0 / parts})), frames)
    assert [b.index for b in overlapping] == list(range(len(overlapping)))
    assert sum(int(b.counts.sum()) for b in hops) > 20
    assert any(b.artefact for b in hops)
    for k, joined in enumerate(overlapping):
        own = hops[max(0, k - parts + 1) : k + 1]
        assert joined.end == own[-1].end
        assert joined.counts.tolist() == np.sum([b.counts for b in own], axis=0).tolist()
        assert joined.observed == sum(b.observed for b in own)
        assert joined.artefact == sum(b.artefact for b in own)
        if k >= parts - 1:
            assert joined.start == own[0].start
            assert joined.missing == sum(b.missing for b in own)
        railing = np.bitwise_or.reduce([b.status & RAILING for b in own])
        assert (joined.status & RAILING).tolist() == railing.tolist()
        if joined.observed:
            power = sum(b.power.astype(float) * b.observed for b in own if b.power is not None) / joined.observed
            assert joined.power is not None
            np.testing.assert_allclose(joined.power, power, rtol=1e-5)


def bins_of(stage: BinStage, frames: list[bytes]) -> list[Bin]:
    return [event.bin for frame in frames for event in stage.packet(frame) if isinstance(event, Closed)]


@pytest.mark.parametrize("mode", ["rms", "mad"])
def test_calibration_adaptation_masks_and_thresholds_act_at_the_edges_that_they_have_without_hops(
    folder: Path, mode: str
) -> None:
    rig = simulated_rig(SimulatorSettings(channels=60, seed=3, artefacts=False, railing=False))
    made = bundle_for(folder, rig, "wideband")
    learns = {"values_uv": None, "mode": mode, "calibration_s": 0.2, "adapt_every_s": 0.1, "adapt_weight": 0.5}
    changes = {"threshold": learns, "dead_after_s": 0.21, "reference": {"mode": "mean"}}
    plain, fine = (Feed(b, front_end=changes) for b in (made, hopping(made, 4)))
    frames = frames_of(rig, seconds=1.6, packet_samples=111)
    answers: list[list[int]] = []
    for feed, parts in ((plain, 1), (fine, 4)):
        said = []
        feed.packets(frames[:200])
        said.append(feed.obey(Mask((1, 7))))
        feed.packets(frames[200:260])
        said.append(feed.obey(SetThresholds((-40.0,) * 59 + (None,))))
        feed.packets(frames[260:301])
        said.append(feed.obey(Recalibrate(0.1)))
        feed.packets(frames[301:])
        answers.append([index // parts for index in said])
        assert all(index % parts == 0 for index in said)
    same_at_bins(plain, fine, 4)
    assert answers[0] == answers[1]
    assert any(o.flags & OutFlag.CHANNELS for o in plain.decoded)
    assert fine.pipeline.bins.notes == plain.pipeline.bins.notes
    assert sum("adapted" in note for note in plain.pipeline.bins.notes) > 3
    reports = [feed.pipeline.channel_report() for feed in (plain, fine)]
    assert np.count_nonzero(reports[0].status & DEAD) == 1
    for one, other in zip(*reports, strict=True):
        assert one.tobytes() == other.tobytes()
    # No overlapping bin that reaches back into a calibration is decoded.
    first = plain.decoded[0]
    safe = [o.bin for o in fine.safe if OutFlag.CALIBRATING in o.flags and o.bin <= 4 * first.bin + 3]
    assert safe == list(range(4 * first.bin + 3))
    assert len({o.bin for o in fine.outputs}) == 320


def test_a_channel_that_was_masked_in_a_part_of_a_bin_is_left_out_of_it(bundle: Bundle) -> None:
    feed = Feed(hopping(bundle, 4))
    sender = Sender()
    feed.packets([sender.describe(), *[sender.span(FOUR, (1, 1, 1, 1)) for _ in range(6)]])
    index = feed.obey(Mask((2,), True))
    assert index == 8
    feed.packets([sender.span(FOUR, (1, 1, 1, 1)) for _ in range(4)])
    assert feed.obey(Mask((2,), False)) == 12
    feed.packets([sender.span(FOUR, (1, 1, 1, 1)) for _ in range(10)])
    out = [o.bin for o in feed.decoded if OutFlag.CHANNELS in o.flags]
    assert out == list(range(8, 15))


def test_blanked_samples_are_left_out_of_every_bin_that_they_are_in(bundle: Bundle) -> None:
    plain, fine = Feed(bundle), Feed(hopping(bundle, 4))
    for feed in (plain, fine):
        sender = Sender()
        feed.packets([sender.describe(), *sender.bins(4)])
        marks = make_markers([100, 900], [MarkerCode.BLANK_START, MarkerCode.BLANK_END], [0, 0])
        feed.packets([sender.encoder.markers(sender.at, marks), *sender.bins(6)])
    same_at_bins(plain, fine, 4)
    blanked = [(o.bin, round(600 * (1 - o.observed_fraction))) for o in fine.decoded[3:] if o.observed_fraction < 1]
    assert blanked == [
        (16, 50), (17, 200), (18, 350), (19, 500), (20, 600), (21, 600), (22, 450), (23, 300), (24, 150)
    ]  # fmt: skip


def test_after_a_reset_every_state_warms_up_and_a_bad_bin_marks_only_those_that_decode_it(bundle: Bundle) -> None:
    feed = Feed(hopping(bundle, 4))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(8)])
    warming = [o.bin for o in feed.decoded if OutFlag.WARMING in o.flags]
    assert warming == list(range(8))  # two bins of each of four states
    sender.skip(FOUR)
    feed.packets([sender.span(3 * FOUR), *sender.bins(8)])
    unobserved = [o.bin for o in feed.decoded if OutFlag.UNOBSERVED in o.flags and o.bin > 8]
    history = [o.bin for o in feed.decoded if OutFlag.HISTORY in o.flags and o.bin > 16]
    assert unobserved == [32, 33, 34, 35]
    assert history == list(range(36, 44))  # two bins of each


def test_what_is_no_number_leaves_the_other_states_alone(bundle: Bundle) -> None:
    fine = hopping(bundle, 4)
    bad = 4 * 6 + 1
    feed, sound = Feed(fine, decoder=Spy(fine, lambda k: k == bad)), Feed(fine)
    for one in (feed, sound):
        sender = Sender()
        one.packets([sender.describe(), *sender.bins(12)])
    assert [o.bin for o in feed.decoded if OutFlag.NONFINITE in o.flags] == [bad]
    differ = [a.bin for a, b in zip(feed.decoded, sound.decoded, strict=True) if velocity(a) != velocity(b)]
    assert bad in differ
    assert {k % 4 for k in differ} == {1}
    assert [o.bin for o in feed.decoded if OutFlag.WARMING in o.flags and o.bin > bad] == [bad + 4, bad + 8]


def test_an_overlay_is_in_force_for_all_states_at_once(folder: Path, bundle: Bundle) -> None:
    fine = hopping(bundle, 4)
    runs = []
    for made, parts in ((bundle, 1), (fine, 4)):
        path = folder / f"hop-{parts}.overlay"
        overlay = write_overlay(path, made, {"bias": 2 * made.parameters["bias"]})
        feed = Feed(made, load_overlay=lambda command, made=made: load_overlay(command.path, made))
        sender = Sender()
        feed.packets([sender.describe(), *sender.bins(5), sender.span(FOUR + 7)])
        index = feed.obey(ApplyOverlay(str(path), f"{overlay.hash:016x}"))
        assert index == (5 if parts == 1 else 21)
        feed.packets([sender.span(BIN - FOUR - 7), *sender.bins(4), sender.span(40)])
        back = feed.obey(RollbackOverlay())
        feed.packets([sender.span(BIN - 40), *sender.bins(4)])
        assert [o.bin for o in feed.decoded if o.overlay_hash] == list(range(index, back))
        runs.append(feed)
    same_at_bins(runs[0], runs[1], 4)


def test_deadlines_run_on_hops(bundle: Bundle) -> None:
    settings = {"deadline": {"deadline_ms": 12.0}}
    feed = Feed(hopping(bundle, 4), with_settings(**settings))
    sender = Sender()
    at = 0
    for frame in [sender.describe(), *[sender.span(FOUR, (1, 0, 0, 0)) for _ in range(40)]]:
        feed.packets([frame], at)
        at = sender.at * 1_000_000_000 // 30_000
    assert feed.pipeline.next_due_ns is not None
    end_ns = 205 * MS
    late = feed.tick(end_ns + 12 * MS)
    assert [(o.bin, o.end_sample, o.kind) for o in late] == [(40, 41 * FOUR, OutKind.SAFE)]
    assert OutFlag.DEADLINE | OutFlag.COMMAND in late[0].flags
    late = feed.tick(end_ns + 23 * MS)
    assert [o.bin for o in late] == [41, 42]
    assert [OutFlag.COMMAND in o.flags for o in late] == [False, True]
    feed.packets([sender.span(BIN, (1, 0, 0, 0))], end_ns + 23 * MS)
    assert [(o.bin, OutFlag.LATE in o.flags) for o in feed.decoded[-4:]] == [
        (40, True), (41, True), (42, True), (43, False)
    ]  # fmt: skip
    keys = feed.commands
    assert len(keys) == len(set(keys))


def test_smoothing_and_acceleration_run_on_hops(bundle: Bundle) -> None:
    limited = Feed(hopping(bundle, 4), with_settings(output={"max_acceleration": 100.0}))
    free = Feed(hopping(bundle, 4))
    smooth = Feed(hopping(bundle, 4), with_settings(output={"smoothing": 0.5}))
    for feed in (limited, free, smooth):
        sender = Sender()
        feed.packets([sender.describe(), *sender.bins(4), *[sender.span(BIN, (k % 3, k % 2, 1, 0)) for k in range(9)]])
    steps = np.diff([velocity(o) for o in limited.decoded], axis=0)
    assert np.hypot(*steps.T).max() == pytest.approx(0.5, rel=1e-4)  # 100 per second in 5 ms
    value = np.zeros(2)
    for raw, came in zip(free.decoded, smooth.decoded, strict=True):
        value = 0.5 * value + 0.5 * np.array(velocity(raw))
        assert velocity(came) == pytest.approx(value, rel=1e-5)


def test_arming_waits_for_the_rates_that_it_waits_for_without_hops(folder: Path) -> None:
    made = event_bundle(folder / "rates-hop", electrodes=False, rates_hz=(150, 0, 50, 100))
    settings = with_settings(identity={"window_s": 0.2})
    runs = [Feed(b, settings) for b in (made, hopping(made, 4))]
    for feed in runs:
        sender = Sender(descriptor=False)
        feed.packets(sender.bins(20))
    same_at_bins(runs[0], runs[1], 4)
    assert runs[0].commands[0] == (1, 0, 9)
    assert runs[1].commands[0] == (1, 0, 39)


def test_commands_come_once_a_hop(bundle: Bundle) -> None:
    plain, fine = Feed(bundle, armed=False), Feed(hopping(bundle, 4), armed=False)
    for feed, parts in ((plain, 1), (fine, 4)):
        sender = Sender()
        feed.packets([sender.describe(), *sender.bins(4)])
        assert feed.obey(Arm()) == 4 * parts
        feed.packets(sender.bins(3))
        feed.obey(Neutral())
        feed.packets(sender.bins(3))
        feed.obey(Neutral(False))
        feed.packets(sender.bins(1))
        feed.obey(Disarm())
        feed.packets([*sender.bins(2), sender.encoder.end(sender.at)])
        assert [k for _, _, k in feed.commands] == list(range(4 * parts, 11 * parts))
    same_at_bins(plain, fine, 4)
    assert fine.outputs[-1].bin == 4 * 13
    assert fine.outputs[-1].end_sample == 13 * BIN + FOUR


def test_a_recorded_bin_of_counts_lies_within_a_hop(folder: Path) -> None:
    made = hopping(event_bundle(folder / "counts-hop", kind="counts"), 2)
    feed = Feed(made)
    encoder = PacketEncoder(Rate(30_000), N, events().descriptor, epoch=1)
    counts = np.array([1, 2, 3, 4], np.uint16)
    frames = [encoder.descriptor_packet(0), *[encoder.counts(at, 150, counts) for at in range(0, 6_000, 150)]]
    feed.packets(frames)
    assert [o.bin for o in feed.decoded] == list(range(20))
    assert [o.tensors["counts"].tolist() for o in feed.decoded[1:]] == [[4, 8, 12, 16]] * 19
    feed.packets([encoder.counts(6_000, 301, counts)])
    assert feed.pipeline.counters.mismatched == 1


def test_a_state_stepped_every_hop_sees_every_bin(folder: Path) -> None:
    made = event_bundle(folder / "stepped")
    fine = hopping(made, 4, interleaved=False)
    decoder = Spy(fine)
    feed = Feed(fine, decoder=decoder)
    feed.packets(frames_of(events(), seconds=1.0))
    table = extracted(fine)
    assert len(decoder.seen) == len(feed.decoded) == 200
    assert np.array_equal(np.stack(decoder.seen)[3:], table[3:])
    alone = OnnxDecoder(made, "cpu")
    for row, output in zip(decoder.seen, feed.decoded, strict=True):
        assert alone.step(row)["velocity"].tobytes() == output.tensors["velocity"].tobytes()


def extracted(bundle: Bundle) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Overlapping counts of the events of the rig, by hand, where all of a bin is there."""
    stage = HopStage(bundle.manifest.stream, front_end_of(bundle), 4)
    bins = bins_of(stage, frames_of(events(), seconds=1.0))
    return np.stack([b.counts for b in bins]).astype(np.float32)

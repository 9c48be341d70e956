"""The laws of the intake: nothing is lost, used twice or out of order without being counted."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.intake import MAX_EPOCHS, Intake
from cortexwire.pipeline.items import Aux, End, Gap, Item, Restart, Span
from cortexwire.pipeline.rerun import owned
from cortexwire.pipeline.settings import IntakeSettings
from cortexwire.types import Rate
from cortexwire.wire.codes import Kind
from cortexwire.wire.descriptor import Descriptor
from cortexwire.wire.encoder import PacketEncoder
from cortexwire.wire.packets import Packet, decode_packet
from cortexwire.wire.payloads import make_events, make_markers

RATE = Rate(30_000)
N_SAMPLES = 4
N_CHANNELS = 2


def encoder(epoch: int = 1, sequence: int = 0, n_channels: int = N_CHANNELS) -> PacketEncoder:
    return PacketEncoder(RATE, n_channels, epoch=epoch, sequence=sequence)


def wideband(sequence: int, sample_index: int | None = None, *, epoch: int = 1, n: int = N_SAMPLES) -> Packet:
    at = sequence * N_SAMPLES if sample_index is None else sample_index
    samples = np.full((n, N_CHANNELS), sequence % 1000, np.int16)
    return decode_packet(encoder(epoch, sequence).wideband(at, samples))


def stream(n: int, first: int = 0, epoch: int = 1) -> list[Packet]:
    return [wideband(sequence, epoch=epoch) for sequence in range(first, first + n)]


def run(packets: Iterable[Packet], **settings: int) -> tuple[list[Item], Counters]:
    intake = Intake(IntakeSettings.model_validate(settings))
    items = [item for packet in packets for item in intake.accept(packet)]
    return [*items, *intake.flush()], intake.counters


def sequences(items: Sequence[Item]) -> list[int]:
    return [item.packet.sequence for item in items if isinstance(item, Span)]


def assert_tiles(items: Sequence[Item]) -> None:
    """Spans and gaps of one stream follow each other without holes, overlaps or empty ones."""
    at: int | None = None
    for item in items:
        if isinstance(item, Restart):
            at = None
        elif isinstance(item, Span | Gap):
            assert at is None or item.start == at
            assert item.start < item.stop
            at = item.stop


def nonzero(counters: Counters) -> dict[str, int]:
    return {name: count for name, count in counters.as_dict().items() if count}


def test_a_whole_stream_passes_unchanged() -> None:
    packets = stream(50)
    items, counters = run(packets)
    assert items[0] == Restart(1, 0)
    assert [item.packet for item in items[1:] if isinstance(item, Span)] == packets
    assert len(items) == 51
    assert nonzero(counters) == {"accepted": 50}


def test_a_late_joiner_counts_no_loss() -> None:
    items, counters = run(stream(3, first=70_000))
    assert sequences(items) == [70_000, 70_001, 70_002]
    assert nonzero(counters) == {"accepted": 3}


def test_lost_packets_are_a_gap_at_once() -> None:
    packets = stream(10)
    items, counters = run(packets[:3] + packets[5:])
    assert Gap(12, 20) in items
    assert_tiles(items)
    assert nonzero(counters) == {"accepted": 8, "lost_packets": 2, "gaps": 1, "missing_samples": 8}


def test_a_late_packet_is_counted_but_not_used() -> None:
    packets = stream(10)
    order = [0, 1, 4, 2, 3, 5, 6, 7, 8, 9]
    items, counters = run(packets[i] for i in order)
    assert sequences(items) == [0, 1, 4, 5, 6, 7, 8, 9]
    assert_tiles(items)
    expected = {"accepted": 8, "reordered": 2, "reordered_unused": 2, "gaps": 1, "missing_samples": 8}
    assert nonzero(counters) == expected


def test_a_window_restores_the_order_without_loss() -> None:
    packets = stream(10)
    order = [0, 1, 4, 2, 3, 5, 6, 7, 8, 9]
    items, counters = run((packets[i] for i in order), reorder_window_packets=2)
    assert sequences(items) == list(range(10))
    assert nonzero(counters) == {"accepted": 10, "reordered": 2}


def test_a_window_waits_no_longer_than_it_says() -> None:
    packets = stream(10)
    intake = Intake(IntakeSettings(reorder_window_packets=2))
    intake.accept(packets[0])
    assert intake.accept(packets[2]) == []
    assert intake.accept(packets[3]) == []
    assert sequences(intake.accept(packets[4])) == [2, 3, 4]
    assert intake.counters.lost_packets == 1
    assert intake.accept(packets[1]) == []
    assert intake.counters.lost_packets == 0
    assert intake.counters.reordered_unused == 1


def test_what_is_held_back_is_passed_on_by_a_flush() -> None:
    intake = Intake(IntakeSettings(reorder_window_packets=4))
    intake.accept(wideband(0))
    intake.accept(wideband(2))
    intake.accept(wideband(4))
    items = intake.flush()
    assert sequences(items) == [2, 4]
    assert intake.counters.lost_packets == 2
    assert intake.flush() == []


def test_a_held_packet_does_not_look_into_a_buffer_that_is_used_again() -> None:
    intake = Intake(IntakeSettings(reorder_window_packets=4))
    intake.accept(wideband(0))
    samples = np.full((N_SAMPLES, N_CHANNELS), 7, np.int16)
    frame = bytearray(encoder(sequence=2).wideband(8, samples))
    intake.accept(decode_packet(frame))
    frame[-samples.nbytes :] = bytes(samples.nbytes)
    _, held = intake.accept(wideband(1))
    assert isinstance(held, Span)
    assert (held.packet.data == 7).all()
    assert not held.packet.data.flags.writeable


def test_duplicates_are_dropped_and_counted() -> None:
    packets = stream(6)
    items, counters = run([*packets[:3], packets[2], packets[0], *packets[3:], packets[5]])
    assert sequences(items) == list(range(6))
    assert nonzero(counters) == {"accepted": 6, "duplicates": 3}


def test_a_duplicate_of_a_held_packet_is_a_duplicate() -> None:
    packets = stream(4)
    _, counters = run([packets[0], packets[2], packets[2], packets[1], packets[3]], reorder_window_packets=3)
    assert nonzero(counters) == {"accepted": 4, "duplicates": 1, "reordered": 1}


def test_a_packet_from_before_we_joined_is_late_once_and_then_a_duplicate() -> None:
    _, counters = run([wideband(10), wideband(9), wideband(11), wideband(9)])
    assert nonzero(counters) == {"accepted": 2, "reordered": 1, "reordered_unused": 1, "duplicates": 1}


def test_samples_missing_between_contiguous_packets_are_a_gap() -> None:
    items, counters = run([wideband(0, 0), wideband(1, 100)])
    assert Gap(4, 100) in items
    assert nonzero(counters) == {"accepted": 2, "gaps": 1, "missing_samples": 96}


def test_samples_that_come_again_are_trimmed() -> None:
    items, counters = run([wideband(0, 0), wideband(1, 1), wideband(2, 2, n=2), wideband(3, 5)])
    spans = [item for item in items if isinstance(item, Span)]
    assert [(span.start, span.stop, span.skip) for span in spans] == [(0, 4, 0), (4, 5, 3), (5, 9, 0)]
    assert nonzero(counters) == {"accepted": 4, "overlapping_samples": 5}


def test_a_jump_over_an_absurd_range_costs_nothing() -> None:
    items, counters = run([wideband(0), wideband(2**63, 2**53 - 8), wideband(2**63 + 1, 2**53 - 4)])
    assert_tiles(items)
    assert counters.lost_packets == 2**63 - 1
    assert counters.missing_samples == 2**53 - 12


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (decode_packet(encoder().events(0, 2**32 - 1, make_events([], []))), "60 s of signal, got 143165.5765 s"),
        (wideband(0, 2**53 - 3), f"samples up to {2**53}, got {2**53 - 3} to {2**53 + 1}"),
        (wideband(0, 2**62), f"samples up to {2**53}"),
    ],
)
def test_a_packet_that_reaches_beyond_reason_counts_as_not_received(packet: Packet, message: str) -> None:
    intake = Intake(IntakeSettings())
    assert intake.accept(packet) == []
    assert message in intake.last_fault
    intake.accept(wideband(0))
    assert intake.accept(packet) == []
    assert nonzero(intake.counters) == {"accepted": 1, "mismatched": 2}


def test_a_sample_counter_that_begins_again_is_a_restart_after_a_run_of_its_packets() -> None:
    whole = [wideband(sequence, 4000 + 4 * sequence) for sequence in range(3)]
    again = [wideband(3 + k, 4 * k) for k in range(40)]
    items, counters = run([*whole, *again], restart_run_packets=8)
    assert sequences(items) == list(range(43))
    assert [item for item in items if isinstance(item, Restart)] == [Restart(1, 0), Restart(1, 1)]
    assert nonzero(counters) == {"accepted": 43, "restarts_same_epoch": 1}


def test_one_absurd_jump_silences_a_stream_no_longer_than_a_run() -> None:
    packets = stream(60)
    packets[20] = wideband(20, 2**53 - 4)
    items, counters = run(packets, restart_run_packets=8)
    assert sequences(items) == list(range(60))
    assert Restart(1, 1) in items
    assert counters.restarts_same_epoch == counters.gaps == 1
    assert counters.overlapping_samples == 0


def test_repeated_samples_are_no_restart_while_their_run_is_short_or_broken() -> None:
    whole = stream(40)
    for at in (range(7), (0, 1, 2, 3, 5, 6, 7, 8, 0, 1, 2)):
        again = [wideband(40 + k, 4 * index) for k, index in enumerate(at)]
        onwards = [wideband(40 + len(again) + k, 160 + 4 * k) for k in range(3)]
        items, counters = run([*whole, *again, *onwards], restart_run_packets=8)
        assert_tiles(items)
        expected = {"accepted": 43 + len(again), "overlapping_samples": 4 * len(again)}
        assert nonzero(counters) == expected


def test_other_kinds_take_part_in_the_sequence_and_move_no_sample() -> None:
    rig = PacketEncoder(RATE, N_CHANNELS, Descriptor("rig", columns=("x",)), epoch=1)
    samples = np.zeros((N_SAMPLES, N_CHANNELS), np.int16)
    frames = [
        rig.descriptor_packet(0),
        rig.wideband(0, samples),
        rig.markers(4, make_markers([0], [300])),
        rig.columns(4, np.zeros(1, np.uint32), np.zeros((1, 1), np.float32)),
        rig.wideband(4, samples),
        rig.end(8),
    ]
    items, counters = run(map(decode_packet, frames))
    assert [type(item) for item in items] == [Restart, Aux, Span, Aux, Aux, Span, End]
    assert nonzero(counters) == {"accepted": 6}
    items, counters = run(map(decode_packet, frames[:2] + frames[3:]))
    assert nonzero(counters) == {"accepted": 5, "lost_packets": 1}


def test_kinds_other_than_arrays_can_be_held_back() -> None:
    rig = PacketEncoder(RATE, N_CHANNELS, Descriptor("rig", columns=("x",)), epoch=1)
    columns = decode_packet(bytearray(rig.columns(4, np.ones(1, np.uint32), np.ones((1, 1), np.float32))))
    copy = owned(columns)
    assert copy.data.values.tolist() == [[1.0]]
    assert not np.shares_memory(copy.data.values, columns.data.values)
    end = decode_packet(rig.end(8))
    assert owned(end) is end


def test_a_new_epoch_begins_anew_and_the_old_one_is_over() -> None:
    old, new = stream(5), stream(5, first=3, epoch=2)
    items, counters = run([*old[:4], new[0], old[4], *new[1:]])
    assert [item for item in items if isinstance(item, Restart)] == [Restart(1, 0), Restart(2, 0)]
    assert_tiles(items)
    assert nonzero(counters) == {"accepted": 9, "restarts": 1, "old_epoch": 1}


def test_packets_held_back_come_before_the_restart() -> None:
    intake = Intake(IntakeSettings(reorder_window_packets=4))
    intake.accept(wideband(0))
    intake.accept(wideband(2))
    kinds = [type(item) for item in intake.accept(wideband(0, epoch=2))]
    assert kinds == [Gap, Span, Restart, Span]


def test_memory_of_epochs_is_bounded() -> None:
    intake = Intake(IntakeSettings())
    for epoch in range(MAX_EPOCHS + 2):
        intake.accept(wideband(0, epoch=epoch))
    assert intake.accept(wideband(0, epoch=1)) == []
    assert intake.accept(wideband(0, epoch=0)) != []


@pytest.mark.parametrize("window", [0, 3])
def test_a_restart_within_an_epoch_loses_nothing(window: int) -> None:
    before, after = stream(100), stream(50)
    settings = {"restart_run_packets": 8, "reorder_window_packets": window}
    items, counters = run([*before, *after], **settings)
    assert [item for item in items if isinstance(item, Restart)] == [Restart(1, 0), Restart(1, 1)]
    assert sequences(items) == [*range(100), *range(50)]
    assert_tiles(items)
    assert nonzero(counters) == {"accepted": 150, "restarts_same_epoch": 1}


def test_a_restart_takes_back_what_its_packets_were_first_counted_as() -> None:
    before, after = stream(100), stream(20, first=5)
    items, counters = run([*before[:10], *before[20:], *after], restart_run_packets=8)
    assert sequences(items)[-20:] == list(range(5, 25))
    expected = {"accepted": 110, "lost_packets": 10, "gaps": 1, "missing_samples": 40}
    assert nonzero(counters) == expected | {"restarts_same_epoch": 1}


def test_a_broken_run_is_no_restart() -> None:
    old = stream(50)
    shuffled = [*old[0:7], *old[20:27], wideband(50), *old[27:34]]
    items, counters = run([*old, *shuffled], restart_run_packets=8)
    assert sequences(items) == list(range(51))
    assert nonzero(counters) == {"accepted": 51, "duplicates": 21}


def test_a_run_ends_when_packets_are_lost() -> None:
    old = stream(50)
    _, counters = run([*old, *old[0:7], wideband(60), *old[7:14]], restart_run_packets=8)
    assert counters.restarts_same_epoch == 0
    assert counters.lost_packets == 10


def test_a_second_restart_in_an_epoch_is_the_next_incarnation() -> None:
    items, counters = run(stream(20) * 3, restart_run_packets=4)
    assert [item.incarnation for item in items if isinstance(item, Restart)] == [0, 1, 2]
    assert nonzero(counters) == {"accepted": 60, "restarts_same_epoch": 2}


def test_a_restarted_packet_does_not_look_into_a_buffer_that_is_used_again() -> None:
    intake = Intake(IntakeSettings(restart_run_packets=2))
    for packet in stream(10):
        intake.accept(packet)
    samples = np.full((N_SAMPLES, N_CHANNELS), 7, np.int16)
    frame = bytearray(encoder().wideband(0, samples))
    intake.accept(decode_packet(frame))
    frame[-samples.nbytes :] = bytes(samples.nbytes)
    first = next(item for item in intake.accept(wideband(1)) if isinstance(item, Span))
    assert (first.packet.data == 7).all()


def test_a_packet_that_does_not_fit_counts_as_not_received() -> None:
    intake = Intake(IntakeSettings())
    intake.accept(wideband(4119))
    samples = np.zeros((N_SAMPLES, N_CHANNELS + 1), np.int16)
    assert intake.accept(decode_packet(encoder(1, 4120, 3).wideband(4120 * 4, samples))) == []
    assert intake.last_fault == "packet 4120: expected 2 channels, got 3"
    assert intake.counters.lost_packets == 0
    intake.accept(wideband(4121))
    expected = {"accepted": 2, "mismatched": 1, "lost_packets": 1, "gaps": 1, "missing_samples": 4}
    assert nonzero(intake.counters) == expected


def frames_of_another_kind() -> list[tuple[bytes, str]]:
    samples = np.zeros((N_SAMPLES, N_CHANNELS), np.int16)
    events = make_events([], [])
    return [
        (encoder().events(0, 4, events), "packet 0: expected wideband, got events"),
        (encoder(n_channels=1).wideband(0, samples[:, :1]), "packet 0: expected 2 channels, got 1"),
        (
            PacketEncoder(Rate(390_625, 16), 2, epoch=1).wideband(0, samples),
            "packet 0: expected 30000 Hz, got 24414.0625 Hz",
        ),
        (
            PacketEncoder(RATE, 2, uv_per_bit=0.25, epoch=1).wideband(0, samples),
            "packet 0: expected 1 uV per bit, got 0.25",
        ),
    ]


@pytest.mark.parametrize(("frame", "fault"), frames_of_another_kind())
def test_what_was_told_to_expect_holds_from_the_first_packet(frame: bytes, fault: str) -> None:
    intake = Intake(IntakeSettings())
    intake.expect(Kind.WIDEBAND, 2, RATE, 1.0)
    assert intake.accept(decode_packet(frame)) == []
    assert intake.last_fault == fault
    assert len(intake.accept(wideband(0))) == 2
    assert nonzero(intake.counters) == {"accepted": 1, "mismatched": 1}


@pytest.mark.parametrize(("frame", "fault"), frames_of_another_kind())
def test_a_stream_keeps_the_form_that_it_began_with_until_the_next_epoch(frame: bytes, fault: str) -> None:
    intake = Intake(IntakeSettings())
    intake.accept(wideband(0))
    assert intake.accept(decode_packet(frame)) == []
    assert intake.last_fault == fault
    intake.accept(wideband(0, epoch=2))
    assert intake.accept(wideband(1, epoch=2)) != []


def test_the_type_of_samples_does_not_change_within_an_epoch() -> None:
    intake = Intake(IntakeSettings())
    intake.accept(wideband(0))
    frame = encoder(sequence=1).wideband(4, np.zeros((N_SAMPLES, N_CHANNELS), np.float32))
    assert intake.accept(decode_packet(frame)) == []
    assert intake.last_fault == "packet 1: expected int16 samples, got float32"
    other = encoder(epoch=2).wideband(0, np.zeros((N_SAMPLES, N_CHANNELS), np.float32))
    assert len(intake.accept(decode_packet(other))) == 2


def test_a_new_epoch_that_does_not_fit_does_not_end_the_stream() -> None:
    intake = Intake(IntakeSettings())
    intake.expect(n_channels=N_CHANNELS)
    intake.accept(wideband(0))
    frame = encoder(epoch=2, n_channels=3).wideband(0, np.zeros((1, 3), np.int16))
    assert intake.accept(decode_packet(frame)) == []
    assert len(intake.accept(wideband(1))) == 1
    assert nonzero(intake.counters) == {"accepted": 2, "mismatched": 1}


def test_a_stream_that_begins_with_a_descriptor_is_checked_at_its_first_signal() -> None:
    intake = Intake(IntakeSettings())
    intake.expect(n_channels=3)
    rig = PacketEncoder(RATE, N_CHANNELS, Descriptor("rig"), epoch=1)
    assert len(intake.accept(decode_packet(rig.descriptor_packet(0)))) == 2
    assert intake.accept(wideband(1)) == []
    assert intake.last_fault == "packet 1: expected 3 channels, got 2"


def test_the_position_follows_the_samples() -> None:
    intake = Intake(IntakeSettings())
    assert intake.position is None
    intake.accept(wideband(3))
    assert intake.position == 16


def test_malformed_frames_are_counted_by_reason_and_as_lost() -> None:
    intake = Intake(IntakeSettings())
    intake.accept(wideband(0))
    intake.malformed("checksum", "packet 1: expected another checksum")
    intake.malformed("payload")
    assert intake.last_fault == "packet 1: expected another checksum"
    intake.accept(wideband(2))
    counts = intake.counters.as_dict()
    assert counts["malformed_checksum"] == 1
    assert counts["malformed_payload"] == 1
    assert counts["lost_packets"] == 1


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A stream length, and the order in which its packets arrive: some never, some more than once."""
    n = draw(st.integers(1, 40))
    copies = draw(st.lists(st.sampled_from([0, 1, 1, 1, 1, 2, 3]), min_size=n, max_size=n))
    arrivals = [sequence for sequence, times in enumerate(copies) for _ in range(times)]
    delays = draw(st.lists(st.integers(0, 9), min_size=len(arrivals), max_size=len(arrivals)))
    order = sorted(range(len(arrivals)), key=lambda i: (i + delays[i], i))
    return n, [arrivals[i] for i in order]


@given(disturbed(), st.integers(0, 12))
def test_every_packet_is_accounted_for_whatever_happens_on_the_way(case: tuple[int, list[int]], window: int) -> None:
    _, arrivals = case
    packets = stream(max(arrivals, default=0) + 1)
    items, counters = run((packets[i] for i in arrivals), reorder_window_packets=window, restart_run_packets=4096)
    assert_tiles(items)
    spans = [item for item in items if isinstance(item, Span)]
    used = sequences(items)
    assert used == sorted(set(used))
    assert sum(span.stop - span.start for span in spans) == counters.accepted * N_SAMPLES == len(used) * 4
    gaps = [item for item in items if isinstance(item, Gap)]
    assert sum(gap.stop - gap.start for gap in gaps) == counters.missing_samples
    assert len(gaps) == counters.gaps
    assert counters.duplicates == sum(times - 1 for times in Counter(arrivals).values())
    first_arrivals = list(dict.fromkeys(arrivals))
    late = [s for i, s in enumerate(first_arrivals) if s < max(first_arrivals[:i], default=-1)]
    assert counters.reordered == len(late)
    assert counters.accepted + counters.reordered_unused + counters.duplicates == len(arrivals)
    if arrivals:
        sent = range(arrivals[0], max(arrivals) + 1)
        assert counters.lost_packets == len(set(sent) - set(arrivals))
    assert counters.restarts == counters.restarts_same_epoch == counters.mismatched == 0


@given(disturbed())
def test_a_wide_enough_window_loses_only_what_never_came(case: tuple[int, list[int]]) -> None:
    _, arrivals = case
    packets = stream(max(arrivals, default=0) + 1)
    items, counters = run([packets[0], *(packets[i] for i in arrivals)], reorder_window_packets=1000)
    assert sequences(items) == sorted({0, *arrivals})
    assert counters.reordered_unused == 0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.sets(st.integers(0, 19)))
def test_gaps_do_not_depend_on_packet_sizes(sizes: list[int], dropped: set[int]) -> None:
    edges = np.cumsum([0, *sizes]).tolist()
    packets = [wideband(i, edges[i], n=size) for i, size in enumerate(sizes) if i not in dropped]
    items, counters = run(packets)
    assert_tiles(items)
    came = [s for item in items if isinstance(item, Span) for s in range(item.start, item.stop)]
    assert came == [s for i, n in enumerate(sizes) if i not in dropped for s in range(edges[i], edges[i] + n)]
    missing = [item for item in items if isinstance(item, Gap)]
    assert all(set(range(gap.start, gap.stop)).isdisjoint(came) for gap in missing)
    assert counters.overlapping_samples == 0

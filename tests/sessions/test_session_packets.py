from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.sessions import open_session, session_packets
from cortexwire.sessions.packets import PacketSizes
from cortexwire.wire import Clock, Kind, MarkerCode, Packet, decode_packet
from tests.sessions.make_recordings import COUNTS_TOML, counts_session, wav_folder


def packets(session: Any, sizes: PacketSizes, *args: Any, **kwargs: Any) -> list[Packet]:
    return [decode_packet(frame) for frame in session_packets(session, sizes, 7, *args, **kwargs)]


def random_sizes() -> Iterator[int]:
    rng = np.random.default_rng(2)
    while True:
        yield int(rng.integers(1, 5000))


def content(sent: list[Packet]) -> tuple[list[Any], list[Any], list[Any]]:
    """Events, column rows and markers at absolute samples."""
    events: list[Any] = []
    columns: list[Any] = []
    markers: list[Any] = []
    for packet in sent:
        at = packet.sample_index
        if packet.kind == Kind.EVENTS:
            events += [(at + int(offset), int(channel)) for offset, channel, _ in packet.data]
        elif packet.kind == Kind.COLUMNS:
            rows = zip(packet.data.offsets, packet.data.values, strict=True)
            columns += [(at + int(offset), values.tobytes()) for offset, values in rows]
        elif packet.kind == Kind.MARKERS:
            markers += [(at + int(offset), int(code), value) for offset, code, value in packet.data]
    return events, columns, markers


def test_what_is_sent_does_not_depend_on_packet_size(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    reference = content(packets(session, session.n_samples))
    rng = np.random.default_rng(0)
    sizes: tuple[PacketSizes, ...] = (30, 777, random_sizes(), lambda: int(rng.integers(1, 999)))
    for size in sizes:
        assert content(packets(session, size)) == reference


def test_events_columns_and_markers_are_those_of_the_session(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    events, columns, markers = content(packets(session, 600))
    spikes = session.events(0, session.n_samples)
    assert events == list(zip(spikes["sample"].tolist(), spikes["channel"].tolist(), strict=True))
    samples, values = session.column_rows(0, session.n_samples)
    assert columns == [(int(at), row.tobytes()) for at, row in zip(samples, values, strict=True)]
    starts = [(at, number) for at, code, number in markers if code == MarkerCode.TRIAL_START]
    ends = [(at, number) for at, code, number in markers if code == MarkerCode.TRIAL_END]
    assert starts == [(int(trial["start"]), number) for number, trial in enumerate(session.trials)]
    assert ends == [(int(trial["stop"]) - 1, number) for number, trial in enumerate(session.trials)]


def test_signal_packets_cover_every_sample_once_even_when_nothing_happens(tmp_path: Path) -> None:
    expected = 0
    for packet in packets(counts_session(tmp_path), 999):
        if packet.kind == Kind.EVENTS:
            assert packet.sample_index == expected
            expected = packet.end_sample
    assert expected == 120_000


def test_columns_and_markers_come_before_the_signal_that_covers_them(tmp_path: Path) -> None:
    covered = 0
    for packet in packets(counts_session(tmp_path), 450):
        if packet.kind == Kind.EVENTS:
            covered = packet.end_sample
        elif packet.kind == Kind.COLUMNS:
            assert covered <= packet.sample_index + packet.data.offsets.min()
        elif packet.kind == Kind.MARKERS:
            assert covered <= packet.sample_index + packet.data["sample_offset"].min()


def test_the_descriptor_comes_first_and_once_a_second_and_the_end_last(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    sent = packets(session, 700)
    assert [packet.sequence for packet in sent] == list(range(len(sent)))
    assert {packet.epoch for packet in sent} == {7}
    described = [packet for packet in sent if packet.kind == Kind.DESCRIPTOR]
    assert sent[0] is described[0]
    assert [packet.sample_index // 30_000 for packet in described] == [0, 1, 2, 3]
    assert all(packet.data == session.descriptor for packet in described)
    assert [packet.kind for packet in sent].index(Kind.END) == len(sent) - 1
    assert sent[-1].sample_index == session.n_samples


def test_a_part_keeps_its_sample_indices(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    sent = packets(session, 1000, 45_000, 75_000)
    signal = [packet for packet in sent if packet.kind == Kind.EVENTS]
    assert (signal[0].sample_index, signal[-1].end_sample) == (45_000, 75_000)
    events, columns, markers = content(packets(session, session.n_samples))
    inside = [[row for row in rows if 45_000 <= row[0] < 75_000] for rows in (events, columns, markers)]
    assert list(content(sent)) == inside


def test_passes_run_on_in_samples_and_sequence(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    once = content(packets(session, 1000, 0, 60_000))[0]
    sent = packets(session, 1000, 0, 60_000, passes=3)
    assert content(sent)[0] == [(at + 60_000 * turn, channel) for turn in range(3) for at, channel in once]
    assert [packet.sequence for packet in sent] == list(range(len(sent)))
    assert sent[-1].sample_index == 180_000
    endless = session_packets(session, 120_000, passes=None)
    assert max(decode_packet(next(endless)).sample_index for _ in range(50)) > 5 * 120_000


def test_signal_packets_say_when_their_last_sample_ended_on_the_device(tmp_path: Path) -> None:
    signal = [each for each in packets(counts_session(tmp_path), 30_000) if each.kind == Kind.EVENTS]
    assert [each.acquired_ns for each in signal] == [10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9]
    assert {each.acquired_clock for each in signal} == {Clock.DEVICE}


def test_counts_are_sent_a_recorded_bin_at_a_time(tmp_path: Path) -> None:
    toml = COUNTS_TOML.replace('key = "Y"', 'key = "Y"\nstream = "counts"')
    session = counts_session(tmp_path, toml)
    sent = [packet for packet in packets(session, 30) if packet.kind == Kind.COUNTS]
    assert [packet.n_samples for packet in sent] == [3000] * 40
    assert (np.array([packet.data for packet in sent]) == session.counts(0, session.n_samples)[1]).all()


def test_wideband_packets_hold_the_samples(tmp_path: Path) -> None:
    samples = wav_folder(tmp_path / "clips")
    session = open_session(tmp_path / "clips")
    sent = [packet for packet in packets(session, 37, payload_checksum=True) if packet.kind == Kind.WIDEBAND]
    assert (np.concatenate([packet.data for packet in sent]) == samples).all()


def test_ranges_and_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    with pytest.raises(ConfigError, match=r"within \[0, 120000\), got \[5, 5\)"):
        session_packets(session, 30, 1, 5, 5)
    with pytest.raises(ConfigError, match="packet size of at least 1 at sample 0, got 0"):
        list(session_packets(session, 0))
    with pytest.raises(ConfigError, match="packet size of at least 1 at sample 60, got None"):
        list(session_packets(session, [30, 30]))

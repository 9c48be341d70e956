"""A stream of a log is a session: what the rig sent comes back, and what is missing is never made up."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.errors import SessionError
from cortexwire.sessions import open_session, session_packets
from cortexwire.sessions.log import LogSession, log_session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import extract_features
from cortexwire.types import Rate
from cortexwire.wire import Kind, PacketEncoder, RecordKind, decode_packet
from tests.sessions.logs import (
    N_CHANNELS,
    Raw,
    event_frames,
    loss,
    noise_of,
    packets,
    wideband_frames,
    write_log,
)

SIZE = 30
N = 40 * SIZE


def signal_numbers(frames: list[bytes]) -> list[int]:
    return [k for k, frame in enumerate(frames) if decode_packet(frame).kind == Kind.WIDEBAND]


def session_of(folder: Path, records: list[Raw], per_segment: int = 37) -> LogSession:
    return log_session(write_log(folder / "log", records, per_segment))


def test_wideband_columns_trials_and_identities_come_back(tmp_path: Path) -> None:
    session = open_session(write_log(tmp_path / "log", packets(wideband_frames(first=900)), 37))
    assert isinstance(session, LogSession)
    assert (session.name, session.kind, session.rate, session.n_channels) == (
        "log",
        "wideband",
        Rate(30_000),
        N_CHANNELS,
    )
    assert (session.n_samples, session.n_channels) == (N, N_CHANNELS)
    assert (session.first_sample, session.uv_per_bit) == (900, 0.25)
    assert [e.id for e in session.descriptor.electrodes] == [f"e{k}" for k in range(N_CHANNELS)]
    assert (session.column_names, session.problems) == (("px", "py"), ())
    noise = noise_of(N)
    for start, stop in ((0, N), (0, 0), (1, 2), (29, 31), (615, 1013), (N - 1, N)):
        assert np.array_equal(session.wideband(start, stop), noise[start:stop])
    assert session.trials["start"].tolist() == [60, 360, 660, 960]
    assert session.trials["stop"].tolist() == [181, 481, 781, 1081]
    ends = np.arange(SIZE - 1, N, SIZE)
    assert session.columns_at(ends)[:, 0].tolist() == (900 + ends - SIZE + 1).tolist()
    assert session.columns_at(np.array([SIZE - 1 + 15]))[0].tolist() == [915.0, -915.0]
    assert np.isnan(session.columns_at(np.array([0, N]))).all()


def test_a_session_sends_the_same_samples_as_the_rig(tmp_path: Path) -> None:
    session = session_of(tmp_path, packets(wideband_frames()))
    sent = [decode_packet(frame) for frame in session_packets(session, 77, epoch=5)]
    assert np.array_equal(np.concatenate([p.data for p in sent if p.kind == Kind.WIDEBAND]), noise_of(N))
    assert sum(p.kind == Kind.MARKERS for p in sent) > 0
    assert {p.descriptor_hash for p in sent} == {session.descriptor.hash}


def test_events_come_back_on_the_samples_of_the_stream(tmp_path: Path) -> None:
    frames = event_frames(20)
    session = session_of(tmp_path, packets(frames))
    expected = sorted(
        (p.sample_index + int(offset), int(channel))
        for p in map(decode_packet, frames[1:-1])
        for offset, channel, _ in p.data.tolist()
    )
    came = session.events(0, session.n_samples)
    assert list(zip(came["sample"].tolist(), came["channel"].tolist(), strict=True)) == expected
    part = session.events(610, 1203)
    assert part["sample"].tolist() == [sample for sample, _ in expected if 610 <= sample < 1203]


def test_counts_come_back_by_recorded_bin(tmp_path: Path) -> None:
    send = PacketEncoder(Rate(30_000), N_CHANNELS, None, 1.0, epoch=3)
    counts = np.random.default_rng(1).integers(0, 9, (12, N_CHANNELS)).astype(np.uint16)
    session = session_of(tmp_path, packets([send.counts(600 * k, 600, row) for k, row in enumerate(counts)]))
    edges, rows = session.counts(0, session.n_samples)
    assert edges.tolist() == list(range(0, 7201, 600))
    assert np.array_equal(rows, counts)
    edges, rows = session.counts(601, 1900)
    assert edges.tolist() == [1200, 1800, 2400]
    assert np.array_equal(rows, counts[2:4])


def lost_and_unrecorded() -> tuple[list[Raw], list[tuple[int, int]]]:
    """A packet that never came, and three records that were lost by the recorder."""
    frames = wideband_frames()
    signal = signal_numbers(frames)
    records = packets(frames)
    records[signal[20]] = (RecordKind.LOSS, 0, loss(1, packets=1, samples=SIZE))
    del records[signal[10]]
    return records, [(300, 330), (600, 630)]


def test_gaps_are_named_refused_and_left_out_of_what_is_sent(tmp_path: Path) -> None:
    records, gaps = lost_and_unrecorded()
    session = session_of(tmp_path, records)
    assert session.gaps.tolist() == [list(gap) for gap in gaps]
    assert session.n_samples == N
    never, unrecorded = session.problems[:2]
    assert "30 samples never came, in 1 gap(s), which are left out: [300, 330)" in never
    assert "30 samples are missing in the recording, in 1 gap(s), which are left out: [600, 630)" in unrecorded
    assert np.array_equal(session.wideband(330, 600), noise_of(N)[330:600])
    for start, stop in ((299, 301), (0, N), (310, 320), (629, 700)):
        with pytest.raises(SessionError, match=r"samples \[(300, 330|600, 630)\) are missing"):
            session.wideband(start, stop)
    sent = [p for p in map(decode_packet, session_packets(session, 77, epoch=5)) if p.kind == Kind.WIDEBAND]
    there = np.zeros(N, bool)
    for packet in sent:
        assert np.array_equal(packet.data, noise_of(N)[packet.sample_index : packet.end_sample])
        there[packet.sample_index : packet.end_sample] = True
    assert np.flatnonzero(~there).tolist() == [*range(300, 330), *range(600, 630)]
    inside = [p for p in map(decode_packet, session_packets(session, 50, 5, 310, 620)) if p.kind == Kind.WIDEBAND]
    assert [inside[0].sample_index, inside[-1].end_sample] == [330, 600]


def test_packets_that_came_late_or_twice_make_no_gap_and_nothing_twice(tmp_path: Path) -> None:
    records = packets(wideband_frames())
    signal = signal_numbers(wideband_frames())
    late = records.pop(signal[5])
    records.insert(signal[9], late)
    records.insert(signal[15], records[signal[15]])
    session = session_of(tmp_path, records)
    assert session.gaps.shape == (0, 2)
    assert np.array_equal(session.wideband(0, N), noise_of(N))


def test_each_start_of_a_source_is_a_stream_of_its_own(tmp_path: Path) -> None:
    again = wideband_frames(n_packets=34)
    records = packets([*wideband_frames(), *wideband_frames(50, epoch=8), b"no packet", *again, *again])
    folder = write_log(tmp_path / "log", records)
    session = log_session(folder)
    assert (session.name, session.n_samples) == ("log#2", 50 * SIZE)
    assert [problem.split(";")[1] for problem in session.problems[:3]] == [
        f" to read it name {folder}#1",
        " which is read",
        f" to read it name {folder}#3",
    ]
    first, third = log_session(f"{folder}#1"), log_session(f"{folder}#3")
    assert (first.n_samples, third.n_samples) == (N, 34 * SIZE)
    assert (first.stream.restart, third.stream.restart) == (0, 1)
    assert np.array_equal(third.wideband(0, 34 * SIZE), noise_of(34 * SIZE))
    with pytest.raises(SessionError, match="expected one of its 4 stream"):
        log_session(f"{folder}#5")


def test_a_stream_of_next_to_nothing_is_no_problem_of_the_one_beside_it(tmp_path: Path) -> None:
    records = packets([*wideband_frames(1, epoch=8), *wideband_frames()])
    folder = write_log(tmp_path / "log", records)
    assert not [problem for problem in log_session(folder).problems if "stream" in problem]
    assert [problem for problem in log_session(f"{folder}#1").problems if "to read it name" in problem]


def test_a_damaged_payload_is_named_when_it_is_read(tmp_path: Path) -> None:
    frames = wideband_frames()
    folder = write_log(tmp_path / "log", packets(frames))
    path = folder / "000000.cxlog"
    content = bytearray(path.read_bytes())
    at = content.index(frames[signal_numbers(frames)[3]])
    content[at + 200] ^= 1
    path.write_bytes(content)
    session = log_session(folder)
    assert np.array_equal(session.wideband(0, 90), noise_of(N)[:90])
    with pytest.raises(SessionError, match=r"000000.cxlog at byte \d+: record \d+: expected payload CRC-32"):
        session.wideband(0, 100)


def test_a_log_without_signal_is_no_session(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="expected a log with packets of signal, got none"):
        log_session(write_log(tmp_path / "log", [(RecordKind.NOTE, 0, b"hello")]))


def test_ranges_and_kinds_are_checked(tmp_path: Path) -> None:
    session = session_of(tmp_path, packets(wideband_frames()))
    with pytest.raises(SessionError, match="expected a range within"):
        session.wideband(0, N + 1)
    with pytest.raises(SessionError, match="expected a recording of events, got wideband"):
        session.events(0, 1)


def test_features_of_a_log_are_those_of_what_the_rig_sent_gaps_included(tmp_path: Path) -> None:
    frames = event_frames(100, described=False)
    whole = log_session(write_log(tmp_path / "whole", packets(frames)))
    records = packets(frames)
    del records[31]
    lossy = log_session(write_log(tmp_path / "lossy", records))
    front_end = FrontEndSettings(bin_ms=20.0, features=("counts",))
    all_of_it, with_gap = extract_features(whole, front_end), extract_features(lossy, front_end)
    touched = {31 * 250 // 600, (32 * 250 - 1) // 600}
    assert np.flatnonzero(~with_gap.valid).tolist() == sorted(touched)
    same = [k for k in range(len(all_of_it.index)) if k not in touched]
    assert np.array_equal(with_gap.counts[same], all_of_it.counts[same])
    assert all_of_it.valid.all()

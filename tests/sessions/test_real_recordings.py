from pathlib import Path

import numpy as np
import pytest

from cortexwire.sessions import open_session, session_packets
from cortexwire.wire import Kind, decode_packet

TOMLS = Path(__file__).resolve().parents[2] / "docs" / "sessions"
pytestmark = pytest.mark.realdata


def test_contdata95_is_a_continuous_event_stream(recordings: Path) -> None:
    from scipy.io import loadmat

    raw = loadmat(recordings / "contdata95" / "contdata95.mat")
    session = open_session(TOMLS / "contdata95.toml", recordings)
    assert (session.kind, session.n_channels, session.n_samples) == ("events", 95, 31413 * 3000)
    assert len(session.trials) == 1456
    assert session.column_names == ("px", "py", "vx", "vy")
    assert (session.counts(0, session.n_samples)[1] == raw["Y"]).all()
    spikes = session.events(3_000_000, 3_300_000)
    again = np.zeros((100, 95))
    np.add.at(again, (spikes["sample"] // 3000 - 1000, spikes["channel"]), 1)
    assert (again == raw["Y"][1000:1100]).all()
    last = np.arange(1, len(raw["X"]) + 1) * 3000 - 1
    columns = session.columns_at(last)
    assert (columns[:, :2] == raw["X"][:, :2]).all()
    assert columns[:, 2:] == pytest.approx(raw["X"][:, 2:], abs=1e-6)


def test_adan_counts_force_and_trials_are_read_from_dotted_paths(recordings: Path) -> None:
    session = open_session(TOMLS / "adan_day0.toml", recordings)
    assert (session.n_channels, session.n_samples) == (96, 36_000_000)
    assert len(session.trials) == 299
    assert session.descriptor.electrodes[95].id == "96"
    assert session.counts(0, 36_000_000)[1].max() == 20
    assert not np.isnan(session.columns_at(np.arange(1499, 36_000_000, 1500))).any()


@pytest.mark.parametrize(("name", "n_samples"), [("mc_maze_748", 3236), ("mc_maze_1356", 3566)])
def test_mc_maze_trials_are_events_at_their_recorded_millisecond(recordings: Path, name: str, n_samples: int) -> None:
    session = open_session(TOMLS / f"{name}.toml", recordings)
    assert (session.n_channels, session.n_samples, session.rate.hz) == (182, n_samples, 1000)
    assert session.descriptor.electrodes[0].id == "unit_1011"
    table = np.genfromtxt(
        recordings / "mc_maze_trials" / f"trial_{name.split('_')[-1]}_data.csv", delimiter=",", names=True
    )
    spikes = session.events(0, n_samples)
    again = np.zeros((n_samples, 182))
    again[spikes["sample"], spikes["channel"]] = 1
    recorded = np.stack([table[unit] for unit in table.dtype.names or () if unit.startswith("unit_")], axis=1)
    assert (again == recorded).all()
    assert (session.columns_at(np.arange(n_samples))[:, 2] == table["hand_vel_x"]).all()


def test_neuralink_clips_are_a_stack_of_96_channels(recordings: Path) -> None:
    from scipy.io import wavfile

    session = open_session(TOMLS / "neuralink_n1.toml", recordings)
    assert (session.kind, session.n_channels, session.rate.num) == ("wideband", 96, 19531)
    assert 98_000 < session.n_samples < 100_000
    assert any("uv_per_bit" in problem for problem in session.problems)
    paths = sorted((recordings / "neuralink_n1").glob("*.wav"))
    for channel in (0, 50, 95):
        rate, samples = wavfile.read(paths[channel])
        assert rate == 19531
        assert (session.wideband(90_000, 91_000)[:, channel] == samples[90_000:91_000]).all()
    frames = session_packets(session, 600, stop=60_000)
    sent = [packet for packet in map(decode_packet, frames) if packet.kind == Kind.WIDEBAND]
    assert (np.concatenate([packet.data for packet in sent]) == session.wideband(0, 60_000)).all()

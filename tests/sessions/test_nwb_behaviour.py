from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cortexwire.errors import SessionError
from cortexwire.sessions.nwb import nwb_streams, open_nwb
from cortexwire.types import Rate
from tests.sessions.nwb_files import add_voltage, blank, pynwb, samples, with_electrodes, write

RNG = np.random.default_rng(4)


def spike_times(n: int = 50, until_s: float = 10.0, hz: float = 30_000.0) -> Any:
    return np.sort(RNG.choice(int(until_s * hz), n, replace=False)) / hz


def test_units_become_events_on_their_electrodes(tmp_path: Path) -> None:
    file = with_electrodes(4, ["a", "b", "c", "d"])
    times = [spike_times() for _ in range(4)]
    file.units = pynwb.misc.Units(name="units", description="sorted", resolution=1 / 30_000)
    for unit, electrode in enumerate((2, 0, 2, 3)):
        file.add_unit(spike_times=times[unit], electrodes=[electrode])
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert (session.kind, session.n_channels, session.rate, session.problems) == ("events", 4, Rate(30_000), ())
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["a", "b", "c", "d"]
    found = session.events(0, session.n_samples)
    for unit, (channel, number) in enumerate(((2, 1), (0, 0), (2, 2), (3, 0))):
        mine = found["sample"][(found["channel"] == channel) & (found["unit"] == number)]
        np.testing.assert_array_equal(mine, np.rint(times[unit] * 30_000))
    assert len(found) == 200


def test_units_without_electrodes_are_a_channel_each_and_an_unknown_clock_is_said(tmp_path: Path) -> None:
    file = blank()
    for _ in range(3):
        file.add_unit(spike_times=spike_times())
    file.add_unit(spike_times=[])
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert (session.n_channels, session.rate, session.descriptor.electrodes) == (4, Rate(30_000), ())
    assert session.problems == ("the clock of the spike times is not stated: 30000 Hz is assumed",)
    assert len(session.events(0, session.n_samples)) == 150


@pytest.mark.parametrize("hz", [24_414.0625, 1e6 / 33, 1000.0, 30_000.0])
def test_the_clock_of_units_is_what_their_resolution_says(tmp_path: Path, hz: float) -> None:
    file = blank()
    file.units = pynwb.misc.Units(name="units", description="d", resolution=1 / hz)
    times = spike_times(hz=hz)
    file.add_unit(spike_times=times)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.rate.hz == hz
    np.testing.assert_array_equal(session.events(0, session.n_samples)["sample"], np.rint(times * hz))


def test_spikes_before_time_0_move_the_first_sample(tmp_path: Path) -> None:
    file = blank()
    file.add_unit(spike_times=[-0.5, 0.25])
    file.add_trial(start_time=0.0, stop_time=1.0)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.events(0, session.n_samples)["sample"].tolist() == [0, 22_500]
    assert session.trials.tolist() == [(15_000, 45_000)]


def test_raw_samples_go_before_units_unless_units_are_named(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(), conversion=1e-6)
    file.add_unit(spike_times=[0.01, 0.02], electrodes=[1])
    path = write(file, tmp_path / "day.nwb")
    assert open_nwb(path).kind == "wideband"
    units = open_nwb(f"{path}#units")
    assert (units.kind, units.rate, units.problems) == ("events", Rate(30_000), ())
    assert units.events(0, units.n_samples)["sample"].tolist() == [300, 600]


def test_positions_velocities_and_trials_of_the_behaviour_tutorial(tmp_path: Path) -> None:
    from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries

    file = with_electrodes(4)
    add_voltage(file, samples(30_000), conversion=1e-6)
    t = np.arange(100) * 0.01 + 0.005
    place = np.stack((np.sin(t), np.cos(t)), axis=1)
    hand = SpatialSeries(
        name="hand", data=place * 100, timestamps=t + 1e-4 * RNG.random(100), unit="meters", conversion=0.01
    )
    speed = pynwb.TimeSeries(name="speed", data=np.arange(50.0), starting_time=0.0, rate=50.0, unit="m/s")
    module = file.create_processing_module(name="behavior", description="behaviour")
    module.add(Position(spatial_series=hand))
    module.add(BehavioralTimeSeries(time_series=speed))
    file.add_trial(start_time=0.5, stop_time=0.8)
    file.add_trial(start_time=0.1, stop_time=0.5)
    file.add_trial(start_time=7.0, stop_time=8.0)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert sorted(session.column_names) == ["hand_x", "hand_y", "speed"]
    assert dict(zip(session.column_names, session.column_units, strict=True))["hand_x"] == "m"
    anchors = np.rint(hand.timestamps * 30_000).astype(np.int64)
    columns = session.columns_at(anchors)
    np.testing.assert_allclose(columns[:, session.column_names.index("hand_x")], place[:, 0], atol=1e-12)
    np.testing.assert_allclose(columns[:, session.column_names.index("hand_y")], place[:, 1], atol=1e-12)
    at = session.columns_at(np.array([600, 900]))[:, session.column_names.index("speed")]
    np.testing.assert_allclose(at, [1.0, 1.5])
    assert session.trials.tolist() == [(3000, 15_000), (15_000, 24_000)]
    assert session.problems == ("1 of 3 trials lie outside the recording or have no length",)


def test_a_file_with_positions_alone_has_their_velocities(tmp_path: Path) -> None:
    from pynwb.behavior import Position, SpatialSeries

    file = with_electrodes(4)
    add_voltage(file, samples(30_000), conversion=1e-6)
    t = np.arange(101) * 0.01
    hand = SpatialSeries(name="hand", data=np.stack((2 * t, -3 * t), axis=1), starting_time=0.0, rate=100.0, unit="cm")
    file.create_processing_module(name="behavior", description="b").add(Position(spatial_series=hand))
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.column_names == ("hand_x", "hand_y", "hand_vx", "hand_vy")
    assert session.column_units == ("cm", "cm", "cm/s", "cm/s")
    np.testing.assert_allclose(session.columns_at(np.array([15_100]))[0], [15.1 / 15, -15.1 / 10, 2.0, -3.0])


def test_nothing_is_interpolated_across_a_hole(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(60_000), conversion=1e-6)
    t = np.concatenate((np.arange(50) * 0.01, 1 + np.arange(50) * 0.01))
    file.add_acquisition(pynwb.TimeSeries(name="x", data=t * 2, timestamps=t, unit="m"))
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    came = session.columns_at(np.array([14_700, 20_000, 29_999, 30_000, 30_150]))[:, 0]
    np.testing.assert_allclose(came, [0.98, np.nan, np.nan, 2.0, 2.01], atol=1e-9)


def falcon_m2(path: Path) -> Path:
    """Two fingers, spikes on electrodes, a mask: as the public benchmark's own script writes them."""
    from pynwb.behavior import BehavioralTimeSeries

    file = with_electrodes(96)
    for channel in range(96):
        file.add_unit(id=channel, spike_times=np.round(spike_times(20, 8.0, 1000.0), 3), electrodes=[channel])
    t = np.concatenate([start + np.arange(100) * 0.02 for start in (0.0, 2.002, 4.004, 6.006)])
    for name in ("finger_pos", "finger_vel"):
        several = BehavioralTimeSeries(name=name)
        for finger in ("index", "mrs"):
            several.create_timeseries(
                name=finger, data=np.sin(t), unit="AU", timestamps=t, comments=f"columns=[{finger}]"
            )
        file.add_acquisition(several)
    mask = pynwb.TimeSeries(name="eval_mask", description="Steps to keep.", timestamps=t, data=t < 4, unit="bool")
    file.add_acquisition(mask)
    for start in (0.0, 2.002, 4.004, 6.006):
        file.add_trial(start_time=start, stop_time=start + 2.0)
    return write(file, path)


def test_falcon_m2_has_its_fingers_its_mask_and_its_trials(tmp_path: Path) -> None:
    path = falcon_m2(tmp_path / "m2.nwb")
    session = open_nwb(path)
    assert (session.kind, session.n_channels, len(session.trials)) == ("events", 96, 4)
    assert len(session.events(0, session.n_samples)) == 96 * 20
    assert set(session.column_names) == {
        "finger_pos_index",
        "finger_pos_mrs",
        "finger_vel_index",
        "finger_vel_mrs",
        "eval_mask",
    }
    mask = session.columns_at(np.array([30_000, 150_000]))[:, session.column_names.index("eval_mask")]
    assert mask.tolist() == [1.0, 0.0]
    kinds = {stream.name: stream.kind for stream in nwb_streams(path)}
    assert kinds["finger_vel/index"] == "columns"
    assert kinds["units"] == "events"


def test_falcon_h1_states_the_period_where_the_rate_belongs(tmp_path: Path) -> None:
    file = blank()
    for _ in range(5):
        file.add_unit(spike_times=spike_times(40, 20.0))
    names = "tx,ty,tz,rx,g1,g2,g3"
    kinematics = np.cumsum(RNG.normal(size=(1000, 7)), axis=0)
    for name, data in (("OpenLoopKinematics", kinematics), ("OpenLoopKinematicsVelocity", kinematics * 2)):
        file.add_acquisition(
            pynwb.TimeSeries(name=name, description=names, starting_time=0.0, rate=0.02, data=data, unit="arbitrary")
        )
    session = open_nwb(write(file, tmp_path / "h1.nwb"))
    assert session.column_names[:2] == ("OpenLoopKinematics_tx", "OpenLoopKinematics_ty")
    assert len(session.column_names) == 14
    assert any("0.02 is taken as seconds a sample" in problem for problem in session.problems)
    np.testing.assert_allclose(session.columns_at(np.array([6000]))[0, :7], kinematics[10])


def test_names_as_the_latent_benchmark_lists_them(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(30_000), conversion=1e-6)
    module = file.create_processing_module(name="behavior", description="behaviour")
    for name in ("hand_pos", "hand_vel"):
        data = RNG.normal(size=(1000, 2))
        module.add(
            pynwb.TimeSeries(name=name, data=data, rate=1000.0, starting_time=0.0, unit="mm", comments="columns=[x,y]")
        )
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.column_names == ("hand_pos_x", "hand_pos_y", "hand_vel_x", "hand_vel_y")


def test_a_units_table_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    import h5py

    file = blank()
    file.add_unit(spike_times=[0.1, 0.2])
    path = write(file, tmp_path / "day.nwb")
    with h5py.File(path, "r+") as hdf:
        hdf["units/spike_times_index"][0] = 7
    with pytest.raises(SessionError, match="expected spike_times_index to divide 2 spike times"):
        open_nwb(path)

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cortexwire.errors import SessionError
from cortexwire.sessions.nwb import nwb_streams, open_nwb
from cortexwire.types import Rate
from tests.sessions.nwb_files import (
    add_voltage,
    blank,
    broadband,
    compressed,
    samples,
    with_electrodes,
    write,
)

TDT_HZ = 24_414.0625


def test_samples_stay_int16_and_the_scale_is_the_decimal_that_was_written(tmp_path: Path) -> None:
    file = with_electrodes(4, ["a", "b", "c", "d"], groups=2)
    data = samples()
    add_voltage(file, compressed(data), conversion=2.5e-7)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert (session.name, session.kind, session.rate, session.uv_per_bit) == ("day", "wideband", Rate(30_000), 0.25)
    assert [(e.id, e.bank) for e in session.descriptor.electrodes] == [
        ("a", "shank0"),
        ("b", "shank0"),
        ("c", "shank1"),
        ("d", "shank1"),
    ]
    whole = session.wideband(0, session.n_samples)
    assert whole.dtype == np.int16
    np.testing.assert_array_equal(whole, data)
    cuts = [0, 1, 999, 1000, 2999, 3000]
    parts = [session.wideband(start, stop) for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), data)
    assert session.problems == ()


@pytest.mark.parametrize(
    ("change", "fields", "uv_per_bit"),
    [
        (lambda x: x, {"conversion": 1e-6, "channel_conversion": [0.5] * 4}, 0.5),
        (
            lambda x: (x.astype(np.int32) + 2**15).astype(np.uint16),
            {"conversion": 2e-7, "offset": -(2**15) * 2e-7},
            0.2,
        ),
    ],
)
def test_samples_of_one_scale_are_int16_again(
    tmp_path: Path, change: Any, fields: dict[str, Any], uv_per_bit: float
) -> None:
    file = with_electrodes(4)
    add_voltage(file, change(samples()), **fields)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.uv_per_bit == uv_per_bit
    assert session.wideband(0, 10).dtype == np.int16
    np.testing.assert_array_equal(session.wideband(0, 3000), samples())


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"conversion": 1e-6, "channel_conversion": [1.0, 2.0, 3.0, 4.0]}, lambda x: x * [1.0, 2.0, 3.0, 4.0]),
        ({"conversion": 1e-6, "offset": 0.25e-6}, lambda x: x + 0.25),
        ({"conversion": -1e-6}, lambda x: -x),
    ],
)
def test_scales_that_no_packet_can_carry_are_applied(tmp_path: Path, fields: dict[str, Any], wanted: Any) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(), **fields)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    came = session.wideband(0, 3000)
    assert came.dtype == np.float32
    assert session.uv_per_bit == 1.0
    np.testing.assert_allclose(came, wanted(samples().astype(np.float64)), rtol=1e-6)
    assert "read in microvolts" in session.problems[0]


def test_floats_in_volts_are_scaled_by_a_million_and_kept(tmp_path: Path) -> None:
    file = with_electrodes(4)
    data = (samples() * 1e-7).astype(np.float32)
    add_voltage(file, data)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.uv_per_bit == 1e6
    np.testing.assert_array_equal(session.wideband(0, 3000), data)


@pytest.mark.parametrize("hz", [TDT_HZ, 30_000.0, 1e6 / 33])
def test_timestamps_in_place_of_a_rate_give_the_clock_that_they_were_read_from(tmp_path: Path, hz: float) -> None:
    file = with_electrodes(4)
    times = 1278.0 + np.arange(60_000) / hz
    add_voltage(file, samples(60_000), timestamps=times, conversion=1e-6)
    file.add_trial(start_time=float(times[12_345]), stop_time=float(times[54_321]))
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert session.rate.hz == pytest.approx(hz, rel=1e-9)
    assert session.n_samples == 60_000
    assert session.trials.tolist() == [(12_345, 54_321)]


def test_a_hole_in_the_timestamps_is_said(tmp_path: Path) -> None:
    file = with_electrodes(4)
    times = np.arange(60_000) / 30_000
    times[30_000:] += 0.5
    add_voltage(file, samples(60_000), timestamps=times, conversion=1e-6)
    file.add_trial(start_time=1.6, stop_time=2.4)
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert "timestamps leave a straight line by up to" in session.problems[0]
    # Times behind the hole still find their sample.
    assert abs(int(session.trials["start"][0]) - 33_000) <= 1


def test_which_series_is_meant_has_to_be_said_where_there_are_two(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(seed=1), "left", conversion=1e-6)
    add_voltage(file, samples(seed=2), "right", conversion=1e-6)
    path = write(file, tmp_path / "day.nwb")
    with pytest.raises(SessionError, match="expected the name of one of left, right behind '#', got none"):
        open_nwb(path)
    with pytest.raises(SessionError, match="expected one of left, right behind '#', got 'up'"):
        open_nwb(f"{path}#up")
    session = open_nwb(f"{path}#right")
    assert session.name == "day#right"
    np.testing.assert_array_equal(session.wideband(0, 3000), samples(seed=2))
    np.testing.assert_array_equal(open_nwb(path, "left").wideband(0, 3000), samples(seed=1))
    assert [(each.name, each.kind, each.channels, each.duration_s) for each in nwb_streams(path)] == [
        ("left", "wideband", 4, 0.1),
        ("right", "wideband", 4, 0.1),
    ]


@pytest.mark.filterwarnings("ignore:The linked table")
def test_field_potentials_in_a_module_are_opened_by_name(tmp_path: Path) -> None:
    from pynwb.ecephys import LFP, ElectricalSeries

    file = with_electrodes(4)
    region = file.create_electrode_table_region(region=[0, 1, 2, 3], description="all")
    lfp = ElectricalSeries(name="lfp", data=samples(500), electrodes=region, rate=1000.0, conversion=1e-6)
    file.create_processing_module(name="ecephys", description="filtered").add(LFP(electrical_series=lfp))
    session = open_nwb(write(file, tmp_path / "day.nwb"))
    assert (session.rate, session.n_samples) == (Rate(1000), 500)


def test_a_recording_far_larger_than_memory_opens_and_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    path = broadband(tmp_path / "large.nwb", samples(10), None)
    n = 2_000_000_000
    with h5py.File(path, "r+") as file:
        group = file["acquisition/timeseries/broadband"]
        del group["data"]
        data = group.create_dataset("data", (n, 4), np.int16, chunks=(4096, 4), compression="gzip")
        data[n - 10 :] = samples(10)
        start = group.create_dataset("starting_time", data=5.0)
        start.attrs["rate"] = TDT_HZ
    session = open_nwb(path)
    assert session.n_samples == n
    np.testing.assert_array_equal(session.wideband(n - 10, n), samples(10))


def test_what_lies_in_another_file_is_named_and_not_followed(tmp_path: Path) -> None:
    other = write(with_electrodes(4), tmp_path / "other.nwb")
    with h5py.File(other, "r+") as file:
        file["secret"] = samples()
    file = with_electrodes(4)
    add_voltage(file, samples(), "near", conversion=1e-6)
    path = write(file, tmp_path / "day.nwb")
    with h5py.File(path, "r+") as hdf:
        hdf["acquisition/far"] = h5py.ExternalLink("other.nwb", "/secret")
        layout = h5py.VirtualLayout((3000, 4), np.int16)
        layout[:] = h5py.VirtualSource(str(other), "secret", (3000, 4))
        virtual = hdf.create_group("acquisition/virtual")
        virtual.create_virtual_dataset("data", layout)
        virtual["starting_time"] = 0.0
    session = open_nwb(path)
    assert session.name == "day"
    assert any("/acquisition/far lies in another file (other.nwb)" in problem for problem in session.problems)
    assert any("/acquisition/virtual/data lies in another file" in problem for problem in session.problems)
    with h5py.File(path, "r+") as hdf:
        del hdf["acquisition/near/data"]
        hdf["acquisition/near/data"] = h5py.ExternalLink("other.nwb", "/secret")
    with pytest.raises(SessionError, match="expected an electrical series or units"):
        open_nwb(path)


def test_series_that_are_linked_twice_or_in_a_circle_are_found_once(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, samples(), "raw", conversion=1e-6)
    path = write(file, tmp_path / "day.nwb")
    with h5py.File(path, "r+") as hdf:
        hdf["acquisition/again"] = h5py.SoftLink("/acquisition/raw")
        hdf["acquisition/all"] = h5py.SoftLink("/acquisition")
        hdf["acquisition/nowhere"] = h5py.SoftLink("/none")
        hdf.require_group("processing")["circle"] = hdf["acquisition"]
    assert [(stream.name, stream.kind) for stream in nwb_streams(path)] == [("raw", "wideband")]
    assert open_nwb(path).n_samples == 3000


def test_samples_that_cannot_be_read_are_an_error_that_says_which(tmp_path: Path) -> None:
    file = with_electrodes(4)
    add_voltage(file, compressed(samples(50_000)), conversion=1e-6)
    path = write(file, tmp_path / "day.nwb")
    with h5py.File(path, "r") as hdf:
        chunk = hdf["acquisition/ElectricalSeries/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 2 : chunk.byte_offset + 40] = bytes(38)
    path.write_bytes(content)
    with pytest.raises(SessionError, match=r"ElectricalSeries: samples \[0, 50000\)"):
        open_nwb(path).wideband(0, 10)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nwb").write_text("hello")
    with pytest.raises(SessionError, match="expected an HDF5 file"):
        open_nwb(tmp_path / "text.nwb")
    with pytest.raises(SessionError, match="expected a file"):
        open_nwb(tmp_path / "none.nwb")
    with pytest.raises(
        SessionError, match="expected an electrical series or units with spike times, the file has: none"
    ):
        open_nwb(write(blank(), tmp_path / "blank.nwb"))


@pytest.mark.parametrize("turned", [False, True])
def test_broadband_of_nwb_1_in_its_published_layout(tmp_path: Path, turned: bool) -> None:
    data = samples(50_000)
    times = 1278.0 + np.arange(50_000) / TDT_HZ
    names = np.array([f"M1 {n:03d}".encode() for n in range(1, 5)])
    path = broadband(tmp_path / "indy.nwb", data.T if turned else data, times, Channel_Name=names)
    if turned:
        with h5py.File(path, "r+") as file:
            del file["general/extracellular_ephys/electrode_map"]
            file["general/extracellular_ephys/electrode_map"] = np.zeros((4, 3))
    session = open_nwb(path)
    assert (session.rate, session.n_samples, session.uv_per_bit) == (Rate(390_625, 16), 50_000, 0.305185)
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["M1 001", "M1 002", "M1 003", "M1 004"]
    np.testing.assert_array_equal(session.wideband(0, 50_000), data)

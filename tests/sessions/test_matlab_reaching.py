"""Files in the layout of the public reaching sessions, written by hdf5storage, which knows MATLAB and not us."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.nwb import is_reaching, open_reaching
from cortexwire.types import Rate

hdf5storage = pytest.importorskip("hdf5storage")
HZ = 24_414.0625
FIRST_S = 1278.0
ROWS = 500


def cell(rows: int, columns: int) -> NDArray[Any]:
    return np.empty((rows, columns), object)


def variables(n_channels: int = 3, n_units: int = 3, finger: int = 3) -> tuple[dict[str, Any], dict[Any, Any]]:
    """MATLAB variables, and the recorder's sample of each spike by channel and unit."""
    rng = np.random.default_rng(3)
    names, spikes, waveforms = cell(n_channels, 1), cell(n_channels, n_units), cell(n_channels, n_units)
    truth = {}
    first = int(FIRST_S * HZ)
    for channel in range(n_channels):
        names[channel, 0] = f"M1 {channel + 1:03d}"
        for unit in range(n_units):
            n = 0 if (channel + unit) % 3 == 2 else 10
            samples = first + np.sort(rng.choice(int(2 * HZ), n, replace=False))
            truth[channel, unit] = samples
            spikes[channel, unit] = (samples / HZ).reshape(-1, 1) if n else np.zeros((0, 0))
            waveforms[channel, unit] = np.zeros((48, n))
    t = FIRST_S + np.arange(ROWS) * 0.004
    cursor = np.stack((30 * t, -20 * t), axis=1)
    return {
        "chan_names": names,
        "spikes": spikes,
        "wf": waveforms,
        "t": t.reshape(-1, 1),
        "cursor_pos": cursor,
        "target_pos": np.repeat([[5.0, 10.0], [15.0, 20.0], [15.0, 5.0]], [200, 200, 100], axis=0),
        "finger_pos": np.tile(np.arange(1.0, finger + 1), (ROWS, 1)),
    }, truth


def write(path: Path, content: dict[str, Any]) -> Path:
    hdf5storage.savemat(str(path), content, fmt="7.3", store_python_metadata=False, oned_as="column")
    return path


def test_spikes_columns_names_and_targets_come_out_as_they_went_in(tmp_path: Path) -> None:
    content, truth = variables()
    path = write(tmp_path / "indy_20160407_02.mat", content)
    assert is_reaching(path)
    session = open_reaching(path)
    assert (session.name, session.kind, session.rate) == ("indy_20160407_02", "events", Rate(390_625, 16))
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["M1 001", "M1 002", "M1 003"]
    found = session.events(0, session.n_samples)
    first = int(np.rint(FIRST_S * HZ))
    for (channel, unit), samples in truth.items():
        mine = found["sample"][(found["channel"] == channel) & (found["unit"] == unit)]
        np.testing.assert_array_equal(mine, samples - first)
    anchors = np.rint(content["t"][:, 0] * HZ).astype(np.int64) - first
    columns = dict(zip(session.column_names, session.columns_at(anchors).T, strict=True))
    np.testing.assert_allclose(columns["cursor_x"], content["cursor_pos"][:, 0])
    np.testing.assert_allclose(columns["target_y"], content["target_pos"][:, 1])
    assert [columns[f"finger_{axis}"][7] for axis in "xyz"] == [-2.0, -3.0, 1.0]
    np.testing.assert_allclose(columns["cursor_vx"][1:], 30.0, rtol=0.02)
    np.testing.assert_allclose(columns["cursor_vy"][1:], -20.0, rtol=0.02)
    edges = anchors[[0, 200, 400]]
    assert session.trials["start"].tolist() == edges.tolist()
    assert session.trials["stop"].tolist() == [*edges[1:].tolist(), anchors[-1] + 1]


def test_six_finger_columns_have_angles_and_a_second_array_is_a_bank(tmp_path: Path) -> None:
    content, _ = variables(finger=6)
    content["chan_names"][2, 0] = "S1 001"
    session = open_reaching(write(tmp_path / "loco.mat", content))
    assert session.column_names[-3:] == ("finger_azimuth", "finger_elevation", "finger_roll")
    assert [electrode.bank for electrode in session.descriptor.electrodes] == ["M1", "M1", "S1"]


def test_other_files_are_told_apart_and_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other.mat", {"x": np.zeros((2, 2))})
    (tmp_path / "text.mat").write_text("x")
    assert not is_reaching(other)
    assert not is_reaching(tmp_path / "text.mat")
    with pytest.raises(SessionError, match="the file lacks 'spikes'"):
        open_reaching(other)
    content, _ = variables()
    content["cursor_pos"] = content["cursor_pos"][:-1]
    with pytest.raises(SessionError, match="cursor_pos: expected 500 rows like t"):
        open_reaching(write(tmp_path / "short.mat", content))
    content, _ = variables()
    content["chan_names"] = content["chan_names"][:2]
    with pytest.raises(SessionError, match="spikes: expected 2 channels like chan_names"):
        open_reaching(write(tmp_path / "names.mat", content))

"""NWB files as pynwb writes them when one follows its tutorials: a writer that knows nothing of ours."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

pynwb = pytest.importorskip("pynwb")
RATE_HZ = 30_000.0
START = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)


def blank() -> Any:
    """A file with nothing in it."""
    return pynwb.NWBFile(session_description="made", identifier="made", session_start_time=START)


def with_electrodes(n: int, names: Sequence[str] = (), groups: int = 1) -> Any:
    """A file with an electrodes table, as the extracellular tutorial makes it."""
    file = blank()
    device = file.create_device(name="array", description="a 96-channel array")
    if names:
        file.add_electrode_column(name="label", description="label of electrode")
    shanks = [
        file.create_electrode_group(name=f"shank{g}", description=f"shank {g}", device=device, location="M1")
        for g in range(groups)
    ]
    for channel in range(n):
        named = {"label": names[channel]} if names else {}
        file.add_electrode(group=shanks[channel * groups // n], location="M1", **named)
    return file


def add_voltage(file: Any, data: Any, name: str = "ElectricalSeries", **fields: Any) -> None:
    """Add an electrical series of all electrodes to `acquisition`."""
    from pynwb.ecephys import ElectricalSeries

    region = file.create_electrode_table_region(region=list(range(len(file.electrodes))), description="all electrodes")
    times = {} if "timestamps" in fields else {"starting_time": 0.0, "rate": RATE_HZ}
    file.add_acquisition(ElectricalSeries(name=name, data=data, electrodes=region, **(times | fields)))


def compressed(data: NDArray[Any]) -> Any:
    """Data in gzip-compressed chunks, as archives have it."""
    from pynwb import H5DataIO

    return H5DataIO(data, compression="gzip", compression_opts=4, chunks=True)


def write(file: Any, path: Path) -> Path:
    """Write a file."""
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def samples(n_samples: int = 3000, n_channels: int = 4, seed: int = 1) -> NDArray[np.int16]:
    """Random samples over the whole range of the converter."""
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**15), 2**15, (n_samples, n_channels)).astype(np.int16)


def broadband(path: Path, data: NDArray[np.int16], times_s: NDArray[np.float64] | None, **attributes: Any) -> Path:
    """A file in the published layout of the NWB 1.0 broadband recordings; nobody else's writer makes one here."""
    with h5py.File(path, "w") as file:
        group = file.create_group("acquisition/timeseries/broadband")
        stored = group.create_dataset("data", data=data, chunks=True, compression="gzip")
        stored.attrs["conversion"] = np.float32(3.05185e-07)
        stored.attrs["unit"] = np.bytes_("volt")
        group.attrs["ancestry"] = np.array([b"TimeSeries", b"ElectricalSeries"])
        group.attrs["neurodata_type"] = np.bytes_("TimeSeries")
        for name, value in attributes.items():
            group.attrs[name.replace("_", " ")] = value
        if times_s is not None:
            group.create_dataset("timestamps", data=times_s)
        file["general/extracellular_ephys/electrode_map"] = np.zeros((data.shape[1], 3))
        file["nwb_version"] = np.bytes_("NWB-1.0.6")
    return path

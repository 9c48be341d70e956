"""The formats: how each is recognised, which neo reader reads it, and what that reader does not say.

neo gives every format the same face, but not the same facts: who a spike channel is, in which bank an electrode lies,
which stream holds the array's own voltages, and whether samples were lost. Those are here, one entry per format.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.identities import bank_name

Reader = Any
"""A reader of `neo.rawio`; neo has no types."""
Ints = NDArray[np.int64]


class Place(NamedTuple):
    """Where in a neo file something is: block, segment within it, and stream."""

    block: int
    segment: int
    stream: int


class Clock(Protocol):
    """Numbers of samples, which may be read a slice at a time."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, at: Any) -> Any:
        """One of them, or a slice."""
        ...


class Flat:
    """Rows of a matrix one after the other, without reading the matrix: as a flattened view, had it contiguous rows."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self._rows = rows
        self._width = rows.shape[1]

    def __len__(self) -> int:
        return self._rows.size

    def __getitem__(self, at: int | slice) -> Any:
        if not isinstance(at, slice):
            return self._rows[divmod(at % len(self), self._width)]
        start, stop, _ = at.indices(len(self))
        first = start // self._width
        read = self._rows[first : -(-stop // self._width)].reshape(-1)
        return read[start - first * self._width : stop - first * self._width]


class Spikes(NamedTuple):
    """Spikes of one segment: seconds on the recording's clock, electrode index and unit, all `(n,)`."""

    times_s: NDArray[np.float64]
    electrodes: Ints
    units: Ints


Names = tuple[tuple[str, str], ...]
"""Identity and bank of each electrode, in channel order."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: Whose it is.
        make: Makes neo's reader for a file or folder; the header is not read yet.
        suffixes: Suffixes of its files, lower case.
        marks: Patterns of which a folder of this format matches one.
        neural: Pattern of streams that hold the array's own voltages, against `NAME [UNIT]`.
        names: Identity and bank of each channel of a stream, from neo's channel headers.
        electrodes: Electrodes of the spike channels, in channel order.
        spikes: Spikes of a segment.
        clock: The recorded number of each sample of a stream, `(n,)`, where the format numbers its samples.
        check: Raises `ValueError` where the file is shorter than it says, or gives sentences on what was left out.
    """

    name: str
    make: Callable[[Path], Reader]
    suffixes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    neural: str = r"^(?!.*SYNC).*\[uV\]$"
    names: Callable[[Reader, NDArray[np.void]], Names] | None = None
    electrodes: Callable[[Reader], Names] | None = None
    spikes: Callable[[Reader, Place], Spikes] | None = None
    clock: Callable[[Reader, Place], Clock | None] | None = None
    check: Callable[[Reader], list[str]] | None = None


def recognise(path: Path) -> Format | None:
    """The format of a file or folder by its name and by what the folder holds; None where it is none of these.

    Raises:
        SessionError: It is of a format that cannot be read here.
    """
    if path.is_dir():
        return next((format for format in FORMATS if any(_holds(path, mark) for mark in format.marks)), None)
    suffix = path.suffix.lower()
    if suffix == ".pl2":
        raise SessionError(f"{path}: expected .plx or .nwb: .pl2 is read by Plexon's Windows library alone; export it")
    return next((format for format in FORMATS if suffix in format.suffixes), None)


def _holds(folder: Path, mark: str) -> bool:
    return any(True for _ in folder.glob(mark.replace("NAME", _literal(folder.name))))


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _neo(reader: str, **arguments: Any) -> Reader:
    try:
        import neo.rawio
    except ImportError as error:
        raise SessionError(f"expected neo for this format: pip install 'cortexwire[io]' ({error})") from error
    return getattr(neo.rawio, reader)(**arguments)


def _blackrock(path: Path) -> Reader:
    # A file of continuous samples and one of events are sessions of their own: each is opened without the other, whose
    # damage or segments would else decide. neo finds no other file beside a name that does not exist.
    base, nothing = str(path.with_suffix("")), str(path.with_suffix(".none"))
    number = path.suffix.lower().removeprefix(".ns")
    if number.isdigit():
        return _neo("BlackrockRawIO", filename=base, nsx_to_load=[int(number)], load_nev=False, gap_tolerance_ms=0.0)
    return _neo("BlackrockRawIO", filename=base, nsx_override=nothing, nsx_to_load=[])


def _blackrock_electrodes(reader: Reader) -> Names:
    spec, headers = reader._nev_spec, reader._nev_ext_header[b"NEUEVWAV"]
    labels = reader._channel_labels[spec]() or {}
    found = []
    for header in headers[_blackrock_heard(reader)]:
        number = int(header["electrode_id"])
        label = labels.get(number, f"chan{number}")
        name = label.decode("latin_1").strip("\0 ") if isinstance(label, bytes) else str(label)
        found.append((name or f"chan{number}", _connector(header)))
    return tuple(found)


def _blackrock_names(reader: Reader, channels: NDArray[np.void]) -> Names:
    headers = {
        str(header["electrode_id"]): header
        for table in reader._nsx_ext_header.values()
        if "physical_connector" in (table.dtype.names or ())
        for header in table
    }
    return tuple(
        (str(channel["name"]).strip("\0 "), _connector(headers.get(str(channel["id"])))) for channel in channels
    )


def _blackrock_heard(reader: Reader) -> NDArray[np.bool_]:
    """Electrodes in banks with any spike at all, `(n,)`: a rig describes all of its inputs, plugged or not."""
    headers = reader._nev_ext_header[b"NEUEVWAV"]
    banks = headers["physical_connector"]
    heard = np.isin(
        banks, np.unique(banks[np.isin(headers["electrode_id"], reader.nev_data["Spikes"][0]["packet_id"])])
    )
    return heard if heard.any() else np.ones(len(headers), bool)


def _connector(header: Any) -> str:
    number = 0 if header is None else int(header["physical_connector"])
    return bank_name(number - 1) if number else ""


def _blackrock_spikes(reader: Reader, place: Place) -> Spikes:
    # neo's own access masks the whole file once per unit and, where there are several segments, rounds times.
    spikes, segments = reader.nev_data["Spikes"]
    spikes = spikes[segments == place.segment]
    numbers = reader._nev_ext_header[b"NEUEVWAV"]["electrode_id"][_blackrock_heard(reader)].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    at = np.minimum(np.searchsorted(numbers[order], spikes["packet_id"]), max(len(numbers) - 1, 0))
    known = numbers[order][at] == spikes["packet_id"] if len(numbers) else np.zeros(len(spikes), bool)
    times = spikes["timestamp"].astype(np.float64) / int(reader._nev_basic_header["timestamp_resolution"])
    return Spikes(times[known], order[at][known], spikes["unit_class_nb"].astype(np.int64)[known])


def _blackrock_check(reader: Reader) -> list[str]:
    if not reader._avail_files["nev"]:
        return []
    header = reader._nev_basic_header
    size = Path(f"{reader._filenames['nev']}.nev").stat().st_size
    left = (size - int(header["bytes_in_headers"])) % int(header["bytes_in_data_packets"])
    found = [f"the file ends inside a packet: its last {left} bytes are left out"] if left else []
    spikes = reader.nev_data["Spikes"][0]
    noise = int(np.count_nonzero(spikes["unit_class_nb"] == 255))
    unknown = ~np.isin(spikes["packet_id"], reader._nev_ext_header[b"NEUEVWAV"]["electrode_id"])
    if unknown.any():
        found.append(f"{np.count_nonzero(unknown)} spikes name an electrode without a header: they are left out")
    heard = _blackrock_heard(reader)
    if not heard.all():
        silent = sorted({_connector(row) for row in reader._nev_ext_header[b"NEUEVWAV"][~heard]})
        left_out = np.count_nonzero(~heard)
        found.append(f"nothing was detected on any input of bank {', '.join(silent)}: its {left_out} are left out")
    if noise:
        found.append(f"{noise} events are sorted as noise (unit 255): they are kept, under that number")
    return found


def _intan(path: Path) -> Reader:
    info = next((path / name for name in ("info.rhd", "info.rhs") if (path / name).is_file()), path)
    reader = _neo("IntanRawIO", filename=info)
    # It reads the clock of the whole file; gaps are found from the same clock, and only where its ends betray one.
    reader._assert_timestamp_continuity = lambda: None
    return reader


def _intan_names(_: Reader, channels: NDArray[np.void]) -> Names:
    native = [str(channel["id"]) for channel in channels]
    return tuple((name, name.partition("-")[0] if "-" in name else "") for name in native)


def _intan_clock(reader: Reader, place: Place) -> Clock | None:
    stamps = reader._raw_data["timestamp"]
    clock = Flat(np.atleast_2d((stamps[0] if isinstance(stamps, list) else stamps).T).T)
    return clock if len(clock) == reader.get_signal_size(place.block, place.segment, place.stream) else None


def _openephys_clock(reader: Reader, place: Place) -> NDArray[Any] | None:
    # Streams of auxiliary and synchronisation channels share the folder of the stream that they were split from.
    buffer = reader.header["signal_streams"][place.stream]["buffer_id"]
    info = reader._sig_streams[place.block][place.segment][int(buffer)]
    folder = Path(info["raw_filename"]).parent
    file = next((folder / n for n in ("sample_numbers.npy", "timestamps.npy") if (folder / n).is_file()), None)
    clock: NDArray[Any] | None = None if file is None else np.load(file, mmap_mode="r")
    return clock if clock is not None and clock.dtype.kind in "iu" else None


def _spikeglx_check(reader: Reader) -> list[str]:
    for info in reader.signals_info_list:
        stated, size = int(info["meta"].get("fileSizeBytes", 0)), Path(info["bin_file"]).stat().st_size
        if stated and stated != size:
            raise ValueError(f"{Path(info['bin_file']).name}: {stated} bytes stated in its .meta, the file has {size}")
    return []


def _spikeglx_names(_: Reader, channels: NDArray[np.void]) -> Names:
    return tuple((str(channel["name"]), str(channel["stream_id"]).partition(".")[0]) for channel in channels)


def _plexon_electrodes(reader: Reader) -> Names:
    return tuple((str(number), "") for number in sorted(reader._data_blocks[1]))


def _plexon_spikes(reader: Reader, place: Place) -> Spikes:
    index = {number: k for k, number in enumerate(sorted(reader._data_blocks[1]))}
    return _unit_by_unit(reader, place, [(index[number], unit) for number, unit in reader.internal_unit_ids])


def _tdt_electrodes(reader: Reader) -> Names:
    return tuple((f"{store}{channel}", "") for store, channel in _tdt_pairs(reader))


def _tdt_spikes(reader: Reader, place: Place) -> Spikes:
    index = {pair: k for k, pair in enumerate(_tdt_pairs(reader))}
    units = [reader.internal_unit_ids[k] for k in range(len(reader.internal_unit_ids))]
    return _unit_by_unit(reader, place, [(index[_text(store), channel], unit) for store, channel, unit in units])


def _tdt_pairs(reader: Reader) -> list[tuple[str, int]]:
    return sorted({(_text(store), int(channel)) for store, channel, _ in reader.internal_unit_ids.values()})


def _text(name: Any) -> str:
    return name.decode("latin_1") if isinstance(name, bytes) else str(name)


def _unit_by_unit(reader: Reader, place: Place, owners: list[tuple[int, int]]) -> Spikes:
    times, electrodes, units = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, (electrode, unit) in enumerate(owners):
        stamps = reader.get_spike_timestamps(place.block, place.segment, number)
        times.append(reader.rescale_spike_timestamp(stamps, "float64"))
        electrodes.append(np.full(len(stamps), electrode))
        units.append(np.full(len(stamps), int(unit)))
    return Spikes(np.concatenate(times), np.concatenate(electrodes), np.concatenate(units))


def _tdt(path: Path) -> Reader:
    block = next((file for file in sorted(path.iterdir()) if file.suffix.lower() == ".tsq"), None)
    return _neo("TdtRawIO", dirname=path if block is None else block)


def _spikegadgets_clock(reader: Reader, _: Place) -> NDArray[Any] | None:
    start = reader._timestamp_byte
    packets: NDArray[np.uint8] = reader._raw_memmap
    # A view of four bytes of each packet as one number, without reading the packets.
    return np.ndarray((len(packets),), "<u4", packets, start, (packets.strides[0],))


def _spikegadgets_check(reader: Reader) -> list[str]:
    packets = reader._raw_memmap
    left = Path(reader.filename).stat().st_size - packets.offset - packets.size
    return [f"the file ends inside a packet: its last {left} bytes are left out"] if left else []


FORMATS: Final = (
    Format(
        "Blackrock",
        _blackrock,
        suffixes=(".nev", *(f".ns{number}" for number in range(1, 7))),
        names=_blackrock_names,
        electrodes=_blackrock_electrodes,
        spikes=_blackrock_spikes,
        check=_blackrock_check,
    ),
    Format(
        "Intan",
        _intan,
        suffixes=(".rhd", ".rhs"),
        marks=("info.rhd", "info.rhs"),
        names=_intan_names,
        clock=_intan_clock,
    ),
    Format(
        "Open Ephys binary",
        lambda path: _neo("OpenEphysBinaryRawIO", dirname=str(path)),
        marks=(
            "structure.oebin",
            "recording*/structure.oebin",
            "experiment*/recording*/structure.oebin",
            "Record Node*/experiment*/recording*/structure.oebin",
        ),
        clock=_openephys_clock,
    ),
    Format(
        "SpikeGLX",
        lambda path: _neo("SpikeGLXRawIO", dirname=str(path)),
        marks=("*.ap.meta", "*.lf.meta", "*.nidq.meta", "*.obx*.meta", "*_imec*/*.meta"),
        names=_spikeglx_names,
        check=_spikeglx_check,
    ),
    Format(
        "Plexon",
        lambda path: _neo("PlexonRawIO", filename=str(path), progress_bar=False),
        suffixes=(".plx",),
        neural=r"^(WB|SPKC)",
        electrodes=_plexon_electrodes,
        spikes=_plexon_spikes,
    ),
    Format(
        "TDT",
        _tdt,
        marks=("*.[tT][sS][qQ]", "*/NAME_*.[tT][sS][qQ]"),
        neural="",
        electrodes=_tdt_electrodes,
        spikes=_tdt_spikes,
    ),
    Format(
        "SpikeGadgets",
        lambda path: _neo("SpikeGadgetsRawIO", filename=str(path)),
        suffixes=(".rec",),
        neural="^trodes",
        clock=_spikegadgets_clock,
    ),
)

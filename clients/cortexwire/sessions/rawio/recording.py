"""One recording as neo reads it: its streams, each with its scale and its stretches without a gap.

Two rules are made here. A stream's stretches are never joined: where the recorded sample numbers jump, or the format
says that it paused, a new one begins. And nothing that neo raises leaves: whatever it stumbles over is a
`SessionError` that names the file, what was done and what came.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.matrix import Array, BlockMatrix
from cortexwire.sessions.rawio.formats import Clock, Format, Ints, Names, Place, Reader, Spikes
from cortexwire.types import Rate

SPIKES: Final = "spikes"
"""Name of the stream of spike channels."""
_MICROVOLTS: Final = {"uV": 1.0, "µV": 1.0, "μV": 1.0, "mV": 1e3, "V": 1e6}
_MIDDLE: Final = 32768
_SCANNED: Final = 1 << 20
_MAX_32: Final = 2**32 - 1


@dataclass(frozen=True)
class Part:
    """A stretch without a gap.

    Attributes:
        block: neo's block.
        segment: neo's segment in it.
        first: Its first sample in that segment.
        n_samples: Its length.
        start_s: When it begins, on the recording's own clock.
    """

    block: int
    segment: int
    first: int
    n_samples: int
    start_s: float


@dataclass(frozen=True)
class Stream:
    """Channels that were sampled together, in one unit.

    Attributes:
        name: Its name.
        kind: What it holds.
        rate: Sample rate.
        index: neo's number of the stream; -1 for spikes.
        names: Identity and bank of each channel.
        parts: Its stretches.
        neural: Whether it holds the array's own voltages or spikes.
        unit: Unit of scaled values; empty where the file does not say.
        columns: Channels of neo's stream that belong to it; None for all.
        dtype: Type of the recorded values.
        gains: Scale of each channel, in `unit`.
        offsets: Offset of each channel, in `unit`.
    """

    name: str
    kind: Literal["wideband", "events"]
    rate: Rate
    index: int
    names: Names
    parts: tuple[Part, ...]
    neural: bool
    unit: str = ""
    columns: tuple[int, ...] | None = None
    dtype: str = ""
    gains: NDArray[np.float64] | None = None
    offsets: NDArray[np.float64] | None = None

    @property
    def seconds(self) -> float:
        """Length of all stretches together."""
        return sum(part.n_samples for part in self.parts) / self.rate.hz


@dataclass(frozen=True)
class Marks:
    """A channel of events or epochs: digital inputs, comments, stimulation."""

    name: str
    count: int


class RawRecording:
    """A file or folder of one format.

    Args:
        path: The file or folder.
        format: Its format.

    Attributes:
        notes: What neo warned of, and what was left out, one sentence each.
        streams: All streams, spikes last.

    Raises:
        SessionError: It is damaged, or is not what its name says.
    """

    def __init__(self, path: Path, format: Format) -> None:
        self.path = path
        self.format = format
        self.notes: list[str] = []
        with self._said("read its header"):
            self._reader: Reader = format.make(path)
            self._reader.parse_header()
            if format.check is not None:
                self.notes += format.check(self._reader)
            self.streams = (*self._signals(), *self._spike_stream())
        if not self.streams:
            raise SessionError(f"{path}: expected signals or spikes in this {format.name} recording, found none")

    def matrix(self, stream: Stream, part: Part) -> tuple[BlockMatrix, float, tuple[str, ...]]:
        """Samples of a stretch, lazy, microvolts per unit, and what had to be assumed.

        Values stay as they were recorded where one factor scales all of them: int16 as it is, uint16 around the middle
        of its range as int16. Where channels differ in scale, or have an offset, they become microvolts in float32.

        Raises:
            SessionError: The file ends before its last sample.
        """
        assert stream.gains is not None
        assert stream.offsets is not None
        per_unit = _MICROVOLTS.get(stream.unit)
        gains, offsets = stream.gains * (per_unit or 1.0), stream.offsets * (per_unit or 1.0)
        middle = stream.dtype == "uint16" and bool(np.allclose(offsets, -_MIDDLE * gains, rtol=1e-9))
        plain = bool((gains == gains[0]).all()) and (middle or not offsets.any()) and gains[0] > 0
        notes: list[str] = []
        if per_unit is None:
            notes.append(f"{stream.name}: the file gives no unit of voltage: 1.0 uV per bit is assumed")
        if per_unit is not None and not plain:
            scales = ", ".join(f"{scale:g}" for scale in np.unique(gains)[:8])
            notes.append(
                f"{stream.name}: channels differ in scale or offset ({scales} uV per bit): given as float32 microvolts"
            )
        columns = None if stream.columns is None else list(stream.columns)

        def read(start: int, stop: int) -> Array:
            with self._said(f"read samples {part.first + start} to {part.first + stop} of {stream.name}"):
                raw = self._reader.get_analogsignal_chunk(
                    part.block, part.segment, part.first + start, part.first + stop, stream.index, columns
                )
                if raw.shape != (stop - start, len(stream.names)):
                    raise ValueError(f"expected {(stop - start, len(stream.names))} values, got {raw.shape}")
                return convert(np.asarray(raw))

        def convert(raw: Array) -> Array:
            if plain or per_unit is None:
                if middle:
                    return (raw ^ _MIDDLE).view(np.int16)
                return np.array(raw, raw.dtype if raw.dtype == np.int16 else np.float32)
            return raw.astype(np.float32) * gains.astype(np.float32) + offsets.astype(np.float32)

        # What a truncated file lacks is found now, not in the middle of a replay.
        read(part.n_samples - 1, part.n_samples)
        scale = float(gains[0]) if plain and per_unit is not None else 1.0
        return BlockMatrix(part.n_samples, len(stream.names), read), scale, tuple(notes)

    def spikes(self, part: Part) -> Spikes:
        """Spikes of a stretch.

        Raises:
            SessionError: They cannot be read.
        """
        assert self.format.spikes is not None
        with self._said("read its spikes"):
            return self.format.spikes(self._reader, Place(part.block, part.segment, -1))

    def marks(self) -> tuple[Marks, ...]:
        """Channels of events with how many there are in all segments; those without any are left out.

        Raises:
            SessionError: They cannot be read.
        """
        with self._said("count its events"):
            channels = self._reader.header["event_channels"]
            counts = [
                sum(int(self._reader.event_count(*place, number)) for place in self._places())
                for number in range(len(channels))
            ]
        return tuple(Marks(str(channel["name"]), n) for channel, n in zip(channels, counts, strict=True) if n)

    def _signals(self) -> Iterator[Stream]:
        header = self._reader.header
        for index, stream in enumerate(header["signal_streams"]):
            channels = header["signal_channels"]
            channels = channels[channels["stream_id"] == stream["id"]]
            if not len(channels):
                continue
            rate = exact_rate(float(channels["sampling_rate"][0]))
            parts = tuple(self._parts(index, rate))
            # Electrodes in microvolts and analog inputs in millivolts are no one signal, though one file holds both.
            units = list(dict.fromkeys(str(unit).strip("\0 ") for unit in channels["units"]))
            for unit in units:
                of_unit = np.flatnonzero([str(other).strip("\0 ") == unit for other in channels["units"]])
                name = str(stream["name"] or stream["id"]) + (f" {unit}" if len(units) > 1 else "")
                mine = channels[of_unit]
                yield Stream(
                    name,
                    "wideband",
                    rate,
                    index,
                    _unique(self._names(mine)),
                    parts,
                    _matches(self.format.neural, f"{name} [{unit}]"),
                    unit,
                    tuple(of_unit.tolist()) if len(units) > 1 else None,
                    str(mine["dtype"][0]),
                    mine["gain"].astype(np.float64),
                    mine["offset"].astype(np.float64),
                )

    def _names(self, channels: NDArray[np.void]) -> Names:
        if self.format.names is not None:
            return self.format.names(self._reader, channels)
        return tuple((str(channel["name"]), "") for channel in channels)

    def _places(self) -> Iterator[tuple[int, int]]:
        for block in range(self._reader.block_count()):
            for segment in range(self._reader.segment_count(block)):
                yield block, segment

    def _parts(self, index: int, rate: Rate) -> Iterator[Part]:
        for block, segment in self._places():
            size = int(self._reader.get_signal_size(block, segment, index))
            start_s = float(self._reader.get_signal_t_start(block, segment, index))
            clock = self.format.clock(self._reader, Place(block, segment, index)) if self.format.clock else None
            if clock is not None and len(clock) != size:
                raise ValueError(f"expected as many samples as sample numbers, {len(clock)}, got {size}")
            for first, stop in [(0, size)] if clock is None else _runs(clock):
                if stop > first:
                    begin = start_s if clock is None else (int(clock[first]) - int(clock[0])) / rate.hz + start_s
                    yield Part(block, segment, first, stop - first, begin)

    def _spike_stream(self) -> Iterator[Stream]:
        channels = self._reader.header["spike_channels"]
        if not len(channels) or self.format.electrodes is None:
            return
        rate = exact_rate(float(max(channels["wf_sampling_rate"])))
        parts = []
        for block, segment in self._places():
            start_s = float(self._reader.segment_t_start(block, segment))
            stop_s = float(self._reader.segment_t_stop(block, segment))
            # Times count from the clock's zero, save where the clock ran long before the recording.
            begin = 0.0 if 0 <= start_s <= MAX_LEAD_S and segment == 0 else start_s
            parts.append(Part(block, segment, 0, round((stop_s - begin) * rate.hz) + 1, begin))
        names = _unique(self.format.electrodes(self._reader))
        yield Stream(SPIKES, "events", rate, -1, names, tuple(parts), neural=True)

    @contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        """Turn whatever neo raises into a `SessionError`, and what it warns of into notes."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        except SessionError as error:
            raise SessionError(f"{self.path}: {error}") from error
        except Exception as error:
            expected = f"expected a whole {self.format.name} recording; could not {doing}"
            raise SessionError(f"{self.path}: {expected}: {type(error).__name__}: {_short(error)}") from error
        finally:
            self._close()
        known = (UserWarning, RuntimeWarning)
        found = dict.fromkeys(_short(w.message) for w in caught if issubclass(w.category, known))
        self.notes += [text for text in found if text not in self.notes]

    def _close(self) -> None:
        """Close what neo's reader of Blackrock files leaves open; it opens them again when it reads."""
        files: dict[Any, Any] = getattr(getattr(self, "_reader", None), "_nsx_fids", {})
        while files:
            files.popitem()[1].close()


MAX_LEAD_S: Final = 60.0
"""How long before its first event a recording of spikes may have begun."""


def exact_rate(hz: float) -> Rate:
    """The rate of a decimal number exactly, or the nearest rational that packets can carry."""
    exact = Fraction(str(hz))
    if exact.numerator > _MAX_32 or exact.denominator > _MAX_32:
        exact = exact.limit_denominator(int(_MAX_32 / hz))
    return Rate.from_hz(exact)


def _runs(clock: Clock) -> Sequence[tuple[int, int]]:
    """Stretches `[first, stop)` in which the sample numbers rise by one."""
    size = len(clock)
    if not size or int(clock[-1]) - int(clock[0]) == size - 1:
        return [(0, size)]
    breaks: list[Ints] = []
    for start in range(0, size - 1, _SCANNED):
        numbers = np.asarray(clock[start : start + _SCANNED + 1]).astype(np.int64)
        breaks.append(np.flatnonzero(np.diff(numbers) != 1) + start + 1)
    edges = np.concatenate([[0], *breaks, [size]]).tolist()
    return list(pairwise(edges))


def _unique(names: Names) -> Names:
    """Identities as they are, or numbered where one comes twice."""
    if len({name for name, _ in names}) == len(names):
        return names
    return tuple((f"{name}-{number}", bank) for number, (name, bank) in enumerate(names))


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _short(error: Any) -> str:
    return " ".join(str(error).split())[:300]

"""One stream of a log as a session: sample 0 is its first sample, and its packets are read when they are asked for.

Where samples are missing there is a gap. Nothing is put in its place: a range that touches one is refused by name,
`gaps` says where they are, and `session_packets` sends what is between them, as the rig did.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import PacketError, SessionError
from cortexwire.sessions.grid import RowGrid, row_width
from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.sessions.log.log import Log, log_folder, open_log
from cortexwire.sessions.log.streams import Stream, unpack_where
from cortexwire.sessions.log.survey import Asides, Survey, survey_log, trials_of
from cortexwire.sessions.session import DEFAULT_COLUMN_MS, SPIKE_DTYPE, TRIAL_DTYPE, Kind, Spikes, Trials
from cortexwire.types import Counts, Rate, Raw
from cortexwire.wire import Descriptor, MarkerCode, Packet, decode_packet
from cortexwire.wire.codes import DType
from cortexwire.wire.codes import Kind as PacketKind

_KINDS: Final[dict[PacketKind, Kind]] = {
    PacketKind.WIDEBAND: "wideband",
    PacketKind.EVENTS: "events",
    PacketKind.COUNTS: "counts",
}
_APART: Final = 3.5
"""Column rows farther apart than so many usual distances are not joined."""
_TRIAL_CODES: Final = (MarkerCode.TRIAL_START, MarkerCode.TRIAL_END)
_MOST_NAMED: Final = 5
_LEAST_S: Final = 0.01
"""A shorter stream is what a rig says of itself before it begins."""


class LogSession:
    """A `Session` read from a log.

    Attributes:
        name: What it is called: the recording's name, with `#2` where the log holds several streams.
        stream: The stream.
        first_sample: Sample index, in its epoch, of sample 0.
        gaps: Samples that are not there, `[start, stop)` each, `(n, 2)`, in order.
        problems: What had to be assumed, and what is missing.

    Args:
        log: The log.
        survey: What it holds.
        number: Which of its streams, from 0.
    """

    def __init__(self, log: Log, survey: Survey, number: int) -> None:
        stream = survey.streams[number]
        self._log = log
        self.stream = stream
        self.name = log.name if len(survey.streams) == 1 else f"{log.name}#{number + 1}"
        self.first_sample = stream.first
        self.kind: Kind = _KINDS[stream.id.kind]
        self.rate: Rate = stream.id.rate
        self.n_channels = stream.id.n_channels
        self.n_samples = stream.stop - stream.first
        self.uv_per_bit = stream.id.uv_per_bit
        self.gaps = np.array([hole[:2] for hole in stream.holes], np.int64).reshape(-1, 2) - stream.first
        pieces = np.frombuffer(stream.pieces, np.int64).reshape(-1, 3)
        pieces = pieces[np.argsort(pieces[:, 0], kind="stable")]
        self._starts, self._stops = pieces[:, 0] - stream.first, pieces[:, 1] - stream.first
        self._where = np.ascontiguousarray(pieces[:, 2])
        self._packet: tuple[int, Packet] | None = None
        asides = survey.beside(stream)
        self.descriptor = _descriptor(log.name, stream, asides)
        self._asides = asides
        trials, alone = trials_of(asides.marks)
        inside = [(a - stream.first, b - stream.first) for a, b in trials if stream.first <= a and b <= stream.stop]
        self.trials: Trials = np.array(inside, TRIAL_DTYPE)
        self.problems = tuple(_problems(log, survey, number, alone + len(trials) - len(inside)))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns; none where no row came."""
        return self.descriptor.columns

    def wideband(self, start: int, stop: int) -> Raw:
        """Samples `[start, stop)`, as `Session.wideband`.

        Raises:
            SessionError: The range leaves the recording or touches a gap, or the recording is of another kind.
        """
        self._check("wideband", start, stop)
        dtype = "<i2" if self.stream.id.dtype == DType.INT16 else "<f4"
        samples: NDArray[Any] = np.empty((stop - start, self.n_channels), dtype)
        for first, last, packet in self._between(start, stop):
            at = packet.sample_index - self.first_sample
            samples[first - start : last - start] = packet.data[first - at : last - at]
        samples.flags.writeable = False
        return samples

    def events(self, start: int, stop: int) -> Spikes:
        """Events in `[start, stop)`, as `Session.events`.

        Raises:
            SessionError: As `wideband`.
        """
        self._check("events", start, stop)
        parts = []
        for first, last, packet in self._between(start, stop):
            sample = packet.sample_index - self.first_sample + packet.data["sample_offset"].astype(np.int64)
            inside = (sample >= first) & (sample < last)
            rows = np.empty(np.count_nonzero(inside), SPIKE_DTYPE)
            rows["sample"] = sample[inside]
            rows["channel"], rows["unit"] = packet.data["channel"][inside], packet.data["unit"][inside]
            parts.append(rows)
        spikes: Spikes = np.concatenate(parts) if parts else np.zeros(0, SPIKE_DTYPE)
        return spikes[np.lexsort((spikes["unit"], spikes["channel"], spikes["sample"]))]

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Recorded bins that begin in `[start, stop)`, as `Session.counts`.

        Raises:
            SessionError: As `wideband`; or a recorded bin is there in part only.
        """
        self._check("counts", start, stop)
        low, high = np.searchsorted(self._starts, (start, stop))
        counts: Counts = np.empty((high - low, self.n_channels), np.uint16)
        for row, piece in enumerate(range(low, high)):
            packet = self._read(piece)
            if (packet.sample_index, packet.end_sample) != self._at(piece):
                raise SessionError(
                    f"session {self.name!r}: expected whole recorded bins, got a part of {self._at(piece)}"
                )
            counts[row] = packet.data
        edges = np.append(self._starts[low:high], self._stops[high - 1] if high > low else start)
        return edges, counts

    def column_rows(
        self, start: int, stop: int, column_ms: float = DEFAULT_COLUMN_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Column rows in `[start, stop)`, as `Session.column_rows`."""
        grid = RowGrid(self.rate, max(row_width(column_ms), 1000 / self.rate.fraction))
        samples = grid.edges(np.arange(grid.row_of(start) + 1, grid.row_of(stop) + 1)) - 1
        values = self.columns_at(samples)
        defined = ~np.isnan(values).all(axis=1)
        return samples[defined], values[defined].astype(np.float32)

    def columns_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Columns at any samples, as `Session.columns_at`: as sent where a row was, else on a line between two rows."""
        if self._kinematics is None:
            return np.full((len(samples), len(self.column_names)), np.nan)
        return self._kinematics.at(np.asarray(samples, np.int64))

    @cached_property
    def _kinematics(self) -> Kinematics | None:
        names = self.column_names
        rows = [(samples, values) for samples, values in self._asides.rows if values.shape[1] == len(names)]
        if not rows:
            return None
        anchors, first = np.unique(np.concatenate([samples for samples, _ in rows]), return_index=True)
        values = np.concatenate([values for _, values in rows])[first].astype(np.float64)
        anchors = anchors - self.first_sample
        steps = np.diff(anchors)
        usual = float(np.median(steps)) if len(steps) else 1.0
        stretch = np.concatenate(([0], np.cumsum(steps > _APART * usual)))
        columns = [Column(name, number, "linear") for number, name in enumerate(names)]
        return Kinematics(columns, Rows(anchors, anchors, anchors + 1, stretch), values, self.rate)

    def _between(self, start: int, stop: int) -> Iterator[tuple[int, int, Packet]]:
        """Pieces in `[start, stop)`: first sample, one past the last, and the packet."""
        low = int(np.searchsorted(self._stops, start, "right"))
        high = int(np.searchsorted(self._starts, stop))
        for piece in range(low, high):
            packet = self._read(piece)
            yield max(start, int(self._starts[piece])), min(stop, int(self._stops[piece])), packet

    def _read(self, piece: int) -> Packet:
        where = int(self._where[piece])
        if self._packet is None or self._packet[0] != where:
            segment, at = unpack_where(where)
            try:
                self._packet = where, decode_packet(bytes(self._log.read(segment, at)))
            except PacketError as error:
                path = self._log.segments[segment].path
                raise SessionError(f"{path} at byte {at}: {error}") from error
        return self._packet[1]

    def _at(self, piece: int) -> tuple[int, int]:
        return int(self._starts[piece]) + self.first_sample, int(self._stops[piece]) + self.first_sample

    def _check(self, kind: Kind, start: int, stop: int) -> None:
        if kind != self.kind:
            raise SessionError(f"session {self.name!r}: expected a recording of {kind}, got {self.kind}")
        if not 0 <= start <= stop <= self.n_samples:
            raise SessionError(
                f"session {self.name!r}: expected a range within [0, {self.n_samples}), got [{start}, {stop})"
            )
        if len(self.gaps):
            first = int(np.searchsorted(self.gaps[:, 1], start, "right"))
            if first < len(self.gaps) and self.gaps[first, 0] < stop:
                a, b = self.gaps[first].tolist()
                raise SessionError(
                    f"session {self.name!r}: samples [{a}, {b}) are missing in the recording; "
                    f"expected a range that leaves them out, got [{start}, {stop})"
                )


def _descriptor(name: str, stream: Stream, asides: Asides) -> Descriptor:
    """The stream's own descriptor, else one that says no more than its packets."""
    return asides.descriptors.get(stream.descriptor_hash) or Descriptor(name, uv_per_bit=stream.id.uv_per_bit)


def _problems(log: Log, survey: Survey, number: int, odd_marks: int) -> Iterator[str]:
    stream = survey.streams[number]
    if sum(_lasts(each) for each in survey.streams) > 1 or not _lasts(stream):
        for other, each in enumerate(survey.streams):
            seconds = (each.stop - each.first) / each.id.rate.hz
            what = f"{each.id.kind.name.lower()}, {each.id.n_channels} channels, {seconds:.2f} s"
            epoch = f"epoch {each.id.epoch:016x}.{each.restart}"
            which = "which is read" if other == number else f"to read it name {log.folder}#{other + 1}"
            yield f"stream {other + 1} of {len(survey.streams)}: {epoch}, {what}; {which}"
    for holes, why in (
        ([hole for hole in stream.holes if hole.recorded], "never came"),
        ([hole for hole in stream.holes if not hole.recorded], "are missing in the recording"),
    ):
        if holes:
            few = ", ".join(
                f"[{hole.start - stream.first}, {hole.stop - stream.first})" for hole in holes[:_MOST_NAMED]
            )
            more = f" and {len(holes) - _MOST_NAMED} more" if len(holes) > _MOST_NAMED else ""
            count = sum(hole.stop - hole.start for hole in holes)
            yield f"{count} samples {why}, in {len(holes)} gap(s), which are left out: {few}{more}"
    if stream.descriptor_hash and stream.descriptor_hash not in survey.beside(stream).descriptors:
        yield "the rig named a descriptor that is not in the log: electrodes have no identities"
    if odd_marks:
        yield f"{odd_marks} trial marker(s) without a partner within the recording are left out"
    others = sum(code not in _TRIAL_CODES for _, code, _ in survey.beside(stream).marks)
    if others:
        yield f"{others} marker(s) that are not trials are left out; `replay` of the log sends them"
    if survey.losses:
        yield f"the recorder lost records {survey.losses} time(s); `cortexwire log verify` says which"
    wrong = [fault for fault in survey.faults if not fault.harmless]
    if wrong:
        yield f"the log has {len(wrong)} fault(s), the first: {wrong[0]}; see `cortexwire log verify`"


def _lasts(stream: Stream) -> bool:
    """Whether there is anything in a stream to speak of."""
    return stream.stop - stream.first >= _LEAST_S * stream.id.rate.hz


def log_session(path: str | Path, progress: Callable[[float], Any] = lambda _: None) -> LogSession:
    """Open a stream of a log as a session.

    Args:
        path: The log's folder; `FOLDER#2` for the second of its streams; without a number the longest.
        progress: Told the share that is done.

    Raises:
        SessionError: There is no log, no signal in it, or no stream of that number.
    """
    folder, number = log_folder(path)
    log = open_log(folder)
    survey = survey_log(log, progress)
    streams = survey.streams
    if not streams:
        raise SessionError(f"{folder}: expected a log with packets of signal, got none")
    if number is None:
        number = 1 + max(range(len(streams)), key=lambda each: streams[each].n_samples)
    if not 1 <= number <= len(streams):
        raise SessionError(f"{folder}: expected one of its {len(streams)} stream(s), from 1, got #{number}")
    return LogSession(log, survey, number - 1)

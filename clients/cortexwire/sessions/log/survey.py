"""A log's streams with all that goes beside their signal: descriptors, columns, markers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import PacketError, SessionError
from cortexwire.sessions.log.faults import Fault
from cortexwire.sessions.log.log import Log
from cortexwire.sessions.log.streams import SIGNAL, Stream, Streams
from cortexwire.sessions.log.walk import LogRecord
from cortexwire.wire import HEADER_BYTES, Descriptor, Kind, MarkerCode, RecordKind, decode_packet

_ASIDES = frozenset((Kind.COLUMNS, Kind.MARKERS, Kind.DESCRIPTOR))


@dataclass
class Asides:
    """What came beside the signal of one stream.

    Attributes:
        descriptors: By their hash.
        rows: Column rows: samples `(n,)` and values `(n, n_columns)` of each packet.
        marks: Markers: sample, code, value.
    """

    descriptors: dict[int, Descriptor] = field(default_factory=dict)
    rows: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = field(default_factory=list)
    marks: list[tuple[int, int, float]] = field(default_factory=list)


@dataclass
class Survey:
    """What a log holds.

    Attributes:
        streams: Its streams.
        asides: By source, epoch and restart.
        faults: What is wrong with it, as far as the headers of its records tell.
        losses: `LOSS` records.
        malformed: Frames that are no packets.
    """

    streams: list[Stream]
    asides: dict[tuple[int, int, int], Asides]
    faults: list[Fault]
    losses: int
    malformed: int

    def beside(self, stream: Stream) -> Asides:
        """What came beside a stream."""
        return self.asides.get((stream.id.source, stream.id.epoch, stream.restart)) or Asides()


def survey_log(log: Log, progress: Callable[[float], Any] = lambda _: None) -> Survey:
    """Go through the headers of a log's records; payloads of signal packets are not read.

    Args:
        log: The log.
        progress: Told the share that is done.
    """
    streams = Streams()
    found = Survey(streams.found, {}, list(log.faults), 0, 0)
    for item in log.walk(head_bytes=HEADER_BYTES):
        if isinstance(item, Fault):
            found.faults.append(item)
            streams.breaks += item.breaks
        elif item.kind is RecordKind.LOSS:
            found.losses += 1
            streams.breaks += 1
        elif item.kind is RecordKind.PACKET:
            head = streams.head(item.payload, item.payload_bytes)
            if head is None:
                continue
            if head.kind in SIGNAL:
                streams.take(head, item.segment, item.at)
            elif head.kind in _ASIDES:
                key = head.source, head.epoch, streams.restart_of(head.source, head.epoch)
                _put_aside(log, item, found.asides.setdefault(key, Asides()))
        elif item.kind is RecordKind.START:
            progress(item.segment / len(log.segments))
    found.malformed = streams.malformed
    return found


def _put_aside(log: Log, record: LogRecord, asides: Asides) -> None:
    try:
        # A copy, since arrays are views and would keep whole windows of the file.
        packet = decode_packet(bytes(log.read(record.segment, record.at)))
    except (PacketError, SessionError):
        return
    if packet.kind is Kind.DESCRIPTOR:
        asides.descriptors[packet.descriptor_hash] = packet.data
    elif packet.kind is Kind.COLUMNS:
        if len(packet.data.offsets):
            samples = packet.sample_index + packet.data.offsets.astype(np.int64)
            asides.rows.append((samples, packet.data.values))
    else:
        for offset, code, value in packet.data.tolist():
            asides.marks.append((packet.sample_index + offset, code, value))


def trials_of(marks: list[tuple[int, int, float]]) -> tuple[list[tuple[int, int]], int]:
    """Pair trial markers: a start is at the first sample of a trial, an end at its last.

    Returns:
        Trials `(start, stop)` in order, and how many markers found no partner.
    """
    open_at: dict[float | None, list[int]] = {}
    trials, alone = [], 0
    for sample, code, value in sorted(marks, key=lambda mark: (mark[0], mark[1])):
        number = None if np.isnan(value) else value
        if code == MarkerCode.TRIAL_START:
            open_at.setdefault(number, []).append(sample)
        elif code == MarkerCode.TRIAL_END:
            begun = open_at.get(number)
            if begun:
                trials.append((begun.pop(0), sample + 1))
            else:
                alone += 1
    return sorted(trials), alone + sum(len(begun) for begun in open_at.values())

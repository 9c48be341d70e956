"""All that can be said of a log without decoding it: is every record whole and there, and which samples are not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cortexwire.errors import PacketError
from cortexwire.sessions.log.faults import Fault, FaultKind
from cortexwire.sessions.log.log import Log
from cortexwire.sessions.log.streams import SIGNAL, Stream, Streams
from cortexwire.sessions.log.walk import LogRecord
from cortexwire.wire import Applied, Loss, RecordKind, Start, decode_journal, decode_output

_JOURNAL: dict[RecordKind, type[Start] | type[Applied]] = {RecordKind.START: Start, RecordKind.APPLIED: Applied}


@dataclass
class SegmentReport:
    """One segment.

    Attributes:
        name: Its file.
        n_bytes: Its length.
        records: Whole records that count.
        first: Number of the first of them, -1 for none.
        last: Number of the last.
        faults: What is wrong in it.
    """

    name: str
    n_bytes: int
    records: int = 0
    first: int = -1
    last: int = -1
    faults: int = 0


@dataclass
class Verification:
    """What was found.

    Attributes:
        segments: By file.
        kinds: Whole records by kind.
        faults: What is wrong.
        losses: What the recorder says it lost: the record's number, and the loss.
        streams: The streams, with what is missing of them.
        malformed: Recorded frames that are no packets, which is the rig's affair.
        starts: Pipelines that began: the record's number, and what it began with.
        from_start: Whether the first record is such a beginning.
        first_ns: Time of the first record, None without any.
        last_ns: Time of the last.
        bytes_read: How much was read.
    """

    segments: list[SegmentReport]
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    losses: list[tuple[int, Loss]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    malformed: int = 0
    starts: list[tuple[int, Start]] = field(default_factory=list)
    from_start: bool = False
    first_ns: int | None = None
    last_ns: int | None = None
    bytes_read: int = 0

    @property
    def records(self) -> int:
        """Whole records that count."""
        return sum(self.kinds.values())

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong and nothing is missing."""
        return not self.losses and all(fault.harmless for fault in self.faults)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "whole": self.whole,
            "segments": [vars(segment) for segment in self.segments],
            "records": dict(self.kinds),
            "faults": [
                {name: getattr(fault, name) for name in fault.__struct_fields__} | {"kind": str(fault.kind)}
                for fault in self.faults
            ],
            "losses": [{"index": index, **_plain_loss(loss)} for index, loss in self.losses],
            "streams": [plain_stream(stream) for stream in self.streams],
            "malformed_frames": self.malformed,
            "starts": [
                {"index": index, "bundle": start.bundle, "bundle_sha256": start.bundle_sha256, "pid": start.pid}
                for index, start in self.starts
            ],
            "from_start": self.from_start,
            "seconds": 0.0 if self.first_ns is None or self.last_ns is None else (self.last_ns - self.first_ns) / 1e9,
            "bytes": self.bytes_read,
        }


def _plain_loss(loss: Loss) -> dict[str, Any]:
    spans = [{"epoch": span.epoch, "start": span.start, "stop": span.stop} for span in loss.spans]
    return {"records": loss.records, "why": loss.why, "packets": loss.packets, "samples": loss.samples, "spans": spans}


def plain_stream(stream: Stream) -> dict[str, Any]:
    """A stream as plain values."""
    return {
        "source": stream.id.source,
        "epoch": f"{stream.id.epoch:016x}",
        "restart": stream.restart,
        "signal": stream.id.kind.name.lower(),
        "channels": stream.id.n_channels,
        "rate_hz": stream.id.rate.hz,
        "first_sample": stream.first,
        "stop_sample": stream.stop,
        "samples": stream.n_samples,
        "never_came": stream.never_came,
        "not_recorded": stream.not_recorded,
        "packets": stream.packets,
        "repeated_packets": stream.repeats,
        "holes": [[hole.start, hole.stop, hole.recorded] for hole in stream.holes],
    }


def verify_log(log: Log, progress: Callable[[float], Any] = lambda _: None) -> Verification:
    """Read all of a log and check every checksum.

    Args:
        log: The log, which is only read.
        progress: Told the share that is done.
    """
    found = Verification([SegmentReport(segment.name, segment.size) for segment in log.segments])
    streams = Streams(keep=False)
    before = [0]
    for segment in log.segments:
        before.append(before[-1] + segment.size)
    found.faults += log.faults
    by_name = {report.name: report for report in found.segments}
    step = max(1, log.n_bytes // 200)
    told = 0
    for item in log.walk():
        if isinstance(item, Fault):
            found.faults.append(item)
            by_name[item.segment].faults += 1
            streams.breaks += item.breaks
            continue
        _take(item, found, streams, log)
        done = before[item.segment] + item.at
        if done - told >= step:
            told = done
            progress(done / log.n_bytes)
    found.streams, found.malformed, found.bytes_read = streams.found, streams.malformed, log.n_bytes
    progress(1.0)
    return found


def _take(record: LogRecord, found: Verification, streams: Streams, log: Log) -> None:
    segment = found.segments[record.segment]
    if segment.first < 0:
        segment.first = record.index
    segment.last = record.index
    segment.records += 1
    if not found.kinds:
        found.from_start = record.kind is RecordKind.START
    found.kinds[record.kind.name.lower()] += 1
    if found.first_ns is None:
        found.first_ns = record.t_ns
    found.last_ns = record.t_ns
    try:
        _look_inside(record, found, streams)
    except PacketError as error:
        text = f"record {record.index}: {error}"
        name = log.segments[record.segment].name
        found.faults.append(Fault(FaultKind.CONTENT, name, record.at, record.payload_bytes, record.index, 0, text))
        segment.faults += 1


def _look_inside(record: LogRecord, found: Verification, streams: Streams) -> None:
    """Check what the engine or the recorder wrote themselves; packets are as they came, whatever that is."""
    match record.kind:
        case RecordKind.PACKET:
            head = streams.head(record.payload, record.payload_bytes)
            if head is not None and head.kind in SIGNAL:
                streams.take(head, record.segment, record.at)
        case RecordKind.OUTPUT:
            decode_output(record.payload)
        case RecordKind.START:
            found.starts.append((record.index, decode_journal(record.payload, Start)))
        case RecordKind.APPLIED:
            decode_journal(record.payload, Applied)
        case RecordKind.LOSS:
            found.losses.append((record.index, decode_journal(record.payload, Loss)))
            streams.breaks += 1
        case _:
            pass

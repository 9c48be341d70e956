"""A recording read with nothing but the wire format, so that the recorder's proofs do not lean on its own reader.

`check_log` is the one place where the evidence looks into a recording: what it holds, and what is wrong with it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cortexwire.bench.live import RunError
from cortexwire.errors import PacketError
from cortexwire.wire import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_SUFFIX,
    Kind,
    Loss,
    Record,
    RecordKind,
    SegmentHeader,
    decode_journal,
    decode_packet,
    decode_record,
    decode_segment_header,
)


@dataclass
class Checked:
    """What a recording holds.

    Attributes:
        kinds: Whole records that count, by kind.
        first_index: Number of the first record.
        next_index: Number behind the last.
        samples: Samples in the packets of signal.
        start_sample: The first of them; a rig may have sent others before anybody listened.
        stop_sample: One past the last of them.
        losses: What the recorder says it lost.
        torn: Segments with a tail that is no whole record: name and bytes.
        problems: What is wrong beyond that: damage or gaps inside.
        bytes: Length of all segments.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    first_index: int = 0
    next_index: int = 0
    samples: int = 0
    start_sample: int | None = None
    stop_sample: int = 0
    losses: list[Loss] = field(default_factory=list)
    torn: list[tuple[str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bytes: int = 0

    def describe(self) -> dict[str, Any]:
        """Put it into plain values."""
        return {
            "records": dict(self.kinds),
            "next_index": self.next_index,
            "lost_records": sum(loss.records for loss in self.losses),
            "lost_samples": sum(loss.samples or 0 for loss in self.losses),
            "torn": self.torn,
            "problems": self.problems,
            "bytes": self.bytes,
        }


def check_log(folder: Path) -> Checked:
    """Read every record of a recording, checksums included."""
    paths = sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))
    if not paths:
        raise RunError(f"expected segments in {folder}, got none")
    headers = [_header(path) for path in paths]
    found = Checked(first_index=headers[0].first_index, next_index=headers[0].first_index)
    for number, (path, header) in enumerate(zip(paths, headers, strict=True)):
        if header.first_index != found.next_index:
            found.problems.append(f"{path.name}: expected record {found.next_index}, got {header.first_index}")
        found.next_index = header.first_index
        limit = headers[number + 1].first_index if number + 1 < len(headers) else None
        size = path.stat().st_size
        found.bytes += size
        end = SEGMENT_HEADER_BYTES
        for record in _records(path):
            if found.next_index == limit:
                break
            if record.index != found.next_index & 0xFFFFFFFF:
                found.problems.append(f"{path.name}: expected record {found.next_index}, got {record.index}")
            _take(found, record)
            end = record.end
        if end < size:
            found.torn.append((path.name, size - end))
            if limit is not None and found.next_index != limit:
                found.problems.append(f"{path.name}: damaged at byte {end}")
    return found


def _header(path: Path) -> SegmentHeader:
    with path.open("rb") as file:
        return decode_segment_header(file.read(SEGMENT_HEADER_BYTES))


def _records(path: Path) -> Iterator[Record]:
    content, at = path.read_bytes(), SEGMENT_HEADER_BYTES
    while at < len(content):
        try:
            record = decode_record(content, at)
        except PacketError:
            return
        at = record.end
        yield record


def _take(found: Checked, record: Record) -> None:
    found.kinds[record.kind.name.lower()] += 1
    if record.kind is RecordKind.PACKET:
        samples, stop = _samples(record.payload)
        found.samples += samples
        found.stop_sample = max(found.stop_sample, stop)
        if samples and found.start_sample is None:
            found.start_sample = stop - samples
    if record.kind is not RecordKind.LOSS:
        found.next_index += 1
        return
    loss = decode_journal(record.payload, Loss)
    found.losses.append(loss)
    found.next_index += loss.records


def _samples(frame: memoryview) -> tuple[int, int]:
    try:
        packet = decode_packet(bytes(frame))
    except PacketError:
        return 0, 0
    if packet.kind not in (Kind.WIDEBAND, Kind.EVENTS, Kind.COUNTS):
        return 0, 0
    return packet.n_samples, packet.end_sample

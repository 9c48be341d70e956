"""The telemetry map: what an engine tells about itself, in a file that other processes read at any time.

One writer, any number of readers, no locks. The file has a fixed layout, version 2, all little-endian, so
that any language can read it. It is put in place whole, under a new inode, each time an engine starts; a
reader that has it mapped looks now and then whether the name leads to another inode, and maps that.

Header, written once:

====== ===== =====================================================================================
offset bytes field
====== ===== =====================================================================================
0      4     magic `CXWT`
4      2     version u16 = 2
6      2     bytes of a name u16 = 48
8      8     sequence u64: odd while the writer writes
16     4     process id u32
20     4     channel capacity u32
24     4     number of counters u32
28     4     number of histograms u32
32     4     words of a histogram u32
36     4     offset of the names u32: counters, then histograms, each NUL-padded UTF-8
40     4     offset of the counters u32: u64 each
44     4     offset of the histograms u32: u64 words each, see `cortexwire.runtime.histogram`
48     4     offset of the channel arrays u32
52     4     length of the file u32
56     8     start of the engine i64, ns, CLOCK_MONOTONIC
64     8     start of the engine i64, ns, CLOCK_REALTIME
72     4     number of budget lines u32
76     4     offset of their names u32
80     4     offset of the facts u32
84     4     bytes of the facts' area u32
====== ===== =====================================================================================

Status, under the sequence, as are the counters and the channel arrays:

====== ===== =====================================================================================
128    8     heartbeat i64, ns, CLOCK_MONOTONIC: when this was written
136    8     epoch u64
144    8     bin i64: the newest one published, -1 before the first
152    8     sample index i64: one past the newest sample taken
160    8     bundle hash u64
168    8     overlay hash u64
176    4+4   sample rate u32 / u32, hertz
184    4+4   velocity f32 x 2: the newest published
192    4     same-epoch restarts u32
196    4     channels u32: how many entries of the channel arrays count
200    1     state u8: its place in `STATES`
201    1     armed u8
202    1     closed u8: 1 once the engine has stopped in good order
203    1     reserved
204    4     bytes of the note u32
208    8     notes u64: how many there have been
216    512   the last note, UTF-8
728    8     budget lines in breach u64: bit n for line n
====== ===== =====================================================================================

Channel arrays, one behind the other, each at full capacity: rate_hz f32, rms_uv f32, threshold_uv f32, status
u8 (flags of the pipeline's channel report: masked, dead, railing, disabled). Behind them lie the names of the budget
lines that the engine watches, such as `binned_to_decoded p99 <= 600 us`; 0 of them where it watches none.

Facts, under the sequence: what changes rarely, as one JSON object behind its length in bytes (u64, 0 before the first).
Keys may come to be more; a reader takes those that it knows.

Reading: take the sequence; if it is odd, wait and begin again; copy; take it again; if it differs, begin
again. Histograms are counted in place, word by word, outside the sequence: each word is whole, their sum may
be one behind. The order of stores that this needs is the one that x86-64 guarantees.
"""

import mmap
import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.runtime.histogram import TABLE_WORDS, Histogram
from cortexwire.types import Rate

STATES = ("waiting", "calibrating", "running", "silent", "refused", "ended")
"""The pipeline's states in the order of their numbers in the map."""
STAGES = ("received_to_binned", "binned_to_decoded", "decoded_to_published", "sent_to_published")
"""Latency histograms of an engine, in the order in which they lie in the map."""
PACKET_CPU = "packet_cpu"
"""Histogram of the hot thread's processor time per packet, where `realtime.measure_cpu` asks for it."""
STALE_AFTER_NS = 1_000_000_000
"""A heartbeat older than this means that the engine hangs; it beats ten times a second even without data."""
DEAD_AFTER_NS = 5_000_000_000
"""A heartbeat older than this means that the engine is gone."""

_MAGIC = b"CXWT"
_VERSION = 2
_NAME_BYTES = 48
_NOTE_BYTES = 512
_FACTS_BYTES = 16 * 1024
_HEADER = struct.Struct("<4sHHQIIIIIIIIIIqqIIII")
_STATUS = struct.Struct("<qQqqQQIIffIIBBBxIQ")
_STATUS_OFFSET = 128
_NOTE_OFFSET = _STATUS_OFFSET + _STATUS.size
_BODY_OFFSET = 768
_SEQUENCE_WORD = 1
_OVER_BUDGET_WORD = 91
_TORN_AFTER_NS = 100_000_000
_NO_RATE = Rate(0, 1)

WriterHealth = Literal["live", "stale", "dead", "closed"]


def _no_floats() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _no_bytes() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


@dataclass(slots=True)
class EngineStatus:
    """What changes from bin to bin; the engine keeps one, alters it and publishes it.

    Attributes:
        state: One of `STATES`.
        armed: Whether outputs may be commands.
        epoch: Epoch of the stream.
        restart: Restarts seen within this epoch.
        bin: The newest bin published, -1 before the first.
        sample_index: One past the newest sample taken.
        rate: Sample rate of the stream.
        bundle_hash: Hash of the bundle, 0 without one.
        overlay_hash: Hash of the overlay, 0 without one.
        velocity: The newest velocity published.
        notes: How often there was something worth saying: a fault, a restart, a calibration.
        last_note: The last of it; what exceeds 512 bytes is cut.
        over_budget: Budget lines in breach, a bit each.
        rate_hz: Crossings per second, float32 `(n_channels,)`.
        rms_uv: RMS in microvolts, float32 `(n_channels,)`.
        threshold_uv: Threshold in microvolts, float32 `(n_channels,)`.
        status: Channel flags, uint8 `(n_channels,)`.
    """

    state: str = "waiting"
    armed: bool = False
    epoch: int = 0
    restart: int = 0
    bin: int = -1
    sample_index: int = 0
    rate: Rate = _NO_RATE
    bundle_hash: int = 0
    overlay_hash: int = 0
    velocity: tuple[float, float] = (0.0, 0.0)
    notes: int = 0
    last_note: str = ""
    over_budget: int = 0
    rate_hz: NDArray[np.float32] = field(default_factory=_no_floats)
    rms_uv: NDArray[np.float32] = field(default_factory=_no_floats)
    threshold_uv: NDArray[np.float32] = field(default_factory=_no_floats)
    status: NDArray[np.uint8] = field(default_factory=_no_bytes)


@dataclass(frozen=True, slots=True)
class TelemetrySnapshot:
    """One reading of the map.

    Attributes:
        pid: Process that writes it.
        started_monotonic_ns: Its start, CLOCK_MONOTONIC.
        started_realtime_ns: Its start, CLOCK_REALTIME.
        heartbeat_ns: When the status was written, CLOCK_MONOTONIC.
        age_ns: How long before the reading that was.
        writer: `live`, `stale`, `dead` (both by age), or `closed`: stopped in good order.
        torn: The writer died (or hung) in the middle of writing, so that fields may not belong together.
        status: What it last said.
        counters: Counters by name.
        latency: Histograms by name, copies.
        budgets: Budget lines that the engine watches, by name: whether each is in breach.
        facts: What changes rarely: bundle, candidate, scheduling and more, plain JSON values.
    """

    pid: int
    started_monotonic_ns: int
    started_realtime_ns: int
    heartbeat_ns: int
    age_ns: int
    writer: WriterHealth
    torn: bool
    status: EngineStatus
    counters: dict[str, int]
    latency: dict[str, Histogram]
    budgets: dict[str, bool]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    n_channels: int
    n_counters: int
    n_histograms: int
    n_lines: int

    @property
    def counters(self) -> int:
        return _BODY_OFFSET + _NAME_BYTES * (self.n_counters + self.n_histograms)

    @property
    def histograms(self) -> int:
        return self.counters + 8 * self.n_counters

    @property
    def channels(self) -> int:
        return self.histograms + 8 * TABLE_WORDS * self.n_histograms

    @property
    def lines(self) -> int:
        return -(-(self.channels + 13 * self.n_channels) // 8) * 8

    @property
    def facts(self) -> int:
        return self.lines + _NAME_BYTES * self.n_lines

    @property
    def total(self) -> int:
        return self.facts + 8 + _FACTS_BYTES


def _name(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > _NAME_BYTES:
        raise ValueError(f"expected a name of at most {_NAME_BYTES} bytes, got {text!r}")
    return raw.ljust(_NAME_BYTES, b"\0")


class _Channels:
    """The four channel arrays as views of the map."""

    def __init__(self, buffer: mmap.mmap | bytes, layout: _Layout) -> None:
        n, at = layout.n_channels, layout.channels
        self.rate_hz = np.frombuffer(buffer, "<f4", n, at)
        self.rms_uv = np.frombuffer(buffer, "<f4", n, at + 4 * n)
        self.threshold_uv = np.frombuffer(buffer, "<f4", n, at + 8 * n)
        self.status = np.frombuffer(buffer, np.uint8, n, at + 12 * n)


class TelemetryWriter:
    """The engine's side: makes the map and writes it once per bin (and at least ten times a second).

    Args:
        path: The map; an older one is replaced.
        n_channels: Channels that it has room for.
        counters: Names of the counters, in the order in which `publish` gets their values.
        histograms: Names of the latency histograms.
        lines: Names of the budget lines, in the order of their bits in `EngineStatus.over_budget`.

    Raises:
        ConfigError: The file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        n_channels: int,
        counters: Sequence[str] = (),
        histograms: Sequence[str] = STAGES,
        lines: Sequence[str] = (),
    ) -> None:
        layout = _Layout(n_channels, len(counters), len(histograms), len(lines))
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            _NAME_BYTES,
            0,
            os.getpid(),
            n_channels,
            layout.n_counters,
            layout.n_histograms,
            TABLE_WORDS,
            _BODY_OFFSET,
            layout.counters,
            layout.histograms,
            layout.channels,
            layout.total,
            time.monotonic_ns(),
            time.time_ns(),
            layout.n_lines,
            layout.lines,
            layout.facts,
            8 + _FACTS_BYTES,
        )
        names = b"".join(_name(text) for text in (*counters, *histograms))
        line_names = b"".join(_name(text) for text in lines)
        fresh = path.with_name(path.name + ".new")
        try:
            with fresh.open("w+b") as file:
                # Reserving the blocks now turns a full disk into a start-up error instead of a SIGBUS later.
                os.posix_fallocate(file.fileno(), 0, layout.total)
                self._map = mmap.mmap(file.fileno(), layout.total)
                self._map[: len(header)] = header
                self._map[_BODY_OFFSET : _BODY_OFFSET + len(names)] = names
                self._map[layout.lines : layout.facts] = line_names
            fresh.replace(path)
        except OSError as error:
            raise ConfigError(f"telemetry: cannot make {path}: {error.strerror}") from error
        self._words = memoryview(self._map).cast("Q")
        self._sequence = 0
        self._channels = _Channels(self._map, layout)
        self._capacity = n_channels
        self._counters = np.frombuffer(self._map, "<u8", layout.n_counters, layout.counters)
        self._note = ""
        self._note_bytes = 0
        self._facts_at = layout.facts
        tables = np.frombuffer(self._map, "<u8", TABLE_WORDS * len(histograms), layout.histograms)
        self.histograms = {
            name: Histogram(table)
            for name, table in zip(histograms, tables.reshape(len(histograms), TABLE_WORDS), strict=True)
        }
        self.publish(EngineStatus(), np.zeros(layout.n_counters, np.uint64))

    def publish(self, status: EngineStatus, counters: Sequence[int] | NDArray[np.uint64]) -> None:
        """Write the status, stamped with the time now.

        Args:
            status: What to say; channels beyond the map's capacity are left out.
            counters: Values in the order of the names given at creation.
        """
        self._write(status, counters, closed=0)

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Write facts, in place of those before, for what changes rarely; what does not fit is not told."""
        raw = msgspec.json.encode(facts)
        if len(raw) > _FACTS_BYTES:
            raw = msgspec.json.encode({"problem": f"facts: expected at most {_FACTS_BYTES} bytes, got {len(raw)}"})
        at = self._facts_at + 8
        self._words[_SEQUENCE_WORD] = self._sequence + 1
        self._words[self._facts_at // 8] = len(raw)
        self._map[at : at + len(raw)] = raw
        self._sequence += 2
        self._words[_SEQUENCE_WORD] = self._sequence

    def close(self, status: EngineStatus, counters: Sequence[int] | NDArray[np.uint64]) -> None:
        """Write the last status, marked as the engine's orderly end. The file stays."""
        self._write(status, counters, closed=1)

    def _write(self, status: EngineStatus, counters: Sequence[int] | NDArray[np.uint64], *, closed: int) -> None:
        n = min(status.status.shape[0], self._capacity)
        self._words[_SEQUENCE_WORD] = self._sequence + 1
        if status.last_note != self._note:
            self._put_note(status.last_note)
        _STATUS.pack_into(
            self._map,
            _STATUS_OFFSET,
            time.monotonic_ns(),
            status.epoch,
            status.bin,
            status.sample_index,
            status.bundle_hash,
            status.overlay_hash,
            status.rate.num,
            status.rate.den,
            status.velocity[0],
            status.velocity[1],
            status.restart,
            n,
            STATES.index(status.state),
            status.armed,
            closed,
            self._note_bytes,
            status.notes,
        )
        self._words[_OVER_BUDGET_WORD] = status.over_budget
        self._counters[:] = counters
        channels = self._channels
        channels.rate_hz[:n] = status.rate_hz[:n]
        channels.rms_uv[:n] = status.rms_uv[:n]
        channels.threshold_uv[:n] = status.threshold_uv[:n]
        channels.status[:n] = status.status[:n]
        self._sequence += 2
        self._words[_SEQUENCE_WORD] = self._sequence

    def _put_note(self, text: str) -> None:
        raw = text.encode("utf-8", "replace")[:_NOTE_BYTES]
        self._map[_NOTE_OFFSET : _NOTE_OFFSET + len(raw)] = raw
        self._note, self._note_bytes = text, len(raw)


class TelemetryReader:
    """Another process's side: reads whole snapshots, and follows an engine that starts anew.

    Args:
        path: The map.

    Raises:
        ConfigError: There is no map, or it is none of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        try:
            with self._path.open("rb") as file:
                self._inode = os.fstat(file.fileno()).st_ino
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ConfigError(f"telemetry: expected an engine's map at {self._path}: {error}") from error
        magic, version = struct.unpack_from("<4sH", self._map)
        if (magic, version) != (_MAGIC, _VERSION):
            expected, came = f"{_MAGIC!r} version {_VERSION}", f"{magic!r} version {version}"
            raise ConfigError(f"telemetry: expected {expected} in {self._path}, got {came}")
        self._words = memoryview(self._map).cast("Q")
        header = _HEADER.unpack_from(self._map)
        self._pid, channels, counters, histograms = header[4:8]
        self._started: tuple[int, int] = header[14:16]
        self._layout = layout = _Layout(channels, counters, histograms, header[16])
        names = self._names(_BODY_OFFSET, layout.counters)
        self._counter_names, self._histogram_names = names[:counters], names[counters:]
        self._line_names = self._names(layout.lines, layout.facts)

    def _names(self, begin: int, end: int) -> list[str]:
        return [self._map[at : at + _NAME_BYTES].rstrip(b"\0").decode() for at in range(begin, end, _NAME_BYTES)]

    def close(self) -> None:
        """Unmap the file."""
        self._words.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> None:
        try:
            inode = self._path.stat().st_ino
        except OSError:
            return
        if inode != self._inode:
            self.close()
            self._open()

    def _copy(self) -> tuple[bytes, bool]:
        give_up_ns = time.monotonic_ns() + _TORN_AFTER_NS
        while True:
            before = self._words[_SEQUENCE_WORD]
            content = self._map[:]
            if before % 2 == 0 and self._words[_SEQUENCE_WORD] == before:
                return content, False
            if time.monotonic_ns() > give_up_ns:
                return content, True
            time.sleep(0.0)

    def read(self) -> TelemetrySnapshot:
        """Return the newest whole snapshot (or a torn one, marked, when the writer died while writing)."""
        self._follow()
        content, torn = self._copy()
        (
            heartbeat_ns, epoch, bin_index, sample_index, bundle_hash, overlay_hash, rate_num, rate_den, vx,
            vy, restart, n, state, armed, closed, note_bytes, notes,
        ) = _STATUS.unpack_from(content, _STATUS_OFFSET)  # fmt: skip
        (over_budget,) = struct.unpack_from("<Q", content, 8 * _OVER_BUDGET_WORD)
        layout = self._layout
        channels = _Channels(content, layout)
        counters = np.frombuffer(content, "<u8", layout.n_counters, layout.counters)
        tables = np.frombuffer(content, "<u8", TABLE_WORDS * layout.n_histograms, layout.histograms)
        age_ns = time.monotonic_ns() - heartbeat_ns
        return TelemetrySnapshot(
            pid=self._pid,
            started_monotonic_ns=self._started[0],
            started_realtime_ns=self._started[1],
            heartbeat_ns=heartbeat_ns,
            age_ns=age_ns,
            writer=_health(age_ns, closed=bool(closed)),
            torn=torn,
            status=EngineStatus(
                state=STATES[state],
                armed=bool(armed),
                epoch=epoch,
                restart=restart,
                bin=bin_index,
                sample_index=sample_index,
                rate=Rate(rate_num, rate_den),
                bundle_hash=bundle_hash,
                overlay_hash=overlay_hash,
                velocity=(vx, vy),
                notes=notes,
                last_note=content[_NOTE_OFFSET : _NOTE_OFFSET + note_bytes].decode("utf-8", "replace"),
                over_budget=over_budget,
                rate_hz=channels.rate_hz[:n],
                rms_uv=channels.rms_uv[:n],
                threshold_uv=channels.threshold_uv[:n],
                status=channels.status[:n],
            ),
            counters=dict(zip(self._counter_names, counters.tolist(), strict=True)),
            latency={
                name: Histogram(table)
                for name, table in zip(
                    self._histogram_names, tables.reshape(layout.n_histograms, TABLE_WORDS), strict=True
                )
            },
            budgets={name: bool(over_budget >> bit & 1) for bit, name in enumerate(self._line_names)},
            facts=_facts_in(content, layout.facts),
        )


def _facts_in(content: bytes, at: int) -> dict[str, Any]:
    (length,) = struct.unpack_from("<Q", content, at)
    if not 0 < length <= _FACTS_BYTES:
        return {}
    try:
        return msgspec.json.decode(content[at + 8 : at + 8 + length], type=dict[str, Any])
    except msgspec.MsgspecError:  # a torn reading
        return {}


def _health(age_ns: int, *, closed: bool) -> WriterHealth:
    if closed:
        return "closed"
    # A heartbeat from the future is one from before a reboot: that engine is gone too.
    if not 0 <= age_ns < DEAD_AFTER_NS:
        return "dead"
    return "live" if age_ns < STALE_AFTER_NS else "stale"

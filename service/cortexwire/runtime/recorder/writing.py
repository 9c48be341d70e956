"""The writer thread: blocks to segments, and, where the disk will not have them, to a count of what was lost.

A disk that has no room is tried again once there is some, any other fault twice a second. What was lost until then is
written first, as one `LOSS` record; then recording goes on, in a new segment. Where `fdatasync` fails, what it should
have brought to the disk is read back (the kernel still has it) and written anew.
"""

import errno
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cortexwire.errors import PacketError
from cortexwire.runtime.recorder.blocks import Block, BlockQueue, seal
from cortexwire.runtime.recorder.disk import Disk
from cortexwire.runtime.recorder.keeping import Keeper
from cortexwire.runtime.recorder.losses import Tally
from cortexwire.runtime.recorder.segments import Segment, SegmentWriter
from cortexwire.runtime.recorder.status import RecorderState, StatusMap
from cortexwire.runtime.recorder.syncing import Syncer
from cortexwire.wire import SEGMENT_HEADER_BYTES, Loss, RecordKind, decode_record, decode_record_header, encode_record

LEAST_ROOM_BYTES: Final = 8 * 1024 * 1024
"""Room that a full disk must have before it is written to again."""
RETRY_S: Final = 0.25
"""How often a full disk is looked at; any other fault is tried again half as often."""
STALL_NS: Final = 50_000_000
"""A write that takes longer is a stall."""
TOLD_STALL_NS: Final = 500_000_000
"""A stall that is said in the log too."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk says that has no room."""

_IDLE_S: Final = 0.1


class Writer:
    """Writes until no more blocks come.

    Args:
        folder: Of the recording.
        queue: Where blocks come from.
        segments: Where they go.
        syncer: What brings them to the disk; it is stopped by whoever started it.
        keeper: What keeps the files that records name.
        status: Where to say how it goes.
        disk: Where all that is.
        is_new: Whether the first record written is the recording's first.

    Attributes:
        fault: What it died of.
    """

    def __init__(
        self,
        folder: Path,
        queue: BlockQueue,
        segments: SegmentWriter,
        syncer: Syncer,
        keeper: Keeper,
        status: StatusMap,
        disk: Disk,
        *,
        is_new: bool,
    ) -> None:
        self.fault: Exception | None = None
        self._folder = folder
        self._queue = queue
        self._segments = segments
        self._syncer = syncer
        self._keeper = keeper
        self._status = status
        self._disk = disk
        self._is_new = is_new
        self._tally: Tally | None = None
        self._state: RecorderState = "recording"
        self._retry_at = 0.0
        self._rewritten_at = -1
        self._log = structlog.get_logger("cortexwire.recorder")
        self._thread = threading.Thread(target=self._guarded, name="cortexwire-write", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all has been written; whether it has."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.fault = error
            self._log.exception("writer fell")
            # Whoever reads the tap must not wait for ever for memory that nobody gives back.
            while not self._queue.is_over:
                if (block := self._queue.get(_IDLE_S)) is not None:
                    self._queue.done(block)

    def _run(self) -> None:
        while not self._queue.is_over:
            block = self._queue.get(_IDLE_S)
            if self._syncer.failure is not None:
                self._write_anew()
            if block is None:
                continue
            if block.loss is not None:
                self._miss(block.index - block.loss.records, block.loss)
            naming = seal(block)
            if self._is_new:
                self._is_new = False
                self._begin(block, naming)
            for kind, payload in naming:
                self._keeper.take(kind, payload, is_first=False)
            self._store(block)
            self._queue.done(block)
        self._end()

    def _begin(self, block: Block, naming: list[tuple[RecordKind, bytes]]) -> None:
        """Tell the keeper with what the recording begins."""
        if decode_record_header(block.buffer, block.begin).kind is RecordKind.START:
            kind, payload = naming.pop(0)
            self._keeper.take(kind, payload, is_first=True)
        else:
            self._keeper.take_known()

    def _end(self) -> None:
        if self._syncer.failure is not None:
            self._write_anew()
        tally = self._tally
        if tally is not None:
            # Where a torn record was cut off there may be room for this one.
            try:
                self._write_loss(tally, time.monotonic_ns())
            except OSError as error:
                self._log.error("loss not written", problem=error.strerror, **_told(tally.loss()))
        self._segments.finish()

    def _store(self, block: Block) -> None:
        """Write a block, or count it as lost."""
        if self._tally is not None and not self._may_try():
            self._drop(block, "")
            return
        began = time.monotonic_ns()
        records = len(block.ends)
        try:
            self._append(block)
        except OSError as error:
            self._wrote(records - len(block.ends))
            self._fail(block, error)
            return
        self._wrote(records)
        self._measure(time.monotonic_ns() - began)

    def _append(self, block: Block) -> None:
        if self._tally is not None:
            t_ns = decode_record_header(block.buffer, block.begin).t_ns
            self._write_loss(self._tally, t_ns)
        while True:
            before, was_begun = block.index, self._segments.current is not None
            try:
                self._segments.append(block)
            except OSError as error:
                # A file that may grow no longer is no full disk: the next segment has room again.
                if error.errno == errno.EFBIG and (was_begun or block.index > before):
                    continue
                raise
            return

    def _write_loss(self, tally: Tally, t_ns: int) -> None:
        loss = tally.loss()
        record = bytearray(encode_record(RecordKind.LOSS, t_ns, msgspec.json.encode(loss), tally.index))
        self._segments.append(Block(record, 0, [len(record)], tally.index), tally.next_index)
        self._tally = None
        self._state = "recording"
        self._status.update({"records": 1}, state="recording")
        self._log.warning("loss recorded", index=tally.index, folder=str(self._folder), **_told(loss))

    def _wrote(self, records: int) -> None:
        segment = self._segments.current
        written = self._segments.written_bytes
        self._status.update(
            {"records": records},
            segment=self._segments.next_number - 1,
            written_bytes=written,
            **({} if segment is None else {"next_index": segment.written[1]}),
        )
        self._syncer.wrote(written)

    def _measure(self, took_ns: int) -> None:
        status = self._status.get()
        stalled = took_ns > STALL_NS
        if stalled or took_ns > status.longest_stall_ns:
            self._status.update(stalls=status.stalls + stalled, longest_stall_ns=max(status.longest_stall_ns, took_ns))
        if took_ns > TOLD_STALL_NS:
            self._log.warning("write stalled", ms=took_ns // 1_000_000, queued_bytes=self._queue.bytes)

    def _fail(self, block: Block, error: OSError) -> None:
        """Say at once that the disk will not have what is left of a block, and count it."""
        full = error.errno in FULL
        self._state = "full" if full else "failed"
        self._retry_at = time.monotonic() + (RETRY_S if full else 2 * RETRY_S)
        why = "disk full" if full else f"write failed: {error.strerror}"
        is_new = self._tally is None
        self._drop(block, why)
        if is_new:
            self._log.error("recording interrupted", folder=str(self._folder), why=why, index=block.index)

    def _may_try(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_S
        if self._state != "full":
            return True
        try:
            return self._disk.free_bytes(self._folder) >= LEAST_ROOM_BYTES
        except OSError:
            return False

    def _drop(self, block: Block, why: str) -> None:
        tally, is_new = self._tally, False
        if tally is None:
            tally = self._tally = Tally(block.index)
            is_new = True
        before = (tally.records, tally.packets, tally.samples)
        tally.drop(block.buffer, block.begin, block.ends, why or tally.why)
        self._publish(tally, before, losses=is_new)

    def _miss(self, index: int, loss: Loss) -> None:
        """Count what is missing before it came here."""
        tally = self._tally
        if tally is None:
            tally = self._tally = Tally(index)
            self._retry_at = 0.0
            self._state = "recording"
        before = (tally.records, tally.packets, tally.samples)
        tally.add(loss)
        self._publish(tally, before, losses=1)
        self._log.error("records lost", index=index, folder=str(self._folder), **_told(loss))

    def _publish(self, tally: Tally, before: tuple[int, int, int], losses: int) -> None:
        more = {
            "losses": losses,
            "lost_records": tally.records - before[0],
            "lost_packets": tally.packets - before[1],
            "lost_samples": tally.samples - before[2],
        }
        note = f"{tally.why}: {tally.records} records, {tally.samples} samples lost so far"
        self._status.update(more, state=self._state, note=note)

    def _write_anew(self) -> None:
        """Write again what `fdatasync` could not bring to the disk; what it could not the second time is lost."""
        failure = self._syncer.failure
        assert failure is not None
        self._segments.finish()
        segments = self._syncer.take_over()
        self._log.error("sync failed", folder=str(self._folder), why=failure.strerror, segments=len(segments))
        self._status.update(note=f"sync failed: {failure.strerror}; what it should have kept is written anew")
        durable = self._status.get().durable_index
        if durable == self._rewritten_at:
            self._state, self._retry_at = "failed", time.monotonic() + 2 * RETRY_S
        self._rewritten_at = durable
        for segment in segments:
            self._store_again(segment, f"sync failed: {failure.strerror}")

    def _store_again(self, segment: Segment, why: str) -> None:
        (end, next_index), (durable, index) = segment.written, segment.durable
        if next_index == index:
            return
        at = max(durable, SEGMENT_HEADER_BYTES)
        content = bytearray()
        with suppress(OSError):
            content += self._disk.read(segment.file, at, end - at)
        with suppress(OSError):
            self._disk.truncate(segment.file, at)
        with suppress(OSError):
            self._disk.close(segment.file)
        ends: list[int] = []
        with suppress(PacketError):
            while index + len(ends) < next_index:
                ends.append(decode_record(content, ends[-1] if ends else 0).end)
        self._segments.forget(end - at)
        self._status.update({"records": index - next_index})
        if ends and self._state == "failed":
            self._drop(Block(content, 0, ends, index), why)
        elif ends:
            self._store(Block(content, 0, ends, index))
        missing = next_index - index - len(ends)
        if missing:
            self._miss(next_index - missing, Loss(records=missing, why=why))


def _told(loss: Loss) -> dict[str, object]:
    return {"records": loss.records, "why": loss.why, "packets": loss.packets, "samples": loss.samples}

"""The sync thread: calls `fdatasync` on a schedule, and says how far the recording is on the disk once it returned.

It syncs after `every_s` seconds or `every_bytes` bytes, whichever comes first, segments in their order, and the folder
before it says anything of a new segment. After a failure it does nothing until the writer has taken over what is not
on the disk: the kernel reports such a failure once, and a second call would claim a success that there was not.
"""

import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from cortexwire.runtime.recorder.disk import Disk
from cortexwire.runtime.recorder.segments import Segment
from cortexwire.runtime.recorder.status import StatusMap


class Syncer:
    """Syncs segments until it is stopped.

    Attributes:
        failure: What `fdatasync` failed with, until the writer takes over.

    Args:
        folder: Of the recording.
        disk: Where it is.
        status: Where to say how far it is.
        every_s: Longest time between two syncs while something is written.
        every_bytes: Most bytes between two syncs.
    """

    def __init__(self, folder: Path, disk: Disk, status: StatusMap, every_s: float, every_bytes: int) -> None:
        self.failure: OSError | None = None
        self._folder = folder
        self._disk = disk
        self._status = status
        self._every_s = every_s
        self._every_bytes = every_bytes
        self._segments: deque[Segment] = deque()
        self._wake = threading.Event()
        self._syncing = threading.Lock()
        self._stop = False
        self._synced_bytes = 0
        self._thread = threading.Thread(target=self._run, name="cortexwire-sync", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, segment: Segment) -> None:
        """Take a segment that has just begun; it is closed once it is finished and on the disk."""
        self._segments.append(segment)

    def wrote(self, written_bytes: int) -> None:
        """Hear how much has been written."""
        if written_bytes - self._synced_bytes >= self._every_bytes:
            self._wake.set()

    def take_over(self) -> list[Segment]:
        """Give the writer all segments that are not wholly on the disk, and forget them and the failure."""
        with self._syncing:
            segments = list(self._segments)
            self._segments.clear()
            self.failure = None
            return segments

    def stop(self) -> None:
        """Sync what there is, and end."""
        self._stop = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Close what could not be synced."""
        for segment in self._segments:
            with suppress(OSError):
                self._disk.close(segment.file)
        self._segments.clear()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(self._every_s)
            self._wake.clear()
            self.sync()

    def sync(self) -> None:
        """Sync every segment as far as it has been written."""
        with self._syncing:
            while self._segments and self.failure is None:
                segment = self._segments[0]
                is_finished = segment.is_finished
                written = segment.written
                if written[0] > segment.durable[0] and not self._sync(segment, written):
                    return
                if not is_finished:
                    return
                self._segments.popleft()
                with suppress(OSError):
                    self._disk.close(segment.file)

    def _sync(self, segment: Segment, written: tuple[int, int]) -> bool:
        began = time.monotonic_ns()
        self._status.set_syncing(True)
        try:
            if not segment.durable[0]:
                self._disk.sync_folder(self._folder)
            self._disk.sync(segment.file)
        except OSError as error:
            self.failure = error
            return False
        finally:
            self._status.set_syncing(False)
        took = time.monotonic_ns() - began
        segment.durable = written
        self._synced_bytes = segment.before_bytes + written[0]
        status = self._status.get()
        self._status.update(
            durable_bytes=self._synced_bytes,
            durable_segment=segment.number,
            durable_offset=written[0],
            durable_index=written[1],
            syncs=status.syncs + 1,
            longest_sync_ns=max(status.longest_sync_ns, took),
        )
        return True

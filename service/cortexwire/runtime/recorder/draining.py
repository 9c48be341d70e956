"""The reader thread: empties the tap into memory as fast as it fills, and counts what the ring did not keep."""

import threading
import time
from typing import Final

import structlog

from cortexwire.runtime.recorder.blocks import PIECE_BYTES, Block, BlockQueue
from cortexwire.runtime.recorder.losses import Place, first_place, last_place, loss_between
from cortexwire.runtime.tap import TapReader, TapRun

POLL_S: Final = 0.01
"""How often the ring is looked at."""
BUSY_POLL_S: Final = 0.1
"""Longest wait for a whole piece of memory's worth while the writer is behind."""
SEARCH_S: Final = 0.25
"""How long to wait after a gap for the packet of signal that says where it ended."""


class Drain:
    """Reads a ring from a given record on until it is told to stop, or another ring takes the place of this one.

    Attributes:
        is_replaced: Whether another ring has.
        fault: What it died of.

    Args:
        tap: The ring, at its oldest record.
        queue: Where blocks go.
        first_index: Number of the first record that is wanted.
        is_fresh: Whether nothing has been recorded yet, so that nothing is missing before the first that is there.
        before: Where the last packet stands that was recorded before.
    """

    def __init__(
        self, tap: TapReader, queue: BlockQueue, first_index: int, *, is_fresh: bool, before: Place | None
    ) -> None:
        self.is_replaced = False
        self.fault: Exception | None = None
        self._tap = tap
        self._queue = queue
        self._expected = first_index
        self._is_fresh = is_fresh
        self._before = before
        self._held: list[tuple[Block, int, str]] = []
        self._held_until = 0.0
        self._stop_index: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="cortexwire-drain", daemon=True)

    @property
    def behind_bytes(self) -> int:
        """What is in the ring and not read yet."""
        return self._tap.behind_bytes

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Read what is there now, and end."""
        self._stop_index = self._tap.next_index
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tap.close()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.fault = error
            structlog.get_logger("cortexwire.recorder").exception("reader fell")
        finally:
            self._release_held()
            self._queue.end()

    def _run(self) -> None:
        while True:
            memory = self._queue.take_memory(BUSY_POLL_S)
            if memory is None:
                continue
            run = self._tap.read_run(memory, follow=False)
            if run is not None:
                self._take(memory, run)
            else:
                self._queue.give_back(memory)
            if self._held and time.monotonic() > self._held_until:
                self._release_held()
            if self._stop_index is not None and (run is None or self._expected >= self._stop_index):
                return
            if run is None and self._tap.is_replaced:
                # What the old ring's writer left between our last look and its end.
                self.is_replaced = not self._tap.behind_bytes
                if self.is_replaced:
                    return
            self._wait()

    def _wait(self) -> None:
        """Let a little gather; while the writer is behind, as much as fills the memory that it takes."""
        enough = min(PIECE_BYTES, self._tap.capacity // 4)
        until = time.monotonic() + BUSY_POLL_S
        while not self._stop.wait(POLL_S):
            behind = self._tap.behind_bytes
            if behind >= enough or self._queue.depth < 2 or time.monotonic() > until:
                return

    def _take(self, memory: bytearray, run: TapRun) -> None:
        block = Block(memory, run.begin, run.ends, run.index)
        known = self._expected - block.index
        if known >= len(block.ends):
            self._queue.give_back(memory)
            return
        if known > 0:
            block.skip(known)
        lost = 0 if self._is_fresh else block.index - self._expected
        self._is_fresh = False
        self._expected = block.next_index
        if lost:
            self._release_held()
            self._held_until = time.monotonic() + SEARCH_S
        if not lost and not self._held:
            self._before = last_place(memory, block.begin, block.ends) or self._before
            self._queue.put(block)
            return
        self._held.append((block, lost, run.why if run.lost else "overrun"))
        if first_place(memory, block.begin, block.ends) is not None:
            self._release_held()

    def _release_held(self) -> None:
        """Pass on what came since a gap, with what is known by now of where the gap ended."""
        held, self._held = self._held, []
        after = next((place for block, *_ in held if (place := _first(block)) is not None), None)
        for block, lost, why in held:
            if lost:
                block.loss = loss_between(self._before, after, lost, why)
            self._before = last_place(block.buffer, block.begin, block.ends) or self._before
            self._queue.put(block)


def _first(block: Block) -> Place | None:
    return first_place(block.buffer, block.begin, block.ends)

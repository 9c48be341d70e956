"""Note log: writes the pipeline's notes from a thread of its own, so that a burst costs the loop nothing.

At most `BURST` notes are written at a time, once a second; how many more there were is said in one line.
"""

import threading
from collections import deque

import structlog

BURST = 5
"""Notes written at a time."""
_MOST_KEPT = 1000


class NoteLog:
    """A queue of notes and the thread that empties it, and once more at the end.

    Args:
        period_s: How often it is emptied.
    """

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._notes: deque[str] = deque(maxlen=_MOST_KEPT)
        self._count = 0
        self._written = 0
        self._stop = threading.Event()
        self._log = structlog.get_logger("cortexwire.engine")
        self._thread = threading.Thread(target=self._serve, name="cortexwire-notes", daemon=True)
        self._thread.start()

    def put(self, note: str) -> None:
        """Take a note from the hot loop; never waits."""
        self._notes.append(note)
        self._count += 1

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._stop.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stop.wait(self._period_s):
            self._write()
        self._write()

    def _write(self) -> None:
        count, notes = self._count, self._notes
        for _ in range(min(BURST, len(notes))):
            self._written += 1
            self._log.info("note", text=notes.popleft())
        notes.clear()
        # A note that comes in between is cleared without having been counted here: it shows in the next line.
        if count > self._written:
            self._log.info("notes not shown", count=count - self._written)
            self._written = count

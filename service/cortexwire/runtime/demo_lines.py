"""The demo where nobody draws: one line a second."""

import time
from typing import Final, TextIO

from cortexwire.runtime.demo import DemoScene, latency

LINE_S: Final = 1.0


class LineView:
    """Writes plain lines.

    Args:
        out: Where to write.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._due = 0.0

    def say(self, text: str) -> None:
        """Say what is being waited for."""
        self._write(text)

    def show(self, scene: DemoScene) -> None:
        """Write a line, if the last one is a second old and bins are decoded."""
        record, now = scene.record, time.monotonic()
        if now < self._due or not record.decoded:
            return
        self._due = now + LINE_S
        (vx, vy), (ix, iy) = record.velocities[-1], record.intents[-1]
        took = latency(record.latencies_ms)
        faults = 0 if scene.engine is None else scene.engine.counters.get("lost_packets", 0)
        self._write(
            f"decoded {record.seconds:5.1f} s  bins {record.decoded}  velocity {vx:z6.1f} {vy:z6.1f}  "
            f"intended {ix:z6.1f} {iy:z6.1f} {scene.unit}  latency p50 {took.get('p50', 0):.2f} ms  "
            f"lost {faults}  late {record.late}"
        )

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

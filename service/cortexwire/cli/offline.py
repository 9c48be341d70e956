"""The pipeline for a recording: the same configuration as live, and no clock."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.offline import decode_frames
from cortexwire.sessions.packets import session_packets
from cortexwire.wire import OutFlag, OutKind, Output, Validity, encode_output

if TYPE_CHECKING:
    from cortexwire.config import EngineConfig
    from cortexwire.sessions.packets import PacketSizes
    from cortexwire.sessions.session import Session

NO_TICKS = (
    "a recording has no clock ticks, so safe messages for missed deadlines are absent; "
    "those for calibration, warm-up and missing data are there"
)


@dataclass
class DecodeSummary:
    """What came out of a recording.

    Attributes:
        bins: Decoded bins.
        valid: Bins of which every sample was observed.
        partial: Bins of which at least half was.
        stale: The rest.
        safe: Safe messages, by why they were made.
        counters: The pipeline's counters.
    """

    bins: int = 0
    valid: int = 0
    partial: int = 0
    stale: int = 0
    safe: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def take(self, output: Output) -> None:
        """Count one output."""
        if output.kind is OutKind.SAFE:
            reason = next((flag.name for flag in _REASONS if flag in output.flags), None) or "OTHER"
            self.safe[reason.lower()] = self.safe.get(reason.lower(), 0) + 1
            return
        self.bins += 1
        self.valid += output.validity is Validity.VALID
        self.partial += output.validity is Validity.PARTIAL
        self.stale += output.validity is Validity.STALE


_REASONS = (OutFlag.ENDED, OutFlag.CALIBRATING, OutFlag.BLOCKED, OutFlag.NONFINITE, OutFlag.UNOBSERVED, OutFlag.WARMING)


def decoded(
    config: "EngineConfig",
    session: "Session",
    sizes: "PacketSizes",
    span: tuple[int, int],
    summary: DecodeSummary,
    *,
    epoch: int | None = None,
    progress: Callable[[float], Any],
) -> Iterator[Output]:
    """Decode a part of a session; `summary` is complete when all outputs were taken.

    Raises:
        StartupError: The configuration cannot work.
    """
    pipeline = assemble(config, live=False).pipeline
    start, stop = span
    for output in decode_frames(pipeline, session_packets(session, sizes, epoch, start, stop)):
        summary.take(output)
        progress(min(1.0, max(0, output.end_sample - start) / (stop - start)))
        yield output
    summary.counters = pipeline.counters.as_dict()


def write_outputs(path: Path, outputs: Iterator[Output]) -> None:
    """Write outputs to a file, which appears whole or not at all: `.npz` as arrays, any other name as frames.

    Frames are the messages as they would be published, each behind its length as a little-endian u32.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        if path.suffix == ".npz":
            _write_arrays(partial, list(outputs))
        else:
            with partial.open("wb") as file:
                for output in outputs:
                    frame = encode_output(output)
                    file.write(len(frame).to_bytes(4, "little") + frame)
        partial.replace(path)
    finally:
        if partial.exists():
            os.unlink(partial)


def _write_arrays(path: Path, outputs: Sequence[Output]) -> None:
    names = ("kind", "bin", "end_sample", "validity", "flags", "observed_fraction", "missing_samples", "restart")
    columns = {name: np.array([getattr(output, name) for output in outputs]) for name in names}
    columns["epoch"] = np.array([output.epoch for output in outputs], np.uint64)
    made = [output.tensors for output in outputs if output.kind is OutKind.DECODED]
    safe = [output.tensors["velocity"] for output in outputs if output.kind is OutKind.SAFE]
    tensors = {f"decoded_{name}": np.stack([row[name] for row in made]) for name in (made[0] if made else ())}
    tensors["safe_velocity"] = np.array(safe, np.float32).reshape(-1, 2)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns, **tensors)

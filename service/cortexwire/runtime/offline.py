"""The pipeline fed from a session rather than from a socket; there is nothing else in it."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.sessions.session import Session
from cortexwire.wire import OutKind, Output


def decode_frames(pipeline: Pipeline, frames: Iterable[bytes]) -> Iterator[Output]:
    """Decode frames as fast as they come. No clock, so no deadlines: safe outputs for lateness are absent."""
    for frame in frames:
        yield from pipeline.packet(frame)
    yield from pipeline.finish()


def decoded_against(
    session: Session, outputs: Iterable[Output], columns: tuple[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Decoded velocities and the session's columns at the same instants, `(n_bins, 2)` each, and the bins' ends.

    The instant of a bin is its last sample; outputs other than decoded ones are passed over.
    """
    ends, decoded = [], []
    for output in outputs:
        if output.kind is OutKind.DECODED:
            ends.append(output.end_sample)
            decoded.append(output.tensors["velocity"])
    where = [session.column_names.index(name) for name in columns]
    stops = np.array(ends, np.int64)
    return np.array(decoded, np.float64).reshape(-1, 2), session.columns_at(stops - 1)[:, where], stops

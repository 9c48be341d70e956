"""The raw signal as the chunks in which it is written: read from the session when they are due, compressed, no more."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from cortexwire.sessions.session import Session

CHUNK_BYTES: Final = 2**20
CHUNK_CHANNELS: Final = 64
"""Channels in a chunk at most: a viewer of a few channels need not read a thousand."""
CHUNKS_AT_ONCE: Final = 8


Gaps = tuple[tuple[int, int], ...]


def between(gaps: Gaps, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts of `[start, stop)` that lie in no gap."""
    for gap_start, gap_stop in gaps:
        if gap_start >= stop:
            break
        if start < gap_start:
            yield start, gap_start
        start = max(start, gap_stop)
    if start < stop:
        yield start, stop


def sample_chunks(session: Session, gaps: Gaps, progress: Callable[[float], Any]) -> Any:
    """An iterator for `H5DataIO` over the samples of a wideband session, `(n_samples, n_channels)`.

    Args:
        session: The session, read once from its beginning to its end.
        gaps: Samples `[start, stop)` that are not there, and are written as zeros.
        progress: Told the share that is written.
    """
    from hdmf.data_utils import GenericDataChunkIterator

    first = next(start for start, stop in between(gaps, 0, session.n_samples))
    dtype = session.wideband(first, first + 1).dtype
    n_samples, n_channels = session.n_samples, session.n_channels
    across = min(n_channels, CHUNK_CHANNELS)
    rows = min(n_samples, max(1, CHUNK_BYTES // (across * dtype.itemsize)))

    class Samples(GenericDataChunkIterator):  # type: ignore[misc]  # hdmf has no types
        def _get_data(self, selection: tuple[slice, ...]) -> Any:
            time, channels = selection
            samples = np.zeros((time.stop - time.start, n_channels), dtype)
            for start, stop in between(gaps, time.start, time.stop):
                samples[start - time.start : stop - time.start] = session.wideband(start, stop)
            progress(time.stop / n_samples)
            return samples[:, channels]

        def _get_maxshape(self) -> tuple[int, int]:
            return (n_samples, n_channels)

        def _get_dtype(self) -> np.dtype[Any]:
            return dtype

    at_once = max(1, min(CHUNKS_AT_ONCE, n_samples // rows))
    # Whole rows at a time, so that a session is read in order.
    buffer = (min(n_samples, rows * at_once), n_channels)
    return Samples(buffer_shape=buffer, chunk_shape=(rows, across))

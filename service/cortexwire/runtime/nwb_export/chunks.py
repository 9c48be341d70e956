"""The raw signal as the chunks in which it is written: read from the session when they are due, compressed, no more."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cortexwire.sessions.session import Session

CHUNK_BYTES: Final = 2**20
CHUNK_CHANNELS: Final = 64
"""Channels in a chunk at most: a viewer of a few channels need not read a thousand."""
CHUNKS_AT_ONCE: Final = 8


def sample_chunks(session: Session, progress: Callable[[float], Any]) -> Any:
    """An iterator for `H5DataIO` over the samples of a wideband session, `(n_samples, n_channels)`.

    Args:
        session: The session, read once from its beginning to its end.
        progress: Told the share that is written.
    """
    from hdmf.data_utils import GenericDataChunkIterator

    dtype = session.wideband(0, min(1, session.n_samples)).dtype
    n_samples, n_channels = session.n_samples, session.n_channels
    across = min(n_channels, CHUNK_CHANNELS)
    rows = min(n_samples, max(1, CHUNK_BYTES // (across * dtype.itemsize)))

    class Samples(GenericDataChunkIterator):  # type: ignore[misc]
        def _get_data(self, selection: tuple[slice, ...]) -> Any:
            time, channels = selection
            samples = session.wideband(time.start, time.stop)[:, channels]
            progress(time.stop / n_samples)
            return samples

        def _get_maxshape(self) -> tuple[int, int]:
            return (n_samples, n_channels)

        def _get_dtype(self) -> np.dtype[Any]:
            return dtype

    at_once = max(1, min(CHUNKS_AT_ONCE, n_samples // rows))
    # Whole rows at a time, so that a session is read in order.
    buffer = (min(n_samples, rows * at_once), n_channels)
    return Samples(buffer_shape=buffer, chunk_shape=(rows, across))

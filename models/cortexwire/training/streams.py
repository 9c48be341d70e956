"""Cutting a run of bins into parallel streams, so that one step of training moves many of them on by one bin.

Within a stream, bins are consecutive and of one segment, so state is carried through it as it will live: across
trials, from one piece of the sequence to the next.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Streams(NamedTuple):
    """Bins side by side.

    Attributes:
        bins: int64 `(length, n_streams)`, which bin each stream sees at each step.
        real: bool of that shape, false where a stream is over and its last bin is repeated.
    """

    bins: NDArray[np.int64]
    real: NDArray[np.bool_]


def parallel(start: int, stop: int, segments: tuple[int, ...], n_streams: int, shift: float = 0.0) -> Streams:
    """Cut bins into about as many streams as asked for, each bin into one of them.

    Args:
        start: First bin.
        stop: One past the last bin.
        segments: First bin of each segment; no stream runs across one.
        n_streams: Streams that would hold all bins if nothing were cut.
        shift: Where in a stream's length the first cut is, in [0, 1): another one each time makes other streams.
    """
    length = max(1, -(-(stop - start) // n_streams))
    pieces = []
    for low, high in _within(start, stop, segments):
        first = low + round(shift * length)
        cuts = [low, *(cut for cut in range(first, high, length) if cut > low), high]
        pieces += list(pairwise(cuts))
    return _side_by_side(pieces)


def overlapping(start: int, stop: int, segments: tuple[int, ...], n_streams: int, run_in: int) -> Streams:
    """Cut bins into streams that each begin with bins before their own, to come into their state.

    Args:
        start: First bin.
        stop: One past the last bin.
        segments: First bin of each segment; no stream runs across one.
        n_streams: As for `parallel`.
        run_in: Bins to begin with, fewer where the segment begins.

    Returns:
        The streams, real where a bin is a stream's own.
    """
    own = parallel(start, stop, segments, n_streams)
    pieces, firsts = [], []
    for bins, real in zip(own.bins.T, own.real.T, strict=True):
        segment = max(s for s in segments if s <= bins[0])
        firsts.append(int(bins[0]))
        pieces.append((max(segment, firsts[-1] - run_in), int(bins[real][-1]) + 1))
    streams = _side_by_side(pieces)
    return Streams(streams.bins, streams.real & (streams.bins >= np.array(firsts)))


def _within(start: int, stop: int, segments: tuple[int, ...]) -> list[tuple[int, int]]:
    edges = [start, *(s for s in segments if start < s < stop), stop]
    return list(pairwise(edges))


def _side_by_side(pieces: list[tuple[int, int]]) -> Streams:
    length = max(stop - start for start, stop in pieces)
    steps = np.arange(length)[:, None]
    starts, stops = (np.array(edge) for edge in zip(*pieces, strict=True))
    return Streams(np.minimum(starts + steps, stops - 1), starts + steps < stops)

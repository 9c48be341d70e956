"""Laws of cutting a sequence into parallel streams."""

import numpy as np
import pytest

from cortexwire.training.progress import Epoch, listening, tell
from cortexwire.training.streams import overlapping, parallel


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("segments", [(0,), (0, 7, 500), (0, 333, 334)])
def test_every_bin_is_in_one_stream_and_streams_run_forward_within_a_segment(
    segments: tuple[int, ...], shift: float
) -> None:
    bins, real = parallel(5, 910, segments, 8, shift)
    np.testing.assert_array_equal(np.sort(bins[real]), np.arange(5, 910))
    assert bins.shape[0] == -(-905 // 8)
    assert bins.shape[1] <= 8 + 1 + 2 * (len(segments) - 1)
    for stream, counted in zip(bins.T, real.T, strict=True):
        own = stream[counted]
        np.testing.assert_array_equal(own, np.arange(own[0], own[0] + len(own)))
        assert counted[: len(own)].all()
        assert not any(own[0] < s <= own[-1] for s in segments)
        assert (stream[len(own) :] == own[-1]).all()


def test_another_shift_cuts_other_streams() -> None:
    assert not np.array_equal(parallel(0, 900, (0,), 8, 0.2).bins[0, :8], parallel(0, 900, (0,), 8, 0.6).bins[0, :8])


def test_a_stream_that_is_checked_comes_into_its_state_first() -> None:
    bins, real = overlapping(600, 1000, (0, 700), 4, run_in=50)
    np.testing.assert_array_equal(np.sort(bins[real]), np.arange(600, 1000))
    for stream, counted in zip(bins.T, real.T, strict=True):
        first = int(stream[counted][0])
        assert stream[0] == max(first - 50, 700 if first >= 700 else 0)
        assert np.unique(np.diff(stream[: np.flatnonzero(counted)[-1] + 1])).tolist() == [1]


def test_one_who_listens_is_told_and_nobody_else() -> None:
    epoch = Epoch(1, 2, 0.5, 0.1, (0.5, 0.6), True)
    heard: list[Epoch] = []
    tell(epoch)
    with listening(heard.append):
        tell(epoch)
    tell(epoch)
    assert heard == [epoch]

"""The C kernel and the ezmsg-sigproc graph do the work that the fused front end does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.bench import kernels, yardstick
from cortexwire.bench.contenders import AbsentError, take_turns
from cortexwire.bench.numpy_chain import Mode
from cortexwire.bench.yardstick import CFrontEnd
from cortexwire.signal.binning import Bin
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings
from cortexwire.types import Raw

BINS = 12
Bins = Sequence[tuple[NDArray[Any], NDArray[Any] | None]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BUFFER_BYTES", 2**21)


def _stream(n_channels: int) -> Raw:
    packets = kernels.make_packets(n_channels, seed=3)
    return np.concatenate(packets[: BINS * kernels.PACKETS_PER_BIN])


def _thresholds(n_channels: int) -> NDArray[np.float64]:
    """Each its own, some so low that noise crosses."""
    return np.linspace(-11.0, -30.0, n_channels)


def _fused(raw: Raw, mode: Mode = "none") -> list[Bin]:
    return kernels.fused_front_end(raw.shape[1], mode, _thresholds(raw.shape[1])).push(raw)


def _differing(ours: Sequence[Bin], theirs: Bins) -> int:
    """Channel-bins with different counts, among settled ones without what only the fused one takes as an artefact."""
    assert len(ours) == len(theirs) == BINS
    compared = [(own, other) for own, other in zip(ours, theirs, strict=True) if own.observed == own.end - own.start]
    assert len(compared) > BINS / 2
    assert sum(int(own.counts.sum()) for own, _ in compared) > 3 * len(ours[0].counts)
    for own, (_, power) in compared:
        assert own.power is not None
        if power is not None:
            np.testing.assert_allclose(power, own.power, rtol=1e-4)
    return sum(int(np.count_nonzero(own.counts != counts)) for own, (counts, _) in compared)


def _c(raw: Raw, cuts: Sequence[int]) -> Bins:
    try:
        design = design_filter(FilterSettings(), kernels.RATE)
        kernel = CFrontEnd(design, kernels.UV_PER_BIT, _thresholds(raw.shape[1]), 30, 600)
    except AbsentError as error:
        pytest.skip(str(error))
    return [bin_ for piece in np.split(raw, cuts) for bin_ in kernel.push(np.ascontiguousarray(piece))]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n_channels", [1, 16, 33, 96])
def test_the_c_kernel_counts_and_squares_as_the_fused_front_end(n_channels: int) -> None:
    raw = _stream(n_channels)
    assert _differing(_fused(raw), _c(raw, range(30, len(raw), 30))) <= 1


@pytest.mark.usefixtures("small")
def test_the_c_kernel_gives_the_same_bits_however_samples_are_cut() -> None:
    raw = _stream(40)
    whole = _c(raw, [])
    rng = np.random.default_rng(0)
    for cuts in (range(1, len(raw)), range(7, len(raw), 7), np.sort(rng.integers(0, len(raw), 50)).tolist()):
        for one, other in zip(whole, _c(raw, list(cuts)), strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_the_c_kernel_refuses_what_it_cannot_read() -> None:
    raw = np.zeros((60, 8), np.int16)
    for wrong in (raw[:, :7], raw.astype(np.float32), raw[::2]):
        with pytest.raises(ValueError, match="expected contiguous int16 samples of 8 channels"):
            _kernel(8).push(wrong)
    short = design_filter(FilterSettings(order=2), kernels.RATE)
    with pytest.raises(ValueError, match="expected a filter of 4 sections, got 2"):
        CFrontEnd(short, 0.25, np.full(8, -30.0), 30, 600)


def _kernel(n_channels: int) -> CFrontEnd:
    try:
        return CFrontEnd(design_filter(FilterSettings(), kernels.RATE), 0.25, np.full(n_channels, -30.0), 30, 600)
    except AbsentError as error:
        pytest.skip(str(error))


def test_a_compiler_that_cannot_compile_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yardstick, "compiler", lambda: yardstick.find_compiler(("false",)))
    yardstick.library.cache_clear()
    with pytest.raises(AbsentError, match="the C compiler cannot compile the kernel"):
        yardstick.library()
    yardstick.library.cache_clear()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["none", "mean", "median"])
def test_the_ezmsg_graph_counts_as_the_fused_front_end(mode: Mode) -> None:
    pytest.importorskip("ezmsg.sigproc", reason="ezmsg-sigproc is absent: pip install ezmsg-sigproc")
    from cortexwire.bench.peers.ezmsg_graph import EzmsgGraph, messages

    raw = _stream(64)
    graph = EzmsgGraph(mode, FilterSettings(), kernels.UV_PER_BIT, _thresholds(64), 30, 0.02)
    theirs = [bin_ for message in messages(np.split(raw, BINS * 20), kernels.RATE) if (bin_ := graph.push(message))]
    assert _differing(_fused(raw, mode), theirs) <= 1


def test_contenders_take_turns_of_equal_length_on_the_packets_that_come_next() -> None:
    taken: list[list[int]] = [[], []]
    streams = [(taken[0].append, list(range(30))), (lambda k: taken[1].extend([k] * 100), list(range(40)))]
    times = take_turns(streams, 0.0)
    assert [len(turns) for turns in times] == [3, 3]
    assert len(taken[0]) > len(taken[1]) / 100
    for numbers, size in ((taken[0][20:], 30), (taken[1][2000::100], 40)):
        assert numbers == [k % size for k in range(len(numbers))]

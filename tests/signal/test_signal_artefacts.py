"""Which milliseconds are not observed: artefacts, what follows them, and blanked stretches."""

import numpy as np
import pytest

from cortexwire.signal.blanking import MOST, Blanking
from cortexwire.signal.settings import ArtefactSettings
from tests.signal.streams import chain, feed, front_end, noise

MS = 30


def burst(raw: np.ndarray, at: int, channels: int, size: int = 1500) -> None:
    raw[at : at + 6, :channels] -= size


def test_many_channels_in_one_millisecond_are_an_artefact_and_few_are_not() -> None:
    settings = chain(artefact=ArtefactSettings(channel_share=0.5, hold_ms=0.0))
    raw = noise(9000, 10, seed=1, spikes=0.0)
    quiet = feed(front_end(10, settings), raw, 100)
    burst(raw, 4205, 5)
    burst(raw, 6605, 4)
    bins = feed(front_end(10, settings), raw, 100)
    assert bins[7].artefact >= MS
    assert bins[7].observed == 600 - bins[7].artefact
    assert bins[11].artefact == 0
    assert bins[11].counts[:4].all()
    assert not any(b.artefact for b in quiet)


def test_an_artefact_is_held_for_whole_blocks() -> None:
    artefacts = []
    for hold_ms in (0.0, 1.0, 4.5):
        settings = chain(artefact=ArtefactSettings(channel_share=0.5, hold_ms=hold_ms))
        raw = noise(6000, 10, seed=2, spikes=0.0)
        burst(raw, 4202, 10, size=600)
        artefacts.append(feed(front_end(10, settings, threshold_uv=-60.0), raw, 100)[7].artefact // MS)
    assert artefacts == [artefacts[0], artefacts[0] + 1, artefacts[0] + 5]


def test_an_amplitude_makes_an_artefact_even_without_thresholds() -> None:
    settings = chain(artefact=ArtefactSettings(channel_share=0.5, amplitude_uv=100.0))
    source = front_end(40, settings)
    source.set_thresholds(np.full(40, np.nan), np.full(40, np.nan, np.float32))
    source.mask(tuple(range(10)))
    source.set_thresholds(np.full(40, np.nan), np.full(40, np.nan, np.float32))
    raw = noise(9000, 40, seed=3, spikes=0.0)
    burst(raw, 4205, 12)  # two of them live
    burst(raw, 6605, 40)
    bins = feed(source, raw, 100)
    assert bins[11].artefact > 0
    assert bins[7].artefact > 0  # no channel has a threshold, so two are enough
    source = front_end(40, settings)
    source.mask(tuple(range(10)))
    raw[6605:6611, 20:] += 1500
    bins = feed(source, raw, 100)
    assert bins[7].artefact == bins[11].artefact == 0


def test_one_channel_alone_is_never_an_artefact() -> None:
    raw = noise(9000, 1, seed=4, spikes=1e-3)
    bins = feed(front_end(1, chain(artefact=ArtefactSettings(channel_share=0.01))), raw, 100)
    assert sum(b.artefact for b in bins) == 0
    assert sum(int(b.counts[0]) for b in bins) > 0


def test_artefacts_leave_no_counts_and_no_power() -> None:
    settings = chain(artefact=ArtefactSettings(channel_share=0.5))
    raw = noise(6000, 10, seed=5, spikes=0.0)
    clean = feed(front_end(10, settings), raw, 100)[7]
    burst(raw, 4205, 10)
    marked = feed(front_end(10, settings), raw, 100)[7]
    assert not marked.counts.any()
    assert clean.power is not None
    assert marked.power is not None
    assert (marked.power < 3 * clean.power).all()


def test_blanked_blocks_are_unobserved_whatever_the_packet() -> None:
    raw = noise(6000, 9, seed=6)
    for size in (1, 100, 6000):
        source = front_end(9)
        for start in range(4200, 4800, 100):
            source.blank(start, start + 10)
        bins = feed(source, raw, size)
        assert bins[7].artefact == 6 * MS + 0
        assert bins[6].artefact == bins[8].artefact == 0


def test_an_open_blanking_ends_where_its_end_is_announced() -> None:
    raw = noise(9000, 9, seed=7)
    source = front_end(9)
    source.blank(4200, 2**62)
    feed(source, raw[:4500], 100)
    source.blank(4200, 4530)
    bins = feed(source, raw[4500:], 100)
    assert [b.artefact for b in bins] == [330, *[0] * 7]


def test_stretches_stay_disjoint_ascending_and_few() -> None:
    blanking = Blanking()
    blanking.add(10, 1000, 0)
    blanking.add(50, 60, 0)
    assert blanking.stretches == [(10, 50), (50, 60)]
    assert blanking.within(0, 55) == [(10, 50), (50, 55)]
    blanking.add(20, 20, 0)
    assert blanking.stretches == [(10, 20)]
    blanking.add(500, 510, 400)
    assert blanking.stretches == [(500, 510)]
    for k in range(2 * MOST):
        blanking.add(1000 + 10 * k, 1005 + 10 * k, 400)
    assert len(blanking.stretches) == MOST
    assert blanking.stretches[0][0] == 500


@pytest.mark.parametrize("bin_ms", [0.4, 1.0, 7.3, 20.0, 45.0])
def test_every_bin_has_whole_blocks_of_at_most_a_millisecond(bin_ms: float) -> None:
    clock = front_end(1, chain(bin_ms=bin_ms)).clock
    parts = int(np.ceil(bin_ms))
    blocks = clock.divided(parts)
    assert [blocks.start(k * parts) for k in range(200)] == [clock.start(k) for k in range(200)]
    assert blocks.longest <= 31

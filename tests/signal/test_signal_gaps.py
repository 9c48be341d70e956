"""Behind a gap: what is unobserved, and that everything else is the undisturbed stream, bit for bit."""

from typing import Any

import numpy as np
import pytest

from cortexwire.signal.binning import Bin
from cortexwire.signal.settings import ArtefactSettings, FilterSettings, ReferenceSettings
from cortexwire.signal.strip import MAX_SECTIONS
from cortexwire.types import Rate
from tests.signal.streams import FLOAT32, INT16, RATE, banks, bits, chain, feed, front_end, noise

N = 12_000


def unmarked(bins: list[Bin]) -> dict[int, tuple[object, ...]]:
    """Bins of which every sample was observed or judged an artefact."""
    return {b.index: bits(b) for b in bins if b.observed + b.artefact == b.end - b.start}


@pytest.mark.parametrize(
    ("name", "n", "changes", "dtype"),
    [
        ("plain", 96, {}, INT16),
        ("mean", 96, {"reference": ReferenceSettings(mode="mean")}, INT16),
        ("median", 33, {"reference": ReferenceSettings(mode="median"), "bin_ms": 7.3}, INT16),
        ("banks", 40, {"reference": ReferenceSettings(mode="median", groups="bank")}, INT16),
        (
            "float32",
            34,
            {
                "reference": ReferenceSettings(mode="mean", groups="bank"),
                "filter": FilterSettings(kind="highpass", order=2, low_hz=300.0),
                "power": "mean_absolute",
            },
            FLOAT32,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bins_behind_gaps_equal_the_undisturbed_stream_bit_for_bit(
    name: str, n: int, changes: dict[str, Any], dtype: Any
) -> None:
    settings = chain(artefact=ArtefactSettings(channel_share=0.3), dead_after_s=0.1, **changes)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        raw = noise(N, n, seed, spikes=1e-3)
        raw[:, 0] = -7
        raw[rng.integers(6000, N) :][:9, 1] = 32_767
        raw[rng.integers(6000, N - 6) :][:6] -= np.where(np.arange(n) % 2, 1500, 0).astype(np.int16)
        raw = raw.astype(dtype)
        at = int(rng.integers(3000, 6000))
        gaps = [(at, at + int(rng.choice((1, 13, 30, 700))))]
        whole = unmarked(feed(front_end(n, settings, dtype=dtype, banks=banks(n)), raw, 100))
        source = front_end(n, settings, dtype=dtype, banks=banks(n))
        bins = feed(source, raw, 100, gaps)
        rest = unmarked(bins)
        assert len(rest) > len(bins) // 3
        assert rest.items() <= whole.items()


@pytest.mark.parametrize(
    ("filtering", "rate"),
    [
        (FilterSettings(), RATE),
        (FilterSettings(low_hz=300.0, high_hz=6000.0), Rate(19_531)),
        (FilterSettings(high_hz=4500.0), Rate(10_000)),
        (FilterSettings(), Rate(50_000)),
    ],
    ids=["250-5000 Hz", "300-6000 Hz at 19531", "at 10 kHz", "at 50 kHz"],
)
def test_the_memory_of_every_filter_holds_the_same_bits_once_settled(filtering: FilterSettings, rate: Rate) -> None:
    n = 1024
    settings = chain(rate, filter=filtering)
    undisturbed, disturbed = (front_end(n, settings, rate, threshold_uv=-40.0) for _ in range(2))
    settling = undisturbed.settling_samples
    raw = noise(3 * settling, n, seed=11, rate=rate)
    raw[:, ::2] = np.clip(raw[:, ::2].astype(np.int32) * 6, -32_700, 32_700)
    disturbed.push(raw[: settling + 7])
    disturbed.gap(settling + 40)
    undisturbed.push(raw[: 2 * settling + 40])
    disturbed.push(raw[settling + 40 : 2 * settling + 40])
    memories = slice(0, 2 * MAX_SECTIONS)
    assert disturbed._state[:, memories].tobytes() == undisturbed._state[:, memories].tobytes()


def test_missing_and_settling_samples_are_unobserved_and_no_others() -> None:
    raw = noise(N, 9, seed=2, spikes=0.0)
    source = front_end(9, start=100)
    bins = feed(source, raw, 37, [(3000, 3005), (7000, 8300)], start=100)
    observed = np.zeros(N + 100 + 600, bool)
    missing = np.zeros_like(observed)
    for start, stop in ((100, 3100), (3105, 7100), (8400, N + 100)):
        observed[start + source.settling_samples : stop] = True
    missing[:100] = missing[3100:3105] = missing[7100:8400] = True
    assert [b.index for b in bins] == list(range(len(bins)))
    for b in bins:
        inside = slice(b.start, b.end)
        assert (b.observed, b.missing, b.artefact) == (observed[inside].sum(), missing[inside].sum(), 0)
        assert b.observed_fraction == b.observed / 600


def test_a_gap_longer_than_bins_closes_them_empty() -> None:
    source = front_end(9)
    source.push(noise(2500, 9, seed=3))
    bins = source.gap(10_000)
    assert [b.index for b in bins] == list(range(4, 16))
    assert all(b.missing == 600 and not b.observed and not b.counts.any() for b in bins[1:])
    assert source.position == 10_000
    assert source.until_edge == 200


def test_refractory_time_and_holds_do_not_leak_through_a_gap_into_unmarked_bins() -> None:
    settings = chain(artefact=ArtefactSettings(channel_share=0.3, hold_ms=40.0))
    raw = noise(N, 10, seed=5)
    raw[5010:5016] -= 1500
    whole = unmarked(feed(front_end(10, settings), raw, 100))
    rest = unmarked(feed(front_end(10, settings), raw, 100, [(5005, 5020)]))
    assert rest.items() <= whole.items()


def test_beginning_again_after_a_long_gap_keeps_what_is_known_of_channels() -> None:
    raw = noise(9000, 9, seed=6)
    raw[:, 3] = 0
    source = front_end(9, chain(dead_after_s=0.1))
    feed(source, raw, 100)
    source.begin(10**9)
    bins = feed(source, raw, 100, start=10**9)
    assert all(b.status[3] for b in bins)

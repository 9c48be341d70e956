"""How a stream is cut into packets shows nowhere, not in one bit."""

from typing import Any

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.signal.settings import ArtefactSettings, FilterSettings, ReferenceSettings, ThresholdSettings
from cortexwire.types import Rate
from tests.signal.streams import FLOAT32, INT16, RATE, banks, bits, chain, feed, front_end, noise

START = 12_345
HIGH_PASS = FilterSettings(kind="highpass", order=2, low_hz=300.0)
CHAINS: dict[str, dict[str, Any]] = {
    "one channel": {"n": 1, "threshold_uv": -20.0},
    "three channels": {"n": 3, "rate": Rate(19_531), "artefact": ArtefactSettings(amplitude_uv=40.0)},
    "one more than two strips": {"n": 65, "reference": ReferenceSettings(mode="mean"), "bin_ms": 7.3},
    "96, positive, median": {
        "n": 96,
        "threshold_uv": 30.0,
        "threshold": ThresholdSettings(multiplier=4.5),
        "reference": ReferenceSettings(mode="median"),
        "rate": Rate(390_625, 16),
    },
    "96, banks": {"n": 96, "reference": ReferenceSettings(mode="mean", groups="bank")},
    "float32 high-pass": {
        "n": 34,
        "dtype": FLOAT32,
        "filter": HIGH_PASS,
        "power": "mean_absolute",
        "reference": ReferenceSettings(mode="median", groups="bank"),
    },
    "1024": {"n": 1024, "reference": ReferenceSettings(mode="median"), "samples": 2600},
}


@pytest.mark.parametrize("name", CHAINS)
def test_bins_do_not_depend_on_packet_size(name: str) -> None:
    wanted = dict(CHAINS[name])
    n, rate, dtype = wanted.pop("n"), wanted.pop("rate", RATE), wanted.pop("dtype", INT16)
    samples, threshold_uv = wanted.pop("samples", 5000), wanted.pop("threshold_uv", -30.0)
    settings = chain(rate, **{"dead_after_s": 0.05, **wanted})
    raw = noise(samples, n, seed=n, rate=rate, spikes=1e-3).astype(dtype)
    raw[: samples // 2, -1] = 100
    raw[samples // 3 : samples // 3 + 40, 0] = 32_767
    raw[2400:2405] -= np.where(np.arange(n) % 2, 1500, 0).astype(dtype)
    raw.flags.writeable = False
    gaps = [(samples * 4 // 5, samples * 4 // 5 + 13)]

    def run(size: int | None) -> tuple[list[Any], bytes]:
        source = front_end(n, settings, rate, dtype, banks(n), threshold_uv, START)
        source.blank(START + 2100, START + 2130)
        source.blank(START + 2150, START + 2160)
        bins = [bits(b) for b in feed(source, raw, size, gaps, START)]
        return bins, source.crossings.tobytes()

    whole = run(600)
    assert len(whole[0]) > 3
    for size in (1, 7, 30, None):
        assert run(size) == whole, f"packets of {size}"


def test_filtered_samples_do_not_depend_on_packet_size() -> None:
    raw = noise(2000, 9, seed=5)

    def run(size: int) -> bytes:
        source = front_end(9)
        source.filtered = np.empty((0, 0), np.float32)
        pieces = []
        for at in range(0, len(raw), size):
            source.push(raw[at : at + size])
            pieces.append(source.filtered)
        return np.concatenate(pieces).tobytes()

    assert run(1) == run(37) == run(2000)


def test_samples_of_another_type_or_width_are_refused() -> None:
    source = front_end(9)
    with pytest.raises(ConfigError, match="expected 9 channels of int16, got 9 of float32"):
        source.push(np.zeros((5, 9), np.float32))
    with pytest.raises(ConfigError, match="expected 9 channels of int16, got 8 of int16"):
        source.push(np.zeros((5, 8), np.int16))


def test_a_later_stream_of_lower_indices_begins_like_a_first_one() -> None:
    raw = noise(4000, 9, seed=6, spikes=1e-3)
    raw[3000:3006] -= 1500
    fresh = [bits(b) for b in feed(front_end(9, start=40), raw, 100, start=40)]
    used = front_end(9, start=900_000)
    feed(used, raw[::-1].copy(), 70, start=900_000)
    used.begin(40)
    assert [bits(b) for b in feed(used, raw, 100, start=40)] == fresh


def test_sample_indices_may_be_huge_and_rates_odd() -> None:
    rate = Rate(300_000_007, 10_000)
    raw = noise(3000, 9, seed=7)
    for start in (0, 2**52 + 17, 2**60 + 1):
        source = front_end(9, chain(rate), rate, start=start)
        bins = feed(source, raw, 64, start=start)
        assert [b.start for b in bins] == [source.clock.start(b.index) for b in bins]
        assert all(b.end == source.clock.start(b.index + 1) for b in bins)
        assert sum(b.observed for b in bins) == bins[-1].end - start - source.settling_samples

"""The front end counts what an independent float64 chain of scipy counts."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import wavfile

from cortexwire.signal.bins import samples_in
from cortexwire.signal.settings import ArtefactSettings, FilterSettings, ReferenceSettings
from cortexwire.signal.wideband import WidebandBins
from cortexwire.types import Rate
from tests.signal.float64_chain import Float64Chain
from tests.signal.streams import INT16, RATE, UV_PER_BIT, chain, feed, noise

Mode = Literal["none", "mean", "median"]
N1_RATE = Rate(19_531)


def compare(
    raw: NDArray[np.int16], rate: Rate, mode: Mode, multiplier: float, uv_per_bit: float, filtering: FilterSettings
) -> int:
    """Compare every channel-bin; returns the number of crossings."""
    settings = chain(
        rate,
        filter=filtering,
        reference=ReferenceSettings(mode=mode),
        artefact=ArtefactSettings(channel_share=1.0),
    )
    source = WidebandBins(settings, rate, raw.shape[1], uv_per_bit, INT16)
    source.begin(0)
    wanted = Float64Chain.of(raw, uv_per_bit, mode, filtering, rate, source.settling_samples)
    thresholds = multiplier * wanted.rms
    source.set_thresholds(thresholds, wanted.rms.astype(np.float32))
    refractory = samples_in(rate, 1.0)
    kept = wanted.crossings(thresholds, refractory)
    total = 0
    for made in feed(source, raw, 30):
        if not made.observed:
            continue
        counts = wanted.counts(kept, made.start, made.end)
        close = wanted.is_close(thresholds, made.start, made.end, refractory)
        differ = made.counts != counts
        assert not (differ & ~close).any(), f"bin {made.index}: channels {np.flatnonzero(differ & ~close)}"
        if made.observed_fraction >= 0.5:
            assert made.power is not None
            np.testing.assert_allclose(made.power, wanted.power(made.start, made.end), rtol=1e-4)
        total += int(made.counts.sum())
    return total


@pytest.mark.parametrize("rate", [RATE, N1_RATE], ids=["30 kHz", "19531 Hz"])
@pytest.mark.parametrize("mode", ["none", "mean", "median"])
def test_counts_and_power_are_those_of_scipy_in_float64(mode: Mode, rate: Rate) -> None:
    raw = noise(15_000, 40, seed=9, rate=rate, spikes=2e-3)
    assert compare(raw, rate, mode, -3.5, UV_PER_BIT, FilterSettings()) > 300


@pytest.mark.realdata
@pytest.mark.parametrize("mode", ["none", "mean", "median"])
def test_real_recordings_count_as_scipy_does_in_float64(recordings: Path, mode: Mode) -> None:
    clips = [wavfile.read(path)[1] for path in sorted((recordings / "neuralink_n1").glob("*.wav"))[:96]]
    shortest = min(map(len, clips))
    raw = np.stack([clip[:shortest] for clip in clips], axis=1)
    assert compare(raw, N1_RATE, mode, -4.5, 1 / 64, FilterSettings()) >= 1000

"""Every stage keeps the battery's laws, and the stages in a row are the fused front end, bit for bit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from cortexwire.signal.binning import Bin
from cortexwire.signal.bins import BinClock
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import (
    ArtefactSettings,
    FilterSettings,
    FrontEndSettings,
    ReferenceSettings,
    ThresholdSettings,
)
from cortexwire.signal.stages import Blocks, Detected, Filter, Health, Reference, Threshold
from cortexwire.signal.wideband import GRID_OF_RMS, WidebandBins
from cortexwire.types import Rate
from tests.signal.battery import Case, check_stage
from tests.signal.stage_chain import StageChain
from tests.signal.streams import FLOAT32, INT16, RATE, UV_PER_BIT, banks, bits, chain, front_end, noise

N = 4000
RAILS = (-32768.0, 32767.0)
RAW = noise(N, 9, seed=1, spikes=2e-3)
SETTINGS = chain(bin_ms=10.0, artefact=ArtefactSettings(channel_share=0.3))
DESIGN = design_filter(SETTINGS.filter, RATE)
BINS = BinClock(RATE, 10.0)
MS = BINS.divided(10)
GROUPS = {"all": np.arange(9)}
NOISE_UV = 8.0
"""What `front_end` takes for the noise of each channel."""


def grid(n: int) -> NDArray[np.float32]:
    return np.full(n, 2.0 ** np.floor(np.log2(GRID_OF_RMS * NOISE_UV)), np.float32)


def rows(array: NDArray[Any]) -> list[NDArray[Any]]:
    return list(array)


def tell(bins: list[Bin]) -> list[NDArray[Any]]:
    """Each bin as one array of numbers."""
    return [np.concatenate([b.counts, b.power, b.status, [b.observed, b.missing, b.artefact]]) for b in bins]


def reference() -> Reference:
    return Reference(ReferenceSettings(mode="median"), GROUPS, 9, UV_PER_BIT * DESIGN.gain, RAILS, False)


def filtering() -> Filter:
    return Filter(DESIGN, False, MS, np.full(9, 1e-3, np.float32))


def detected() -> Detected:
    return Threshold(np.full(9, -30.0), 30, -60.0).process(filtering().process(reference().process(RAW)))


def begin_anew(source: WidebandBins) -> None:
    source.reset()
    source.begin(0)


FOUND = detected()
CASES = [
    Case("reference", reference, (RAW,), lambda s, d: rows(s.process(d[0])), lambda s: s.reset()),
    Case(
        "filter",
        filtering,
        (reference().process(RAW),),
        lambda s, d: rows(s.process(d[0])),
        lambda s: s.reset(),
    ),
    Case(
        "threshold",
        lambda: Threshold(np.full(9, -30.0), 30),
        (FOUND.filtered,),
        lambda s, d: rows(s.process(d[0]).crossings),
        lambda s: s.reset(),
    ),
    Case(
        "blocks",
        lambda: Blocks(SETTINGS, RATE, MS, 9, 300),
        tuple(FOUND),
        lambda s, d: tell(s.process(Detected(*d))),
        lambda s: s.reset(),
    ),
    Case(
        "health",
        lambda: Health((-4000.0, 4000.0), 20, 30, BINS, MS, 9),
        (RAW,),
        lambda s, d: list(s.process(d[0])),
        lambda s: s.reset(),
    ),
    Case(
        "fused",
        lambda: front_end(9, SETTINGS),
        (RAW,),
        lambda s, d: tell(s.push(d[0])),
        begin_anew,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_stage_keeps_the_laws(case: Case) -> None:
    check_stage(case)


CHAINS = [
    ("none", 9, INT16, RATE, chain(artefact=ArtefactSettings(channel_share=0.2))),
    ("mean", 65, INT16, Rate(19_531), chain(Rate(19_531), reference=ReferenceSettings(mode="mean"))),
    (
        "median",
        40,
        INT16,
        RATE,
        chain(
            bin_ms=12.5,
            reference=ReferenceSettings(mode="median"),
            threshold=ThresholdSettings(multiplier=4.5, refractory_ms=0.7),
            artefact=ArtefactSettings(channel_share=0.3, amplitude_uv=70.0, hold_ms=2.5),
        ),
    ),
    (
        "groups",
        33,
        INT16,
        RATE,
        chain(reference=ReferenceSettings(mode="median", groups={"a": tuple(range(20)), "b": tuple(range(21, 33))})),
    ),
    (
        "float32 high-pass",
        34,
        FLOAT32,
        RATE,
        chain(
            filter=FilterSettings(kind="highpass", order=2, low_hz=300.0),
            power="mean_absolute",
            reference=ReferenceSettings(mode="mean", groups="bank"),
        ),
    ),
]


@pytest.mark.parametrize(("n", "dtype", "rate", "settings"), [c[1:] for c in CHAINS], ids=[c[0] for c in CHAINS])
def test_the_stages_in_a_row_are_the_fused_front_end(
    n: int, dtype: np.dtype[Any], rate: Rate, settings: FrontEndSettings
) -> None:
    raw = noise(9000, n, seed=3, rate=rate, spikes=1e-3).astype(dtype)
    raw[:, 1] = 17
    raw[4000:4100, 2] = 32767
    raw[6000:6006] += (np.where(np.arange(n) % 2, 1500, -1500)).astype(dtype)
    settings = settings.model_copy(update={"dead_after_s": 0.1})
    sign = -1.0 if settings.threshold.multiplier < 0 else 1.0
    fused = front_end(n, settings, rate, dtype, banks(n), sign * 30.0, start=777)
    fused.filtered = np.empty((0, 0), np.float32)
    rails = RAILS if dtype == INT16 else (-np.inf, np.inf)
    stages = StageChain(settings, rate, np.full(n, sign * 30.0), grid(n), rails, banks(n), start=777)
    bins, filtered = [], []
    for at in range(0, len(raw), 250):
        bins += fused.push(raw[at : at + 250])
        filtered.append(fused.filtered)
    wanted = stages.push(raw)
    if dtype == INT16:
        assert np.concatenate(filtered).tobytes() == np.concatenate(stages.filtered).tobytes()
        assert [bits(b) for b in bins] == [bits(b) for b in wanted]
    else:
        np.testing.assert_allclose(np.concatenate(filtered), np.concatenate(stages.filtered), rtol=1e-6, atol=1e-5)
        assert [b.counts.tolist() for b in bins] == [b.counts.tolist() for b in wanted]
        assert [b.observed for b in bins] == [b.observed for b in wanted]
        for a, b in zip(bins, wanted, strict=True):
            assert a.power is not None
            assert b.power is not None
            np.testing.assert_allclose(a.power, b.power, rtol=1e-6)
    assert sum(int(b.counts.sum()) for b in bins) > 20
    assert sum(b.artefact for b in bins) > 0
    assert any((b.status & 2).any() for b in bins)


def test_crossings_of_the_open_bin_are_those_of_the_stages() -> None:
    settings = chain()
    raw = noise(3500, 9, seed=8, spikes=3e-3)
    fused = front_end(9, settings)
    stages = StageChain(settings, RATE, np.full(9, -30.0), grid(9), RAILS)
    fused.push(raw)
    stages.push(raw)
    sample, channel = np.nonzero(np.concatenate(stages.crossings)[3000:])
    kept = sample < 480  # whole blocks only
    assert len(sample[kept]) > 3
    assert fused.crossings["sample"].tolist() == sample[kept].tolist()
    assert fused.crossings["channel"].tolist() == channel[kept].tolist()


def test_the_reference_stage_is_a_plain_difference() -> None:
    values = RAW.astype(np.float64)
    car = values - np.median(values, axis=1, keepdims=True)
    car = np.concatenate([car[[0, 0]], car])
    wanted = UV_PER_BIT * DESIGN.gain * (car[2:] - car[:-2])
    np.testing.assert_allclose(reference().process(RAW), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["bandpass", "highpass"])
def test_reference_and_filter_stages_are_scipys_filter(kind: Any) -> None:
    settings = chain(filter=FilterSettings(kind=kind)).filter
    design = settings.design
    assert design is not None
    none = Reference(ReferenceSettings(), GROUPS, 9, UV_PER_BIT * design.gain, RAILS, kind == "highpass")
    filtered = Filter(design, kind == "highpass", MS, np.zeros(9, np.float32)).process(none.process(RAW))
    edges = [250.0, 5000.0] if kind == "bandpass" else 250.0
    sos = signal.butter(4, edges, kind, fs=30_000, output="sos")
    x = UV_PER_BIT * RAW.astype(np.float64)
    wanted, _ = signal.sosfilt(sos, x, axis=0, zi=signal.sosfilt_zi(sos)[:, :, None] * x[0])
    np.testing.assert_allclose(filtered, wanted, rtol=0, atol=3e-4 * wanted.std())


def test_the_threshold_stage_is_the_rule_word_for_word() -> None:
    y = FOUND.filtered
    crossings = Threshold(np.full(9, -12.0), 30).process(y).crossings
    for c in range(9):
        last = -100
        for i in range(1, len(y)):
            wanted = y[i, c] <= -12 and y[i - 1, c] > -12 and i - last >= 30
            assert crossings[i, c] == wanted
            last = i if wanted else last
    assert crossings.sum() > 20


def test_the_blocks_stage_is_a_plain_count_and_mean_square() -> None:
    settings = SETTINGS.model_copy(update={"artefact": ArtefactSettings(channel_share=0.6, hold_ms=2.0)})
    bins = Blocks(settings, RATE, MS, 9, 315).process(FOUND)
    observed = np.zeros(N, bool)
    observed[315:] = True
    hold = 0
    for start in range(0, N, 30):
        if FOUND.crossings[start : start + 30].sum() >= 6:
            hold = start + 30 + 60
        observed[start : start + 30] &= start >= hold
    assert 0 < np.count_nonzero(~observed[315:]) < N // 2
    for made in bins:
        inside = slice(made.start, made.end)
        seen = observed[inside]
        assert made.observed == seen.sum()
        assert made.observed + made.artefact == np.count_nonzero(np.arange(made.start, made.end) >= 315)
        assert made.counts.tolist() == FOUND.crossings[inside][seen].sum(axis=0).tolist()
        if made.observed:
            wanted = np.mean(FOUND.filtered[inside][seen].astype(np.float64) ** 2, axis=0)
            assert made.power is not None
            np.testing.assert_allclose(made.power, wanted, rtol=1e-5)


def test_the_health_stage_is_a_plain_look_at_every_block() -> None:
    raw = RAW.copy()
    raw[1000:2200, 3] = 55
    raw[700:710, 5] = 4000
    reports = Health((-4000.0, 4000.0), 4, 15, BINS, MS, 9).process(np.clip(raw, -3999, 4000))
    assert len(reports) == N // 300
    still = dead = left = 0
    for k, report in enumerate(reports):
        railing = False
        for start in range(300 * k, 300 * k + 300, 30):
            still = still + 1 if start and (raw[start - 1 : start + 30, 3] == raw[start, 3]).all() else 0
            railed = (raw[start : start + 30, 5] >= 4000).any()
            railing |= bool(railed) or left > 0
            left = 4 if railed else max(left - 1, 0)
        dead += still >= 15
        assert (report[3] & 2 != 0, report[5] & 4 != 0) == (still >= 15, railing)
    assert dead == 3

"""The yardstick of the front end's speed does the same work, however it is written."""

import sys
from typing import Any

import numpy as np
import pytest
from scipy import signal

from cortexwire.bench import kernels, yardstick
from cortexwire.bench.numpy_chain import LAYOUTS, Layout, NumpyChain
from cortexwire.signal.settings import FilterSettings
from tests.signal.float64_chain import Float64Chain
from tests.signal.streams import RATE, UV_PER_BIT, noise


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("mode", ["none", "mean", "median"])
def test_the_numpy_chain_counts_as_the_rules_say(mode: Any, layout: Layout) -> None:
    raw = noise(6000, 12, seed=1, spikes=2e-3)
    settings = FilterSettings()
    wanted = Float64Chain.of(raw, UV_PER_BIT, mode, settings, RATE, 0)
    thresholds = -3.5 * wanted.rms
    kept = wanted.crossings(thresholds, 30)
    sos = signal.butter(4, [250, 5000], "bandpass", fs=30_000, output="sos")
    chain = NumpyChain(mode, layout, sos, UV_PER_BIT, thresholds, 30, 20)
    made = [bin_ for at in range(0, 6000, 30) if (bin_ := chain.push(raw[at : at + 30])) is not None]
    assert len(made) == 10
    for k, (counts, power) in enumerate(made):
        inside = 600 * k, 600 * k + 600
        differ = counts != kept[slice(*inside)].sum(axis=0)
        assert not (differ & ~wanted.is_close(thresholds, *inside, 30)).any()
        np.testing.assert_allclose(power, wanted.power(*inside), rtol=2e-3)
    assert kept.sum() > 50


def test_a_measurement_compares_first_and_then_says_how_many_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BUFFER_BYTES", 2**19)
    monkeypatch.setattr(kernels, "CHECKED_BINS", 8)
    monkeypatch.setattr(kernels, "_compile_times", lambda: (2.0, 0.1))
    found = kernels.run_kernels((33,), ("none", "mean"), seconds=0.01)
    assert [(row["channels"], row["reference"]) for row in found["results"]] == [(33, "none"), (33, "mean")]
    for row in found["results"]:
        assert row["ratio"] == pytest.approx(row["scipy"]["us"] / row["fused"]["us"])
        assert row["fused"]["ns_per_sample_channel"] == pytest.approx(row["fused"]["us"] / 30 / 33 * 1000)
        assert row["scipy"]["compared_channel_bins"] == 5 * 33
        assert row["turns"] >= 3
        for name in ("c", "ezmsg"):
            if "absent" not in row[name]:
                assert row[name]["ratio"] == pytest.approx(row[name]["us"] / row["fused"]["us"])
                assert row[name]["compared_channel_bins"] == 5 * 33
    assert found["results"][1]["c"] == {"absent": "the C kernel has no reference"}
    assert (found["compile_cold_s"], found["compile_cached_s"]) == (2.0, 0.1)
    assert found["environment"]["libraries"]["scipy"]


def test_a_measurement_of_different_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BUFFER_BYTES", 2**19)
    monkeypatch.setattr(kernels, "CHECKED_BINS", 8)
    monkeypatch.setitem(kernels.POWER_TOLERANCE, "scipy", 1e-9)
    with pytest.raises(
        RuntimeError, match="33 channels, reference none: expected scipy to give equal outputs, got 0 d"
    ):
        kernels.run_kernels((33,), ("none",), seconds=0.01)


def test_what_is_not_installed_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BUFFER_BYTES", 2**19)
    monkeypatch.setattr(kernels, "CHECKED_BINS", 8)
    monkeypatch.setattr(kernels, "_compile_times", lambda: (2.0, 0.1))
    monkeypatch.setattr(yardstick, "compiler", lambda: yardstick.find_compiler(("no-such-compiler",)))
    yardstick.library.cache_clear()
    monkeypatch.setitem(sys.modules, "cortexwire.bench.peers.ezmsg_graph", None)
    (row,) = kernels.run_kernels((33,), ("none",), seconds=0.01)["results"]
    yardstick.library.cache_clear()
    assert row["c"] == {"absent": "no C compiler is installed: apt-get install gcc"}
    assert row["ezmsg"] == {"absent": "ezmsg-sigproc is not installed: pip install ezmsg-sigproc"}
    assert row["ratio"] > 0

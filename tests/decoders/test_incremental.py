"""Laws of the incremental executor: it computes what the graph says, however the crossings come."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import Bundle, OnnxDecoder, make_overlay
from cortexwire.decoders.incremental import IncrementalDecoder
from cortexwire.decoders.incremental.executor import N_LEVELS
from cortexwire.decoders.incremental.machine import Op, _pair
from cortexwire.errors import BundleError
from cortexwire.training import seeded_bundle
from tests.decoders.battery import check_decoder, run, same_bits
from tests.decoders.examples import STREAM, as_filter, small_bundle
from tests.decoders.networks import NETWORKS, network_bundle
from tests.training.networks import random_network

CROSSING = np.dtype([("sample", "<i4"), ("channel", "<i4")])


class Crossings:
    """What a front end keeps of its open bin, told to a decoder in pieces."""

    def __init__(self, decoder: IncrementalDecoder) -> None:
        self.decoder = decoder
        self._n = np.zeros(1, np.int64)
        self._kept = np.zeros(10_000, CROSSING)
        decoder.listen(self._n.ctypes.data, self._kept.ctypes.data, len(self._kept))

    def tell(self, crossings: NDArray[np.void]) -> None:
        """Keep more crossings."""
        first = int(self._n[0])
        self._kept[first : first + len(crossings)] = crossings
        self._n[0] += len(crossings)
        self.decoder.follow()

    def close(self, status: NDArray[np.uint8] | None = None) -> dict[str, NDArray[np.float32]]:
        """End the bin, and decode it."""
        kept = self._kept[: self._n[0]]
        counts = np.bincount(kept["channel"], minlength=self.decoder.n_features).astype(np.uint16)
        self._n[0] = 0
        return self.decoder.step_counts(counts, np.zeros(len(counts), np.uint8) if status is None else status)


def some_bins(n_channels: int, n_bins: int = 30, rate: float = 1.5, seed: int = 5) -> list[NDArray[np.void]]:
    """Draw crossings bin by bin, by block of 30 samples, and in each block by channel, as strips give them."""
    rng = np.random.default_rng(seed)
    bins = []
    for _ in range(n_bins):
        counts = rng.poisson(rate, n_channels)
        made = np.zeros(counts.sum(), CROSSING)
        made["channel"] = np.repeat(np.arange(n_channels), counts)
        made["sample"] = rng.integers(0, 600, len(made))
        bins.append(made[np.lexsort((made["channel"], made["sample"] // 30))])
    return bins


def pieces(made: NDArray[np.void], samples: int) -> list[NDArray[np.void]]:
    """Cut a bin's crossings at whole blocks, as packets do."""
    block = made["sample"] // max(30, samples - samples % 30)
    return [made[block == k] for k in range(int(block.max(initial=0)) + 1)]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_battery_holds_for_every_network(tmp_path: Path, name: str) -> None:
    bundle = network_bundle(tmp_path, name)
    check_decoder(lambda: IncrementalDecoder(bundle), random_network(name).predict)


@pytest.mark.parametrize("history", [1, 2, 20])
def test_the_battery_holds_for_a_window(tmp_path: Path, history: int) -> None:
    bundle = small_bundle(tmp_path, history=history)
    check_decoder(lambda: IncrementalDecoder(bundle), as_filter(bundle).predict)


def test_counts_and_band_power_are_one_feature_vector(tmp_path: Path) -> None:
    bundle = seeded_bundle(tmp_path / "both", seed=1, stream=STREAM, content=("counts", "band_power"))
    check_decoder(lambda: IncrementalDecoder(bundle), as_filter(bundle).predict)


@pytest.mark.parametrize("name", [*NETWORKS, "wiener"])
def test_crossings_one_by_one_decode_as_the_graph(tmp_path: Path, name: str) -> None:
    bundle = small_bundle(tmp_path) if name == "wiener" else network_bundle(tmp_path, name)
    bins = some_bins(bundle.manifest.n_features)
    features = np.array([np.bincount(b["channel"], minlength=bundle.manifest.n_features) for b in bins], np.float32)
    want = run(OnnxDecoder(bundle), features)
    came = told(bundle, bins, 30)
    for output, value in want.items():
        np.testing.assert_allclose(came[output], value, rtol=0, atol=1e-5 * np.abs(value).max())


def told(
    bundle: Bundle, bins: list[NDArray[np.void]], samples: int, status: NDArray[np.uint8] | None = None
) -> dict[str, NDArray[np.float32]]:
    crossings = Crossings(IncrementalDecoder(bundle))
    steps = []
    for made in bins:
        for piece in pieces(made, samples):
            crossings.tell(piece)
        steps.append(crossings.close(status))
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


@pytest.mark.parametrize("name", ["gru", "snn", "tcn", "wiener"])
def test_how_crossings_are_cut_changes_no_bit(tmp_path: Path, name: str) -> None:
    bundle = small_bundle(tmp_path) if name == "wiener" else network_bundle(tmp_path, name)
    bins = some_bins(bundle.manifest.n_features, rate=6)
    status = np.zeros(bundle.manifest.n_features, np.uint8)
    status[2] = 4
    for flags in (None, status):
        want = told(bundle, bins, 30, flags)
        for samples in (60, 90, 600):
            assert same_bits(told(bundle, bins, samples, flags), want)


def test_a_channel_without_data_enters_at_its_mean(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "gru")
    n = bundle.manifest.n_features
    bins = some_bins(n)
    features = np.array([np.bincount(b["channel"], minlength=n) for b in bins], np.float32)
    for flagged in ([1], [0, 2, 3, 5, 7]):
        status = np.zeros(n, np.uint8)
        status[flagged] = 2
        seen = features.copy()
        seen[:, flagged] = bundle.parameters["feature_mean"][flagged]
        want = run(OnnxDecoder(bundle), seen)["velocity"]
        np.testing.assert_allclose(told(bundle, bins, 30, status)["velocity"], want, rtol=0, atol=1e-5 * np.ptp(want))


def test_a_channel_that_crosses_too_often_is_summed_anew(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "lstm")
    n = bundle.manifest.n_features
    made = np.zeros(N_LEVELS + 10, CROSSING)
    made["sample"] = np.arange(len(made)) * 5
    features = np.zeros((1, n), np.float32)
    features[0, 0] = len(made)
    assert same_bits(told(bundle, [made], 60), run(IncrementalDecoder(bundle), features))


def test_crossings_that_were_not_told_are_found_by_their_count(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "gru")
    decoder, other = IncrementalDecoder(bundle), IncrementalDecoder(bundle)
    Crossings(decoder)
    counts = np.arange(bundle.manifest.n_features).astype(np.uint16)
    came = decoder.step_counts(counts, np.zeros(len(counts), np.uint8))
    assert same_bits(came, other.step(counts.astype(np.float32)))


def test_a_bin_in_which_an_overlay_came_is_summed_anew(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "gru")
    overlay = make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + 1})
    bins = some_bins(bundle.manifest.n_features, n_bins=3)
    results = []
    for when in range(3):
        crossings = Crossings(IncrementalDecoder(bundle))
        for number, made in enumerate(bins):
            parts = pieces(made, 210)
            for k, piece in enumerate(parts):
                if (number, k) == (1, when):
                    crossings.decoder.apply(overlay)
                crossings.tell(piece)
            last = crossings.close()
        results.append(last)
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


def test_settling_late_or_early_changes_no_bit(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "tcn")
    lazy, eager = IncrementalDecoder(bundle), IncrementalDecoder(bundle)
    for row in np.random.default_rng(0).poisson(1.0, (20, bundle.manifest.n_features)).astype(np.float32):
        came = lazy.step(row)
        assert same_bits(came, eager.step(row))
        eager.settle()
        eager.warm_up(2)
    assert same_bits(lazy.state(), eager.state())


def test_a_graph_beyond_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    damaged = replace(bundle, model=bundle.model.replace(b"Sub", b"Pow"))
    with pytest.raises(BundleError, match=r"incremental executor can run, got operation Pow; use executor onnx"):
        IncrementalDecoder(damaged)


def test_an_overlay_prepared_on_another_thread_is_the_one_applied(tmp_path: Path) -> None:
    bundle = network_bundle(tmp_path, "gru")
    overlay = make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + 1})
    features = np.random.default_rng(0).poisson(1.0, (40, bundle.manifest.n_features)).astype(np.float32)
    plain, prepared = IncrementalDecoder(bundle), IncrementalDecoder(bundle)
    threading.Thread(target=prepared.prepare, args=(overlay,)).start()
    for row in features[:20]:
        assert same_bits(plain.step(row), prepared.step(row))
    for decoder in (plain, prepared):
        decoder.apply(overlay)
    for row in features[20:]:
        assert same_bits(plain.step(row), prepared.step(row))
    for decoder in (plain, prepared):
        decoder.rollback()
    assert same_bits(plain.step(features[0]), prepared.step(features[0]))


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_what_is_not_a_number_is_not_lost(op: str) -> None:
    code, number = {"Max": Op.MAX, "Min": Op.MIN}[op], np.float32(1)
    for u, v in ((np.nan, 1), (1, np.nan)):
        assert np.isnan(_pair(code, np.float32(u), np.float32(v)))
    assert _pair(code, number, np.float32(2)) == {"Max": 2, "Min": 1}[op]

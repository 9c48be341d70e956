"""The laws that every decoder obeys, whatever family it is of and whatever executes it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import Decoder, make_overlay
from cortexwire.errors import BundleError
from cortexwire.types import Features

Outputs = dict[str, NDArray[Any]]
Reference = Callable[[Features], Mapping[str, NDArray[Any]]]
"""Decodes a sequence from a fresh state: float32 `(n_bins, n_features)` to `(n_bins, *shape)` by name."""

N_BINS = 60


def check_decoder(decoder_factory: Callable[[], Decoder], reference: Reference, tolerance: float = 1e-5) -> None:
    """Check a decoder against its reference and against itself.

    Args:
        decoder_factory: Makes a fresh decoder, each time the same.
        reference: What it should compute.
        tolerance: Largest difference from the reference, relative to the largest output.
    """
    features = example_features(decoder_factory())
    _steps_equal_the_sequence(decoder_factory, reference, features, tolerance)
    _state_round_trips(decoder_factory, features)
    _reset_is_fresh(decoder_factory, features)
    _a_step_touches_nothing_but_the_state(decoder_factory, features)
    _a_wrong_shape_is_refused_without_harm(decoder_factory, features)
    _an_overlay_acts_from_the_next_step_on(decoder_factory, reference, features, tolerance)
    _a_rollback_undoes_an_overlay(decoder_factory, features)


def example_features(decoder: Decoder) -> Features:
    """Draw counts at the decoder's training mean, float32 `(N_BINS, n_features)`."""
    mean = np.clip(decoder.feature_mean, 0.2, 5)
    return np.random.default_rng(7).poisson(mean, (N_BINS, decoder.n_features)).astype(np.float32)


def run(decoder: Decoder, features: Features) -> Outputs:
    """Step through a sequence; each output `(n_bins, *shape)`."""
    steps = [decoder.step(row) for row in features]
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def same_bits(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> bool:
    """Say whether two sets of arrays are equal in names, types, shapes and every bit."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )


def _close(came: Outputs, want: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    assert came.keys() == want.keys()
    for name, value in want.items():
        assert came[name].shape == value.shape
        assert np.isfinite(came[name]).all()
        np.testing.assert_allclose(came[name], value, rtol=0, atol=tolerance * np.abs(value).max())


def _steps_equal_the_sequence(
    make: Callable[[], Decoder], reference: Reference, features: Features, tolerance: float
) -> None:
    decoder = make()
    outputs = run(decoder, features)
    _close(outputs, reference(features), tolerance)
    specs = {s.name: (s.shape, s.dtype) for s in decoder.bundle.manifest.outputs if s.role != "state"}
    assert {name: (array.shape[1:], array.dtype.name) for name, array in outputs.items()} == specs
    assert np.ptp(outputs["velocity"]) > 0
    assert same_bits(outputs, run(make(), features))


def _state_round_trips(make: Callable[[], Decoder], features: Features) -> None:
    whole = run(make(), features)
    for cut in (1, N_BINS // 2, N_BINS // 2 + 1):
        first, second = make(), make()
        run(first, features[:cut])
        run(second, features[::-1][:3])
        saved = first.state()
        second.set_state(saved)
        assert same_bits(second.state(), saved)
        assert same_bits(run(second, features[cut:]), {name: a[cut:] for name, a in whole.items()})
        assert same_bits(run(first, features[cut:]), {name: a[cut:] for name, a in whole.items()})


def _reset_is_fresh(make: Callable[[], Decoder], features: Features) -> None:
    fresh = make().state()
    for before in (1, 2):
        decoder = make()
        run(decoder, features[:before])
        decoder.reset()
        assert same_bits(decoder.state(), fresh)
        assert same_bits(run(decoder, features), run(make(), features))


def _a_step_touches_nothing_but_the_state(make: Callable[[], Decoder], features: Features) -> None:
    decoder, given = make(), features.copy()
    state = decoder.state()
    decoder.warm_up(3)
    assert same_bits(decoder.state(), state)
    first = decoder.step(given[0])
    kept = {name: array.copy() for name, array in first.items()}
    state = decoder.state()
    frozen = {name: array.copy() for name, array in state.items()}
    decoder.warm_up()
    decoder.step(given[1])
    assert same_bits(first, kept)
    assert same_bits(state, frozen)
    assert (given == features).all()
    expected = run(make(), features)
    assert same_bits(decoder.step(given[2]), {name: array[2] for name, array in expected.items()})


def _a_wrong_shape_is_refused_without_harm(make: Callable[[], Decoder], features: Features) -> None:
    decoder = make()
    for wrong in (features[0, :-1], features[:1], np.zeros(decoder.n_features + 1, np.float32)):
        with pytest.raises(ValueError, match="expected shape"):
            decoder.step(wrong)
    with pytest.raises(ValueError, match="state: expected"):
        decoder.set_state({**decoder.state(), "unheard-of": np.zeros(1)})
    assert same_bits(run(decoder, features), run(make(), features))


def _an_overlay_acts_from_the_next_step_on(
    make: Callable[[], Decoder], reference: Reference, features: Features, tolerance: float
) -> None:
    decoder = make()
    shifted = make_overlay(decoder.bundle, {"feature_mean": decoder.feature_mean + 1})
    decoder.apply(shifted)
    assert decoder.overlay is shifted
    np.testing.assert_array_equal(decoder.feature_mean, make().feature_mean + 1)
    assert not decoder.feature_mean.flags.writeable
    _close(run(decoder, features + 1), reference(features), tolerance)

    midway, whole = make(), run(make(), features)
    before = run(midway, features[:20])
    state = midway.state()
    midway.apply(shifted)
    assert same_bits(midway.state(), state)
    after = run(midway, features[20:])
    assert same_bits(before, {name: array[:20] for name, array in whole.items()})
    assert not same_bits(after, {name: array[20:] for name, array in whole.items()})

    same = make()
    same.apply(make_overlay(same.bundle, dict(same.bundle.parameters)))
    assert same_bits(run(same, features), whole)


def _a_rollback_undoes_an_overlay(make: Callable[[], Decoder], features: Features) -> None:
    decoder = make()
    with pytest.raises(BundleError, match="rollback"):
        decoder.rollback()
    decoder.apply(make_overlay(decoder.bundle, {"feature_mean": decoder.feature_mean + 1}))
    decoder.rollback()
    assert decoder.overlay is None
    assert same_bits(run(decoder, features), run(make(), features))
    with pytest.raises(BundleError, match="rollback"):
        decoder.rollback()

"""What a fitted decoder withstands and depends on: things amiss, channels masked, time to compute.

Every variant of the final part starts from the state that the decoder had there, so nothing else differs.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.hop import hop_of
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.training.lanes import Lanes, State
from cortexwire.training.metrics import normalised_latency, weighted_r2
from cortexwire.training.perturbations import ROBUSTNESS, masked
from cortexwire.training.recording import Recording
from cortexwire.training.results import Curve, Timing
from cortexwire.training.scoring import rounded
from cortexwire.types import Features

_TIMED: Final = 1000
_UNTIMED: Final = 50


class Strength:
    """Tries one decoder on the first bins of the final part.

    Args:
        lanes: The decoder.
        mean: What a channel without data enters at, `(n_features,)`.
        recording: The recording.
        state: The decoder's state before the final part.
        most_bins: Bins of the final part to use.
        seed: Draws what is amiss: the same for every decoder.
    """

    def __init__(
        self,
        lanes: Lanes,
        mean: NDArray[np.float32],
        recording: Recording,
        state: State,
        most_bins: int,
        seed: int = 0,
    ) -> None:
        test = recording.split.test
        part = slice(test.start, min(test.stop, test.start + most_bins))
        self._lanes, self._mean, self._state, self._seed = lanes, mean, state, seed
        self._content = recording.content
        self._n_channels = recording.n_channels
        self._features, self._targets = recording.features[part], recording.targets[part]

    def robustness(self, draws: int, progress: Callable[[float], Any] = lambda _: None) -> dict[str, Curve]:
        """R2 by what is amiss and how much of it, from nothing amiss on, averaged over draws."""
        whole = self._r2(next(self._lanes.run_all([self._features], self._state)))
        found = {}
        for number, (name, (_, levels)) in enumerate(ROBUSTNESS.items()):
            decoded = self._lanes.run_all(self._amiss(name, draws), self._state)
            scores = np.array([self._r2(values) for values in decoded]).reshape(len(levels), draws).mean(axis=1)
            found[name] = Curve(x=(0.0, *levels), y=tuple(rounded(value) for value in (whole, *scores.tolist())))
            progress((number + 1) / len(ROBUSTNESS))
        return found

    def importance(self) -> tuple[float, ...]:
        """What R2 loses when each channel is masked, one at a time; negative where it gains."""
        whole, *without = (self._r2(values) for values in self._lanes.run_all(self._masks(), self._state))
        return tuple(round(whole - value, 6) for value in without)

    def _r2(self, decoded: NDArray[np.float64]) -> float:
        return weighted_r2(self._targets, decoded)

    def _amiss(self, name: str, draws: int) -> Iterator[Features]:
        perturb, levels = ROBUSTNESS[name]
        for level in levels:
            for draw in range(draws):
                rng = np.random.default_rng([self._seed, draw])
                yield perturb(self._features, level, self._mean, self._content, rng)

    def _masks(self) -> Iterator[Features]:
        yield self._features
        for channel in range(self._n_channels):
            yield masked(self._features, np.array([channel]), self._mean, self._content)


def timing(bundle: Bundle, features: Features) -> Timing:
    """Time single steps on one thread, as the engine makes them.

    Args:
        bundle: The decoder.
        features: float32 `(n_bins, n_features)`; the first thousand or so are decoded.
    """
    decoder = OnnxDecoder(bundle, "cpu")
    took = []
    for row in features[: _UNTIMED + _TIMED]:
        began = time.perf_counter_ns()
        decoder.step(row)
        took.append(time.perf_counter_ns() - began)
    kept = np.array(took[_UNTIMED:] or took) / 1e6
    median, late = np.quantile(kept, (0.5, 0.99)).tolist()
    return Timing(
        median_ms=round(median, 5),
        p99_ms=round(late, 5),
        normalised=normalised_latency(median / 1000, hop_of(bundle.manifest).ms(bundle.manifest.stream.bin_ms)),
    )

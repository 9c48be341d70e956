"""A fitted network: normalised features, layers one after the other, and a linear read-out.

A layer is written down twice in one place, as reference and as graph. The reference runs through time with arrays
`(n_bins, batch, size)`; the graph takes one step. A fresh state is zero everywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec
from cortexwire.training.contract import StepGraph, Trace
from cortexwire.training.data import check_segments
from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder
from cortexwire.types import Features

CHUNK: Final = 4096
"""Bins that the reference runs through at once, those of a batch together."""
PROBES: Final = 16
PROBE_BINS: Final = 1000
"""Runs, and bins of each, over which it is measured how long a network remembers."""
FORGOTTEN: Final = 0.01
"""Share of an output's standard deviation below which a difference counts as forgotten."""
WARM: Final = 0.1
"""The same, below which an output after a reset may be a command."""
MOST: Final = 0.75
"""Share of the runs that must be so after a warm-up: where a spike decides, some stay apart for very long."""
CONTRACTING: Final = 1e-4
"""The same, below which a difference must lie in the end for a network to be contracting."""

Tensor = NDArray[Any]
State = dict[str, Tensor]
"""By the name of the graph's state input, `(batch, *shape)`."""


class Layer(Protocol):
    """A part of a network."""

    @property
    def reach(self) -> int | None:
        """Bins before the current one that its output depends on; None where there is no end to them."""

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs for inputs of a length."""

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state, by its name, for inputs of a length."""

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins.

        Args:
            inputs: `(n_bins, batch, n_inputs)`.
            state: What to start from.

        Returns:
            Outputs `(n_bins, batch, n_outputs)`, and each state after each bin, `(n_bins, batch, *shape)`.
        """

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph, from the tensor `inputs` to the one whose name is returned."""


class Remembered(NamedTuple):
    """For how long a network remembers.

    Attributes:
        memory_bins: Bins that an output depends on, its own included.
        warm_up_bins: Outputs after a reset that lack history.
        contracting: Whether a difference in state dies out.
    """

    memory_bins: int
    warm_up_bins: int
    contracting: bool


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A network that decodes.

    Attributes:
        name: Its family.
        feature_mean: float32 `(n_features,)`.
        feature_scale: float32 `(n_features,)`, above zero.
        layers: What the normalised features go through.
        weights: float32 `(n_outputs, n_hidden)`, of the read-out.
        bias: float32 `(n_outputs,)`.
        memory_bins: Bins that an output depends on, its own included.
        warm_up_bins: Outputs after a reset that lack history.
        contracting: Whether a difference in state dies out.
        summary: What was chosen in fitting.
    """

    name: str
    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    layers: tuple[Layer, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    memory_bins: int
    warm_up_bins: int
    contracting: bool
    summary: Mapping[str, Any]

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence, starting from nothing at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `velocity`, float64 `(n_bins, n_outputs)`.
        """
        check_segments(segments, len(features))
        parts = [np.empty((0, len(self.bias)))]
        for start, stop in zip(segments, (*segments[1:], len(features)), strict=True):
            parts += [outputs[:, 0] for outputs, _ in self._walk(features[start:stop, None], self._fresh(1))]
        return {"velocity": np.concatenate(parts)}

    def trace(self, features: Features) -> Trace:
        """Decode one segment and tell the states."""
        fresh = self._fresh(1)
        outputs, states = list[Matrix](), {name: [start] for name, start in fresh.items()}
        for chunk, after in self._walk(features[:, None], fresh):
            outputs.append(chunk[:, 0])
            for name, steps in after.items():
                states[name].append(steps[:, 0].astype(np.float32))
        before = {name: np.concatenate(parts)[:-1] for name, parts in states.items()}
        return Trace({"velocity": np.concatenate(outputs)}, before)

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step.

        Args:
            features: The input to read.
            unit: The unit of the targets that were fitted.
        """
        step = StepBuilder(self.name, features)
        hidden, size = step.normalised(self.feature_mean, self.feature_scale), len(self.feature_mean)
        for layer in self.layers:
            hidden, size = layer.add_to(step, hidden, size), layer.size(size)
        operands = [hidden, step.parameter("weights", self.weights), step.parameter("bias", self.bias)]
        step.output(step.node("Gemm", operands, "velocity", transB=1), "velocity", len(self.bias), unit)
        return step.build()

    def remembered(self, features: Features) -> Remembered:
        """Measure for how long runs from a fresh state differ from runs that were under way.

        Args:
            features: float32 `(n_bins, n_features)` to measure on.

        Returns:
            As memory the reach of all layers together where it has an end, else the bins until the outputs differ by
            no more than `FORGOTTEN`; as warm-up those until `MOST` runs differ by no more than `WARM`. A network that
            never forgets counts as forgetting where it differs by no more than twice what it does in the second half.
        """
        gaps = self._gaps(features)
        gap = np.sqrt(np.square(gaps).mean(axis=1))
        lasting = 2 * gap[len(gap) // 2 :].max()
        differing = np.flatnonzero(gap > max(FORGOTTEN, lasting))
        cold = np.flatnonzero(np.quantile(gaps, MOST, axis=1) > max(WARM, lasting))
        reaches = [layer.reach for layer in self.layers]
        memory = _end(differing) + 1 if None in reaches else 1 + sum(reach or 0 for reach in reaches)
        return Remembered(memory, min(_end(cold), memory - 1), bool(gap[-max(len(gap) // 10, 1) :].max() < CONTRACTING))

    def _gaps(self, features: Features) -> Matrix:
        """Return how far apart outputs are after fresh starts, `(n_bins, n_runs)`, in their standard deviations."""
        length = min(PROBE_BINS, len(features) // 2)
        starts = np.unique(np.linspace(length // 2, len(features) - length, PROBES).astype(int))
        rows = features[starts + np.arange(length)[:, None]]
        *_, (_, before) = self._walk(features[starts + np.arange(-(length // 2), 0)[:, None]], self._fresh(len(starts)))
        under_way = {name: steps[-1] for name, steps in before.items()}
        fresh, running = (
            np.concatenate([outputs for outputs, _ in self._walk(rows, state)])
            for state in (self._fresh(len(starts)), under_way)
        )
        spread = np.maximum(running.std(axis=(0, 1)), np.finfo(np.float32).tiny)
        return np.asarray(np.sqrt(np.square((fresh - running) / spread).mean(axis=2)))

    def _walk(self, features: Features, state: State) -> Iterator[tuple[Matrix, State]]:
        """Run through `(n_bins, batch, n_features)`; yield outputs and states after each bin, chunk by chunk."""
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        length = max(1, CHUNK // features.shape[1])
        for start in range(0, len(features), length):
            values: Tensor = (features[start : start + length] - self.feature_mean) / self.feature_scale
            after: State = {}
            for layer in self.layers:
                values, states = layer.run(values, state)
                after |= states
            state = {name: steps[-1].copy() for name, steps in after.items()}
            yield values @ weights.T + bias, after

    def _fresh(self, batch: int) -> State:
        fresh: State = {}
        size = len(self.feature_mean)
        for layer in self.layers:
            fresh |= {name: np.zeros((batch, *shape), np.float32) for name, shape in layer.shapes(size).items()}
            size = layer.size(size)
        return fresh


def _end(bins: NDArray[np.intp]) -> int:
    """Return one past the last of some bins, 0 if there are none."""
    return int(bins[-1]) + 1 if len(bins) else 0

"""A reservoir with its read-out, as reference and as graph, and for how long it remembers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec
from cortexwire.training.contract import StepGraph, Trace
from cortexwire.training.data import check_segments
from cortexwire.training.history import history_rows
from cortexwire.training.reservoir import Reservoir
from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder, window_states
from cortexwire.types import Features

PROBE_BINS: Final = 3000
"""Bins over which it is measured how long a reservoir remembers."""
FORGOTTEN: Final = 0.01
"""Share of an output's standard deviation below which a difference counts as forgotten."""
CONTRACTING: Final = 1e-4
"""The same, below which a difference must stay in the end for a reservoir to be contracting."""


@dataclass(frozen=True, eq=False)
class FittedEsn:
    """A reservoir and its read-out.

    Attributes:
        feature_mean: float32 `(n_features,)`.
        feature_scale: float32 `(n_features,)`, above zero.
        reservoir: What the features drive.
        weights: float32 `(n_outputs, n_units + direct * n_features)`: of the units, then of the last bins.
        bias: float32 `(n_outputs,)`.
        memory_bins: Bins that an output depends on, measured; see `remembered`.
        contracting: Whether a difference in state dies out.
        summary: What was chosen in fitting.
    """

    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    reservoir: Reservoir
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    memory_bins: int
    contracting: bool
    summary: Mapping[str, Any]

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""
        return self.memory_bins - 1

    @property
    def direct(self) -> int:
        """Bins that the read-out sees directly."""
        return int(self.weights.shape[1] - self.reservoir.n_units) // len(self.feature_mean)

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence in float64, starting from rest at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `velocity`, float64 `(n_bins, n_outputs)`.
        """
        check_segments(segments, len(features))
        parts = [output for _, output in self._walk(self._normalised(features), segments)]
        return {"velocity": np.concatenate([np.empty((0, len(self.bias))), *parts])}

    def trace(self, features: Features) -> Trace:
        """Decode one segment and tell the states."""
        z = self._normalised(features)
        walked = list(self._walk(z, (0,)))
        after, output = (np.concatenate(parts) for parts in zip(*walked, strict=True))
        states = {"reservoir": _before(after), **window_states(z, max(self.direct, 1))}
        if self.reservoir.feedback is not None:
            states["previous"] = _before(output)
        return Trace({"velocity": output}, states)

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step: the units hear each other through a gather, and the read-out hears all.

        Args:
            features: The input to read.
            unit: The unit of the targets that were fitted.
        """
        step, reservoir = StepBuilder("esn", features), self.reservoir
        n_features, leak = len(self.feature_mean), np.float32(reservoir.leak)
        newest = step.normalised(self.feature_mean, self.feature_scale)
        operands = [newest, step.constant("inputs", reservoir.inputs), step.constant("offset", reservoir.offset)]
        drive = step.node("Gemm", operands, "driven", transB=1)
        if reservoir.feedback is not None:
            operands = [step.state("previous", self.bias.shape), step.constant("feedback", reservoir.feedback), drive]
            drive = step.node("Gemm", operands, "driven_and_fed_back", transB=1)
        state = step.state("reservoir", (reservoir.n_units,))
        step.node("Gather", [state, step.constant("sources", reservoir.sources)], "heard", axis=1)
        step.node("Mul", ["heard", step.constant("recurrent", reservoir.recurrent)], "weighted")
        step.node("ReduceSum", ["weighted", step.constant("connections", [1])], "echo", keepdims=0)
        step.node("Add", ["echo", drive], "stirred")
        step.node("Tanh", ["stirred"], "renewed")
        step.node("Mul", ["renewed", step.constant("leak", np.array(leak))], "new")
        step.node("Mul", [state, step.constant("kept", np.array(1 - leak))], "old")
        seen = [step.node("Add", ["old", "new"], "next_reservoir")]
        step.carry(state, "next_reservoir")
        if self.direct:
            seen.append(step.window(newest, n_features, self.direct))
        step.node("Concat", seen, "seen", axis=1)
        operands = ["seen", step.parameter("weights", self.weights), step.parameter("bias", self.bias)]
        step.output(step.node("Gemm", operands, "velocity", transB=1), "velocity", len(self.bias), unit)
        if reservoir.feedback is not None:
            step.carry("previous", step.node("Identity", ["velocity"], "next_previous"))
        return step.build()

    def remembered(self, features: Features) -> tuple[int, bool]:
        """Measure for how long two runs differ that start from different states.

        Args:
            features: float32 `(n_bins, n_features)` to run on, the first of them `PROBE_BINS` at most.

        Returns:
            Bins until the outputs differ by no more than `FORGOTTEN`, or, of a reservoir that never forgets, by no
            more than twice what it differs by in the second half; and whether they agree in the end.
        """
        z = self._normalised(features[:PROBE_BINS])
        states, rested = (np.concatenate(parts) for parts in zip(*self._walk(z, (0,)), strict=True))
        other = np.concatenate([output for _, output in self._walk(z, (0,), states[-1])])
        spread = np.maximum(rested.std(axis=0), np.finfo(np.float32).tiny)
        gap = np.max(np.abs(other - rested) / spread, axis=1)
        lasting = gap[len(gap) // 2 :].max()
        differing = np.flatnonzero(gap > max(FORGOTTEN, 2 * lasting))
        bins = int(differing[-1]) + 1 if len(differing) else 0
        return max(bins + 1, self.direct), bool(gap[-max(len(gap) // 10, 1) :].max() < CONTRACTING)

    def _normalised(self, features: Features) -> NDArray[np.float32]:
        return (features - self.feature_mean) / self.feature_scale

    def _walk(
        self, z: NDArray[np.float32], segments: tuple[int, ...], start: Matrix | None = None
    ) -> Iterator[tuple[Matrix, Matrix]]:
        """Yield states `(n, n_units)` and outputs `(n, n_outputs)` of run after run of bins."""
        weights, n_units = self.weights.astype(np.float64), self.reservoir.n_units
        state, output = np.zeros(n_units), np.zeros(len(self.bias))
        for bins, window in history_rows(z, max(self.direct, 1), segments):
            if bins.start in segments:
                state = np.zeros(n_units) if start is None else start
                output = np.zeros(len(self.bias))
            outputs = window[:, : weights.shape[1] - n_units] @ weights[:, n_units:].T + self.bias
            drives = self.reservoir.drive(z[bins])
            if self.reservoir.feedback is None:
                states = self.reservoir.run(state, drives)
                outputs += states @ weights[:, :n_units].T
            else:
                states = np.empty_like(drives)
                for k, drive in enumerate(drives):
                    states[k] = state = self.reservoir.advance(state, drive + self.reservoir.feedback @ output)
                    outputs[k] += weights[:, :n_units] @ state
                    output = outputs[k]
            state, output = states[-1], outputs[-1]
            yield states, outputs


def _before(after: Matrix) -> Matrix:
    """Return what there was before each bin: nothing before the first."""
    return np.concatenate([np.zeros_like(after[:1]), after[:-1]])

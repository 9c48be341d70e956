"""The two Kalman filters that follow from a `StateSpace`, as reference and as graph.

*Steady*: the gain has settled, and a step is `x_t = M1 x_{t-1} + M2 u_t + m0` (Malik et al., "Efficient decoding with
steady-state Kalman filter in neural interface systems", 2011). *Running*: the covariance of the state is carried
along, and the gain follows from it at each step. Its whitened observations are independent of each other and are
taken in one after the other, each by a division by a number (sequential updates: Anderson & Moore, "Optimal
Filtering", 1979, 6.3), so that no matrix is inverted in the graph. A fresh state is rest at the origin, known for
certain.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec
from cortexwire.training.contract import StepGraph, Trace
from cortexwire.training.data import check_segments
from cortexwire.training.history import history_rows
from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder, window_states
from cortexwire.types import Features

FORGOTTEN: Final = 0.01
"""What is left of a state's influence when it counts as forgotten."""


@dataclass(frozen=True, eq=False)
class Kalman(ABC):
    """What both filters share; arrays that are not float32 are float64, and the graph rounds them.

    Attributes:
        feature_mean: float32 `(n_features,)`.
        feature_scale: float32 `(n_features,)`, above zero.
        transition: `(d, d)`.
        weights: `(d, history * n_features)`, oldest bin first; `(r, ...)` in a running filter.
        bias: `(d,)`; `(r,)` in a running filter.
        n_positions: How many entries of the state, the first, are positions.
        settled: `(d, d)`, how a state enters the next one once the gain has settled.
        summary: What was chosen in fitting.
    """

    feature_mean: NDArray[np.float32]
    feature_scale: NDArray[np.float32]
    transition: Matrix
    weights: Matrix
    bias: Matrix
    n_positions: int
    settled: Matrix
    summary: Mapping[str, Any]

    @property
    def contracting(self) -> bool:
        """A stable filter forgets every difference."""
        return True

    @property
    def history(self) -> int:
        """Bins in an observation."""
        return int(self.weights.shape[1]) // len(self.feature_mean)

    @property
    def memory_bins(self) -> int:
        """Bins until no more than 1 % is left of what an observation did, the observation's own included."""
        left, bins = self.settled, self.history
        while np.linalg.norm(left, 2) > FORGOTTEN:
            left, bins = left @ self.settled, bins + 1
        return bins

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""
        return self.memory_bins - 1

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence in float64, starting from rest at each segment.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            `velocity` float64 `(n_bins, n_outputs)`, and `position` if it is part of the state.
        """
        check_segments(segments, len(features))
        states = [after[0] for _, after in self._steps(self._normalised(features), segments)]
        return self._named(np.array(states).reshape(len(features), len(self.transition)))

    def trace(self, features: Features) -> Trace:
        """Decode one segment and tell the states."""
        z = self._normalised(features)
        before, after = zip(*self._steps(z, (0,)), strict=True)
        carried = dict(zip(self._carried(), map(np.array, zip(*before, strict=True)), strict=True))
        outputs = self._named(np.array([state[0] for state in after]))
        return Trace(outputs, {**carried, **window_states(z, self.history)})

    @abstractmethod
    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step.

        Args:
            features: The input to read.
            unit: The unit of the velocities.
        """

    def _normalised(self, features: Features) -> Matrix:
        return (features.astype(np.float64) - self.feature_mean) / self.feature_scale

    def _steps(self, z: Matrix, segments: tuple[int, ...]) -> Iterator[tuple[tuple[Matrix, ...], tuple[Matrix, ...]]]:
        """Yield the states before and after each bin."""
        for bins, rows in history_rows(z, self.history, segments):
            if bins.start in segments:
                state = self._fresh()
            for seen in rows @ self.weights.T + self.bias:
                before, state = state, self._advance(state, seen)
                yield before, state

    def _named(self, states: Matrix) -> dict[str, NDArray[Any]]:
        outputs = {"velocity": states[:, self.n_positions :]}
        return {**outputs, "position": states[:, : self.n_positions]} if self.n_positions else outputs

    @abstractmethod
    def _carried(self) -> tuple[str, ...]:
        """Name the state inputs, in the order of a state."""

    @abstractmethod
    def _fresh(self) -> tuple[Matrix, ...]:
        """Return the state after a reset."""

    @abstractmethod
    def _advance(self, state: tuple[Matrix, ...], seen: Matrix) -> tuple[Matrix, ...]:
        """Return the state after one more observation."""

    def _begin(self, features: InputSpec) -> StepBuilder:
        """Start a graph with the observation, `seen`."""
        step = StepBuilder("kalman", features)
        newest = step.normalised(self.feature_mean, self.feature_scale)
        window = step.window(newest, len(self.feature_mean), self.history)
        operands = [window, step.parameter("weights", self.weights), step.parameter("bias", self.bias)]
        step.node("Gemm", operands, "seen", transB=1)
        return step

    def _finish(self, step: StepBuilder, state: str, unit: str) -> StepGraph:
        """Name the parts of the new state."""
        size, n = len(self.transition), self.n_positions
        step.output(step.piece(state, n, size, "velocity"), "velocity", size - n, unit)
        if n:
            step.output(step.piece(state, 0, n, "position"), "position", n, unit.removesuffix("/s"))
        return step.build()


class SteadyKalman(Kalman):
    """A Kalman filter whose gain has settled: `x_t = transition x_{t-1} + weights u_t + bias`."""

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step: one product for the observation, one for the state."""
        step = self._begin(features)
        state = step.state("state", (len(self.transition),))
        step.node("Gemm", [state, step.parameter("transition", self.transition), "seen"], "next_state", transB=1)
        step.carry(state, "next_state")
        return self._finish(step, "next_state", unit)

    def _carried(self) -> tuple[str, ...]:
        return ("state",)

    def _fresh(self) -> tuple[Matrix, ...]:
        return (np.zeros(len(self.transition)),)

    def _advance(self, state: tuple[Matrix, ...], seen: Matrix) -> tuple[Matrix, ...]:
        return (self.transition @ state[0] + seen,)


@dataclass(frozen=True, eq=False)
class RunningKalman(Kalman):
    """A Kalman filter that carries its covariance.

    Attributes:
        drift: `(d,)`, what is added to the state at each step.
        noise: `(d, d)`, what is added to its covariance.
        observation: `(r, d)`, what each of the whitened observations sees of the state.
    """

    drift: Matrix
    noise: Matrix
    observation: Matrix

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step: predict, then take in one observation after the other."""
        step, size = self._begin(features), len(self.transition)
        transition = step.parameter("transition", self.transition)
        operands = [step.state("state", (size,)), transition, step.parameter("drift", self.drift)]
        x = step.node("Gemm", operands, "predicted_state", transB=1)
        step.node("MatMul", [transition, step.state("covariance", (size, size))], "moved_rows")
        step.node("Transpose", [transition], "turned", perm=[1, 0])
        step.node("MatMul", ["moved_rows", "turned"], "moved")
        p = step.node("Add", ["moved", step.parameter("noise", self.noise)], "predicted_covariance")
        step.parameter("observation", self.observation)
        step.constant("one", np.ones((), np.float32))
        step.constant("across", [1])
        step.constant("down", [2])
        for k in range(len(self.observation)):
            x, p = _take_in(step, k, x, p)
        step.carry("state", step.node("Identity", [x], "next_state"))
        step.carry("covariance", step.node("Identity", [p], "next_covariance"))
        return self._finish(step, "next_state", unit)

    def _carried(self) -> tuple[str, ...]:
        return ("state", "covariance")

    def _fresh(self) -> tuple[Matrix, ...]:
        return np.zeros(len(self.transition)), np.zeros_like(self.noise)

    def _advance(self, state: tuple[Matrix, ...], seen: Matrix) -> tuple[Matrix, ...]:
        x, p = state
        x = self.transition @ x + self.drift
        p = self.transition @ p @ self.transition.T + self.noise
        for h, y in zip(self.observation, seen, strict=True):
            shared = p @ h
            gain = shared / (1 + h @ shared)
            x, p = x + gain * (y - h @ x), p - np.outer(gain, shared)
        return x, p


def _take_in(step: StepBuilder, k: int, x: str, p: str) -> tuple[str, str]:
    """Add the update by one whitened observation; returns the names of the state and covariance after it."""
    step.constant(f"index_{k}", np.array(k, np.int64))
    step.constant(f"place_{k}", [k])
    h = step.node("Gather", ["observation", f"index_{k}"], f"h_{k}", axis=0)
    shared = step.node("MatMul", [p, h], f"shared_{k}")
    step.node("MatMul", [shared, h], f"own_{k}")
    step.node("Add", [f"own_{k}", "one"], f"spread_{k}")
    step.node("Unsqueeze", [f"spread_{k}", "across"], f"divisor_{k}")
    gain = step.node("Div", [shared, f"divisor_{k}"], f"gain_{k}")
    step.node("MatMul", [x, h], f"expected_{k}")
    step.node("Unsqueeze", [f"expected_{k}", "across"], f"expectation_{k}")
    step.node("Gather", ["seen", f"place_{k}"], f"y_{k}", axis=1)
    step.node("Sub", [f"y_{k}", f"expectation_{k}"], f"surprise_{k}")
    step.node("Mul", [gain, f"surprise_{k}"], f"correction_{k}")
    step.node("Unsqueeze", [gain, "down"], f"column_{k}")
    step.node("Unsqueeze", [shared, "across"], f"row_{k}")
    step.node("Mul", [f"column_{k}", f"row_{k}"], f"known_{k}")
    return (
        step.node("Add", [x, f"correction_{k}"], f"state_{k}"),
        step.node("Sub", [p, f"known_{k}"], f"covariance_{k}"),
    )

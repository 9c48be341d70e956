"""Layers whose memory is a stretch of past inputs: a window, a dense layer, a causal convolution.

Past inputs are kept end to end, the oldest first; zeros stand for what was before a reset.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cortexwire.training.network import State, Tensor
from cortexwire.training.step_graph import StepBuilder


@dataclass(frozen=True, eq=False)
class Window:
    """The last bins end to end, the newest last.

    Attributes:
        history: Bins in the window, the current one included.
    """

    history: int

    @property
    def reach(self) -> int:
        """Bins before the current one that its output depends on."""
        return self.history - 1

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return self.history * n_inputs

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        return {"history": ((self.history - 1) * n_inputs,)} if self.history > 1 else {}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        if self.history == 1:
            return inputs, {}
        n_inputs = inputs.shape[2]
        rows = stretches(state["history"], inputs, self.history)
        return rows, {"history": rows[:, :, n_inputs:]}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        return step.window(inputs, n_inputs, self.history)


@dataclass(frozen=True, eq=False)
class Dense:
    """`weights @ x + bias`, rectified or not.

    Attributes:
        name: Names its tensors in the graph.
        weights: float32 `(n_outputs, n_inputs)`.
        bias: float32 `(n_outputs,)`.
        rectified: Whether what is below zero becomes zero.
    """

    name: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    rectified: bool = True

    @property
    def reach(self) -> int:
        """Bins before the current one that its output depends on."""
        return 0

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return len(self.bias)

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        return {}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        values = inputs @ self.weights.T.astype(np.float64) + self.bias
        return (np.maximum(values, 0) if self.rectified else values), {}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        weights = step.constant(f"{self.name}_weights", self.weights)
        operands = [inputs, weights, step.constant(f"{self.name}_bias", self.bias)]
        value = step.node("Gemm", operands, f"{self.name}_value", transB=1)
        return step.node("Relu", [value], f"{self.name}_output") if self.rectified else value


@dataclass(frozen=True, eq=False)
class Convolution:
    """A causal, dilated convolution, rectified and added to its own input.

    Attributes:
        name: Names its tensors in the graph.
        weights: float32 `(size, n_taps * size)`, the oldest tap first.
        bias: float32 `(size,)`.
        dilation: Bins from one tap to the next; the newest tap is the current bin.
    """

    name: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    dilation: int

    @property
    def reach(self) -> int:
        """Bins before the current one that its output depends on."""
        return (int(self.weights.shape[1]) // len(self.bias) - 1) * self.dilation

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return n_inputs

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        return {f"{self.name}_past": (self.reach * n_inputs,)} if self.reach else {}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        name, n_inputs = f"{self.name}_past", inputs.shape[2]
        past = state[name] if self.reach else np.empty((inputs.shape[1], 0))
        rows = stretches(past, inputs, self.reach + 1)
        taps = rows.reshape(*rows.shape[:2], -1, n_inputs)[:, :, :: self.dilation].reshape(*rows.shape[:2], -1)
        outputs = inputs + np.maximum(taps @ self.weights.T.astype(np.float64) + self.bias, 0)
        return outputs, {name: rows[:, :, n_inputs:]} if self.reach else {}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        name, taps = self.name, inputs
        if self.reach:
            past = step.state(f"{name}_past", (self.reach * n_inputs,))
            longer = step.node("Concat", [past, inputs], f"{name}_longer", axis=1)
            step.carry(past, step.piece(longer, n_inputs, (self.reach + 1) * n_inputs, f"next_{past}"))
            where = np.arange((self.reach + 1) * n_inputs).reshape(-1, n_inputs)[:: self.dilation].ravel()
            taps = step.node("Gather", [longer, step.constant(f"{name}_where", where)], f"{name}_taps", axis=1)
        operands = [taps, step.constant(f"{name}_weights", self.weights), step.constant(f"{name}_bias", self.bias)]
        value = step.node("Gemm", operands, f"{name}_value", transB=1)
        rectified = step.node("Relu", [value], f"{name}_rectified")
        return step.node("Add", [inputs, rectified], f"{name}_output")


def stretches(past: Tensor, inputs: Tensor, length: int) -> NDArray[Any]:
    """Return the last bins at each bin, end to end, `(n_bins, batch, length * n_inputs)`.

    Args:
        past: `(batch, (length - 1) * n_inputs)`, what was before.
        inputs: `(n_bins, batch, n_inputs)`.
        length: Bins in a stretch, the current one included.
    """
    n_bins, batch, n_inputs = inputs.shape
    before = past.reshape(batch, length - 1, n_inputs).transpose(1, 0, 2)
    windows = sliding_window_view(np.concatenate([before, inputs]), length, axis=0)
    return windows.transpose(0, 1, 3, 2).reshape(n_bins, batch, length * n_inputs)

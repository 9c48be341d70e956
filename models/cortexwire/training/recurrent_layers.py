"""Recurrent layers: the plain cell, the gated recurrent unit, and long short-term memory.

The GRU is that of torch and cuDNN: its reset gate acts on the recurrent product, bias included. What comes of the
inputs is one product over all bins; only the recurrent half runs bin by bin.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cortexwire.training.network import State, Tensor
from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder


@dataclass(frozen=True, eq=False)
class Recurrent(ABC):
    """What all cells share: a product with the inputs and one with the last outputs.

    Attributes:
        name: Names its tensors in the graph.
        inputs: float32 `(n_gates * n_units, n_inputs)`.
        recurrent: float32 `(n_gates * n_units, n_units)`.
        bias: float32 `(n_gates * n_units,)`.
    """

    name: str
    inputs: NDArray[np.float32]
    recurrent: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def reach(self) -> None:
        """Bins before the current one that its output depends on: without end."""
        return None

    @property
    def n_units(self) -> int:
        """Units."""
        return int(self.recurrent.shape[1])

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return self.n_units

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state, that of the last outputs first."""
        return {f"{self.name}_hidden": (self.n_units,)}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        names = list(self.shapes(inputs.shape[2]))
        driven = inputs @ self.inputs.T.astype(np.float64) + self.bias
        recurrent = self.recurrent.T.astype(np.float64)
        now = tuple(state[name].astype(np.float64) for name in names)
        after = [np.empty((*inputs.shape[:2], self.n_units)) for _ in names]
        for k, drive in enumerate(driven):
            now = self.advance(drive, now[0] @ recurrent, now)
            for steps, value in zip(after, now, strict=True):
                steps[k] = value
        return after[0], dict(zip(names, after, strict=True))

    @abstractmethod
    def advance(self, drive: Matrix, echo: Matrix, now: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Return the states after one bin.

        Args:
            drive: `(batch, n_gates * n_units)`, what comes of the inputs.
            echo: Of that shape, what comes of the last outputs.
            now: The states before.
        """

    @abstractmethod
    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""

    def _driven(self, step: StepBuilder, inputs: str) -> str:
        """Add what comes of the inputs."""
        weights, bias = (step.constant(f"{self.name}_{part}", getattr(self, part)) for part in ("inputs", "bias"))
        return step.node("Gemm", [inputs, weights, bias], f"{self.name}_driven", transB=1)

    def _stirred(self, step: StepBuilder, more: str, hidden: str, output: str) -> str:
        """Add what comes of the last outputs and of `more`."""
        weights = step.constant(f"{self.name}_recurrent", self.recurrent)
        return step.node("Gemm", [hidden, weights, more], f"{self.name}_{output}", transB=1)

    def _split(self, step: StepBuilder, tensor: str, sizes: list[int], outputs: list[str]) -> list[str]:
        """Add the parts of a tensor."""
        edges = np.cumsum([0, *sizes]).tolist()
        parts = zip(pairwise(edges), outputs, strict=True)
        return [step.piece(tensor, *bounds, f"{self.name}_{output}") for bounds, output in parts]

    def _states(self, step: StepBuilder) -> list[str]:
        return [step.state(name, shape) for name, shape in self.shapes(0).items()]


class Rnn(Recurrent):
    """`h' = tanh(W x + U h + b)`."""

    def advance(self, drive: Matrix, echo: Matrix, now: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Return the states after one bin."""
        return (np.tanh(drive + echo),)

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        (hidden,) = self._states(step)
        value = self._stirred(step, self._driven(step, inputs), hidden, "value")
        output = step.node("Tanh", [value], f"{self.name}_next_hidden")
        step.carry(hidden, output)
        return output


@dataclass(frozen=True, eq=False)
class Gru(Recurrent):
    """`h' = n + z (h - n)` with gates r, z and `n = tanh(W x + b + r (U h + c))` (Cho et al. 2014).

    Attributes:
        candidate_bias: float32 `(n_units,)`, c. Gates come in the order r, z, n.
    """

    candidate_bias: NDArray[np.float32]

    def advance(self, drive: Matrix, echo: Matrix, now: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Return the states after one bin."""
        n = self.n_units
        gates = sigmoid(drive[:, : 2 * n] + echo[:, : 2 * n])
        candidate = np.tanh(drive[:, 2 * n :] + gates[:, :n] * (echo[:, 2 * n :] + self.candidate_bias))
        return (candidate + gates[:, n:] * (now[0] - candidate),)

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        name, n = self.name, self.n_units
        (hidden,) = self._states(step)
        bias = np.concatenate([np.zeros(2 * n, np.float32), self.candidate_bias])
        echo = self._stirred(step, step.constant(f"{name}_echo_bias", bias), hidden, "echo")
        drives = self._split(step, self._driven(step, inputs), [2 * n, n], ["gate_drive", "candidate_drive"])
        echoes = self._split(step, echo, [2 * n, n], ["gate_echo", "candidate_echo"])
        opened = step.node("Add", [drives[0], echoes[0]], f"{name}_opened")
        gates = step.node("Sigmoid", [opened], f"{name}_gates")
        reset, update = self._split(step, gates, [n, n], ["reset", "update"])
        heard = step.node("Mul", [reset, echoes[1]], f"{name}_heard")
        value = step.node("Add", [drives[1], heard], f"{name}_value")
        candidate = step.node("Tanh", [value], f"{name}_candidate")
        change = step.node("Sub", [hidden, candidate], f"{name}_change")
        kept = step.node("Mul", [update, change], f"{name}_kept")
        output = step.node("Add", [candidate, kept], f"{name}_next_hidden")
        step.carry(hidden, output)
        return output


class Lstm(Recurrent):
    """`c' = f c + i g`, `h' = o tanh(c')` with gates i, f, o and candidate g, in this order (Gers et al. 2000)."""

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state, that of the last outputs first."""
        return {**super().shapes(n_inputs), f"{self.name}_cell": (self.n_units,)}

    def advance(self, drive: Matrix, echo: Matrix, now: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
        """Return the states after one bin."""
        n = self.n_units
        value = drive + echo
        gates = sigmoid(value[:, : 3 * n])
        cell = gates[:, n : 2 * n] * now[1] + gates[:, :n] * np.tanh(value[:, 3 * n :])
        return gates[:, 2 * n :] * np.tanh(cell), cell

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        name, n = self.name, self.n_units
        hidden, cell = self._states(step)
        value = self._stirred(step, self._driven(step, inputs), hidden, "value")
        opened, drive = self._split(step, value, [3 * n, n], ["opened", "candidate_drive"])
        gates = step.node("Sigmoid", [opened], f"{name}_gates")
        write, keep, show = self._split(step, gates, [n, n, n], ["write", "keep", "show"])
        written = step.node("Mul", [write, step.node("Tanh", [drive], f"{name}_candidate")], f"{name}_written")
        kept = step.node("Mul", [keep, cell], f"{name}_kept")
        next_cell = step.node("Add", [kept, written], f"{name}_next_cell")
        output = step.node("Mul", [show, step.node("Tanh", [next_cell], f"{name}_shown")], f"{name}_next_hidden")
        step.carry(hidden, output)
        step.carry(cell, next_cell)
        return output


def sigmoid(x: Matrix) -> Matrix:
    """Return the logistic function without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))

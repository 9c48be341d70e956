"""Leaky integrate-and-fire layers whose sums do not depend on the order in which they are added up.

A spike that comes or not is a large difference, so rounding must not decide it. Inputs are therefore rounded to a
grid and bounded, and the weights of each unit lie on a grid of their own, chosen so that every partial sum is a
float32 without rounding. What remains is arithmetic element by element, in float32 and in a fixed order, here as in
the graph: reference, graph and any executor agree in every spike.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.training.network import State, Tensor
from cortexwire.training.step_graph import StepBuilder

GRID: Final = 16
"""Steps per standard deviation to which a feature is rounded."""
BOUND: Final = 8.0
"""Standard deviations to which a feature is bounded."""
MANTISSA: Final = 24
"""Bits of a float32's mantissa."""


@dataclass(frozen=True)
class Rounded:
    """Inputs within `BOUND`, in steps of one in `GRID`."""

    @property
    def reach(self) -> int:
        """Bins before the current one that its output depends on."""
        return 0

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return n_inputs

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        return {}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        return np.rint(np.clip(inputs, -BOUND, BOUND) * np.float32(GRID)) * np.float32(1 / GRID), {}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        edges = [step.constant(name, np.array(v, np.float32)) for name, v in (("lowest", -BOUND), ("highest", BOUND))]
        bounded = step.node("Clip", [inputs, *edges], "bounded")
        scaled = step.node("Mul", [bounded, step.constant("grid", np.array(GRID, np.float32))], "scaled")
        whole = step.node("Round", [scaled], "whole")
        return step.node("Mul", [whole, step.constant("step", np.array(1 / GRID, np.float32))], "rounded")


@dataclass(frozen=True, eq=False)
class Lif:
    """`v' = decay v + W x + V s + bias`; where v' reaches the threshold, a unit spikes and v' becomes `v_reset`.

    Attributes:
        name: Names its tensors in the graph.
        inputs: float32 `(n_units, n_inputs)`, W, on the grid of `on_grid`.
        recurrent: float32 `(n_units, n_units)`, V, likewise; None without recurrence.
        bias: float32 `(n_units,)`, likewise.
        decay: float32 `(n_units,)`, `exp(-1 / tau)` with tau in bins.
        v_th: The threshold.
        v_reset: Where a unit starts again.
    """

    name: str
    inputs: NDArray[np.float32]
    recurrent: NDArray[np.float32] | None
    bias: NDArray[np.float32]
    decay: NDArray[np.float32]
    v_th: float
    v_reset: float

    @property
    def reach(self) -> None:
        """Bins before the current one that its output depends on: without end."""
        return None

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return len(self.bias)

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        names = ["potential"] if self.recurrent is None else ["potential", "spikes"]
        return {f"{self.name}_{name}": (len(self.bias),) for name in names}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins, in float32."""
        currents = (inputs @ self.inputs.T.astype(np.float64) + self.bias).astype(np.float32)
        recurrent = None if self.recurrent is None else np.ascontiguousarray(self.recurrent.T)
        v_th, v_reset = np.float32(self.v_th), np.float32(self.v_reset)
        potential = state[f"{self.name}_potential"].astype(np.float32)
        potentials, spikes = np.empty_like(currents), np.empty_like(currents)
        if recurrent is not None:  # where the first bin looks for the spikes before it
            spikes[-1] = state[f"{self.name}_spikes"]
        for k, current in enumerate(currents):
            if recurrent is not None:
                current = spikes[k - 1] @ recurrent + current
            potential = potential * self.decay + current
            fired = potential >= v_th
            potentials[k] = potential = np.where(fired, v_reset, potential)
            spikes[k] = fired
        after = {"potential": potentials, "spikes": spikes}
        return spikes, {name: after[name.removeprefix(f"{self.name}_")] for name in self.shapes(inputs.shape[2])}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        name = self.name
        states = [step.state(state, shape) for state, shape in self.shapes(n_inputs).items()]
        operands = [inputs, step.constant(f"{name}_inputs", self.inputs), step.constant(f"{name}_bias", self.bias)]
        current = step.node("Gemm", operands, f"{name}_driven", transB=1)
        if self.recurrent is not None:
            weights = step.constant(f"{name}_recurrent", self.recurrent)
            current = step.node("Gemm", [states[1], weights, current], f"{name}_current", transB=1)
        left = step.node("Mul", [states[0], step.constant(f"{name}_decay", self.decay)], f"{name}_left")
        charged = step.node("Add", [left, current], f"{name}_charged")
        edges = [step.constant(f"{name}_{v}", np.array(getattr(self, v), np.float32)) for v in ("v_th", "v_reset")]
        fired = step.node("GreaterOrEqual", [charged, edges[0]], f"{name}_fired")
        step.carry(states[0], step.node("Where", [fired, edges[1], charged], f"{name}_next_potential"))
        output = step.node("Cast", [fired], f"{name}_next_spikes", to=1)
        if self.recurrent is not None:
            step.carry(states[1], output)
        return output


@dataclass(frozen=True, eq=False)
class Leaky:
    """A trace of the spikes, `r' = decay r + (1 - decay) s`: with the read-out behind it, leaky read-out units.

    Attributes:
        decay: float32 `(n_units,)`.
    """

    decay: NDArray[np.float32]

    @property
    def reach(self) -> None:
        """Bins before the current one that its output depends on: without end."""
        return None

    def size(self, n_inputs: int) -> int:
        """Return the length of the outputs."""
        return n_inputs

    def shapes(self, n_inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each state."""
        return {"trace": (n_inputs,)}

    def run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run through bins."""
        decay, trace = self.decay.astype(np.float64), state["trace"]
        traces = (1 - decay) * inputs
        for new in traces:
            new += decay * trace
            trace = new
        return traces, {"trace": traces}

    def add_to(self, step: StepBuilder, inputs: str, n_inputs: int) -> str:
        """Add one step to a graph."""
        state = step.state("trace", (n_inputs,))
        left = step.node("Mul", [state, step.constant("trace_decay", self.decay)], "trace_left")
        new = step.node("Mul", [inputs, step.constant("trace_gain", 1 - self.decay)], "trace_new")
        step.carry(state, step.node("Add", [left, new], "next_trace"))
        return "next_trace"


def on_grid(
    inputs: NDArray[np.float32], recurrent: NDArray[np.float32] | None, bias: NDArray[np.float32], rounded: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]:
    """Round the weights of each unit so that no sum over its inputs is ever rounded in float32.

    Args:
        inputs: `(n_units, n_inputs)`.
        recurrent: `(n_units, n_units)` or None.
        bias: `(n_units,)`.
        rounded: Whether the inputs are as `Rounded` makes them, rather than spikes.
    """
    bound, per_step = (BOUND, GRID) if rounded else (1.0, 1)
    largest = bound * np.abs(inputs).sum(axis=1, dtype=np.float64) + np.abs(bias)
    if recurrent is not None:
        largest += np.abs(recurrent).sum(axis=1, dtype=np.float64)
    bits = MANTISSA - 1 - np.ceil(np.log2(np.maximum(largest * per_step, np.finfo(np.float32).tiny)))
    fineness = np.exp2(np.minimum(bits, 2 * MANTISSA))

    def rounded_to_it(values: NDArray[np.float32]) -> NDArray[np.float32]:
        steps = fineness[:, None] if values.ndim == 2 else fineness
        return np.asarray(np.rint(values * steps) / steps, np.float32)

    return rounded_to_it(inputs), None if recurrent is None else rounded_to_it(recurrent), rounded_to_it(bias)

"""Static nonlinearities: each output a function of one number, bounded whatever comes in.

Both are flat beyond the range that they were fitted on: a polynomial that runs away, or a line that goes on, would
turn a channel gone mad into a cursor gone mad.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from cortexwire.training.ridge import Matrix
from cortexwire.training.step_graph import StepBuilder

_RANGE = (0.0005, 0.9995)
"""Quantiles of the inputs between which a function may change."""


class StaticNonlinearity(Protocol):
    """A function of each column by itself."""

    @classmethod
    def fit(cls, inputs: Matrix, targets: Matrix, size: int) -> Self:
        """Fit by least squares.

        Args:
            inputs: `(n_bins, n_outputs)`, about zero and of the order of one.
            targets: `(n_bins, n_outputs)`.
            size: How flexible the function is.
        """

    def apply(self, inputs: Matrix) -> Matrix:
        """Return the function's value for each of `(n_bins, n_outputs)`."""

    def add_to(self, step: StepBuilder, inputs: str) -> str:
        """Add the function of the tensor `inputs`, `(1, n_outputs)`, to a graph."""


@dataclass(frozen=True, eq=False)
class Polynomial:
    """A polynomial; `size` is its degree.

    Attributes:
        lowest: float32 `(n_outputs,)`, where it begins to change.
        highest: float32 `(n_outputs,)`, where it ends to.
        coefficients: float32 `(degree + 1, n_outputs)`, the constant first.
    """

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    coefficients: NDArray[np.float32]

    @classmethod
    def fit(cls, inputs: Matrix, targets: Matrix, size: int) -> Self:
        """Fit by least squares; see `StaticNonlinearity`."""
        lowest, highest = np.quantile(inputs, _RANGE, axis=0).astype(np.float32)
        powers = np.clip(inputs, lowest, highest)[:, :, None] ** np.arange(size + 1)
        columns = range(inputs.shape[1])
        fits = [np.linalg.lstsq(powers[:, k], targets[:, k], rcond=None)[0] for k in columns]
        return cls(lowest, highest, np.stack(fits, axis=1).astype(np.float32))

    def apply(self, inputs: Matrix) -> Matrix:
        """Return the polynomial's value; see `StaticNonlinearity`."""
        bounded = np.clip(inputs, self.lowest, self.highest)
        value = np.zeros_like(bounded)
        for coefficient in self.coefficients[::-1]:
            value = value * bounded + coefficient
        return value

    def add_to(self, step: StepBuilder, inputs: str) -> str:
        """Add the polynomial by Horner's rule; see `StaticNonlinearity`."""
        step.node("Max", [inputs, step.parameter("lowest", self.lowest)], "bounded_below")
        step.node("Min", ["bounded_below", step.parameter("highest", self.highest)], "bounded")
        step.parameter("coefficients", self.coefficients)
        last = len(self.coefficients) - 1
        value = step.piece("coefficients", last, last + 1, "highest_coefficient", axis=0)
        for power in reversed(range(last)):
            step.node("Mul", [value, "bounded"], f"product_{power}")
            coefficient = step.piece("coefficients", power, power + 1, f"coefficient_{power}", axis=0)
            value = step.node("Add", [f"product_{power}", coefficient], f"horner_{power}")
        return value


@dataclass(frozen=True, eq=False)
class Monotone:
    """A line of straight pieces that never falls; `size` is their number.

    Attributes:
        knots: float32 `(n_pieces, n_outputs)`, where each piece begins.
        widths: float32 `(n_pieces, n_outputs)`, above zero.
        rises: float32 `(n_pieces, n_outputs)`, zero or above: by how much the value grows along each piece.
        base: float32 `(n_outputs,)`, the value before the first.
    """

    knots: NDArray[np.float32]
    widths: NDArray[np.float32]
    rises: NDArray[np.float32]
    base: NDArray[np.float32]

    @classmethod
    def fit(cls, inputs: Matrix, targets: Matrix, size: int) -> Self:
        """Fit by least squares with rises bounded below; see `StaticNonlinearity`."""
        lowest, highest = np.quantile(inputs, _RANGE, axis=0)
        edges = np.linspace(lowest, highest, size + 1).astype(np.float32)
        knots, widths = edges[:-1], np.maximum(np.diff(edges, axis=0), np.float32(1e-6))
        shares = np.clip((inputs[:, None] - knots) / widths, 0, 1)
        bounds = (np.append(np.zeros(size), -np.inf), np.inf)
        fits = []
        for k in range(inputs.shape[1]):
            table = np.concatenate([shares[:, :, k], np.ones((len(inputs), 1))], axis=1)
            gram, seen = table.T @ table, table.T @ targets[:, k]
            root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)))
            fits.append(scipy.optimize.lsq_linear(root.T, np.linalg.solve(root, seen), bounds, method="bvls").x)
        values = np.stack(fits, axis=1).astype(np.float32)
        return cls(knots, widths, np.maximum(values[:-1], 0), values[-1])

    def apply(self, inputs: Matrix) -> Matrix:
        """Return the line's value; see `StaticNonlinearity`."""
        shares = np.clip((inputs[:, None] - self.knots) / self.widths, 0, 1)
        return np.asarray(np.sum(shares * self.rises, axis=1) + self.base)

    def add_to(self, step: StepBuilder, inputs: str) -> str:
        """Add the sum of what each piece contributes; see `StaticNonlinearity`."""
        pieces = step.constant("pieces", [1])
        step.node("Unsqueeze", [inputs, pieces], "each")
        step.node("Sub", ["each", step.parameter("knots", self.knots)], "beyond")
        step.node("Div", ["beyond", step.parameter("widths", self.widths)], "along")
        bounds = [step.constant(name, np.array(at, np.float32)) for name, at in (("none", 0), ("whole", 1))]
        step.node("Clip", ["along", *bounds], "shares")
        step.node("Mul", ["shares", step.parameter("rises", self.rises)], "risen")
        step.node("ReduceSum", ["risen", pieces], "height", keepdims=0)
        return step.node("Add", ["height", step.parameter("base", self.base)], "value")

"""A leaky reservoir: fixed random recurrent units driven by the features, of which only a read-out learns.

`x_t = (1 - leak) x_{t-1} + leak * tanh(W x_{t-1} + V z_t + offset + F y_{t-1})` (Jaeger et al., "Optimization and
applications of echo state networks with leaky-integrator neurons", 2007), where z are normalised features and y,
where there is feedback, the last outputs. Each unit hears the same small number of others (Lukoševičius, "A practical
guide to applying echo state networks", 2012, 3.2), so W is kept as the sources and weights of each unit: a step then
costs what its connections cost, and not the square of its units.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from cortexwire.training.ridge import Matrix


@dataclass(frozen=True, eq=False)
class Reservoir:
    """Weights as the graph has them.

    Attributes:
        sources: int64 `(n_connections, n_units)`, whom each unit hears.
        recurrent: float32 `(n_connections, n_units)`, W.
        inputs: float32 `(n_units, n_features)`, V.
        offset: float32 `(n_units,)`.
        feedback: float32 `(n_units, n_outputs)`, F; None without feedback.
        leak: Share of a unit that is renewed at each step, in (0, 1].
    """

    sources: NDArray[np.int64]
    recurrent: NDArray[np.float32]
    inputs: NDArray[np.float32]
    offset: NDArray[np.float32]
    feedback: NDArray[np.float32] | None
    leak: float

    @classmethod
    def draw(cls, n_units: int, n_connections: int, n_features: int, seed: int) -> Self:
        """Draw one without feedback, of spectral radius one and drives of variance one; `scaled` sets their strengths.

        Args:
            n_units: Units.
            n_connections: Other units that each hears; all of them if there are no more.
            n_features: Length of a feature vector.
            seed: Draws everything.
        """
        rng = np.random.default_rng(seed)
        n_heard = min(n_connections, n_units)
        sources = np.stack([rng.choice(n_units, n_heard, replace=False) for _ in range(n_units)], axis=1)
        recurrent = rng.standard_normal((n_heard, n_units))
        dense = np.zeros((n_units, n_units))
        dense[np.arange(n_units), sources] = recurrent
        radius = np.abs(scipy.linalg.eigvals(dense, check_finite=False)).max()
        return cls(
            sources=sources,
            recurrent=(recurrent / radius).astype(np.float32),
            inputs=(rng.uniform(-1, 1, (n_units, n_features)) * np.sqrt(3 / n_features)).astype(np.float32),
            offset=(rng.uniform(-1, 1, n_units) * np.sqrt(3)).astype(np.float32),
            feedback=None,
            leak=1.0,
        )

    def scaled(self, radius: float, inputs: float, offset: float, leak: float) -> Self:
        """Return one of these strengths."""
        return replace(
            self,
            recurrent=self.recurrent * np.float32(radius),
            inputs=self.inputs * np.float32(inputs),
            offset=self.offset * np.float32(offset),
            leak=leak,
        )

    def fed_back(self, feedback: Matrix, strength: Matrix, mean: Matrix) -> Self:
        """Return one that hears its outputs, each less its mean and times its strength."""
        weights = feedback * strength
        return replace(
            self,
            feedback=weights.astype(np.float32),
            offset=(self.offset - weights @ mean).astype(np.float32),
        )

    @property
    def n_units(self) -> int:
        """Units."""
        return len(self.offset)

    @cached_property
    def _matrix(self) -> scipy.sparse.csr_array[np.float64]:
        n_heard, n_units = self.sources.shape
        starts = np.arange(0, n_units * n_heard + 1, n_heard)
        entries = self.recurrent.T.ravel().astype(np.float64)
        return scipy.sparse.csr_array((entries, self.sources.T.ravel(), starts), shape=(n_units, n_units))

    def drive(self, z: NDArray[np.float32]) -> Matrix:
        """Return what the features do to each unit, `(n_bins, n_units)` float64."""
        return np.asarray(z @ self.inputs.T.astype(np.float64) + self.offset)

    def advance(self, state: Matrix, drive: Matrix) -> Matrix:
        """Return the next state, `(n_units,)`."""
        return np.asarray((1 - self.leak) * state + self.leak * np.tanh(self._matrix @ state + drive))

    def run(self, state: Matrix, drives: Matrix) -> Matrix:
        """Return the states after each bin without feedback, `(n_bins, n_units)`."""
        states = np.empty_like(drives)
        for k, drive in enumerate(drives):
            states[k] = state = self.advance(state, drive)
        return states

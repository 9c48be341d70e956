"""FORCE learning: a read-out learnt while what it says is fed back into the reservoir.

Sussillo & Abbott (2009), as used for a closed-loop decoder by Sussillo et al., "A recurrent neural network for
closed-loop intracortical brain-machine interface decoders" (2012). Inside, targets and outputs have mean zero and
variance one; the result is in the unit of the targets.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.training.history import history_rows
from cortexwire.training.recursive_least_squares import RecursiveLeastSquares
from cortexwire.training.reservoir import Reservoir
from cortexwire.training.ridge import Linear, Matrix


def draw_feedback(n_units: int, n_outputs: int, seed: int) -> Matrix:
    """Draw what outputs of variance one do to each unit, with variance one, `(n_units, n_outputs)`."""
    drawn = np.random.default_rng([seed, 1]).uniform(-1, 1, (n_units, n_outputs))
    return np.asarray(drawn * np.sqrt(3 / n_outputs))


class ForceLearner:
    """A reservoir with feedback, and its read-out under training.

    Args:
        reservoir: Without feedback; its drive by the outputs is added here.
        feedback: `(n_units, n_outputs)`, what outputs of variance one do to each unit.
        mean: `(n_outputs,)`, mean of the targets.
        scale: `(n_outputs,)`, standard deviation of the targets, above zero.
        direct: Bins of features that the read-out sees directly.
        n_features: Length of a feature vector.
        penalty: That of `RecursiveLeastSquares`.
    """

    def __init__(
        self,
        reservoir: Reservoir,
        feedback: Matrix,
        *,
        mean: Matrix,
        scale: Matrix,
        direct: int,
        n_features: int,
        penalty: float,
    ) -> None:
        if not (scale > 0).all():
            raise ConfigError(f"esn: expected targets that vary, got standard deviations {scale}")
        self._reservoir, self._feedback = reservoir, feedback
        self._mean, self._scale = mean, scale
        self._direct: Final = direct * n_features
        self._taps: Final = max(direct, 1)
        self._rule = RecursiveLeastSquares(reservoir.n_units + self._direct + 1, len(mean), penalty)

    def pass_over(
        self,
        z: NDArray[np.float32],
        targets: Matrix,
        teaching: NDArray[np.bool_],
        segments: tuple[int, ...],
    ) -> Matrix:
        """Run through bins and learn from those that teach.

        Args:
            z: `(n_bins, n_features)`, normalised.
            targets: `(n_bins, n_outputs)`.
            teaching: bool `(n_bins,)`.
            segments: First bin of each segment, at which the reservoir is at rest.

        Returns:
            What was said of each bin before learning from it, `(n_bins, n_outputs)`.
        """
        said = np.empty(targets.shape)
        wanted = (targets - self._mean) / self._scale
        for bins, window in history_rows(z, self._taps, segments):
            if bins.start in segments:
                state, output = np.zeros(self._reservoir.n_units), -self._mean / self._scale
            drives = self._reservoir.drive(z[bins])
            rows = np.concatenate([drives, window[:, : self._direct], np.ones((len(drives), 1))], axis=1)
            for k, (drive, row) in enumerate(zip(drives, rows, strict=True), bins.start):
                state = self._reservoir.advance(state, drive + self._feedback @ output)
                row[: len(state)] = state
                output = row @ self._rule.weights
                said[k] = output
                if teaching[k]:
                    self._rule.learn(row, output - wanted[k])
        return said * self._scale + self._mean

    def result(self) -> tuple[Reservoir, Linear]:
        """Return the reservoir with its feedback, and the read-out, both in the unit of the targets."""
        weights = self._rule.weights.T * self._scale[:, None]
        reservoir = self._reservoir.fed_back(self._feedback, 1 / self._scale, self._mean)
        return reservoir, Linear(weights[:, :-1], weights[:, -1] + self._mean)

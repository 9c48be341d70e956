"""Recursive least squares: weights that are, after every row, those of ridge regression on the rows so far.

This is the rule of FORCE learning (Sussillo & Abbott, "Generating coherent patterns of activity from chaotic neural
networks", 2009, eqs. 4 and 5): the error is kept small from the first moment on, so that an output may be fed back
while it is learnt.
"""

from typing import Final

import numpy as np
import scipy.linalg.blas

from cortexwire.training.ridge import Matrix


class RecursiveLeastSquares:
    """Weights under training.

    Args:
        n_inputs: Length of a row.
        n_outputs: Length of a target.
        penalty: Added to the squared error for each squared weight; the inverse of the first learning rate.

    Attributes:
        weights: `(n_inputs, n_outputs)`, zero at first.
    """

    def __init__(self, n_inputs: int, n_outputs: int, penalty: float) -> None:
        self.weights: Final = np.zeros((n_inputs, n_outputs))
        self._inverse: Matrix = np.asfortranarray(np.eye(n_inputs) / penalty)

    def learn(self, row: Matrix, error: Matrix) -> None:
        """Take in one row.

        Args:
            row: `(n_inputs,)`.
            error: `(n_outputs,)`, what the weights make of the row less what they should.
        """
        seen = scipy.linalg.blas.dsymv(1.0, self._inverse, row)
        gain = 1 / (1 + row @ seen)
        self._inverse = scipy.linalg.blas.dsyr(-gain, seen, a=self._inverse, overwrite_a=1)
        self.weights[:] -= gain * np.outer(seen, error)

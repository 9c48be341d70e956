"""Our echo-state reservoir in reservoirpy: its `Reservoir` node with our weights."""

import numpy as np
import scipy.sparse
from reservoirpy.nodes import Reservoir

from cortexwire.training.contract import Trace
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.history import history_rows
from cortexwire.types import Features


def run(fitted: FittedEsn, features: Features) -> Trace:
    """Decode a sequence in reservoirpy, in float64, from rest.

    Args:
        fitted: An echo-state network without feedback.
        features: float32 `(n_bins, n_features)`.

    Returns:
        The outputs, and the states that each step started from, by their names in our graph.
    """
    own = fitted.reservoir
    if own.feedback is not None:
        raise ValueError("expected a reservoir without feedback")
    n_heard, n_units = own.sources.shape
    rows = np.tile(np.arange(n_units), n_heard)
    entries = own.recurrent.astype(np.float64).ravel()
    node = Reservoir(
        lr=own.leak,
        W=scipy.sparse.csr_matrix((entries, (rows, own.sources.ravel())), shape=(n_units, n_units)),
        Win=own.inputs.astype(np.float64),
        bias=own.offset.astype(np.float64),
    )
    z = (features - fitted.feature_mean) / fitted.feature_scale
    after = np.asarray(node.run(z.astype(np.float64)))
    weights = fitted.weights.astype(np.float64)
    decoded = after @ weights[:, :n_units].T + fitted.bias
    states = {"reservoir": np.concatenate([np.zeros((1, n_units)), after[:-1]])}
    if fitted.direct:
        window = np.concatenate([rows for _, rows in history_rows(z, fitted.direct, (0,))])
        decoded += window @ weights[:, n_units:].T
        states["history"] = window[:, : -z.shape[1]]
    return Trace({"velocity": decoded}, states)

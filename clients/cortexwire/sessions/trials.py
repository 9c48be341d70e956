"""Where trials start and stop, by the rule that a `session.toml` names."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.description import Change, TrialTable, ZeroRows
from cortexwire.sessions.matrix import Array
from cortexwire.sessions.session import TRIAL_DTYPE, Trials

Ints = NDArray[np.int64]


def make_trials(starts: Ints, stops: Ints) -> Trials:
    """Pair starts and stops, both `(n,)` in samples."""
    trials = np.zeros(len(starts), TRIAL_DTYPE)
    trials["start"], trials["stop"] = starts, stops
    return trials


def rows_that_start(rule: ZeroRows | Change, values: Array, where: str) -> Ints:
    """Rows at which a trial starts.

    Args:
        rule: Which rows those are.
        values: The rule's array, `(n_rows, n_columns)`.
        where: Names the rule in errors.

    Returns:
        Row numbers, ascending, `(n_trials,)`.

    Raises:
        SessionError: The rule names a column that is not there, or no row fits it.
    """
    columns: tuple[int, ...]
    if isinstance(rule, ZeroRows):
        columns = rule.columns if rule.columns is not None else tuple(range(values.shape[1]))
        check_columns(columns, values, where)
        starts = np.flatnonzero((values[:, columns] == 0).all(axis=1))
    else:
        check_columns((rule.column,), values, where)
        course = values[:, rule.column]
        starts = np.flatnonzero(np.concatenate(([True], course[1:] != course[:-1])))
    if not len(starts):
        raise SessionError(f"{where}: expected at least one row that starts a trial, got none")
    return starts


def table_times(rule: TrialTable, table: Array, where: str) -> tuple[Array, Array]:
    """Starts and stops in the table's own unit, `(n_trials,)` each, float64; rows with a NaN are left out.

    Raises:
        SessionError: A column is not there, or trials stop before they start or are out of order.
    """
    check_columns((rule.start, rule.stop), table, where)
    both = table[:, (rule.start, rule.stop)].astype(np.float64)
    both = both[~np.isnan(both).any(axis=1)]
    starts, stops = both[:, 0], both[:, 1]
    wrong = np.flatnonzero(stops < starts)
    if len(wrong):
        row = wrong[0]
        raise SessionError(f"{where}: expected stop >= start, got {starts[row]} to {stops[row]} in trial {row}")
    if (np.diff(starts) < 0).any():
        row = np.flatnonzero(np.diff(starts) < 0)[0] + 1
        raise SessionError(f"{where}: expected trials in order, got trial {row} before trial {row - 1}")
    if rule.unit in ("rows", "samples"):
        # A file that counts from 1 usually names the last row itself; `stop` is one past it in either case.
        return starts - rule.first_row, stops - rule.first_row + (1 if rule.first_row else 0)
    return starts, stops


def stretches(trials: Trials, anchors: Ints) -> Ints:
    """Number of the trial that holds each anchor, `(n,)`; -1 outside of all."""
    number = np.searchsorted(trials["start"], anchors, "right") - 1
    inside = (number >= 0) & (anchors < trials["stop"][np.maximum(number, 0)]) if len(trials) else number >= 0
    return np.where(inside, number, -1)


def check_columns(columns: tuple[int, ...], values: Array, where: str) -> None:
    """Check that an array has these columns.

    Raises:
        SessionError: It has not.
    """
    for column in columns:
        if not 0 <= column < values.shape[1]:
            raise SessionError(f"{where}: expected columns below {values.shape[1]}, got {column}")

"""Reads kinematics and trials as their part of a `session.toml` says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.description import (
    Change,
    ColumnSpec,
    Description,
    NoTrials,
    TrialTable,
    ZeroRows,
)
from cortexwire.sessions.grid import RowGrid, TimeUnit, row_width, samples_of
from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.sessions.session import TRIAL_DTYPE, Trials
from cortexwire.sessions.stores import Store, time_series, two_dimensional
from cortexwire.sessions.trials import (
    check_columns,
    make_trials,
    rows_that_start,
    stretches,
    table_times,
)
from cortexwire.types import Rate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """The sample clock of a recording.

    Attributes:
        rate: Sample rate.
        n_samples: Length.
        bins: Recorded bins of the counts, if there are any.
    """

    rate: Rate
    n_samples: int
    bins: RowGrid | None = None


class KinematicsReader:
    """Reads the columns and trials of one recording.

    Args:
        where: Path of the toml, for errors.
        description: The toml.
        store: The file.
        timeline: The sample clock.
        open_other: Opens another file that the toml names.
    """

    def __init__(
        self,
        where: str,
        description: Description,
        store: Store,
        timeline: Timeline,
        open_other: Callable[[str], Store],
    ) -> None:
        self._where = where
        self._description = description
        self._store = store
        self._timeline = timeline
        self._open_other = open_other

    def trials(self) -> Trials:
        """Apply the trial rule.

        Raises:
            SessionError: The rule does not fit the file.
        """
        rule = self._description.trials
        if isinstance(rule, NoTrials):
            return np.zeros(0, TRIAL_DTYPE)
        place = f"{self._where}: trials.key = {rule.key!r}"
        if isinstance(rule, TrialTable):
            return self._table_trials(rule, place)
        return self._row_trials(rule, place)

    def kinematics(self, trials: Trials) -> Kinematics:
        """Read the columns.

        Raises:
            SessionError: A column is not in the file, or its rows do not fit.
        """
        specs = self._description.columns
        recorded = {name: spec for name, spec in specs.items() if spec.derivative_of is None}
        sources = {name: index for index, name in enumerate(recorded)}
        values = self._values(recorded)
        columns = [self._column(name, spec, sources) for name, spec in specs.items()]
        rule = self._description.trials
        rows = self._rows(len(values))
        if not isinstance(rule, NoTrials) and rule.joined:
            rows = Rows(rows.anchors, rows.starts, rows.stops, stretches(trials, rows.anchors))
        hold_first = self._description.kinematics.first == "hold"
        return Kinematics(columns, rows, values, self._timeline.rate, hold_first)

    def _row_trials(self, rule: ZeroRows | Change, place: str) -> Trials:
        orientation = self._description.kinematics.orientation
        values = time_series(self._store.array(rule.key), orientation, place)
        first = rows_that_start(rule, values, place)
        rows = self._rows(len(values))
        return make_trials(rows.starts[first], np.append(rows.starts[first[1:]], rows.stops[-1]))

    def _table_trials(self, rule: TrialTable, place: str) -> Trials:
        store = self._store if rule.file is None else self._open_other(rule.file)
        begin, end = table_times(rule, two_dimensional(store.array(rule.key), "time_first", place), place)
        if rule.unit == "rows":
            rows = self._rows(None)
            first, last = begin.astype(np.int64), end.astype(np.int64)
            if len(first) and not (first.min() >= 0 and last.max() <= len(rows.starts)):
                came = f"{first.min()} to {last.max()}"
                raise SessionError(f"{place}: expected rows from 0 to {len(rows.starts)}, got {came}")
            whole = last > first
            return make_trials(rows.starts[first[whole]], rows.stops[last[whole] - 1])
        rate, n_samples = self._timeline.rate, self._timeline.n_samples
        starts = np.clip(samples_of(begin, rule.unit, rate), 0, n_samples)
        stops = np.clip(samples_of(end, rule.unit, rate), 0, n_samples)
        return make_trials(starts[stops > starts], stops[stops > starts])

    def _values(self, recorded: dict[str, ColumnSpec]) -> Floats:
        values: dict[str, Floats] = {}
        for name, spec in recorded.items():
            place = f"{self._where}: columns.{name}"
            if spec.key is None:
                raise SessionError(f"{place}: expected key or derivative_of")
            orientation = self._description.kinematics.orientation
            array = time_series(self._store.array(spec.key), orientation, place)
            check_columns((spec.column,), array, place)
            values[name] = array[:, spec.column].astype(np.float64) * spec.scale
            first, n_rows = next((name, len(column)) for name, column in values.items())
            if len(values[name]) != n_rows:
                raise SessionError(f"{place}: expected {n_rows} rows like {first}, got {len(values[name])}")
        if not values:
            raise SessionError(f"{self._where}: columns: expected one with a key, got derivatives only")
        return np.stack(list(values.values()), axis=1)

    def _column(self, name: str, spec: ColumnSpec, sources: dict[str, int]) -> Column:
        if spec.derivative_of is None:
            return Column(name, sources[name], spec.interpolate, unit=spec.unit)
        if spec.key is not None or spec.derivative_of not in sources:
            expected = f"derivative_of one of {', '.join(sources)}, and no key"
            came = repr(spec.derivative_of if spec.key is None else spec.key)
            raise SessionError(f"{self._where}: columns.{name}: expected {expected}, got {came}")
        return Column(name, sources[spec.derivative_of], "slope", spec.scale, spec.unit)

    def _rows(self, n_rows: int | None) -> Rows:
        """When the rows were taken, all in one stretch; `n_rows` None: as many as the recording has."""
        spec = self._description.kinematics
        if spec.times is not None:
            return self._timed_rows(spec.times, spec.unit, n_rows)
        grid = self._grid()
        whole = grid.row_of(self._timeline.n_samples - 1) + 1
        if grid is self._timeline.bins and n_rows not in (None, whole):
            raise SessionError(f"{self._where}: kinematics: expected {whole} rows like the signal, got {n_rows}")
        edges = grid.edges(np.arange((whole if n_rows is None else n_rows) + 1))
        starts, stops = edges[:-1], edges[1:]
        anchors = {"end": stops - 1, "start": starts, "centre": (starts + stops - 1) // 2}[spec.anchor]
        return Rows(anchors, starts, stops, np.zeros(len(anchors), np.int64))

    def _grid(self) -> RowGrid:
        spec, rate = self._description.kinematics, self._timeline.rate
        try:
            if spec.row_ms is not None:
                return RowGrid(rate, row_width(spec.row_ms))
            if spec.rate_hz is not None:
                return RowGrid(rate, 1000 / row_width(spec.rate_hz))
        except ValueError as error:
            raise SessionError(f"{self._where}: kinematics: {error}") from error
        if self._timeline.bins is None:
            expected = "row_ms, rate_hz or times for a recording without bins"
            raise SessionError(f"{self._where}: kinematics: expected {expected}")
        return self._timeline.bins

    def _timed_rows(self, key: str, unit: TimeUnit, n_rows: int | None) -> Rows:
        place = f"{self._where}: kinematics.times = {key!r}"
        anchors = samples_of(self._store.array(key).reshape(-1), unit, self._timeline.rate)
        if n_rows is not None and len(anchors) != n_rows:
            raise SessionError(f"{place}: expected {n_rows} times, got {len(anchors)}")
        if len(anchors) < 2 or (np.diff(anchors) <= 0).any():
            raise SessionError(f"{place}: expected two times or more, each at least a sample apart")
        stops = np.append(anchors[1:], anchors[-1] + int(np.median(np.diff(anchors))))
        return Rows(anchors, anchors, stops, np.zeros(len(anchors), np.int64))

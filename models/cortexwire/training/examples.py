"""Stretches and trials to look at: the same for every decoder, chosen by the clock and never by how well they went."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from cortexwire.training.reaches import Reaches
from cortexwire.training.recording import Recording
from cortexwire.training.results import Point

STRETCH_S: Final = 30.0
MOST_BINS: Final = 600
BEFORE_ONSET_S: Final = 0.3
MOST_PATHS: Final = 16

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Examples:
    """What is shown of a recording.

    Attributes:
        stretch: The first bins of the final part.
        paths: Bins of a trial of each direction of the final part, from shortly before the onset on.
        degrees: Their directions.
        bin_s: Length of a bin, where the targets are velocities, else None: paths are then the targets themselves.
    """

    stretch: slice
    paths: tuple[slice, ...]
    degrees: tuple[float, ...]
    bin_s: float | None

    @classmethod
    def of(cls, recording: Recording, reaches: Reaches | None) -> Self:
        """Choose the first stretch, and the first trial of each direction, of the final part."""
        test = recording.split.test
        n_bins = min(MOST_BINS, round(STRETCH_S * 1000 / recording.bin_ms), test.stop - test.start)
        found: dict[int, slice] = {}
        if reaches is not None:
            before = round(BEFORE_ONSET_S * 1000 / recording.bin_ms)
            for (start, stop), onset, direction in zip(reaches.trials, reaches.onset, reaches.direction, strict=True):
                if start >= test.start:
                    found.setdefault(int(direction), slice(max(int(start), int(onset) - before), int(stop)))
        numbers = sorted(found)[:MOST_PATHS]
        return cls(
            slice(test.start, test.start + n_bins),
            tuple(found[number] for number in numbers),
            tuple(round(float(np.degrees(reaches.angles[number])), 1) for number in numbers) if reaches else (),
            recording.bin_ms / 1000 if recording.unit.endswith("/s") else None,
        )

    def trace(self, values: Floats) -> tuple[Point, ...]:
        """The stretch of values `(n_bins, n_columns)`."""
        return _points(values[self.stretch])

    def paths_of(self, values: Floats) -> tuple[tuple[Point, ...], ...]:
        """The path that values `(n_bins, n_columns)` make of each example trial, from the origin."""
        return tuple(_points(self._path(values[bins])) for bins in self.paths)

    def _path(self, values: Floats) -> Floats:
        if self.bin_s is None:
            return values
        moved = np.cumsum(np.nan_to_num(values) * self.bin_s, axis=0)
        return np.concatenate([np.zeros((1, values.shape[1])), moved])


def _points(values: Floats) -> tuple[Point, ...]:
    digits = 1 if np.nanmax(np.abs(values), initial=0) >= 100 else 3
    return tuple(tuple(row) for row in np.round(values, digits).tolist())

"""The intended movement: holds and minimum-jerk reaches between random targets, as a function of time.

A reach of length `T` follows `p0 + (p1 - p0) (10 s^3 - 15 s^4 + 6 s^5)` with `s = t / T` (Flash and Hogan,
1985). Directions come in shuffled rounds of eight sectors, as a balanced experiment would have them. Units:
cm, cm/s, s.
"""

import numpy as np
from numpy.typing import NDArray

from cortexwire.clients.simulator.draws import Draws, Stream

WORKSPACE_CM = 10.0
REACH_CM = (4.0, 10.0)
HOLD_S = (0.05, 0.35)
SECTORS = 8


class Reaches:
    """The movements of one run; asking for more time makes the list of reaches longer, never different.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self._draws = Draws(seed, Stream.REACHES)
        self._end = (0.0, 0.0, 0.0)
        self._table = np.empty((0, 7))
        self._lengthen()

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the intended movement at any times from 0 on.

        Args:
            times_s: Times in seconds, `(n,)`.

        Returns:
            Velocity x, y in cm/s and position x, y in cm, `(n, 4)`.
        """
        if times_s.size == 0:
            return np.empty((0, 4))
        self._reach_until(float(times_s.max()))
        reach = np.searchsorted(self._table[:, 0], times_s, side="right") - 1
        _, onset, duration, x, y, dx, dy = self._table[reach].T
        s = np.clip((times_s - onset) / duration, 0.0, 1.0)
        path = s * s * s * (10.0 - 15.0 * s + 6.0 * s * s)
        speed = 30.0 * s * s * (1.0 - s) * (1.0 - s) / duration
        return np.column_stack((dx * speed, dy * speed, x + dx * path, y + dy * path))

    def starts_until(self, time_s: float) -> NDArray[np.float64]:
        """Give the starts of all trials that begin up to `time_s` and of the one after, in s, `(n,)`.

        A trial is a hold and the reach that follows; it ends where the next one starts.
        """
        self._reach_until(time_s)
        starts = self._table[:, 0]
        return starts[: int(np.searchsorted(starts, time_s, side="right")) + 1]

    def _reach_until(self, time_s: float) -> None:
        """Make sure that a trial starts after `time_s`, so that all before it are whole."""
        while self._table[-1, 0] <= time_s:
            self._lengthen()

    def _lengthen(self) -> None:
        """Add one round of trials."""
        rows = [self._trial(int(sector)) for sector in self._draws.permutation(SECTORS)]
        self._table = np.concatenate((self._table, rows))

    def _trial(self, sector: int) -> tuple[float, ...]:
        """Draw the next trial: start, onset and duration of the reach, where from, by how much."""
        draws = self._draws
        start, x, y = self._end
        angle = 2.0 * np.pi * (sector + draws.uniform()) / SECTORS
        length = draws.uniform(*REACH_CM)
        dx = _inside(x, length * float(np.cos(angle)))
        dy = _inside(y, length * float(np.sin(angle)))
        onset = start + draws.uniform(*HOLD_S)
        duration = (0.3 + 0.04 * length) * draws.uniform(0.85, 1.15)
        self._end = (onset + duration, x + dx, y + dy)
        return start, onset, duration, x, y, dx, dy


def _inside(start: float, step: float) -> float:
    """Turn a step round that would leave the workspace (no step is longer than half of its width)."""
    return -step if abs(start + step) > WORKSPACE_CM else step

"""What can be decoded without a single spike: the mean, and what everyone knows about such reaches.

*Stereotypy* is a table: the mean target of the training part for each direction and each bin since the movement
began. It is told direction and onset by the very movement that it predicts, which no decoder is; where reaches are
alike, that alone scores as well as many a decoder. A decoder has shown that it reads movement from spikes only by
what it does beyond this table, above all on directions that it was never shown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.training.reaches import Reaches
from cortexwire.training.recording import Bins, Recording

SPAN_MS: Final = 3000.0
"""How far before and after the onset the table reaches; further off it goes on as at its edge."""

Baseline = Callable[[Recording, Bins], NDArray[np.float64]]
"""Predicts every bin of a recording, `(n_bins, n_columns)`, from the targets of the bins that may teach."""


def mean_baseline(recording: Recording, teaching: Bins) -> NDArray[np.float64]:
    """Predict the mean of the bins that may teach, always; NaN where there is none."""
    known = teaching & np.isfinite(recording.targets).all(axis=1)
    mean = recording.targets[known].mean(axis=0) if known.any() else np.nan
    return np.broadcast_to(mean, recording.targets.shape).copy()


@dataclass(frozen=True, eq=False)
class Stereotypy:
    """The table of target direction and time since movement onset.

    Attributes:
        reaches: The reaches of the recording; None where it has none, and then nothing can be predicted.
    """

    reaches: Reaches | None

    def __call__(self, recording: Recording, teaching: Bins) -> NDArray[np.float64]:
        """Predict every bin of a recording.

        Returns:
            `(n_bins, n_columns)`: the table's entry; the mean over all directions at that time for a direction that
            did not teach; the mean of everything outside of trials; NaN throughout without reaches.
        """
        if self.reaches is None:
            return np.full(recording.targets.shape, np.nan)
        known = teaching & np.isfinite(recording.targets).all(axis=1)
        direction = self.reaches.direction_of_bins(recording.n_bins)
        span = max(1, round(SPAN_MS / recording.bin_ms))
        since = np.clip(self.reaches.since_onset(recording.n_bins), -span, span) + span
        inside = direction >= 0
        said = mean_baseline(recording, teaching)
        for cell, bins in ((since, inside), (since + (direction + 1) * (2 * span + 1), inside)):
            taught, size = bins & known, int(cell.max()) + 1
            number = np.bincount(cell[taught], minlength=size)
            for column in range(recording.targets.shape[1]):
                total = np.bincount(cell[taught], recording.targets[taught, column], size)
                filled = bins & (number[cell] > 0)
                said[filled, column] = total[cell[filled]] / number[cell[filled]]
        return said

"""What is commanded when there is nothing good to command: hold, then decay, then neutral.

The value depends only on the last good command and on how many samples of the stream lie between its bin and
this one. It reads no clock, so it is the same live and in a replay, and however often or late it is asked
for.
"""

from typing import NamedTuple

import numpy as np

from cortexwire.pipeline.settings import SafetySettings
from cortexwire.types import Rate, Velocity


class SafeCommand(NamedTuple):
    """The velocity of a safe output, `(2,)` float32, and whether it is the neutral value (zeros)."""

    velocity: Velocity
    neutral: bool


class SafeOutput:
    """Remembers the last good command of a stream, and says what is safe after it.

    Args:
        settings: How long to hold and to decay.
        rate: The sample rate.

    Attributes:
        valid_for_ms: How long a consumer may apply a command.
    """

    def __init__(self, settings: SafetySettings, rate: Rate) -> None:
        self.valid_for_ms = settings.valid_for_ms
        self._hold = settings.hold_ms * rate.num / (1000 * rate.den)
        self._decay = settings.decay_ms * rate.num / (1000 * rate.den)
        self._velocity: Velocity | None = None
        self._end_sample = 0
        self._stopped = settings.neutral

    @property
    def stopped(self) -> bool:
        """Whether the neutral stop is on."""
        return self._stopped

    def stop(self, on: bool = True) -> None:
        """Latch the neutral stop, or release it: while it is on, and until the next good command, zeros."""
        self._stopped = on
        self._velocity = None

    def good(self, velocity: Velocity, end_sample: int) -> None:
        """Remember a good command; ignored while the neutral stop is on.

        Args:
            velocity: `(2,)` float32, finite.
            end_sample: Sample index one past its bin.
        """
        if not self._stopped:
            self._velocity = velocity.copy()
            self._end_sample = end_sample

    def at(self, end_sample: int) -> SafeCommand:
        """Give the safe command of the bin that ends at `end_sample`.

        Neutral when there is no good command, or none before that bin.
        """
        age = end_sample - self._end_sample
        if self._velocity is None or not 0 <= age <= self._hold + self._decay:
            return _neutral()
        velocity = self._velocity.copy()
        if age > self._hold:
            velocity *= np.float32(1.0 - (age - self._hold) / self._decay)
        return SafeCommand(velocity, False) if velocity.any() else _neutral()

    def reset(self) -> None:
        """A new stream begins: nothing is known to hold. The neutral stop stays as it is."""
        self._velocity = None


def _neutral() -> SafeCommand:
    return SafeCommand(np.zeros(2, np.float32), True)

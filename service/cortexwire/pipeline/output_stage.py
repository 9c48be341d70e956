"""From decoded velocity to commanded velocity.

The order is gain, offset, smoothing, deadband, acceleration limit, speed limit:

* gain and offset make the value what the user means by it, so everything after is in the user's units;
* the deadband comes after the smoothing, which would otherwise leak small movements out of what it set to
  zero;
* the limits come last, since nothing after them may undo them; the step of the deadband is limited, too;
* the speed limit follows the acceleration limit and both hold: shortening to the speed limit is a projection
  onto a disc that contains the previous command, and that never takes a value further from it.

The state (smoothed value, previous result) is that of a cursor at rest and depends only on the bins processed
since, never on what was sent in place of a bin.
"""

from math import hypot
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from cortexwire.pipeline.settings import Matrix, OutputSettings
from cortexwire.types import Velocity

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_PLAIN = _FLOAT32_MAX / 2


class Processed(NamedTuple):
    """The commanded velocity `(2,)` float32, None for one that is not finite; whether a limit acted."""

    velocity: Velocity | None
    limited: bool

    @property
    def nonfinite(self) -> bool:
        """Whether the bin needs a safe output, since its value is no number."""
        return self.velocity is None


class Commanding(Protocol):
    """What a decoded velocity goes through."""

    def process(self, raw: Velocity) -> Processed:
        """Process the decoded velocity of one bin, `(2,)` float32."""

    def reset(self) -> None:
        """Go to rest."""


class OutputStage:
    """Applies the settings to one bin after another.

    Args:
        settings: What to apply.
        bin_s: Length of a bin, in seconds.
    """

    def __init__(self, settings: OutputSettings, bin_s: float) -> None:
        self._settings = settings
        self._offset = (0.0, 0.0)
        self._max_step = None if settings.max_acceleration is None else settings.max_acceleration * bin_s
        self.set_gain(settings.gain)
        self.set_offset(settings.offset)
        self.reset()

    def set_gain(self, gain: float | Matrix) -> None:
        """Change the gain from the next bin on: a factor, or a 2 x 2 matrix by rows."""
        self._gain = gain if isinstance(gain, tuple) else ((gain, 0.0), (0.0, gain))
        self._look()

    def set_offset(self, offset: tuple[float, float]) -> None:
        """Change the offset from the next bin on."""
        self._offset = offset
        self._look()

    def describe(self) -> dict[str, Any]:
        """Gain, by rows, and offset as plain JSON values."""
        return {"gain": [list(row) for row in self._gain], "offset": list(self._offset)}

    def _look(self) -> None:
        """Find out whether a value leaves as it came, and whether nothing is remembered of it."""
        settings = self._settings
        self._transparent = (
            self._gain == ((1.0, 0.0), (0.0, 1.0))
            and self._offset == (0.0, 0.0)
            and settings.smoothing == settings.deadband == 0.0
            and settings.max_speed is None
            and self._max_step is None
        )

    def reset(self) -> None:
        """Go to rest; gain and offset stay as they were set."""
        self._smooth = (0.0, 0.0)
        self._previous = (0.0, 0.0)

    def process(self, raw: Velocity) -> Processed:
        """Process the decoded velocity of one bin.

        Args:
            raw: `(2,)` float32, unchanged.

        Returns:
            The commanded velocity. Where `raw` or the result is not finite there is none, and the state stays
            as it was.
        """
        x, y = raw.tolist()
        if self._transparent and -_PLAIN <= x <= _PLAIN and -_PLAIN <= y <= _PLAIN:
            return Processed(raw, False)
        (a, b), (c, d) = self._gain
        x, y = a * x + b * y + self._offset[0], c * x + d * y + self._offset[1]
        keep = self._settings.smoothing
        x, y = smooth = keep * self._smooth[0] + (1 - keep) * x, keep * self._smooth[1] + (1 - keep) * y
        if not hypot(x, y) <= _FLOAT32_MAX:
            return Processed(None, False)
        if hypot(x, y) < self._settings.deadband:
            x = y = 0.0
        x, y, limited = self._limit(x, y)
        self._smooth = smooth
        self._previous = (x, y)
        return Processed(np.array((x, y), np.float32), limited)

    def _limit(self, x: float, y: float) -> tuple[float, float, bool]:
        limited = False
        if self._max_step is not None:
            px, py = self._previous
            step = hypot(x - px, y - py)
            if step > self._max_step:
                part = self._max_step / step
                x, y, limited = px + part * (x - px), py + part * (y - py), True
        max_speed = self._settings.max_speed
        if max_speed is not None:
            speed = hypot(x, y)
            if speed > max_speed:
                x, y, limited = x * max_speed / speed, y * max_speed / speed, True
        return x, y, limited


class Through:
    """What is decoded and not commanded goes through as it is, unless it is no number."""

    def process(self, raw: Velocity) -> Processed:
        """Process the decoded velocity of one bin."""
        return Processed(raw if np.isfinite(raw).all() else None, False)

    def reset(self) -> None:
        """Nothing is remembered."""


THROUGH: Final = Through()
"""There is nothing in it that two could not share."""

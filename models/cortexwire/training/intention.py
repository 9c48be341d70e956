"""What a subject meant to do while it steered a cursor: the targets of a ReFIT-style refit.

Gilja et al., "A high-performance neural prosthesis enabled by control algorithm design" (2012): in closed loop the
velocity that was decoded is not what was intended. The subject is taken to aim at the goal at all times, so the
velocity is turned towards it with its speed kept, and is zero while the cursor rests on the goal.
"""

from dataclasses import replace

import numpy as np

from cortexwire.errors import ConfigError
from cortexwire.training.data import TrainingData


def intended(data: TrainingData, hold_radius: float) -> TrainingData:
    """Replace decoded velocities by intended ones.

    Args:
        data: Bins of closed-loop trials with positions and goals; a bin without a goal will teach nothing.
        hold_radius: Distance from the goal, in the unit of the positions, within which the subject rests.

    Raises:
        ConfigError: The bins are of no closed-loop trials, or positions or goals are not known.
    """
    if not data.closed_loop:
        raise ConfigError("refit: expected closed-loop trials, got trials in which the output was not seen")
    if data.positions is None or data.goals is None:
        missing = [name for name, got in (("positions", data.positions), ("goals", data.goals)) if got is None]
        raise ConfigError(f"refit: expected columns of the cursor's position and its target, got no {missing}")
    away = data.goals - data.positions
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    speed = np.linalg.norm(data.targets, axis=1, keepdims=True)
    resting = distance <= hold_radius
    turned = speed * away / np.where(distance > 0, distance, 1)
    velocity = np.where(resting & np.isfinite(speed), 0.0, turned)
    if not np.isfinite(velocity).all(axis=1).any():
        raise ConfigError("refit: expected bins with a velocity, a position and a target, got none")
    return replace(data, targets=velocity)

"""The pairing of bins with kinematics as training does it, on kinematics that somebody made up.

So that it can be put to the test with values whose time is known: they go through a session and the very function that
reads targets from real ones.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import StreamSpec
from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.sessions.recorded import RecordedSession
from cortexwire.sessions.session import SPIKE_DTYPE
from cortexwire.sessions.signals import EventSignal
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import FeatureTable
from cortexwire.training.fitting import targets_of
from cortexwire.types import Rate
from cortexwire.wire import Descriptor

Floats = NDArray[np.float64]

_SAMPLES: Final = 10
_RATE: Final = Rate(1000)


def aligned_by_session(kinematics: Floats, lag_bins: int = 0) -> Floats:
    """Targets of the bins of a made-up session.

    Args:
        kinematics: At the last sample of each bin, `(n_bins, n_columns)`.
        lag_bins: Bins by which targets lie after it.

    Returns:
        `(n_bins, n_columns)`, NaN where undefined.

    Raises:
        ConfigError: The lag is negative.
    """
    n_bins, n_columns = kinematics.shape
    names = tuple(f"c{k}" for k in range(n_columns))
    ends = (np.arange(n_bins) + 1) * _SAMPLES
    rows = Rows(ends - 1, ends - _SAMPLES, ends, np.zeros(n_bins, np.int64))
    columns = [Column(name, k, "linear") for k, name in enumerate(names)]
    session = RecordedSession(
        name="made up",
        rate=_RATE,
        signal=EventSignal(np.zeros(0, SPIKE_DTYPE), 1, n_bins * _SAMPLES),
        descriptor=Descriptor(source="made up", electrodes=(), uv_per_bit=1.0, reference="", columns=names),
        kinematics=Kinematics(columns, rows, kinematics, _RATE),
    )
    bin_ms = _SAMPLES * 1000 / _RATE.hz
    table = FeatureTable(
        stream=StreamSpec(kind="events", rate_num=_RATE.num, uv_per_bit=1.0, n_channels=1, bin_ms=bin_ms),
        front_end=FrontEndSettings(bin_ms=bin_ms),
        index=np.arange(n_bins),
        end=ends,
        counts=np.zeros((n_bins, 1), np.uint16),
        power=None,
        observed_fraction=np.ones(n_bins),
        status=np.zeros((n_bins, 1), np.uint8),
        thresholds_uv=None,
        notes=(),
    )
    return targets_of(session, table, names, lag_bins * bin_ms)

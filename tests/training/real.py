"""A real recording of reaches, in the bins in which it was recorded."""

from pathlib import Path

import numpy as np

from cortexwire.sessions import open_session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import FeatureTable, stream_of
from cortexwire.training.recording import Source, read_recording

TOML = Path(__file__).parents[2] / "docs" / "sessions" / "contdata95.toml"


def contdata95(recordings: Path) -> Source:
    """Read it without the signal chain: that its counts pass through unchanged is shown elsewhere, and takes long."""
    session = open_session(TOML, recordings)
    edges, counts = session.counts(0, session.n_samples)
    table = FeatureTable(
        stream=stream_of(session, 100.0),
        front_end=FrontEndSettings(bin_ms=100.0),
        index=np.arange(len(counts)),
        end=edges[1:],
        counts=counts,
        power=None,
        observed_fraction=np.ones(len(counts)),
        status=np.zeros(counts.shape, np.uint8),
        thresholds_uv=None,
        notes=(),
    )
    return read_recording(session, table=table)

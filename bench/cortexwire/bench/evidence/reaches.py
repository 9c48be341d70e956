"""`contdata95` in the bins in which it was recorded, and decoders of it, for several runs."""

from typing import Any, Final

from cortexwire.bench.evidence.sources import recording
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.recording import Source, read_recording

BIN_MS: Final = 100.0
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "wiener": {"history": 10},
    "cascade": {"history": 10},
    "kalman": {},
    "esn": {},
    "mlp": {"history": 10},
    "rnn": {},
    "gru": {},
    "lstm": {},
    "tcn": {},
    "snn": {},
}
"""Settings of each family at 100 ms: a second of history, and the defaults for all else."""


def reaches() -> Source:
    """Read the recording through the signal chain.

    Raises:
        RunError: There are no recordings.
    """
    return read_recording(recording("contdata95"), front_end=FrontEndSettings(bin_ms=BIN_MS))

"""`contdata95` in the bins in which it was recorded, and decoders of it, for several runs."""

from typing import Any, Final

from cortexwire.bench.evidence.sources import recording
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.contract import Fitted
from cortexwire.training.procedure import fit_part
from cortexwire.training.recording import Recording, Source, read_recording

BIN_MS: Final = 100.0
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "wiener": {"history": 10},
    "cascade": {"history": 10},
    "kalman": {"history": 1, "position": True},
    "esn": {},
    "mlp": {"history": 10},
    "rnn": {},
    "gru": {},
    "lstm": {},
    "tcn": {},
    "snn": {},
}
"""Settings of each family at 100 ms, chosen on validation blocks; what is not named has its default."""


def reaches() -> Source:
    """Read the recording through the signal chain.

    Raises:
        RunError: There are no recordings.
    """
    return read_recording(recording("contdata95"), front_end=FrontEndSettings(bin_ms=BIN_MS))


def fitted(found: Recording, name: str, **more: Any) -> Fitted:
    """Fit a family to the training part."""
    return fit_part(found, name, {**SETTINGS[name], **more}, found.split.train)

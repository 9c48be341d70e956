"""The spiking network and the reservoir against snntorch and reservoirpy with equal weights."""

from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.parity import EPOCHS, STEPS, against, expectations
from cortexwire.bench.evidence.reaches import reaches
from cortexwire.bench.live import RunError, short_folder
from cortexwire.training.echo_state import FittedEsn
from cortexwire.training.network import FittedNetwork
from cortexwire.training.procedure import Maker

PEERS: Final = ("snntorch", "reservoirpy")


def equal_weights(*, steps: int = STEPS, epochs: int = EPOCHS) -> dict[str, Any]:
    """Must-show 5, second part: our graphs against other libraries, as against their own references.

    Args:
        steps: How many of the last bins of the recording to compare over.
        epochs: Passes through the training part, for the spiking network.

    Raises:
        RunError: There are no recordings, or a library is absent.
    """
    try:
        from cortexwire.bench.peers import reservoir, spiking
    except ModuleNotFoundError as error:
        raise RunError(
            f"expected {' and '.join(PEERS)}, got no {error.name}; pip install 'cortexwire[peers]'"
        ) from error
    source = reaches()
    recording = source.recording
    rows = slice(recording.n_bins - steps, recording.n_bins)
    features, targets = recording.features[rows], recording.targets[rows]
    found = {}
    with short_folder() as folder:
        snn, bundle = Maker(source, "snn", folder).make("snn", {"epochs": epochs}, recording.split.train)
        assert isinstance(snn, FittedNetwork)
        found["snntorch"] = against(spiking.run(snn, features), bundle, features, targets, snn.contracting)
        progress(f"snntorch: {found['snntorch']}")
        esn, bundle = Maker(source, "esn", folder).make("esn", {}, recording.split.train)
        assert isinstance(esn, FittedEsn)
        found["reservoirpy"] = against(reservoir.run(esn, features), bundle, features, targets, esn.contracting)
        progress(f"reservoirpy: {found['reservoirpy']}")
    return {
        "passed": all(result["passed"] for result in found.values()),
        "expected": expectations(),
        "steps": steps,
        "peers": found,
    }

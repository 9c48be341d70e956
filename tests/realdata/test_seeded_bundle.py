"""The committed decoder of random weights is the one that its seed makes."""

from pathlib import Path

import numpy as np

from cortexwire.bench.evidence.sources import SEEDED_BUNDLE, write_seeded_bundle
from cortexwire.decoders import load_bundle


def test_the_committed_bundle_can_be_written_again_and_has_no_zero_weight(tmp_path: Path) -> None:
    committed, again = load_bundle(SEEDED_BUNDLE), write_seeded_bundle(tmp_path / "bundle")
    assert committed.parameters.keys() == again.parameters.keys()
    for name, values in committed.parameters.items():
        np.testing.assert_array_equal(values, again.parameters[name])
    assert (committed.parameters["weights"] != 0).all()
    assert committed.manifest.stream == again.manifest.stream
    assert committed.manifest.training.sessions == ()

"""What a family must obey to be compared and served: tested by being named, nothing else needed."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import OnnxDecoder
from cortexwire.decoders.incremental import IncrementalDecoder
from cortexwire.errors import ConfigError
from cortexwire.training import family, family_names
from cortexwire.training.complexity import complexity
from cortexwire.training.lanes import Lanes
from cortexwire.training.leakage import battery, family_procedure
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.procedure import Maker, decoded_by, fit_part
from tests.decoders.battery import check_decoder
from tests.training.reaching import reaching, source_of

RECORDING = reaching(60)
SMALL: dict[str, Any] = {
    "history": 3,
    "units": 60,
    "search_units": 40,
    "leaks": (0.3,),
    "input_scalings": (0.3,),
    "hidden": 12,
    "channels": 12,
    "epochs": 3,
    "threads": 1,
    "device": "cpu",
}
"""Settings with which any family is fitted soon; each takes those that it has."""


def _settings(name: str) -> dict[str, Any]:
    try:
        known = {field.name for field in msgspec.structs.fields(family(name).settings)}
    except ConfigError as error:
        pytest.skip(str(error))
    return {key: value for key, value in SMALL.items() if key in known}


@pytest.mark.parametrize("name", family_names())
def test_no_answer_reaches_a_family_but_by_the_spikes_up_to_now(name: str) -> None:
    verdict = battery(family_procedure(name, _settings(name)), RECORDING, shifts=0)
    assert verdict.passed, verdict.lines()


@pytest.mark.parametrize("name", family_names())
def test_a_family_becomes_a_bundle_that_decodes_as_its_reference(name: str, tmp_path: Path) -> None:
    recording = RECORDING
    fitted, bundle = Maker(source_of(recording), name, tmp_path).make("b", _settings(name), recording.split.train)
    lanes = Lanes(bundle)
    assert lanes.side_by_side
    test = recording.split.test
    reference, served = decoded_by(fitted, recording), lanes.run(recording.features)[0]
    scores = [weighted_r2(recording.targets[test], decoded[test]) for decoded in (reference, served)]
    assert abs(scores[0] - scores[1]) < 0.005
    found = complexity(bundle, recording.features[:50])
    assert found.dense_macs + found.dense_acs >= found.effective_macs + found.effective_acs > 0
    assert found.not_counted == ()
    if getattr(fitted, "contracting", True):
        for executor in (lambda: OnnxDecoder(bundle, "cpu"), lambda: IncrementalDecoder(bundle)):
            check_decoder(executor, lambda features: fitted.predict(features), 2e-5)


@pytest.mark.parametrize("name", family_names())
def test_the_same_settings_give_the_same_decoder(name: str) -> None:
    given = _settings(name)
    train = RECORDING.split.train
    one, again = (decoded_by(fit_part(RECORDING, name, given, train), RECORDING) for _ in range(2))
    np.testing.assert_array_equal(one, again)

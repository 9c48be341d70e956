"""Laws of named columns: which outputs a bundle has, and that each decodes what the reference decodes."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.decoders import OnnxDecoder, load_bundle
from cortexwire.decoders.manifest import OutputSpec
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.training.contract import Fitted
from cortexwire.training.data import TrainingData
from cortexwire.training.export import decode_steps, export_bundle, features_input
from cortexwire.training.families import family
from cortexwire.training.outputs import NamedOutput, in_units, labelled, plan
from tests.training.examples import STREAM, recording

FEATURES, TARGETS = recording(400)
MANY = np.concatenate([TARGETS, TARGETS @ [[1.0], [2.0]]], axis=1)


def _wiener(targets: NDArray[np.float64]) -> Fitted:
    fam = family("wiener")
    return fam.fit(TrainingData(FEATURES, targets), fam.check({"history": 3}))


@pytest.mark.parametrize(
    ("columns", "velocity", "want"),
    [
        (("vx", "vy"), None, [("velocity", ("vx", "vy"), 0)]),
        (("fx", "fy"), None, [("columns", ("fx", "fy"), 0)]),
        (("fx", "fy"), ("fy", "fx"), [("velocity", ("fy", "fx"), 0)]),
        (("vx", "vy"), (), [("columns", ("vx", "vy"), 0)]),
        (("emg", "hand_vx", "hand_vy"), None, [("velocity", ("hand_vx", "hand_vy"), 0), ("columns", ("emg",), 2)]),
    ],
)
def test_a_velocity_comes_first_and_all_else_together(
    columns: tuple[str, ...], velocity: tuple[str, ...] | None, want: list[tuple[str, tuple[str, ...], int]]
) -> None:
    assert [(output.role, output.columns, output.start) for output in plan(columns, velocity)] == want


@pytest.mark.parametrize(
    ("columns", "velocity", "message"),
    [
        ((), None, "expected distinct names"),
        (("a", "a"), None, "expected distinct names"),
        (("a", "b"), ("a",), "expected two of"),
        (("a", "b"), ("a", "c"), "expected two of"),
        (("a", "b"), ("a", "a"), "expected two of"),
    ],
)
def test_outputs_that_cannot_be_are_refused(
    columns: tuple[str, ...], velocity: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(columns, velocity)


def test_an_output_has_the_unit_that_its_columns_share() -> None:
    planned = in_units(plan(("vx", "vy", "a", "b"), None), {"vx": "mm/s", "vy": "mm/s", "a": "V"})
    assert [output.unit for output in planned] == ["mm/s", ""]


@pytest.mark.parametrize("velocity", [("a", "b"), ()])
def test_every_output_decodes_its_columns(velocity: tuple[str, ...], tmp_path: Path) -> None:
    planned = plan(("a", "b", "c"), velocity)
    fitted = _wiener(MANY)
    bundle = export_bundle(
        fitted,
        tmp_path / "b",
        name="n",
        family="wiener",
        stream=STREAM,
        front_end={},
        unit="",
        recorded=FEATURES,
        outputs=planned,
    )
    assert bundle.manifest == load_bundle(bundle.path).manifest
    came, want = decode_steps(bundle, FEATURES[:50]), fitted.predict(FEATURES[:50])["velocity"]
    assert list(came) == [output.role for output in planned]
    np.testing.assert_allclose(np.concatenate(list(came.values()), axis=1), want, rtol=1e-4, atol=1e-4)
    assert [spec.columns for spec in bundle.manifest.outputs if spec.columns] == [o.columns for o in planned]
    assert "(c)" in bundle.card or "(a, b, c)" in bundle.card


def test_what_else_a_family_gives_stays(tmp_path: Path) -> None:
    fam = family("kalman")
    data = TrainingData(FEATURES, TARGETS, positions=np.cumsum(TARGETS, axis=0))
    fitted = fam.fit(data, fam.check({"position": True, "history": 1}))
    bundle = export_bundle(
        fitted,
        tmp_path / "b",
        name="n",
        family="kalman",
        stream=STREAM,
        front_end={},
        unit="",
        recorded=FEATURES,
        outputs=(NamedOutput("columns", ("p", "q")),),
    )
    assert sorted(decode_steps(bundle, FEATURES[:3])) == ["columns", "position"]


def test_a_bundle_without_a_velocity_is_not_served(tmp_path: Path) -> None:
    bundle = export_bundle(
        _wiener(MANY),
        tmp_path / "b",
        name="n",
        family="wiener",
        stream=STREAM,
        front_end={"bin_ms": STREAM.bin_ms},
        unit="",
        recorded=FEATURES,
        outputs=plan(("a", "b", "c"), ()),
    )
    with pytest.raises(BundleError, match=r"exactly one velocity output of two columns to serve, got columns"):
        Pipeline(PipelineSettings(), OnnxDecoder(bundle, "cpu"))


def test_without_names_a_step_stays_what_it_was() -> None:
    step = _wiener(TARGETS).graph(features_input(STREAM, ("counts",)), "mm/s")
    assert labelled(step, ()) is step
    spec = labelled(step, plan(("vx", "vy"), None)).outputs[0]
    assert isinstance(spec, OutputSpec)
    assert (spec.name, spec.role, spec.columns) == ("velocity", "velocity", ("vx", "vy"))

"""Laws of the classifier: it finds the classes, its graph is its reference, and it is not served as a velocity."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.decoders import OnnxDecoder, load_bundle
from cortexwire.errors import ConfigError
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import export_bundle
from cortexwire.training.classes import labels_of, train_classes
from cortexwire.training.classifier import UNKNOWN, ClassifierSettings, accuracy, fit_classifier
from tests.training.examples import STREAM, recording
from tests.training.recorded import CountsSession

FEATURES, VELOCITY = recording(1200)
NAMES = ("still", "right", "left")
LABELS = np.where(np.abs(VELOCITY[:, 0]) < 8, 0, np.where(VELOCITY[:, 0] > 0, 1, 2)).astype(np.int64)
FAST = ClassifierSettings(history=3, penalties=(1e-3, 1e-2))


def test_classes_are_found_in_bins_that_were_not_shown() -> None:
    fitted = fit_classifier(FEATURES[:900], LABELS[:900], NAMES, FAST)
    found = fitted.predict(FEATURES)["class"]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    right, balanced = accuracy(LABELS[900:], found[900:])
    assert min(right, balanced) > 0.6
    garbled = np.random.default_rng(0).permutation(LABELS[:900])
    null = fit_classifier(FEATURES[:900], garbled, NAMES, FAST).predict(FEATURES)["class"]
    assert accuracy(LABELS[900:], null[900:])[1] < 0.45


def test_the_graph_of_a_classifier_is_its_reference(tmp_path: Path) -> None:
    fitted = fit_classifier(FEATURES, LABELS, NAMES, FAST)
    bundle = export_bundle(
        fitted,
        tmp_path / "b",
        name="n",
        family="classifier",
        stream=STREAM,
        front_end={},
        unit="probability",
        recorded=FEATURES[:300],
    )
    decoder, rows = OnnxDecoder(bundle, "cpu"), FEATURES[:100]
    came = np.stack([decoder.step(row)["class"] for row in rows])
    np.testing.assert_allclose(came, fitted.predict(rows)["class"], rtol=1e-4, atol=1e-6)
    (spec,) = load_bundle(tmp_path / "b").manifest.outputs_of("class")
    assert (spec.columns, spec.safe_action, spec.unit) == (NAMES, "abstain", "probability")


def test_unknown_labels_teach_nothing() -> None:
    hidden = np.where(np.arange(1200) % 3 == 0, UNKNOWN, LABELS)
    fitted = fit_classifier(FEATURES, hidden, NAMES, FAST)
    assert fitted.summary["bins"] == int((hidden[2:] != UNKNOWN).sum())
    kept = fit_classifier(FEATURES, LABELS, NAMES, FAST, keep=hidden != UNKNOWN)
    np.testing.assert_array_equal(fitted.weights, kept.weights)


def test_a_column_of_states_becomes_a_bundle_of_their_probabilities(tmp_path: Path) -> None:
    session = CountsSession(names=("px", "py", "vx", "vy", "state", "emg_b"))
    session._columns[:, 4] = np.where(session._columns[:, 2] > 0, 2.0, 1.0)
    trained = train_classes(session, tmp_path / "b", "state", settings={"history": 4}, front_end=FrontEndSettings())
    assert trained.names == ("state=1", "state=2")
    assert trained.scores["balanced_accuracy"] > 0.7 > trained.scores["most_frequent"]
    manifest = load_bundle(tmp_path / "b").manifest
    assert manifest.training.scores["held_out"] == trained.scores
    assert manifest.outputs_of("class")[0].columns == trained.names
    for column, settings, message in (("vx", {}, "2 to 64 states"), ("state", {"tau": 1}, "unknown field")):
        with pytest.raises(ConfigError, match=message):
            train_classes(session, tmp_path / "c", column, settings=settings)


def test_states_that_were_never_shown_are_unknown() -> None:
    labels, values = labels_of(np.array([5.0, np.nan, 7.0, 5.0, 6.0, 9.0, 0.0]), slice(0, 4))
    assert (labels.tolist(), values.tolist()) == ([0, -1, 1, 0, -1, -1, -1], [5.0, 7.0])


def test_labels_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of 3 classes"):
        fit_classifier(FEATURES, LABELS + 1, NAMES, FAST)
    with pytest.raises(ConfigError, match="two or more"):
        fit_classifier(FEATURES, np.zeros(1200, np.int64), ("still",), FAST)
    with pytest.raises(ConfigError, match=r"got none of \['left'\]"):
        fit_classifier(FEATURES, np.where(LABELS == 2, UNKNOWN, LABELS), NAMES, FAST)


def test_nothing_known_scores_nothing() -> None:
    assert np.isnan(accuracy(np.full(3, UNKNOWN), np.ones((3, 2)))).all()

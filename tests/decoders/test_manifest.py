"""Laws of the manifest and of the comparison of streams."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cortexwire.decoders import StreamSpec, stream_mismatches
from cortexwire.decoders.manifest import TrainingSpec, encode_manifest, parse_manifest
from tests.decoders.examples import STREAM, changed, small_bundle


def _stream(**fields: object) -> StreamSpec:
    return msgspec.structs.replace(STREAM, **fields)


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    manifest = small_bundle(tmp_path).manifest
    assert parse_manifest(encode_manifest(manifest), "here") == manifest


def test_numpy_values_become_plain_numbers(tmp_path: Path) -> None:
    scores = {"r2": np.array([0.5, 0.25]), "bins": np.int64(3)}
    manifest = changed(small_bundle(tmp_path).manifest, training=TrainingSpec(scores=scores))
    assert parse_manifest(encode_manifest(manifest), "here").training.scores == {"r2": [0.5, 0.25], "bins": 3}


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    manifest = changed(small_bundle(tmp_path).manifest, front_end={"band": object()})
    with pytest.raises(NotImplementedError, match="expected a JSON value in the manifest, got object"):
        encode_manifest(manifest)


def test_a_stream_matches_itself() -> None:
    assert stream_mismatches(STREAM, STREAM) == ()


@pytest.mark.parametrize(
    ("live", "message"),
    [
        (_stream(rate_num=19531), "sample rate in Hz: expected 30000, got 19531"),
        (_stream(n_channels=6, electrodes=()), "channels: expected 7, got 6"),
        (_stream(bin_ms=10.0), "bin in ms: expected 20.0, got 10.0"),
        (_stream(uv_per_bit=0.5), "µV per bit: expected 0.25, got 0.5"),
        (_stream(kind="events"), "stream kind: expected wideband, got events"),
        (_stream(electrodes=STREAM.electrodes[:5]), "electrodes: expected 7, got 5"),
        (
            _stream(electrodes=STREAM.electrodes[4:] + STREAM.electrodes[:4]),
            "electrodes: 7 of 7 differ, first at channel 0: expected A/e0, got B/e4",
        ),
    ],
)
def test_a_mismatch_says_what_was_expected_and_what_came(live: StreamSpec, message: str) -> None:
    assert stream_mismatches(STREAM, live) == (message,)


def test_equal_rates_match_however_they_are_written() -> None:
    assert stream_mismatches(STREAM, _stream(rate_num=60000, rate_den=2)) == ()


def test_a_rig_that_names_no_electrodes_is_not_refused_for_it() -> None:
    assert stream_mismatches(STREAM, _stream(electrodes=())) == ()


def test_the_scale_of_events_does_not_matter() -> None:
    events = _stream(kind="events")
    assert stream_mismatches(events, msgspec.structs.replace(events, uv_per_bit=1.0)) == ()

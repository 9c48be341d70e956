"""Laws of the overlay: it fits one bundle, proves itself, and says what is wrong otherwise."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from cortexwire.decoders import load_overlay, make_overlay, write_overlay
from cortexwire.decoders.overlay import pack_overlay, parse_overlay
from cortexwire.errors import BundleError
from tests.decoders.examples import small_bundle


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    values: dict[str, ArrayLike] = {"feature_mean": np.arange(7), "bias": [1.5, -2.5]}
    written = write_overlay(tmp_path / "day.overlay", bundle, values, note="Tuesday")
    read = load_overlay(tmp_path / "day.overlay", bundle)
    assert read.note == "Tuesday"
    assert read.bundle_sha256 == bundle.sha256
    assert read.hash == written.hash == make_overlay(bundle, values, "Tuesday").hash
    assert read.parameters.keys() == values.keys()
    np.testing.assert_array_equal(read.parameters["feature_mean"], np.arange(7, dtype=np.float32))
    np.testing.assert_array_equal(read.parameters["bias"], np.array([1.5, -2.5], np.float32))
    assert not read.parameters["bias"].flags.writeable
    assert [path.name for path in tmp_path.glob("day*")] == ["day.overlay"]


def test_the_bytes_depend_on_the_values_only(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    a, b = np.ones(7), np.zeros(2)
    assert pack_overlay(bundle, {"feature_mean": a, "bias": b}, "") == pack_overlay(
        bundle, {"bias": b, "feature_mean": a}, ""
    )


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path)
    data = pack_overlay(bundle, {"bias": [1.0, 2.0]}, "")
    whole = parse_overlay(data, bundle, "here")
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x01
        try:
            read = parse_overlay(bytes(damaged), bundle, "here")
        except BundleError:
            continue
        assert read.hash != whole.hash
        np.testing.assert_array_equal(read.parameters["bias"], whole.parameters["bias"])


@pytest.mark.parametrize("size", [0, 5, 12, 40, -1, 3])
def test_a_truncated_or_longer_file_is_refused(tmp_path: Path, size: int) -> None:
    bundle = small_bundle(tmp_path)
    data = pack_overlay(bundle, {"bias": [1.0, 2.0]}, "")
    cut = data + b"\0\0\0" if size == 3 else data[:size]
    with pytest.raises(BundleError, match="here"):
        parse_overlay(cut, bundle, "here")


def test_an_overlay_of_another_bundle_is_refused(tmp_path: Path) -> None:
    bundle, other = small_bundle(tmp_path, seed=1), small_bundle(tmp_path, seed=2)
    write_overlay(tmp_path / "o", other, {"bias": [0, 0]})
    with pytest.raises(BundleError, match=f"expected an overlay of bundle {bundle.sha256}, got one of {other.sha256}"):
        load_overlay(tmp_path / "o", bundle)


def test_a_missing_overlay_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: expected an overlay: No such file"):
        load_overlay(tmp_path / "nowhere", small_bundle(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "one or more distinct parameters"),
        ({"gain": [1.0]}, "expected parameters among .*'bias'.*, got gain"),
        ({"history": np.zeros(35)}, "expected parameters among .*, got history"),
        ({"bias": [1.0]}, r"bias: expected shape \(2,\), got \(1,\)"),
        ({"bias": [1.0, np.nan]}, "bias: expected finite values"),
        ({"feature_scale": np.zeros(7)}, "feature_scale: expected values above zero, got 0.0"),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, values: dict[str, ArrayLike], message: str
) -> None:
    bundle = small_bundle(tmp_path)
    with pytest.raises(BundleError, match=message):
        write_overlay(tmp_path / "o", bundle, values)
    assert not (tmp_path / "o").exists()

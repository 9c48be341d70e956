"""Identity of a stream: canonical where written here, taken as it came where not."""

import pytest

from cortexwire.errors import ConfigError
from cortexwire.wire import Descriptor, Electrode
from cortexwire.wire.checksums import fnv1a_64
from cortexwire.wire.descriptor import MAX_DESCRIPTOR_BYTES

ARRAY = Descriptor("rig", (Electrode("e1", "A"), Electrode("e2")), 0.25, "common", ("x",))
CANONICAL = (
    b'{"columns":["x"],"electrodes":[{"bank":"A","id":"e1"},{"bank":"","id":"e2"}],'
    b'"reference":"common","source":"rig","uv_per_bit":0.25}'
)


def test_keys_are_sorted_and_there_are_no_spaces() -> None:
    assert ARRAY.to_bytes() == CANONICAL


def test_the_hash_is_over_the_bytes_as_they_came() -> None:
    came = CANONICAL.replace(b"0.25", b"2.50e-1 ").replace(b"{", b'{"later":[1],', 1)
    read = Descriptor.from_bytes(came)
    assert read == ARRAY
    assert read.to_bytes() == came
    assert read.hash == fnv1a_64(came) != ARRAY.hash


def test_order_of_electrodes_is_identity() -> None:
    turned = Descriptor("rig", ARRAY.electrodes[::-1], 0.25, "common", ("x",))
    assert turned.hash != ARRAY.hash


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"{}", "descriptor in JSON, got: Object missing required field"),
        (b"[]", "descriptor in JSON"),
        (b"\xff", "descriptor in JSON"),
        (b"[" * 100_000, "descriptor in JSON"),
        (CANONICAL.replace(b"e2", b"e1"), r"unique electrode ids, got \['e1'\] twice"),
        (CANONICAL.replace(b'["x"]', b'["x","x"]'), r"unique column names, got \['x'\] twice"),
        (CANONICAL.replace(b"0.25", b"0"), "positive uv_per_bit, got 0.0"),
        (b" " * (MAX_DESCRIPTOR_BYTES + 1), "at most 4194304 descriptor bytes"),
    ],
)
def test_what_is_no_descriptor_is_refused(payload: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Descriptor.from_bytes(payload)

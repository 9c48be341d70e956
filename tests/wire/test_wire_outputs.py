"""Outputs: each rule broken alone, stamps and stripping, and the form for people."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from cortexwire.errors import ConfigError, PacketError
from cortexwire.wire import (
    Clock,
    Clocks,
    OutFlag,
    OutKind,
    Output,
    Times,
    decode_output,
    encode_output,
    output_subscription,
    output_to_json,
    stamp_published,
    strip_times,
)
from tests.wire.example_frames import output_frames
from tests.wire.forging import forged_output, repaired_output, with_bytes

FRAMES = output_frames()
DECODED = FRAMES["output_decoded"]
SAFE = FRAMES["output_safe"]
RECORD = 144
"""Where the first tensor's record begins."""

BROKEN = {
    "nothing came": (b"", "length", "144 bytes, got 0"),
    "less than a header": (SAFE[:143], "length", "144 bytes, got 143"),
    "a packet": (b"CXW1" + SAFE[4:], "magic", "magic b'CXWO', got b'CXW1'"),
    "a later version": (forged_output(SAFE, 4, "H", 2), "version", "version 1, got 2"),
    "a cut message": (SAFE[:-1], "length", "200 bytes, got 199"),
    "damage": (with_bytes(SAFE, 150, b"!"), "checksum", "CRC-32"),
    "an unknown kind": (forged_output(SAFE, 6, "B", 3), "kind", r"1 \(decoded\) or 2 \(safe\), got 3"),
    "an unknown validity": (forged_output(SAFE, 7, "B", 3), "field", "known validity"),
    "an unknown executor": (forged_output(SAFE, 46, "B", 3), "field", "known validity, executor"),
    "an unknown flag": (forged_output(SAFE, 32, "I", 2**15), "field", "flags, got 2, 0 and 0x8000"),
    "no time to be valid": (forged_output(SAFE, 36, "f", -1.0), "field", "valid_for_ms >= 0"),
    "a fraction above one": (forged_output(SAFE, 40, "f", 1.5), "field", r"fraction in \[0, 1\]"),
    "a reserved half-word": (
        forged_output(SAFE, 126, "H", 1),
        "field",
        "reserved bytes of zero, got 1 and 0",
    ),
    "a reserved word": (forged_output(SAFE, 136, "Q", 1), "field", "reserved bytes of zero, got 0 and 1"),
    "an unknown clock": (
        forged_output(SAFE, 120, "B", 4),
        "field",
        "known clock for each time, got 0 ns of 4",
    ),
    "a time of no clock": (
        forged_output(SAFE, 72, "q", 9),
        "field",
        "known clock for each time, got 9 ns of 0",
    ),
    "a table beyond the end": (
        forged_output(SAFE, 47, "B", 2),
        "length",
        "table of 2 tensors, got 200 bytes",
    ),
    "data beyond the table": (forged_output(SAFE, 47, "B", 0), "length", "144 message bytes for its tensors"),
    "a tensor type": (forged_output(SAFE, RECORD + 24, "B", 7), "field", "canonical record .*dtype 7"),
    "five dimensions": (forged_output(SAFE, RECORD + 25, "B", 5), "field", "5 dimensions"),
    "an empty tensor": (forged_output(SAFE, RECORD + 28, "I", 0), "field", "canonical record"),
    "a dimension beyond the last": (forged_output(SAFE, RECORD + 32, "I", 1), "field", "canonical record"),
    "a reserved word of a record": (forged_output(SAFE, RECORD + 26, "H", 1), "field", "reserved 1"),
    "a tensor elsewhere": (forged_output(SAFE, RECORD + 44, "I", 0), "field", "offset 192, got .*offset 0"),
    "a tensor too long": (forged_output(SAFE, RECORD + 28, "I", 2**31), "length", "message bytes, got 200"),
    "no name": (forged_output(SAFE, RECORD, "24s", b""), "field", "name padded with zeros"),
    "a name with a hole": (forged_output(SAFE, RECORD, "24s", b"a\0b"), "field", "name padded with zeros"),
    "a name that is no text": (forged_output(SAFE, RECORD, "24s", b"\xff"), "field", "name in UTF-8"),
    "a name twice": (
        forged_output(DECODED, RECORD, "24s", b"counts"),
        "field",
        "unique tensor names, got 'counts'",
    ),
    "padding": (
        repaired_output(with_bytes(DECODED, RECORD + 3 * 48 + 8 + 6, b"\1")),
        "payload",
        "padding of zero",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_has_its_reason(name: str) -> None:
    frame, reason, words = BROKEN[name]
    with pytest.raises(PacketError, match=f"expected .*{words}") as caught:
        decode_output(frame)
    assert caught.value.reason == reason


def output(**fields: Any) -> Output:
    return Output(**{"kind": OutKind.DECODED, "epoch": 1, "bin": 2, "end_sample": 3} | fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epoch": -1}, "output of bin 2: expected numbers that fit"),
        ({"valid_for_ms": 1e300}, "output of bin 2: expected numbers that fit"),
        ({"tensors": {"x" * 25: np.zeros(1)}}, "name of 1 to 24 bytes, got 25"),
        ({"tensors": {"": np.zeros(1)}}, "name of 1 to 24 bytes, got 0"),
        ({"tensors": {"a\0b": np.zeros(1)}}, "name of 1 to 24 bytes"),
        ({"tensors": {"x": np.zeros(1, bool)}}, "one of int16, float32, uint16, int64, float64, got bool"),
        ({"tensors": {"x": np.zeros((1, 1, 1, 1, 1))}}, "at most 4 dimensions"),
        ({"tensors": {"x": np.zeros(0)}}, r"1 value or more"),
        ({"tensors": {str(k): np.zeros(1) for k in range(256)}}, "at most 255 tensors, got 256"),
    ],
)
def test_an_output_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        encode_output(output(**fields))


def test_tensors_need_not_be_contiguous() -> None:
    array = np.arange(12, dtype=np.int64).reshape(3, 4)[::2, 1:]
    came = decode_output(encode_output(output(tensors={"x": array})))
    np.testing.assert_array_equal(came.tensors["x"], array)


def test_data_lie_at_multiples_of_eight() -> None:
    out = output(tensors={"a": np.ones(3, np.uint16), "b": np.ones((), np.float64), "c": np.ones(1, np.float32)})
    frame = encode_output(out)
    at = [struct.unpack_from("<I", frame, RECORD + 48 * k + 44)[0] for k in range(3)]
    assert at == [288, 296, 304]
    assert len(frame) == 312


def test_stamping_in_place_keeps_the_message_valid() -> None:
    frame = bytearray(SAFE)
    stamp_published(frame, 77, Clock.REALTIME)
    out = decode_output(frame)
    assert out.times == Times(published_ns=77)
    assert out.clocks == Clocks(published=Clock.REALTIME)


def test_stripped_outputs_differ_only_where_more_than_time_differs() -> None:
    frame = bytearray(DECODED)
    stamp_published(frame, 99)
    assert strip_times(frame) == strip_times(DECODED) != strip_times(SAFE)
    stripped = decode_output(strip_times(DECODED))
    assert (stripped.times, stripped.clocks) == (Times(), Clocks())
    assert stripped.bin == 41
    with pytest.raises(PacketError, match="144 bytes, got 10"):
        strip_times(bytes(10))


def test_a_subscription_takes_one_kind_or_both() -> None:
    assert DECODED.startswith(output_subscription())
    assert DECODED.startswith(output_subscription(OutKind.DECODED))
    assert not DECODED.startswith(output_subscription(OutKind.SAFE))
    assert SAFE.startswith(output_subscription(OutKind.SAFE))


def test_json_is_for_people() -> None:
    out = decode_output(DECODED)
    shown = json.loads(output_to_json(out))
    assert shown["epoch"] == "0123456789abcdef"
    assert shown["bundle_hash"] == "fedcba9876543210"
    assert shown["kind"] == "decoded"
    assert shown["validity"] == "partial"
    assert shown["flags"] == ["armed", "command", "history", "unobserved"]
    assert shown["tensors"] == {
        "velocity": [0.5, -1.25],
        "counts": [0, 3, 65535],
        "band_power": [[1.5, 2.5, 3.5]],
    }
    assert shown["times"]["published_ns"] == 6
    assert shown["clocks"]["acquired"] == "device"


def test_json_has_no_value_where_there_is_none() -> None:
    out = output(tensors={"velocity": np.array([np.nan, 1.0], np.float32)}, flags=OutFlag.NONFINITE)
    assert json.loads(output_to_json(out))["tensors"]["velocity"] == [None, 1.0]

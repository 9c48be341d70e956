"""Log records: each rule broken alone."""

import pytest

from cortexwire.errors import PacketError
from cortexwire.wire import RecordKind, decode_record, decode_record_header, encode_record
from tests.wire.example_frames import record_frames
from tests.wire.forging import with_bytes

NOTE = record_frames()["record_note"]


@pytest.mark.parametrize(
    ("frame", "reason", "words"),
    [
        (NOTE[:31], "length", "at byte 0: expected 32 bytes, got 31"),
        (NOTE[:-1], "length", "record 7: expected 56 bytes, got 55"),
        (b"CXW1" + NOTE[4:], "magic", "magic b'CXWR', got b'CXW1'"),
        (with_bytes(NOTE, 4, b"\2"), "version", "version 1, got 2"),
        (with_bytes(NOTE, 8, b"\1"), "checksum", "at byte 0: expected CRC-32"),
        (with_bytes(NOTE, 32, b"!"), "checksum", "record 7: expected payload CRC-32"),
        (encode_record(9, 0, b"", 3), "kind", "record 3: expected a kind from 1 to 8, got 9"),  # type: ignore[arg-type]  # the fault under test
    ],
)
def test_each_broken_rule_has_its_reason(frame: bytes, reason: str, words: str) -> None:
    with pytest.raises(PacketError, match=words) as caught:
        decode_record(frame)
    assert caught.value.reason == reason


def test_a_header_says_where_the_next_record_begins() -> None:
    header = decode_record_header(b"xx" + NOTE, 2)
    assert (header.kind, header.payload_bytes, header.record_bytes) == (RecordKind.NOTE, 17, 56)


def test_the_index_wraps() -> None:
    assert decode_record(encode_record(RecordKind.TICK, 0, b"", 2**32)).index == 0

"""Each rule of the protocol, broken alone: its reason, and words that name packet, expected and given."""

import struct

import numpy as np
import pytest

from cortexwire.errors import PacketError
from cortexwire.wire import Clock, decode_packet, encode_packet, stamp_sent, subscription
from cortexwire.wire.checksums import crc32_with_hole, fnv1a_64
from cortexwire.wire.codes import Kind
from tests.wire.example_frames import packet_frames
from tests.wire.forging import forged, repaired, with_bytes

FRAMES = packet_frames()
RAW = FRAMES["wideband_int16"]
FLOATS = FRAMES["wideband_float32"]
EVENTS = FRAMES["events"]
COLUMNS = FRAMES["columns"]
MARKERS = FRAMES["markers"]
DESCRIPTOR = FRAMES["descriptor"]

BROKEN = {
    "nothing came": (b"", "length", "128 bytes, got 0"),
    "less than a magic": (RAW[:3], "length", "128 bytes, got 3"),
    "less than a header": (RAW[:127], "length", "128 bytes, got 127"),
    "another protocol": (b"GARB" + RAW[4:], "magic", "magic b'CXW1', got b'GARB'"),
    "short and another protocol": (b"GARBAGE", "magic", "got b'GARB'"),
    "a later version": (forged(RAW, 4, "H", 2), "version", "version 1, got 2"),
    "a damaged header": (with_bytes(RAW, 60, b"\7"), "checksum", "header CRC-32"),
    "an unknown kind": (forged(RAW, 6, "B", 8), "kind", r"kind from 1 to 7, got 8"),
    "kind zero": (forged(RAW, 6, "B", 0), "kind", r"got 0"),
    "a reserved byte": (forged(RAW, 7, "B", 1), "field", "reserved bytes of zero"),
    "a reserved tail": (forged(RAW, 123, "B", 1), "field", "reserved bytes of zero"),
    "a negative sample": (forged(RAW, 24, "q", -1), "field", "sample_index from 0 to 2.62, got -1"),
    "a sample too far": (forged(RAW, 24, "q", 2**62 + 1), "field", "sample_index"),
    "an unknown clock": (forged(RAW, 48, "B", 4), "field", "clocks of at most 3, got 4 and 2"),
    "a time of no clock": (forged(RAW, 49, "B", 0), "field", "time 0 where the clock is none"),
    "an element type of another kind": (forged(RAW, 50, "B", 3), "field", "dtype int16 or float32, got 3"),
    "an unknown layout": (forged(RAW, 51, "B", 2), "field", "layout at most 1, got 2"),
    "a layout where there is none": (forged(EVENTS, 51, "B", 1), "field", "layout at most 0, got 1"),
    "no channels": (forged(RAW, 52, "I", 0), "field", "n_channels from 1 to 65535, got 0"),
    "too many channels": (forged(RAW, 52, "I", 65536), "field", "got 65536"),
    "no samples": (forged(RAW, 56, "I", 0), "field", "n_samples of at least 1, got 0"),
    "a descriptor with samples": (forged(DESCRIPTOR, 56, "I", 1), "field", "n_samples 0, got 1"),
    "rows where there are none": (forged(RAW, 60, "I", 1), "field", "n_items 0, got 1"),
    "no rate": (forged(RAW, 64, "I", 0), "field", "positive rate in lowest terms, got 0/16"),
    "a rate over zero": (forged(RAW, 68, "I", 0), "field", "got 390625/0"),
    "a rate not in lowest terms": (forged(RAW, 64, "I", 390624), "field", "got 390624/16"),
    "no scale": (forged(RAW, 72, "d", 0.0), "field", "positive finite uv_per_bit, got 0.0"),
    "a negative scale": (forged(RAW, 72, "d", -1.0), "field", "uv_per_bit"),
    "an infinite scale": (forged(RAW, 72, "d", np.inf), "field", "uv_per_bit, got inf"),
    "a scale that is no number": (forged(RAW, 72, "d", np.nan), "field", "uv_per_bit, got nan"),
    "an unknown flag": (forged(RAW, 88, "I", 2), "field", "no flag but payload_crc"),
    "a checksum without its flag": (forged(RAW, 96, "I", 5), "field", "payload_crc32 0 without its flag"),
    "a payload cut": (RAW[:-1], "length", "payload of 24 bytes, got 23"),
    "a payload too long": (RAW + b"\0", "length", "payload of 24 bytes, got 25"),
    "a length that is not the counts'": (forged(RAW, 56, "I", 5), "length", "30 payload bytes .*, got 24"),
    "an empty descriptor": (forged(DESCRIPTOR, 92, "I", 0)[:128], "length", "at least 1 byte, got 0"),
    "a damaged payload": (with_bytes(FLOATS, 130, b"\1"), "checksum", "payload CRC-32"),
    "an event after its packet": (
        with_bytes(EVENTS, 128, b"\x1e"),
        "value",
        "sample offsets below 30, got 30",
    ),
    "an event of no channel": (with_bytes(EVENTS, 132, b"\3"), "value", "channels below 3, got 3"),
    "a marker after its packet": (forged(MARKERS, 56, "I", 2), "value", "sample offsets below 2, got 2"),
    "an infinite marker": (
        with_bytes(MARKERS, 136, struct.pack("<d", np.inf)),
        "value",
        "finite values or NaN, got an infinite one",
    ),
    "a column after its packet": (forged(COLUMNS, 56, "I", 3), "value", "sample offsets below 3, got 3"),
    "an infinite column": (
        with_bytes(COLUMNS, 136, struct.pack("<f", -np.inf)),
        "value",
        "finite values or NaN",
    ),
    "a reserved word of a column": (
        with_bytes(COLUMNS, 132, b"\1"),
        "value",
        "reserved words of zero, got 1",
    ),
    "another descriptor's hash": (
        forged(DESCRIPTOR, 80, "Q", 1),
        "payload",
        "hash 0x0000000000000001, got 0x",
    ),
    "electrodes of another array": (forged(DESCRIPTOR, 52, "I", 4), "payload", "0 or 4 electrodes, got 3"),
    "a descriptor that is no JSON": (with_bytes(DESCRIPTOR, 128, b"}"), "payload", "descriptor in JSON, got"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_has_its_reason(name: str) -> None:
    frame, reason, words = BROKEN[name]
    with pytest.raises(PacketError, match=words) as caught:
        decode_packet(frame)
    assert caught.value.reason == reason


def test_an_error_names_the_packet() -> None:
    with pytest.raises(PacketError, match=r"^packet 1 \(wideband, sample 1099511627776\): expected .*, got 4 and 2$"):
        decode_packet(forged(RAW, 48, "B", 4))


def test_float_samples_must_be_finite() -> None:
    unchecked = repaired(with_bytes(with_bytes(FLOATS, 88, bytes(4)), 96, bytes(4)))
    with pytest.raises(PacketError, match=r"finite samples, got 1 that are not") as caught:
        decode_packet(with_bytes(unchecked, 132, struct.pack("<f", np.nan)))
    assert caught.value.reason == "value"


def test_markers_and_columns_without_samples_may_lie_anywhere_ahead() -> None:
    assert decode_packet(with_bytes(MARKERS, 128, b"\xff" * 4)).data["sample_offset"][0] == 2**32 - 1


def test_packets_share_the_frames_memory() -> None:
    packet = decode_packet(RAW)
    assert np.shares_memory(packet.data, np.frombuffer(RAW, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        packet.data[0, 0] = 1


def test_stamping_changes_only_the_time_of_sending() -> None:
    stamped = stamp_sent(RAW, 987, Clock.DEVICE)
    packet = decode_packet(stamped)
    assert (packet.sent_ns, packet.sent_clock) == (987, Clock.DEVICE)
    before = decode_packet(RAW)
    assert stamp_sent(bytearray(stamped), before.sent_ns, before.sent_clock) == RAW


def test_a_subscription_tells_kinds_apart() -> None:
    for frame in FRAMES.values():
        kind = decode_packet(frame).kind
        assert [other for other in Kind if frame.startswith(subscription(other))] == [kind]


def test_a_known_descriptor_is_read_once() -> None:
    assert decode_packet(DESCRIPTOR).data is decode_packet(bytes(bytearray(DESCRIPTOR))).data


def test_checksums_are_the_published_ones() -> None:
    assert fnv1a_64(b"") == 0xCBF29CE484222325
    assert fnv1a_64(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a_64(b"foobar") == 0x85944171F73967E8
    assert crc32_with_hole(b"1234\0\0\0\x0056789", 4) == crc32_with_hole(b"1234abcd56789", 4)


def test_encoding_checks_only_widths() -> None:
    packet = decode_packet(RAW)
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__}
    wrong = encode_packet(type(packet)(**fields | {"n_channels": 4}))
    with pytest.raises(PacketError, match="32 payload bytes"):
        decode_packet(wrong)

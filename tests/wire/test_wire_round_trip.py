"""Whatever is valid goes through bytes and back unchanged."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.wire import (
    Columns,
    Descriptor,
    Output,
    Packet,
    RecordKind,
    decode_output,
    decode_packet,
    decode_record,
    encode_output,
    encode_packet,
    encode_record,
    record_length,
)
from tests.wire import strategies as wire


def assert_same(came: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(came) == list(expected)
        for name in expected:
            assert_same(came[name], expected[name])
    elif isinstance(expected, Columns):
        assert_same(came.offsets, expected.offsets)
        assert_same(came.values, expected.values)
    elif isinstance(expected, np.ndarray):
        assert (came.dtype, came.shape) == (expected.dtype, expected.shape)
        assert came.tobytes() == expected.tobytes()
        assert not came.flags.writeable
    else:
        assert came == expected


@given(packet=wire.packets())
def test_packets_survive_the_wire(packet: Packet) -> None:
    came = decode_packet(encode_packet(packet))
    for name in packet.__struct_fields__:
        assert_same(getattr(came, name), getattr(packet, name))


@given(packet=wire.packets())
def test_any_bytes_like_frame_reads_the_same(packet: Packet) -> None:
    frame = encode_packet(packet)
    for form in (bytearray(frame), memoryview(frame), memoryview(bytearray(b"x" + frame))[1:]):
        came = decode_packet(form)
        assert encode_packet(came) == frame
        if isinstance(packet.data, np.ndarray):
            assert not came.data.flags.writeable


@given(descriptor=wire.descriptors())
def test_descriptors_survive_the_wire(descriptor: Descriptor) -> None:
    came = Descriptor.from_bytes(descriptor.to_bytes())
    assert came == descriptor
    assert came.hash == descriptor.hash


@given(out=wire.outputs())
def test_outputs_survive_the_wire(out: Output) -> None:
    came = decode_output(encode_output(out))
    for name in out.__struct_fields__:
        assert_same(getattr(came, name), getattr(out, name))


@given(records=st.lists(st.tuples(st.sampled_from(RecordKind), wire.i64, st.binary(max_size=40)), max_size=5))
def test_records_follow_each_other_in_a_file(records: list[tuple[RecordKind, int, bytes]]) -> None:
    log = b"".join(encode_record(kind, t_ns, payload, n) for n, (kind, t_ns, payload) in enumerate(records))
    assert len(log) == sum(record_length(len(payload)) for _, _, payload in records)
    at = 0
    for index, expected in enumerate(records):
        record = decode_record(log, at)
        assert (record.kind, record.t_ns, bytes(record.payload)) == expected
        assert record.index == index
        at = record.end
        assert at % 8 == 0
    assert at == len(log)

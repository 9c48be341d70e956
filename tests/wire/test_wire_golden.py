"""The committed bytes are the protocol: they decode, encode to themselves, and are what encoders make."""

import numpy as np
import pytest

from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    Kind,
    OutFlag,
    decode_output,
    decode_packet,
    decode_record,
    encode_output,
    encode_packet,
    encode_record,
)
from tests.wire import example_frames as examples

NAMES = sorted(examples.all_frames())


def golden(name: str) -> bytes:
    return (examples.GOLDEN / f"{name}.bin").read_bytes()


def encoded_again(frame: bytes) -> bytes:
    match frame[:4]:
        case b"CXW1":
            return encode_packet(decode_packet(frame))
        case b"CXWO":
            return encode_output(decode_output(frame))
        case _:
            record = decode_record(frame)
            return encode_record(record.kind, record.t_ns, record.payload, record.index)


def test_every_form_is_committed_and_nothing_else() -> None:
    assert sorted(path.stem for path in examples.GOLDEN.glob("*.bin")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_encoders_still_make_the_committed_bytes(name: str) -> None:
    assert examples.all_frames()[name] == golden(name)


@pytest.mark.parametrize("name", NAMES)
def test_committed_bytes_decode_and_encode_to_themselves(name: str) -> None:
    assert encoded_again(golden(name)) == golden(name)


def test_wideband_reads_as_the_page_says() -> None:
    packet = decode_packet(golden("wideband_int16"))
    assert (packet.kind, packet.epoch, packet.sequence) == (Kind.WIDEBAND, examples.EPOCH, 1)
    assert (packet.sample_index, packet.end_sample) == (2**40, 2**40 + 4)
    assert (packet.rate, packet.uv_per_bit, packet.source) == (Rate(390625, 16), 0.195, 2)
    assert (packet.acquired_ns, packet.acquired_clock) == (123_456_789, Clock.MONOTONIC)
    assert (packet.sent_ns, packet.sent_clock) == (1_700_000_000_000_000_000, Clock.REALTIME)
    assert packet.descriptor_hash == decode_packet(golden("descriptor")).data.hash
    np.testing.assert_array_equal(packet.data, examples.SAMPLES)
    assert packet.data.dtype == np.int16


def test_wideband_means_the_same_in_either_layout() -> None:
    packet = decode_packet(golden("wideband_channel_major"))
    np.testing.assert_array_equal(packet.data, examples.SAMPLES)


def test_rows_read_as_the_page_says() -> None:
    events = decode_packet(golden("events")).data
    assert events.tolist() == [(0, 2, 0), (5, 0, 1), (29, 1, 65535)]
    columns = decode_packet(golden("columns"))
    assert (columns.n_channels, columns.data.offsets.tolist()) == (2, [0, 3])
    np.testing.assert_array_equal(columns.data.values, np.array([[0.5, -0.25], [np.nan, 1.0]], np.float32))
    markers = decode_packet(golden("markers")).data
    assert markers["code"].tolist() == [16, 300]
    assert decode_packet(golden("counts")).data.tolist() == [0, 7, 65535]
    assert decode_packet(golden("descriptor")).data == examples.ARRAY
    assert decode_packet(golden("end")).data is None


def test_output_reads_as_the_page_says() -> None:
    out = decode_output(golden("output_decoded"))
    assert OutFlag.COMMAND in out.flags
    assert (out.bin, out.restart, out.missing_samples, out.source) == (41, 1, 150, 2)
    assert out.tensors["velocity"].tolist() == [0.5, -1.25]
    assert out.tensors["counts"].tolist() == [0, 3, 65535]
    assert out.tensors["band_power"].shape == (1, 3)

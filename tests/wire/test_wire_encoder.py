"""A rig that uses the encoder cannot send what the protocol forbids."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    Descriptor,
    Electrode,
    Kind,
    PacketEncoder,
    PacketFlag,
    decode_packet,
    encode_packet,
    make_events,
    make_markers,
)

RATE = Rate(30000)
NAMED = Descriptor("rig", uv_per_bit=0.25, columns=("x", "y"))


def rig(**settings: Any) -> PacketEncoder:
    return PacketEncoder(RATE, 2, NAMED, 0.25, **settings)


def every_packet(encoder: PacketEncoder) -> list[bytes]:
    return [
        encoder.descriptor_packet(0),
        encoder.columns(0, np.array([0]), np.zeros((1, 2))),
        encoder.markers(0, make_markers([0], [16])),
        encoder.wideband(0, np.zeros((3, 2), np.int16)),
        encoder.events(3, 3, make_events([], [])),
        encoder.counts(6, 3, np.zeros(2, int)),
        encoder.end(9),
    ]


def test_every_packet_takes_the_next_number() -> None:
    encoder = rig(epoch=5, source=3)
    packets = [decode_packet(frame) for frame in every_packet(encoder)]
    assert [packet.sequence for packet in packets] == list(range(7))
    assert [packet.kind for packet in packets] == [
        Kind.DESCRIPTOR, Kind.COLUMNS, Kind.MARKERS, Kind.WIDEBAND, Kind.EVENTS, Kind.COUNTS, Kind.END,
    ]  # fmt: skip
    assert {(p.epoch, p.source, p.rate, p.uv_per_bit, p.descriptor_hash) for p in packets} == {
        (5, 3, RATE, 0.25, NAMED.hash)
    }
    assert encoder.sequence == 7


def test_a_refused_packet_takes_no_number() -> None:
    encoder = rig()
    with pytest.raises(ConfigError):
        encoder.wideband(-1, np.zeros((3, 2), np.int16))
    assert encoder.sequence == 0


def test_each_start_draws_its_own_epoch() -> None:
    assert rig().epoch != rig().epoch


def test_times_name_their_clock_only_where_there_is_a_time() -> None:
    encoder = rig(acquired_clock=Clock.DEVICE, sent_clock=Clock.REALTIME)
    timed = decode_packet(encoder.end(0, acquired_ns=4, sent_ns=5))
    assert (timed.acquired_ns, timed.acquired_clock) == (4, Clock.DEVICE)
    assert (timed.sent_ns, timed.sent_clock) == (5, Clock.REALTIME)
    untimed = decode_packet(encoder.end(0))
    assert (untimed.acquired_clock, untimed.sent_clock) == (Clock.NONE, Clock.NONE)


def test_payload_checksums_are_flagged() -> None:
    for frame in every_packet(rig(payload_checksum=True)):
        assert decode_packet(frame).flags == PacketFlag.PAYLOAD_CRC


def test_samples_need_not_be_contiguous() -> None:
    samples = np.arange(24, dtype=np.int16).reshape(6, 4)[::2, 1:3]
    np.testing.assert_array_equal(decode_packet(rig().wideband(0, samples)).data, samples)


SETTINGS: dict[str, tuple[Callable[[], object], str]] = {
    "no channels": (lambda: PacketEncoder(RATE, 0), "n_channels from 1 to 65535, got 0"),
    "a rate not in lowest terms": (lambda: PacketEncoder(Rate(60000, 2), 2), "lowest terms"),
    "no rate": (lambda: PacketEncoder(Rate(0), 2), "positive rate"),
    "a rate too fine": (lambda: PacketEncoder(Rate(2**32), 2), "rate in 32 bits"),
    "no scale": (lambda: PacketEncoder(RATE, 2, None, 0.0), "uv_per_bit, got 0.0"),
    "an unknown source": (lambda: rig(source=65536), "source number"),
    "an epoch too large": (lambda: rig(epoch=2**64), "64 bits"),
    "a contradicted scale": (lambda: PacketEncoder(RATE, 2, NAMED, 0.5), "the descriptor's uv_per_bit 0.25"),
    "electrodes of another array": (
        lambda: PacketEncoder(RATE, 2, Descriptor("rig", (Electrode("a"),))),
        "0 or 2 electrodes in the descriptor, got 1",
    ),
}

MISUSE: dict[str, tuple[Callable[[PacketEncoder], object], str]] = {
    "channels": (lambda e: e.wideband(0, np.zeros((3, 3), np.int16)), r"\(n >= 1, 2\) samples, got \(3, 3\)"),
    "no samples": (lambda e: e.wideband(0, np.zeros((0, 2), np.int16)), r"got \(0, 2\)"),
    "one sample as a row": (lambda e: e.wideband(0, np.zeros(2, np.int16)), r"got \(2,\)"),
    "another type": (
        lambda e: e.wideband(0, np.zeros((3, 2))),  # type: ignore[arg-type]  # the misuse under test
        "int16 or float32 samples, got float64",
    ),
    "not finite": (lambda e: e.wideband(0, np.full((3, 2), np.nan, np.float32)), "finite samples"),
    "sample index": (lambda e: e.end(2**62 + 1), r"sample_index from 0 to 2\^62"),
    "events of no samples": (lambda e: e.events(0, 0, make_events([], [])), "n_samples of at least 1"),
    "events of many samples": (lambda e: e.events(0, 2**32, make_events([], [])), "fit their fields"),
    "events of another type": (lambda e: e.events(0, 3, make_markers([], [])), "rows of EVENT_DTYPE"),
    "an event too late": (lambda e: e.events(0, 3, make_events([3], [0])), "offsets below 3, got 3"),
    "an event elsewhere": (lambda e: e.events(0, 3, make_events([0], [2])), "channels below 2, got 2"),
    "counts of no samples": (lambda e: e.counts(0, 0, np.zeros(2)), "n_samples of at least 1"),
    "counts of other channels": (lambda e: e.counts(0, 3, np.zeros(3)), r"\(2,\) counts, got \(3,\)"),
    "broken counts": (lambda e: e.counts(0, 3, np.array([0.5, 1.0])), "whole counts"),
    "negative counts": (lambda e: e.counts(0, 3, np.array([-1, 1])), "whole counts"),
    "no counts": (lambda e: e.counts(0, 3, np.array([np.nan, 1])), "whole counts"),
    "markers of another type": (lambda e: e.markers(0, make_events([], [])), "rows of MARKER_DTYPE"),
    "an infinite marker": (lambda e: e.markers(0, make_markers([0], [1], [np.inf])), "finite values or NaN"),
    "other columns": (
        lambda e: e.columns(0, np.zeros(1), np.zeros((1, 3))),
        r"\(1, 2\) values, .*got \(1, 3\)",
    ),
    "an infinite column": (
        lambda e: e.columns(0, np.zeros(1), np.full((1, 2), 1e300)),
        "finite values or NaN",
    ),
    "a column in the past": (
        lambda e: e.columns(0, np.array([-1]), np.zeros((1, 2))),
        "sample offsets from 0",
    ),
    "a time too long": (lambda e: e.end(0, sent_ns=2**63), "fit their fields"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stream_that_cannot_be_is_refused(name: str) -> None:
    make, words = SETTINGS[name]
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("name", MISUSE)
def test_a_packet_that_cannot_be_is_refused(name: str) -> None:
    call, words = MISUSE[name]
    with pytest.raises(ConfigError, match=words):
        call(rig())


def test_a_stream_without_identities_has_no_descriptor() -> None:
    anonymous = PacketEncoder(RATE, 2)
    with pytest.raises(ConfigError, match="a stream with a descriptor"):
        anonymous.descriptor_packet(0)
    with pytest.raises(ConfigError, match="as the descriptor names columns"):
        anonymous.columns(0, np.zeros(1), np.zeros((1, 2)))
    assert decode_packet(anonymous.end(0)).descriptor_hash == 0


def test_samples_of_another_type_have_no_code() -> None:
    packet = decode_packet(rig().wideband(0, np.zeros((1, 2), np.int16)))
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__}
    with pytest.raises(ConfigError, match="int16 or float32 samples, got float64"):
        encode_packet(type(packet)(**fields | {"data": np.zeros((1, 2))}))

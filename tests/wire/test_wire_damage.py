"""Any bytes decode to themselves, or raise a `PacketError` that says what was expected and what came."""

import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from cortexwire.errors import PacketError
from cortexwire.wire import (
    decode_output,
    decode_packet,
    decode_record,
    encode_output,
    encode_packet,
    encode_record,
)
from tests.wire.example_frames import output_frames, packet_frames, record_frames
from tests.wire.forging import repaired, repaired_output, with_bytes

REASONS = {"length", "magic", "version", "checksum", "kind", "field", "value", "payload"}
WORDS = re.compile(r"^(packet|output|record)\b.*: expected .+, got ", re.DOTALL)

PACKETS = list(packet_frames().values())
OUTPUTS = list(output_frames().values())
RECORDS = list(record_frames().values())


def packet_again(frame: bytes) -> bytes:
    return encode_packet(decode_packet(frame))


def output_again(frame: bytes) -> bytes:
    return encode_output(decode_output(frame))


def record_again(frame: bytes) -> bytes:
    record = decode_record(frame)
    return encode_record(record.kind, record.t_ns, record.payload, record.index)


def check(frame: bytes, again: Callable[[bytes], bytes], *, canonical: bool = True) -> str:
    """Give the reason for which a frame is refused, or "" where it decodes to itself."""
    try:
        result = again(frame)
    except PacketError as error:
        fault = error
    else:
        assert result == frame or not canonical
        return ""
    assert fault.reason in REASONS
    assert WORDS.match(str(fault)), str(fault)
    return fault.reason


def _verdict(frame: bytes | memoryview) -> tuple[str, bytes]:
    try:
        return "", encode_packet(decode_packet(frame))
    except PacketError as error:
        return str(error), b""


edits = st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3)


def edited(frame: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for place, new in changes:
        at = place % len(frame)
        frame = with_bytes(frame, at, new[: len(frame) - at])
    return frame


@given(frame=st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(frame: bytes) -> None:
    assert check(frame, packet_again) in {"length", "magic"}
    assert check(frame, output_again) in {"length", "magic"}
    assert check(frame, record_again) in {"length", "magic"}


@given(frame=st.sampled_from(PACKETS), data=st.data())
def test_truncated_packets_are_refused_for_their_length(frame: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(frame) - 1))
    assert check(frame[:kept], packet_again) == "length"


@given(frame=st.sampled_from(OUTPUTS), data=st.data())
def test_truncated_outputs_are_refused_for_their_length(frame: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(frame) - 1))
    assert check(frame[:kept], output_again) == "length"


@given(frame=st.sampled_from(RECORDS), data=st.data())
def test_a_torn_record_is_told_from_a_damaged_one(frame: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(frame) - 1))
    assert check(frame[:kept], record_again) == "length"


@given(frame=st.sampled_from(PACKETS), tail=st.binary(min_size=1, max_size=50))
def test_packets_with_a_tail_are_refused_for_their_length(frame: bytes, tail: bytes) -> None:
    assert check(frame + tail, packet_again) == "length"


@given(frame=st.sampled_from(PACKETS), changes=edits)
def test_any_damage_to_a_packet_is_refused_or_harmless(frame: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = edited(frame, changes)
    reason = check(damaged, packet_again)
    assert reason or damaged[:128] == frame[:128]


@given(frame=st.sampled_from(PACKETS), changes=edits)
def test_a_header_with_a_right_checksum_is_still_checked(frame: bytes, changes: list[tuple[int, bytes]]) -> None:
    check(repaired(edited(frame, changes)), packet_again)


@given(frame=st.sampled_from(PACKETS), place=st.integers(0, 127), new=st.binary(min_size=1, max_size=8))
def test_a_packet_like_one_before_is_checked_like_any_other(frame: bytes, place: int, new: bytes) -> None:
    decode_packet(frame)
    following = repaired(edited(frame, [(place, new)]))
    # A view takes no short cut, and says the same as bytes do.
    assert _verdict(following) == _verdict(memoryview(following))


@given(frame=st.sampled_from(OUTPUTS), changes=edits)
def test_any_damage_to_an_output_is_refused(frame: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = edited(frame, changes)
    assert check(damaged, output_again) or damaged == frame


@given(frame=st.sampled_from(OUTPUTS), changes=edits)
def test_an_output_with_a_right_checksum_is_still_checked(frame: bytes, changes: list[tuple[int, bytes]]) -> None:
    check(repaired_output(edited(frame, changes)), output_again)


@given(frame=st.sampled_from(RECORDS), changes=edits)
def test_any_damage_to_a_record_is_refused_or_in_its_padding(frame: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = edited(frame, changes)
    assert check(damaged, record_again, canonical=False) or damaged[:48] == frame[:48]


@given(json=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_a_descriptor_that_is_no_descriptor_is_refused(json: bytes) -> None:
    head = packet_frames()["descriptor"][:128]
    sized = with_bytes(head, 92, len(json).to_bytes(4, "little"))
    assert check(repaired(sized) + json, packet_again) in {"payload", "length"}

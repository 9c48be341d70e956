from pathlib import Path

import msgspec
import pytest

from cortexwire.errors import PacketError
from cortexwire.wire import (
    SEGMENT_HEADER_BYTES,
    Applied,
    Loss,
    SegmentHeader,
    Span,
    decode_journal,
    decode_segment_header,
    encode_segment_header,
    segment_path,
)

HEADER = SegmentHeader(3, bytes(range(16)), 2**40, 1_700_000_000_000_000_000)
FRAME = encode_segment_header(HEADER)


def test_a_segment_header_comes_back() -> None:
    assert len(FRAME) == SEGMENT_HEADER_BYTES
    assert decode_segment_header(FRAME + b"records") == HEADER
    assert segment_path(Path("folder"), 3) == Path("folder/000003.cxlog")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (FRAME[:-1], "length"),
        (b"CXWR" + FRAME[4:], "magic"),
        (FRAME[:4] + b"\2" + FRAME[5:], "version"),
        (FRAME[:20] + b"!" + FRAME[21:], "checksum"),
    ],
)
def test_a_damaged_segment_header_is_named(frame: bytes, reason: str) -> None:
    with pytest.raises(PacketError) as caught:
        decode_segment_header(frame)
    assert caught.value.reason == reason


def test_journal_payloads_come_back_and_tolerate_later_keys() -> None:
    loss = Loss(records=3, why="overrun", packets=2, samples=60, spans=(Span("00ff", 30, 90),))
    assert decode_journal(msgspec.json.encode(loss), Loss) == loss
    assert decode_journal(b'{"bin":4,"later":1}', Applied) == Applied(4)
    with pytest.raises(PacketError, match="JSON of record Applied"):
        decode_journal(b"{}", Applied)

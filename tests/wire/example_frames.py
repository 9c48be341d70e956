"""One message of every form, the same bytes each time: what `golden/` holds.

`python -m tests.wire.example_frames` writes the folder again. A change of those bytes changes the protocol.
"""

from pathlib import Path

import numpy as np

from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    Clocks,
    Descriptor,
    Electrode,
    Executor,
    Layout,
    MarkerCode,
    OutFlag,
    OutKind,
    Output,
    PacketEncoder,
    RecordKind,
    Times,
    Validity,
    decode_packet,
    encode_output,
    encode_packet,
    encode_record,
    make_events,
    make_markers,
)
from cortexwire.wire.packets import Packet

GOLDEN = Path(__file__).parent / "golden"
EPOCH = 0x0123456789ABCDEF
START = 2**40
RATE = Rate(390625, 16)
ARRAY = Descriptor(
    source="rig-7",
    electrodes=(Electrode("e17", "A"), Electrode("e03", "A"), Electrode("µ1", "B")),
    uv_per_bit=0.195,
    reference="one wire per bank",
    columns=("cursor_x", "cursor_y"),
)
SAMPLES = np.array([[-32768, -1, 0], [1, 2, 32767], [300, -300, 42], [7, 8, 9]], np.int16)


def packet_frames() -> dict[str, bytes]:
    """Packets by name, in the order in which a rig could have sent them."""
    rig = PacketEncoder(RATE, 3, ARRAY, 0.195, epoch=EPOCH, source=2, sent_clock=Clock.REALTIME)
    frames = {
        "descriptor": rig.descriptor_packet(START),
        "wideband_int16": rig.wideband(START, SAMPLES, acquired_ns=123_456_789, sent_ns=1_700_000_000_000_000_000),
        "columns": rig.columns(
            START + 4, np.array([0, 3]), np.array([[0.5, -0.25], [np.nan, 1.0]]), acquired_ns=7, sent_ns=8
        ),
        "markers": rig.markers(
            START + 4, make_markers([0, 2], [MarkerCode.TRIAL_START, 300], [np.nan, 2.5]), sent_ns=9
        ),
        "events": rig.events(START + 4, 30, make_events([0, 5, 29], [2, 0, 1], [0, 1, 65535])),
        "events_empty": rig.events(START + 34, 30, make_events([], [])),
    }
    checked = PacketEncoder(
        Rate(30000), 3, epoch=EPOCH, sequence=2**33, acquired_clock=Clock.DEVICE, payload_checksum=True
    )
    frames["wideband_float32"] = checked.wideband(0, (SAMPLES / 8).astype(np.float32), acquired_ns=-5)
    frames["counts"] = checked.counts(4, 600, np.array([0, 7, 65535]))
    frames["end"] = checked.end(604)
    frames["wideband_channel_major"] = encode_packet(in_layout(frames["wideband_int16"], Layout.CHANNEL_MAJOR))
    return frames


def output_frames() -> dict[str, bytes]:
    """Outputs by name: a command with every field in use, and the least safe message."""
    decoded = Output(
        OutKind.DECODED,
        EPOCH,
        bin=41,
        end_sample=START + 600,
        validity=Validity.PARTIAL,
        flags=OutFlag.ARMED | OutFlag.COMMAND | OutFlag.HISTORY | OutFlag.UNOBSERVED,
        valid_for_ms=100.0,
        observed_fraction=0.75,
        source=2,
        executor=Executor.ONNX,
        bundle_hash=0xFEDCBA9876543210,
        overlay_hash=0x1111222233334444,
        restart=1,
        missing_samples=150,
        times=Times(1, 2, 3, 4, 5, 6),
        clocks=Clocks(Clock.DEVICE, Clock.REALTIME, *[Clock.MONOTONIC] * 4),
        tensors={
            "velocity": np.array([0.5, -1.25], np.float32),
            "counts": np.array([0, 3, 65535], np.uint16),
            "band_power": np.array([[1.5, 2.5, 3.5]], np.float32),
        },
    )
    safe = Output(
        OutKind.SAFE,
        EPOCH,
        bin=42,
        end_sample=START + 1200,
        validity=Validity.STALE,
        flags=OutFlag.DEADLINE | OutFlag.NEUTRAL,
        observed_fraction=0.0,
        tensors={"velocity": np.zeros(2, np.float32)},
    )
    return {"output_decoded": encode_output(decoded), "output_safe": encode_output(safe)}


def record_frames() -> dict[str, bytes]:
    """Log records by name."""
    return {
        "record_note": encode_record(RecordKind.NOTE, 5_000_000_000, b'{"text":"hello"}!', 7),
        "record_tick": encode_record(RecordKind.TICK, -1, b"", 2**32 - 1),
    }


def in_layout(frame: bytes, layout: Layout) -> Packet:
    """Decode a packet and give it another memory layout."""
    packet = decode_packet(frame)
    fields = {name: getattr(packet, name) for name in packet.__struct_fields__}
    return Packet(**fields | {"layout": layout})


def all_frames() -> dict[str, bytes]:
    """Every message by the name of its golden file."""
    return packet_frames() | output_frames() | record_frames()


def write_golden(folder: Path = GOLDEN) -> None:
    """Write every message into its file."""
    folder.mkdir(exist_ok=True)
    for name, frame in all_frames().items():
        (folder / f"{name}.bin").write_bytes(frame)


if __name__ == "__main__":
    write_golden()

"""The wire protocol: bytes to packets, outputs and records, and back; pure."""

from cortexwire.wire.codes import (
    USER_MARKER,
    Clock,
    DType,
    Executor,
    Kind,
    Layout,
    MarkerCode,
    OutFlag,
    OutKind,
    PacketFlag,
    RecordKind,
    Validity,
)
from cortexwire.wire.descriptor import Descriptor, Electrode
from cortexwire.wire.encoder import PacketEncoder
from cortexwire.wire.header import HEADER_BYTES, MAX_CHANNELS
from cortexwire.wire.output_frames import output_subscription, output_to_json, stamp_published, strip_times
from cortexwire.wire.outputs import Clocks, Output, Times, decode_output, encode_output
from cortexwire.wire.packets import Packet, decode_packet, encode_packet, stamp_sent, subscription
from cortexwire.wire.payloads import EVENT_DTYPE, MARKER_DTYPE, Columns, make_events, make_markers
from cortexwire.wire.records import (
    RECORD_HEADER_BYTES,
    Record,
    RecordHeader,
    decode_record,
    decode_record_header,
    encode_record,
    encode_record_header,
    record_length,
)

__all__ = [
    "EVENT_DTYPE",
    "HEADER_BYTES",
    "MARKER_DTYPE",
    "MAX_CHANNELS",
    "RECORD_HEADER_BYTES",
    "USER_MARKER",
    "Clock",
    "Clocks",
    "Columns",
    "DType",
    "Descriptor",
    "Electrode",
    "Executor",
    "Kind",
    "Layout",
    "MarkerCode",
    "OutFlag",
    "OutKind",
    "Output",
    "Packet",
    "PacketEncoder",
    "PacketFlag",
    "Record",
    "RecordHeader",
    "RecordKind",
    "Times",
    "Validity",
    "decode_output",
    "decode_packet",
    "decode_record",
    "decode_record_header",
    "encode_output",
    "encode_packet",
    "encode_record",
    "encode_record_header",
    "make_events",
    "make_markers",
    "output_subscription",
    "output_to_json",
    "record_length",
    "stamp_published",
    "stamp_sent",
    "strip_times",
    "subscription",
]

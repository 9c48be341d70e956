"""Every number that has a name on the wire: kinds, clocks, types, flags and marker codes.

The numbers are protocol version 1 and never change their meaning; `docs/protocol.md` lists the same tables.
"""

from enum import IntEnum, IntFlag


class Kind(IntEnum):
    """What a packet carries."""

    WIDEBAND = 1
    EVENTS = 2
    COUNTS = 3
    MARKERS = 4
    COLUMNS = 5
    DESCRIPTOR = 6
    END = 7


class Clock(IntEnum):
    """The clock that a timestamp was read from; differences are taken within one clock only."""

    NONE = 0
    """No timestamp: its nanoseconds are 0."""
    MONOTONIC = 1
    """`CLOCK_MONOTONIC` of the host that read it."""
    REALTIME = 2
    """Unix time, UTC."""
    DEVICE = 3
    """The acquisition device's own clock."""


class DType(IntEnum):
    """Element type of a payload or tensor, always little-endian."""

    NONE = 0
    INT16 = 1
    FLOAT32 = 2
    UINT16 = 3
    EVENT = 4
    MARKER = 5
    COLUMN = 6
    JSON = 7
    INT64 = 8
    FLOAT64 = 9


class Layout(IntEnum):
    """Order of wideband samples in memory."""

    TIME_MAJOR = 0
    """`(n_samples, n_channels)`: all channels of the first sample come first."""
    CHANNEL_MAJOR = 1
    """`(n_channels, n_samples)`: all samples of the first channel come first."""


class PacketFlag(IntFlag):
    """Flags of a packet header."""

    PAYLOAD_CRC = 1
    """`payload_crc32` holds the CRC-32 of the payload."""


class MarkerCode(IntEnum):
    """Marker codes with a meaning of their own; codes from `USER_MARKER` on are the user's."""

    BLANK_START = 1
    BLANK_END = 2
    TRIAL_START = 16
    TRIAL_END = 17


USER_MARKER = 256


class OutKind(IntEnum):
    """What an output message is."""

    DECODED = 1
    """The decoder's result of a bin: exactly one per bin."""
    SAFE = 2
    """What holds in place of a decoded value that may not be the command."""


class Validity(IntEnum):
    """How much of a bin was observed."""

    VALID = 0
    """Every sample."""
    PARTIAL = 1
    """A fraction in [0.5, 1)."""
    STALE = 2
    """Less than half."""


class Executor(IntEnum):
    """What computed the decoder step."""

    NONE = 0
    ONNX = 1
    INCREMENTAL = 2


class OutFlag(IntFlag):
    """Flags of an output message."""

    LATE = 1
    """Decoded after the bin's deadline."""
    ARMED = 2
    """The engine was armed."""
    COMMAND = 4
    """The one message of this (epoch, restart, bin) that a consumer may act on."""
    CALIBRATING = 8
    """Thresholds are not known yet."""
    WARMING = 16
    """The decoder's state has not filled since its start or reset."""
    HISTORY = 32
    """An earlier bin within the decoder's memory was not valid."""
    DEADLINE = 64
    """A deadline passed without a decoded value."""
    NONFINITE = 128
    """The decoder gave a value that is not finite."""
    UNOBSERVED = 256
    """Some samples of the bin were missing, settling or blanked."""
    ARTEFACT = 512
    """Some samples of the bin were taken out as an artefact."""
    BLOCKED = 1024
    """Arming is blocked until an operator confirms."""
    LIMITED = 2048
    """A speed or acceleration limit acted."""
    CHANNELS = 4096
    """Some channel entered at its training mean."""
    NEUTRAL = 8192
    """The velocity is the neutral value."""
    ENDED = 16384
    """The stream has ended."""


class RecordKind(IntEnum):
    """What a record of the log or tap holds."""

    PACKET = 1
    """A frame as it came, before the pipeline took it."""
    TICK = 2
    """The time given to the pipeline, which is the record's own."""
    COMMAND = 3
    """A command, as JSON, before the pipeline took it."""
    OUTPUT = 4
    """A message as it was sent."""
    NOTE = 5
    """What was worth saying, UTF-8."""
    START = 6
    """A new pipeline: `cortexwire.wire.journal.Start`."""
    APPLIED = 7
    """What became of the last command: `cortexwire.wire.journal.Applied`."""
    LOSS = 8
    """Records that are missing here: `cortexwire.wire.journal.Loss`; only a recorder writes it."""

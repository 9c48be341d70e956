"""The short way of a packet of samples that differs from the last good one in counters, times and samples only.

Such a packet has passed every check that its predecessor passed, once its number, its place on the sample axis, its
times and its checksum are looked at. Whatever else comes takes the long way, which decides what the short one may
take after it.
"""

from struct import Struct
from typing import Any, Final

import numpy as np
from numba import njit, typeof, uint32
from numpy.typing import NDArray

from cortexwire.native.addresses import array_at
from cortexwire.pipeline.expectation import FURTHEST_SAMPLE
from cortexwire.wire.codes import Clock, Kind
from cortexwire.wire.header import HEADER_BYTES
from cortexwire.wire.packets import Packet

HEADER_WORDS: Final = HEADER_BYTES // 8
SEQUENCE, SAMPLE, ACQUIRED, SENT, CLOCKS, LAST = 2, 3, 4, 5, 6, HEADER_WORDS - 1
"""Words of the header: what a packet counts, its times, what tells their clocks (its lowest two bytes), and the one
whose upper half is the checksum."""
N_SAMPLES, FURTHEST, N_WORDS = HEADER_WORDS, HEADER_WORDS + 1, HEADER_WORDS + 2
"""Words behind the header's: samples in a packet, and where streams end; how many words that makes."""
NO_SEQUENCE: Final = 2**63
"""Numbers from here on take the long way, since they could come to their end."""
HEADER_VALUES: Final = HEADER_BYTES // 2
"""Values of int16 that the header takes the room of."""
_TIMES: Final = Struct("<qq")
_TIMES_AT: Final = 8 * ACQUIRED
_INT16: Final = np.dtype("<i2")


def _crc_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    return table


_CRC: Final = _crc_table()


@njit(cache=True, error_model="numpy")
def goes_on(expected: Any, frame: Any) -> bool:
    """Say whether a frame is the one that was expected, and if so expect the next.

    Args:
        expected: int64 `(N_WORDS,)`: the header that it must have, with the next number and sample, samples in a
            packet, and the sample that no packet may reach beyond.
        frame: The frame as int16, as long as the last one.
    """
    header = array_at(frame.ctypes.data, HEADER_WORDS, np.int64(0))
    differing = np.int64(0)
    for k in range(LAST):
        if k != ACQUIRED and k != SENT:
            differing |= header[k] ^ expected[k]
    differing |= (header[LAST] ^ expected[LAST]) & 0xFFFFFFFF
    clocks = header[CLOCKS]
    if differing or (header[ACQUIRED] != 0 and clocks & 0xFF == 0) or (header[SENT] != 0 and clocks >> 8 & 0xFF == 0):
        return False
    if expected[SAMPLE] + expected[N_SAMPLES] > expected[FURTHEST]:
        return False
    octets = array_at(frame.ctypes.data, HEADER_BYTES - 4, np.uint8(0))
    crc = uint32(0xFFFFFFFF)
    for octet in octets:
        crc = uint32(_CRC[(crc ^ octet) & 0xFF]) ^ (crc >> uint32(8))
    if crc ^ uint32(0xFFFFFFFF) != uint32(header[LAST] >> 32 & 0xFFFFFFFF):
        return False
    expected[SEQUENCE] += 1
    expected[SAMPLE] += expected[N_SAMPLES]
    return True


class Stamp:
    """Of the packet that closed a bin: who sent it, and its times with their clocks."""

    __slots__ = ("acquired_clock", "acquired_ns", "sent_clock", "sent_ns", "source")

    def __init__(self, source: int, acquired_ns: int, acquired_clock: Clock, sent_ns: int, sent_clock: Clock) -> None:
        self.source = source
        self.acquired_ns = acquired_ns
        self.acquired_clock = acquired_clock
        self.sent_ns = sent_ns
        self.sent_clock = sent_clock


class RegularPath:
    """Knows the packet that would go on as the last one did.

    Args:
        furthest: Sample index that no packet may reach beyond.

    Attributes:
        open: Whether any packet may take the short way now.
        n_samples: Samples in such a packet.
    """

    def __init__(self, furthest: int = FURTHEST_SAMPLE) -> None:
        self.open = False
        self.n_samples = 0
        self._expected: NDArray[np.int64] = np.zeros(N_WORDS, np.int64)
        self._expected[FURTHEST] = min(furthest, FURTHEST_SAMPLE)
        self._bytes = 0
        self._like: Packet | None = None
        frame = np.zeros(0, _INT16)
        frame.flags.writeable = False
        self._goes_on = goes_on.compile((typeof(self._expected), typeof(frame)))

    def learn(self, frame: bytes | memoryview, packet: Packet, sequence: int) -> None:
        """Take a good packet, all of which was used, as one that the next may go on from.

        Args:
            frame: The packet as it came.
            packet: The packet.
            sequence: Number of the next.
        """
        wideband = packet.kind is Kind.WIDEBAND and packet.data.dtype == _INT16 and packet.data.flags.c_contiguous
        self.open = wideband and packet.flags == 0 and sequence < NO_SEQUENCE
        if self.open:
            expected = self._expected
            self._like, self._bytes, self.n_samples = packet, len(frame), packet.n_samples
            expected[:HEADER_WORDS] = np.frombuffer(frame, "<i8", HEADER_WORDS)
            expected[SEQUENCE] = sequence
            expected[SAMPLE] += packet.n_samples
            expected[N_SAMPLES] = packet.n_samples

    def samples_of(self, frame: bytes | memoryview) -> NDArray[np.int16] | None:
        """The values of a frame that goes on, of which those behind the header's are samples; None for any other."""
        if len(frame) != self._bytes:
            return None
        values: NDArray[np.int16] = np.frombuffer(frame, _INT16)
        return values if self._goes_on(self._expected, values) else None

    def stamp(self, frame: bytes | memoryview) -> Stamp:
        """Who sent a frame that goes on, and when."""
        like = self._like
        assert like is not None
        acquired_ns, sent_ns = _TIMES.unpack_from(frame, _TIMES_AT)
        return Stamp(like.source, acquired_ns, like.acquired_clock, sent_ns, like.sent_clock)

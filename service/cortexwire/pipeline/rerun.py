"""A run of packets that look old but may come from a rig that restarted within its epoch.

Such a rig begins again at lower sequence numbers, which at first look like duplicates or late packets. They
are kept until the run is long enough to tell, so that nothing of the new stream is lost; if it breaks first,
they stay what they were counted as.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.pipeline.counters import Counters
from cortexwire.wire.packets import Packet
from cortexwire.wire.payloads import Columns


class Rerun:
    """Collects packets whose sequence numbers each follow the one before, and what they were counted as."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._packets: list[Packet] = []
        self._duplicates = self._reordered = self._found = 0

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packet: Packet, *, missing: bool, lost: bool) -> None:
        """Count a packet that came after higher sequence numbers, and keep a copy of it.

        Args:
            packet: The packet.
            missing: Its sequence number had not come before.
            lost: It had been counted as lost.
        """
        if self._packets and packet.sequence != self._packets[-1].sequence + 1:
            self.clear()
        self._packets.append(owned(packet))
        self._duplicates += not missing
        self._reordered += missing
        self._found += lost
        self._count(1, not missing, missing, lost)

    def take(self) -> list[Packet]:
        """Hand over the packets, and undo what they were counted as."""
        packets = self._packets
        self._count(-1, self._duplicates, self._reordered, self._found)
        self._packets = []
        self.clear()
        return packets

    def clear(self) -> None:
        """The run broke: what was counted stays."""
        self._packets.clear()
        self._duplicates = self._reordered = self._found = 0

    def _count(self, sign: int, duplicates: int, reordered: int, found: int) -> None:
        counters = self._counters
        counters.duplicates += sign * duplicates
        counters.reordered += sign * reordered
        counters.reordered_unused += sign * reordered
        counters.lost_packets -= sign * found


def owned(packet: Packet) -> Packet:
    """Copy a packet's data, which otherwise is a view into a receive buffer that may be used again."""
    data = packet.data
    if isinstance(data, np.ndarray):
        return msgspec.structs.replace(packet, data=_copy(data))
    if isinstance(data, Columns):
        return msgspec.structs.replace(packet, data=Columns(_copy(data.offsets), _copy(data.values)))
    return packet


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    copy = array.copy(order="K")
    copy.flags.writeable = False
    return copy

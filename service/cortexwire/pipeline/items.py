"""What the intake hands to the bin stage: one ordered list of items in which nothing is implied.

Within one stream (between two `Restart`s) the spans and gaps tile the sample axis: each begins where the one
before ended, so a bin knows of every sample whether it came.
"""

import msgspec

from cortexwire.wire.packets import Packet


class Span(msgspec.Struct, frozen=True, gc=False):
    """A signal packet of whose samples those from `skip` on are new; always at least one."""

    packet: Packet
    skip: int

    @property
    def start(self) -> int:
        """Sample index of the first new sample."""
        return self.packet.sample_index + self.skip

    @property
    def stop(self) -> int:
        """Sample index one past the last sample."""
        return self.packet.sample_index + self.packet.n_samples


class Gap(msgspec.Struct, frozen=True, gc=False):
    """The samples `[start, stop)` did not come, and will not be used if they still come."""

    start: int
    stop: int


class Restart(msgspec.Struct, frozen=True, gc=False):
    """A new stream begins: the first one, a new epoch, or the same epoch begun again (`incarnation` > 0)."""

    epoch: int
    incarnation: int


class Aux(msgspec.Struct, frozen=True, gc=False):
    """Markers, columns or a descriptor: takes part in the order, moves no sample."""

    packet: Packet


class End(msgspec.Struct, frozen=True, gc=False):
    """The rig says that the stream ends here."""

    packet: Packet


Item = Span | Gap | Restart | Aux | End

"""How a bundle's stream is cut into packets and bins, all that a service without a signal chain has to know."""

from typing import NamedTuple

from cortexwire.decoders import Bundle


class Bins(NamedTuple):
    """How a bundle's stream is cut.

    Attributes:
        rate_hz: Samples a second.
        bin_samples: Samples in a bin.
        packet_samples: Samples in a packet of 1 ms, which is the refractory time.
        n_channels: Channels.
    """

    rate_hz: float
    bin_samples: int
    packet_samples: int
    n_channels: int

    @property
    def packets_per_bin(self) -> int:
        """Packets in a bin."""
        return self.bin_samples // self.packet_samples


def bins_of(bundle: Bundle) -> Bins:
    """How the stream of a bundle is cut into packets of 1 ms and bins.

    Raises:
        ValueError: A bin is no whole number of such packets.
    """
    stream = bundle.manifest.stream
    rate_hz = stream.rate_num / stream.rate_den
    packet, whole = round(rate_hz / 1000), round(rate_hz * stream.bin_ms / 1000)
    if whole % packet:
        raise ValueError(f"expected bins of whole packets of {packet} samples, got {whole} samples")
    return Bins(rate_hz, whole, packet, stream.n_channels)

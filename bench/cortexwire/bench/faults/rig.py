"""The rig of the fault runs: whole streams as lists of frames, of which the same samples can be made again.

A stream is the rig's own truth: it may skip sample indices (samples that were never acquired), and everything else
that goes wrong happens after it. Making it without its skips gives the undisturbed stream.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cortexwire.clients.simulator import Simulator, SimulatorSettings
from cortexwire.types import Rate
from cortexwire.wire import Descriptor, Electrode, PacketEncoder, make_events
from cortexwire.wire.header import read_header

COLUMN_MS: Final = 10
"""Period of the column rows that a rig sends beside its signal."""
EVENT_RATE_HZ: Final = 40.0
EVENT_SAMPLE_RATE: Final = Rate(30_000)

Encode = Callable[[PacketEncoder, int, int, int], bytes]
"""Encodes the signal `[start, stop)` of a stream whose sample 0 is sample `offset` of the content."""


@dataclass(frozen=True)
class Sent:
    """A frame as the rig sent it; `[start, stop)` is empty where it carries no signal."""

    frame: bytes
    epoch: int
    sequence: int
    start: int
    stop: int

    @property
    def signal(self) -> bool:
        """Whether it carries signal."""
        return self.stop > self.start


@dataclass(frozen=True)
class Stream:
    """What a rig sends between two starts, in order."""

    epoch: int
    restart: int
    rate: Rate
    packets: tuple[Sent, ...]

    @property
    def key(self) -> tuple[int, int]:
        """What its outputs are keyed by, besides the bin."""
        return self.epoch, self.restart


@dataclass(frozen=True)
class FaultyRig:
    """A rig, its identity, and its content.

    Attributes:
        rate: Sample rate.
        n_channels: Channels.
        descriptor: What it says of itself.
        encode: Encodes its signal.
    """

    rate: Rate
    n_channels: int
    descriptor: Descriptor
    encode: Encode

    def stream(
        self,
        epoch: int,
        seconds: float,
        *,
        restart: int = 0,
        offset: int = 0,
        packet_samples: int | None = None,
        skips: Sequence[tuple[int, int]] = (),
        end: bool = False,
    ) -> Stream:
        """Make a stream that begins at sample 0 with sequence number 0.

        Args:
            epoch: Its epoch.
            seconds: Its length, what it skips included.
            restart: How often the rig started in this epoch before.
            offset: Sample of the content that it begins at.
            packet_samples: Samples in a packet; about 1 ms by default.
            skips: Half-open ranges of samples that were never acquired, ascending.
            end: Whether the rig says that it ends.
        """
        n_samples = round(seconds * self.rate.hz)
        size = packet_samples or max(1, round(self.rate.hz / 1000))
        encoder = PacketEncoder(self.rate, self.n_channels, self.descriptor, self.descriptor.uv_per_bit, epoch=epoch)
        frames = [encoder.descriptor_packet(0)]
        described = columns = 0
        for start, stop in _cuts(n_samples, size, skips):
            second = int(start / self.rate.hz)
            if second > described:
                described = second
                frames.append(encoder.descriptor_packet(start))
            if self.descriptor.columns and (row := int(start * 1000 / self.rate.hz / COLUMN_MS)) > columns:
                columns = row
                values = np.full((1, len(self.descriptor.columns)), row, np.float32)
                frames.append(encoder.columns(start, np.zeros(1, np.uint32), values))
            frames.append(self.encode(encoder, offset, start, stop))
        if end:
            frames.append(encoder.end(n_samples))
        return Stream(epoch, restart, self.rate, tuple(_sent(frame) for frame in frames))


def _cuts(n_samples: int, size: int, skips: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    edges = [0, *(edge for skip in skips for edge in skip), n_samples]
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        for start in range(first, last, size):
            yield start, min(start + size, last)


def _sent(frame: bytes) -> Sent:
    header = read_header(frame)
    return Sent(frame, header.epoch, header.sequence, header.sample_index, header.sample_index + header.n_samples)


def simulated_rig(settings: SimulatorSettings) -> FaultyRig:
    """A rig that sends the simulator's wideband."""
    simulator = Simulator(settings)

    def encode(encoder: PacketEncoder, offset: int, start: int, stop: int) -> bytes:
        return encoder.wideband(start, simulator.read(offset + start, offset + stop))

    return FaultyRig(simulator.rate, simulator.n_channels, simulator.descriptor, encode)


def event_rig(seed: int, n_channels: int, seconds: float, rate: Rate = EVENT_SAMPLE_RATE) -> FaultyRig:
    """A rig that sends spike events, drawn at random with `EVENT_RATE_HZ` on each channel."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * rate.hz)
    n_events = rng.poisson(EVENT_RATE_HZ * seconds * n_channels)
    samples = np.sort(rng.integers(0, n_samples, n_events))
    channels = rng.integers(0, n_channels, n_events)
    electrodes = tuple(Electrode(id=f"e{k:03}", bank="A") for k in range(n_channels))
    descriptor = Descriptor("events", electrodes, columns=("x",))

    def encode(encoder: PacketEncoder, offset: int, start: int, stop: int) -> bytes:
        low, high = np.searchsorted(samples, (offset + start, offset + stop))
        rows = make_events(samples[low:high] - offset - start, channels[low:high])
        return encoder.events(start, stop - start, rows)

    return FaultyRig(rate, n_channels, descriptor, encode)

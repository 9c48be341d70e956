"""From frames to bins that overlap: the bins of `BinStage`, and between their ends one at every hop.

Bins are numbered by the hop that they end with. Those that end where a bin of `BinStage` ends are the very bins that it
closes, after the same packets; calibration, adaptation, thresholds and masks follow from them alone and change at their
edges only. A bin across such an edge is what its two parts were counted as; channels that were left out of one of them
are left out of it, and it counts as calibrated if both parts are.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import StreamSpec
from cortexwire.pipeline.bin_stage import BinStage, Closed, Event, EventSink, Reset
from cortexwire.pipeline.channels import ChannelWatch
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.items import Gap, Item, Span
from cortexwire.pipeline.settings import IntakeSettings
from cortexwire.signal.binning import Bin
from cortexwire.signal.hops import EventHops, SlidingBins, WidebandHops
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.signal.wideband import WidebandBins
from cortexwire.types import Rate
from cortexwire.wire import Packet


class HopStage(BinStage):
    """Turns the frames of one source into a bin for every hop.

    Args:
        stream: The stream that is expected.
        front_end: The signal chain.
        parts: Hops in a bin, two at least.
        intake: How packets are put in order.
        thresholds_uv: Thresholds of a file, which go before the bundle's.
        counters: Where to count.

    Raises:
        ConfigError: The settings do not fit the stream, or a hop would be shorter than one sample.
    """

    _source: EventHops | WidebandHops

    def __init__(
        self,
        stream: StreamSpec,
        front_end: FrontEndSettings,
        parts: int,
        intake: IntakeSettings | None = None,
        thresholds_uv: tuple[float, ...] | None = None,
        counters: Counters | None = None,
    ) -> None:
        super().__init__(stream, front_end, intake, thresholds_uv, counters)
        self.hops = self.clock.divided(parts)
        self._parts = parts
        self._was_calibrated = True
        if stream.kind != "wideband":
            self._source = EventHops(self.clock, stream.n_channels, self._masked)
        self._sliding = SlidingBins(self.hops, parts, stream.n_channels, "band_power" in front_end.features)

    @property
    def next_bin(self) -> int:
        """The first hop that has not ended; -1 before a stream has begun."""
        return self.hops.bin_of(self._source.position) if self._begun else -1

    @property
    def next_edge(self) -> int:
        """The first hop after the edge at which thresholds and masks change next."""
        return (self._source.index + 1) * self._parts if self._begun else 0

    @property
    def ends_next(self) -> bool:
        """Whether the next packet will end a hop, going by the last ones."""
        return self._regular.open and self._until_edge <= self._regular.n_samples

    @property
    def _until_edge(self) -> int:
        """Samples that the open hop still takes."""
        position = self._source.position
        return self.hops.start(self.hops.bin_of(position) + 1) - position

    def take(self, frame: bytes | memoryview, events: EventSink) -> Sequence[Item] | None:
        """Take one frame, good or bad; as `BinStage.take`."""
        regular = self._regular
        if regular.open and regular.n_samples > self._until_edge:
            # It has to be cut where the hop ends.
            regular.open = False
        return super().take(frame, events)

    def _go_on(self, frame: bytes | memoryview, values: NDArray[np.int16], events: EventSink) -> None:
        if self._until_edge == self._regular.n_samples:
            self.last_packet = self._regular.stamp(frame)
        super()._go_on(frame, values, events)
        self._look(events)

    def _take(self, item: Item, events: EventSink) -> None:
        if not isinstance(item, Span):
            super()._take(item, events)
            return
        for piece in self._pieces(item):
            super()._take(piece, events)
            self._look(events)

    def _pieces(self, span: Span) -> Iterator[Span]:
        """Cut a span where hops end."""
        packet, start, stop = span.packet, span.start, span.stop
        hop = self.hops.bin_of(start)
        while (edge := self.hops.start(hop + 1)) < stop:
            upto = edge - packet.sample_index
            data = packet.data[:upto] if isinstance(self._source, WidebandHops) else packet.data
            yield Span(msgspec.structs.replace(packet, n_samples=upto, data=data), start - packet.sample_index)
            start, hop = edge, hop + 1
        yield Span(packet, start - packet.sample_index)

    def _look(self, events: EventSink) -> None:
        """Make the bin of a hop that ends here, inside a bin."""
        position = self._source.position
        hop = self.hops.bin_of(position)
        if hop % self._parts and self.hops.start(hop) == position:
            calibrated = self._was_calibrated and not self.calibrating
            events.append(Closed(self._sliding.join(hop - 1, self._source), calibrated))

    def _begin_at(self, sample_index: int) -> WidebandHops | EventHops:
        if not self._begun:
            self._begin_anew(sample_index)
        super()._begin_at(sample_index)
        return self._source

    def _begin_anew(self, sample_index: int) -> None:
        self._sliding.begin(sample_index)
        self._was_calibrated = True

    def _gap(self, gap: Gap, events: EventSink) -> None:
        source = self._source
        whole = gap.stop - gap.start < self._reset_samples
        self._pass_over(gap.stop if whole else min(gap.stop, source.position + source.until_edge), events)
        if whole:
            return
        before = self.next_bin
        if gap.stop > source.position:
            source.begin(gap.stop)
            self._begin_anew(gap.stop)
        events.append(Reset(self.next_bin - before))

    def _pass_over(self, stop: int, events: EventSink) -> None:
        """Samples up to `stop` are missing."""
        source = self._source
        while source.position < stop:
            edge = self.hops.start(self.hops.bin_of(source.position) + 1)
            self._closed(source.gap(min(edge, stop)), events)
            self._look(events)

    def _closed(self, bins: list[Bin], events: EventSink) -> None:
        """As without hops; then number the bin by its last hop."""
        closed: list[Event] = []
        super()._closed(bins, closed)
        for event in closed:
            if isinstance(event, Closed):
                self._sliding.turn(self._source.closed, event.bin.status)
                self._was_calibrated = event.calibrated
                event.bin.index = (event.bin.index + 1) * self._parts - 1
            events.append(event)

    def _across(self, packet: Packet) -> str | None:
        """Refuse counts that belong to two hops: nobody can tell how many to which."""
        edge = self.hops.start(self.hops.bin_of(packet.sample_index) + 1)
        if packet.end_sample <= edge:
            return None
        where = f"samples {packet.sample_index} to {packet.end_sample} across the edge at {edge}"
        return f"packet {packet.sequence}: expected counts within one hop, got {where}"

    def _wideband(self, dtype: np.dtype[np.int16] | np.dtype[np.float32]) -> WidebandBins:
        banks = tuple(electrode.bank for electrode in self.stream.electrodes)
        rate = Rate(self.stream.rate_num, self.stream.rate_den)
        return WidebandHops(self.front_end, rate, self.stream.n_channels, self.stream.uv_per_bit, dtype, banks)


class HopWatch(ChannelWatch):
    """Follows the channels by the bins that do not overlap, so that no sample counts twice.

    Args:
        n_channels: Number of channels.
        bin_s: Width of a bin.
        window_s: Observed signal over which rates are measured for the comparison with training.
        parts: Hops in a bin.
    """

    def __init__(self, n_channels: int, bin_s: float, window_s: float, parts: int) -> None:
        super().__init__(n_channels, bin_s, window_s)
        self._parts = parts

    def changes(self, closed: Bin) -> list[str]:
        """Take the status of a bin; returns a sentence for each kind of fault that channels came to have or lost."""
        return [] if self._overlaps(closed) else super().changes(closed)

    def smooth(self, closed: Bin) -> None:
        """Let the displayed rates follow a bin."""
        if not self._overlaps(closed):
            super().smooth(closed)

    def measure(self, closed: Bin) -> NDArray[np.float64] | None:
        """Take a bin; returns rates in hertz, NaN for channels without data, when the window is full."""
        return None if self._overlaps(closed) else super().measure(closed)

    def _overlaps(self, closed: Bin) -> bool:
        """Whether a bin has samples in common with those that are followed."""
        return (closed.index + 1) % self._parts != 0

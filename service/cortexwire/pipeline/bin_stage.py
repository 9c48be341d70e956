"""From frames to closed bins: codec, intake, signal chain and thresholds in one object.

Training takes its features from here, and so does the pipeline; there is no second way from samples to counts.
What happens at a bin's edge (a calibration ends, thresholds or masks change) happens at that edge however packets
are cut.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import StreamSpec
from cortexwire.errors import ConfigError, PacketError
from cortexwire.pipeline.blanking import Blanking
from cortexwire.pipeline.channels import in_words
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.expectation import FURTHEST_SAMPLE
from cortexwire.pipeline.intake import Intake
from cortexwire.pipeline.items import Aux, End, Gap, Item, Restart, Span
from cortexwire.pipeline.regular import HEADER_VALUES, RegularPath, Stamp
from cortexwire.pipeline.settings import IntakeSettings
from cortexwire.signal.binning import Bin, EventBins
from cortexwire.signal.bins import BinClock, samples_in
from cortexwire.signal.calibration import Adaptation, Calibration, Noise, known_thresholds, thresholds_from
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.signal.wideband import CrossingListener, WidebandBins
from cortexwire.types import Rate
from cortexwire.wire import Descriptor, Kind, MarkerCode, Packet, decode_packet

KINDS: Final = {"wideband": Kind.WIDEBAND, "events": Kind.EVENTS, "counts": Kind.COUNTS}
MAD_STRIDE: Final = 31
"""Every so many samples one is kept for a median; odd, so that it does not walk in step with line noise."""


class Closed(msgspec.Struct, gc=False):
    """A bin was closed; `calibrated` says whether thresholds were in force."""

    bin: Bin
    calibrated: bool


class Started(msgspec.Struct, frozen=True):
    """A new stream begins."""

    epoch: int
    incarnation: int


class Reset(msgspec.Struct, frozen=True):
    """So much was missing that what was remembered says nothing; `skipped` bins never come."""

    skipped: int


class Ended(msgspec.Struct, frozen=True):
    """The rig says that the stream is over."""


class Described(msgspec.Struct, frozen=True):
    """The rig sent its descriptor."""

    descriptor: Descriptor


class Announced(msgspec.Struct, frozen=True):
    """The samples that follow are of the rig with this descriptor; 0 for one that sends no identities."""

    descriptor_hash: int


Event = Closed | Started | Reset | Ended | Described | Announced


class EventSink(Protocol):
    """Who takes events, each as soon as it happens; a list will do."""

    def append(self, event: Event, /) -> None:
        """Take one."""


class BinStage:
    """Turns the frames of one source into bins.

    Args:
        stream: The stream that is expected.
        front_end: The signal chain.
        intake: How packets are put in order.
        thresholds_uv: Thresholds of a file, which go before the bundle's.
        counters: Where to count.

    Raises:
        ConfigError: The settings do not fit the stream.
    """

    def __init__(
        self,
        stream: StreamSpec,
        front_end: FrontEndSettings,
        intake: IntakeSettings | None = None,
        thresholds_uv: tuple[float, ...] | None = None,
        counters: Counters | None = None,
    ) -> None:
        intake = intake or IntakeSettings()
        self.stream = stream
        self.front_end = front_end
        self.rate = Rate(stream.rate_num, stream.rate_den)
        self.clock = self.hops = BinClock(self.rate, front_end.bin_ms)
        self.counters = counters or Counters()
        self.intake = Intake(intake, self.counters)
        self.notes: list[str] = []
        self.noise: Noise | None = None
        self.last_packet: Packet | Stamp | None = None
        self.spans = 0
        kind = KINDS[stream.kind]
        uv_per_bit = stream.uv_per_bit if kind is Kind.WIDEBAND else None
        block = BinClock(self.rate, 1.0)
        # The kernel multiplies sample indices by the denominator of its blocks, in 64 bits.
        furthest = (2**63 - 1) // block.den - 2 * block.longest if kind is Kind.WIDEBAND else FURTHEST_SAMPLE
        self._regular = RegularPath(furthest)
        within = self._across if kind is Kind.COUNTS else None
        self.intake.expect(kind, stream.n_channels, self.rate, uv_per_bit, furthest, within)
        self._blanking = Blanking(self._over_blocks(block) if kind is Kind.WIDEBAND else int)
        self._announced: int | None = None
        self._reset_samples = samples_in(self.rate, intake.reset_after_ms)
        self._source: WidebandBins | EventBins
        self._dtype: np.dtype[np.int16] | np.dtype[np.float32] | None = None
        self._listener: CrossingListener | None = None
        self._masked = self._wanted = front_end.masked
        self._known = known_thresholds(front_end.threshold, stream.n_channels, thresholds_uv)
        self._calibration: Calibration | None = None
        self._calibration_s: float | None = None
        self._adaptation: Adaptation | None = None
        self._kept: list[NDArray[np.float32]] = []
        self._at_edge: list[Callable[[], None]] = []
        self._begun = False
        if kind is Kind.WIDEBAND:
            self._make_source(np.dtype(np.int16))
        else:
            self._source = EventBins(self.clock, stream.n_channels, self._masked)

    @property
    def next_bin(self) -> int:
        """The first bin that is not closed; -1 before a stream has begun."""
        return self._source.index if self._begun else -1

    @property
    def next_edge(self) -> int:
        """The first bin after the edge at which thresholds and masks change next."""
        return self.next_bin + 1

    @property
    def packet_samples(self) -> int:
        """Samples in a packet, while they come regularly."""
        return self._regular.n_samples

    @property
    def ends_next(self) -> bool:
        """Whether the next packet will end a bin, going by the last ones."""
        return self._regular.open and self._source.until_edge <= self._regular.n_samples

    @property
    def calibrating(self) -> bool:
        """Whether thresholds are still to be found."""
        return self._calibration is not None

    @property
    def calibration_progress(self) -> float:
        """Share of the wanted signal that a calibration has seen; 1 where there is none."""
        return 1.0 if self._calibration is None else self._calibration.progress

    @property
    def thresholds_uv(self) -> NDArray[np.float64] | None:
        """Thresholds in force, `(n_channels,)`, not finite where a channel has none; None where there are none."""
        source = self._source
        return source.thresholds_uv if isinstance(source, WidebandBins) and not self.calibrating else None

    def warm_up(self) -> None:
        """Compile what the stream will need, on a throw-away copy."""
        if self.stream.kind != "wideband":
            return
        for dtype in (np.dtype(np.int16), np.dtype(np.float32)):
            twin = self._wideband(dtype)
            twin.begin(0)
            twin.push(np.zeros((self.clock.longest + 1, self.stream.n_channels), dtype))
            twin.gap(twin.position + 1)

    def packet(self, frame: bytes | memoryview) -> list[Event]:
        """Take one frame, good or bad; returns what it brought about, in order."""
        events: list[Event] = []
        self.take(frame, events)
        return events

    def take(self, frame: bytes | memoryview, events: EventSink) -> Sequence[Item] | None:
        """Take one frame, good or bad, and hand on what it brings about while it does so.

        Returns:
            What it was taken for; None for a packet that took the short way, which is one span.
        """
        regular, source = self._regular, self._source
        if regular.open and regular.n_samples <= source.until_edge:
            values = regular.samples_of(frame)
            if values is not None:
                self._go_on(frame, values, events)
                return None
        items = self.read(frame)
        self._take_all(items, events)
        if len(items) == 1 and isinstance(item := items[0], Span) and not item.skip and self._may_go_on():
            regular.learn(frame, item.packet, self.intake.expected)
        return items

    def read(self, frame: bytes | memoryview) -> Sequence[Item]:
        """Put one frame, good or bad, in order, for `take_item` of this stage and of those that `join` it."""
        self._regular.open = False
        try:
            packet = decode_packet(frame)
        except PacketError as error:
            self.intake.malformed(error.reason, str(error))
            return ()
        return self.intake.accept(packet)

    def _may_go_on(self) -> bool:
        """Whether nothing but the next samples has to be looked at."""
        source = self._source
        return (
            isinstance(source, WidebandBins)
            and source.filtered is None
            and source.position >= source.settled_at
            and not self._blanking.waiting
            and self.intake.undisturbed
        )

    def _go_on(self, frame: bytes | memoryview, values: NDArray[np.int16], events: EventSink) -> None:
        """Take a packet that goes on as the last one did, up to the end of the open bin at most."""
        regular, source = self._regular, self._source
        assert isinstance(source, WidebandBins)
        self.intake.go_on(regular.n_samples)
        self.spans += 1
        closed = source.run(values, HEADER_VALUES, regular.n_samples)
        if closed is not None:
            self.last_packet = regular.stamp(frame)
            self._closed([closed], events)

    def flush(self) -> list[Event]:
        """Give up waiting for missing packets; for the end of an input."""
        events: list[Event] = []
        self.take_held(events)
        return events

    def take_held(self, events: EventSink) -> None:
        """Give up waiting for missing packets, and hand on what that brings about while it does so."""
        self._take_all(self.intake.flush(), events)

    def listen(self, listener: CrossingListener | None) -> None:
        """Tell a listener, and no other, of crossings before their bin is closed; of a stream of samples, that is."""
        self._listener = listener
        if isinstance(self._source, WidebandBins):
            self._source.listen(listener)

    def crossings_of(self, closed: Bin) -> NDArray[np.void]:
        """Crossings of the bin that a `Closed` has just announced, samples counted from its start.

        Raises:
            ConfigError: The stream is not one of samples.
        """
        return self._wideband_source("crossings").crossings_of(closed)

    def join(self, other: "BinStage") -> None:
        """Take, from here on, what another stage of the same stream reads.

        It begins in the middle of the stream, knowing what was announced: blanked stretches, and the channels that were
        left out or taken in again by command.

        Raises:
            ConfigError: Too few channels remain for the reference.
        """
        self.intake = other.intake
        self._blanking.learn(other._blanking)
        over, under = set(other._wanted), set(other.front_end.masked)
        self._take_masks(tuple(sorted((set(self._wanted) | (over - under)) - (under - over))))

    def set_thresholds(self, thresholds_uv: tuple[float | None, ...]) -> None:
        """Put thresholds in force at the next bin's edge.

        Raises:
            ConfigError: Their number or sign does not fit, or the stream has none.
        """
        values = np.array([np.nan if value is None else value for value in thresholds_uv], np.float64)
        source = self._wideband_source("thresholds")
        trial = self._wideband(np.dtype(np.int16))
        trial.set_thresholds(values, source.rms_uv)

        def apply() -> None:
            self._known = values
            self._stop_calibration()
            self._adaptation = None
            self._wideband_source("thresholds").set_thresholds(values, source.rms_uv)

        self._do_at_edge(apply)

    def recalibrate(self, seconds: float | None) -> None:
        """Begin a calibration at the next bin's edge; outputs are safe until it ends.

        Raises:
            ConfigError: The stream has no thresholds, or they are absolute.
        """
        self._wideband_source("a calibration")
        if self.front_end.threshold.mode == "absolute":
            raise ConfigError(
                "calibration: expected thresholds that follow the noise, got absolute ones; set them instead"
            )

        def apply() -> None:
            self._known = None
            self._start_calibration(seconds)

        self._do_at_edge(apply)

    def mask(self, channels: tuple[int, ...], masked: bool) -> None:
        """Leave channels out, or take them in again, at the next bin's edge.

        Raises:
            ConfigError: A channel does not exist, or too few remain for the reference.
        """
        wanted = set(self._wanted) | set(channels) if masked else set(self._wanted) - set(channels)
        unknown = [c for c in channels if not 0 <= c < self.stream.n_channels]
        if unknown:
            raise ConfigError(f"mask: expected channels 0 to {self.stream.n_channels - 1}, got {unknown[0]}")
        self._take_masks(tuple(sorted(wanted)))

    def _take_masks(self, final: tuple[int, ...]) -> None:
        if final == self._wanted == self._masked:
            return
        if self.stream.kind == "wideband":
            self._wideband(np.dtype(np.int16)).mask(final)
        self._wanted = final

        def apply() -> None:
            self._masked = final
            self._source.mask(final)

        self._do_at_edge(apply)

    def _across(self, packet: Packet) -> str | None:
        """Refuse counts that belong to two bins: nobody can tell how many to which."""
        edge = self.clock.start(self.clock.bin_of(packet.sample_index) + 1)
        if packet.end_sample <= edge:
            return None
        where = f"samples {packet.sample_index} to {packet.end_sample} across the edge at {edge}"
        return f"packet {packet.sequence}: expected counts within one bin, got {where}"

    def _over_blocks(self, block: BinClock) -> Callable[[int], int]:
        """A block is blanked as a whole, and ends at a bin's edge at the latest."""
        clocks = block, self.clock

        def over(stop: int) -> int:
            return min(clock.start(clock.bin_of(stop - 1) + 1) for clock in clocks)

        return over

    def _take_all(self, items: Sequence[Item], events: EventSink) -> None:
        for number in range(len(items)):
            self.take_item(items, number, events)

    def take_item(self, items: Sequence[Item], number: int, events: EventSink) -> None:
        """Take one of the items that were read together, and hand on what it brings about while it does so."""
        self._regular.open = False
        item = items[number]
        if isinstance(item, Gap):
            if not self._begun:
                return  # of a stream that it joined behind the gap's beginning
            if isinstance(following := items[number + 1], Span):
                # What closes its bins is the packet by which it is known.
                self.last_packet = following.packet
        self._take(item, events)

    def _take(self, item: Item, events: EventSink) -> None:
        if isinstance(item, Span):
            self._span(item, events)
        elif isinstance(item, Gap):
            self._gap(item, events)
        elif isinstance(item, Restart):
            self._begun = False
            self._blanking.clear()
            self._announced = None
            self._kept.clear()
            # The bin whose edge they waited for never ends.
            self._do_what_waited()
            if self._calibration is not None:
                self._start_calibration(self._calibration_s)
            self.notes.append(f"stream begins: epoch {item.epoch:#018x}, incarnation {item.incarnation}")
            events.append(Started(item.epoch, item.incarnation))
        elif isinstance(item, Aux):
            self._aux(item.packet, events)
        elif isinstance(item, End):
            events.append(Ended())

    def _span(self, span: Span, events: EventSink) -> None:
        packet = span.packet
        self.last_packet = packet
        self.spans += 1
        if packet.descriptor_hash != self._announced:
            self._announced = packet.descriptor_hash
            events.append(Announced(packet.descriptor_hash))
        if packet.kind is Kind.WIDEBAND and packet.data.dtype != self._dtype:
            self._make_source(packet.data.dtype)
        source = self._begin_at(span.start)
        if isinstance(source, WidebandBins):
            self._wideband_span(source, packet, span, events)
        elif packet.kind is Kind.EVENTS:
            self._events_span(source, packet, span, events)
        elif span.skip:
            # Of a recorded bin that began before, nobody can tell which counts are new.
            self.counters.gaps += 1
            self.counters.missing_samples += span.stop - span.start
            self._closed(source.gap(span.stop), events)
        else:
            self._counts_span(source, packet, events)

    def _events_span(self, source: EventBins, packet: Packet, span: Span, events: EventSink) -> None:
        offsets = packet.data["sample_offset"].astype(np.int64) - span.skip
        channels = packet.data["channel"].astype(np.int64)
        done, n = 0, span.stop - span.start
        while done < n:
            m = min(n - done, self._blanking.apply(source))
            inside = (offsets >= done) & (offsets < done + m)
            self._closed(source.push_events(m, offsets[inside] - done, channels[inside]), events)
            done += m

    def _counts_span(self, source: EventBins, packet: Packet, events: EventSink) -> None:
        self._blanking.apply(source)
        self._closed(source.push_counts(packet.n_samples, packet.data), events)

    def _wideband_span(self, source: WidebandBins, packet: Packet, span: Span, events: EventSink) -> None:
        samples = packet.data[span.skip :] if span.skip else packet.data
        if not samples.flags.c_contiguous:
            samples = np.ascontiguousarray(samples)
        done, n = 0, len(samples)
        while done < n:
            start = source.position
            m = min(n - done, source.until_edge, self._blanking.apply(source))
            if start < source.settled_at:
                m = min(m, source.settled_at - start)
            closed = source.push(samples if m == n else samples[done : done + m])
            if source.filtered is not None:
                self._keep(source, source.filtered, start)
            done += m
            if closed:
                self._closed(closed, events)

    def _keep(self, source: WidebandBins, filtered: NDArray[np.float32], start: int) -> None:
        """Keep every `MAD_STRIDE`-th settled sample of a calibration by medians."""
        first = max(start, source.settled_at)
        first += -first % MAD_STRIDE
        self._kept.append(filtered[first - start :: MAD_STRIDE, : self.stream.n_channels].copy())

    def _begin_at(self, sample_index: int) -> WidebandBins | EventBins:
        if not self._begun:
            self._begun = True
            self._source.blank(0, 0)
            self._source.begin(sample_index)
        return self._source

    def _gap(self, gap: Gap, events: EventSink) -> None:
        source = self._source
        if gap.stop - gap.start < self._reset_samples:
            self._closed(source.gap(gap.stop), events)
            return
        self._closed(source.gap(min(gap.stop, source.position + source.until_edge)), events)
        before = source.index
        if gap.stop > source.position:
            source.begin(gap.stop)
        events.append(Reset(source.index - before))

    def _aux(self, packet: Packet, events: EventSink) -> None:
        if packet.kind is Kind.DESCRIPTOR:
            self._announced = None
            events.append(Described(packet.data))
        elif packet.kind is Kind.MARKERS:
            for offset, code in zip(packet.data["sample_offset"], packet.data["code"], strict=True):
                sample = packet.sample_index + int(offset)
                if code == MarkerCode.BLANK_START:
                    self._blanking.start(sample)
                elif code == MarkerCode.BLANK_END:
                    self._blanking.stop(sample)

    def _closed(self, bins: list[Bin], events: EventSink) -> None:
        """Count each closed bin, let thresholds learn from it, and carry out what waited for its edge."""
        for closed in bins:
            length = closed.end - closed.start
            self.counters.artefact_samples += closed.artefact
            self.counters.settling_samples += length - closed.observed - closed.missing - closed.artefact
            if closed.railing:
                self.counters.railing_samples += closed.railing * length
            events.append(Closed(closed, self._calibration is None))
            self._learn(closed)
            self._do_what_waited()

    def _do_what_waited(self) -> None:
        if self._at_edge:
            for action in self._at_edge:
                action()
            self._at_edge.clear()
            self._regular.open = False

    def _learn(self, closed: Bin) -> None:
        if self._calibration is not None:
            kept = np.concatenate(self._kept) if self._kept else None
            self._kept.clear()
            self._calibration.add(closed, kept)
            noise = self._calibration.finish()
            if noise is not None:
                self._stop_calibration()
                self._put_in_force(noise)
                self._say_thresholds(noise, closed.end)
        elif self._adaptation is not None:
            noise = self._adaptation.add(closed)
            if noise is not None:
                self._put_in_force(noise)
                self.notes.append(
                    f"thresholds adapted at sample {closed.end}: median RMS {np.median(noise.rms_uv):.2f} uV"
                )

    def _put_in_force(self, noise: Noise) -> None:
        source = self._wideband_source("thresholds")
        source.set_thresholds(thresholds_from(self.front_end.threshold, noise), noise.rms_uv)
        self.noise = noise
        if self._adaptation is None and self.front_end.threshold.adapt_every_s is not None:
            self._adaptation = Adaptation(self.front_end.threshold, self.front_end.bin_ms, noise)

    def _say_thresholds(self, noise: Noise, sample_index: int) -> None:
        source = self._wideband_source("thresholds")
        disabled = np.flatnonzero(~np.isfinite(source.thresholds_uv))
        self.notes.append(
            f"calibrated at sample {sample_index} on {noise.clean_s:.1f} s: median RMS "
            f"{np.median(noise.rms_uv):.2f} uV, {in_words(disabled.tolist())} disabled"
        )

    def _make_source(self, dtype: np.dtype[np.int16] | np.dtype[np.float32]) -> None:
        """Build the chain for a stream of this type; thresholds that are known come into force."""
        old = None if self._dtype is None else self._wideband_source("thresholds")
        source = self._wideband(dtype)
        self._source, self._dtype = source, dtype
        if self._listener is not None:
            source.listen(self._listener)
        source.mask(self._masked)
        if self._known is not None:
            source.set_thresholds(self._known, np.full(self.stream.n_channels, np.nan, np.float32))
        elif old is not None and not self.calibrating:
            source.set_thresholds(old.thresholds_uv, old.rms_uv)
        else:
            self._start_calibration(self._calibration_s)

    def _wideband(self, dtype: np.dtype[np.int16] | np.dtype[np.float32]) -> WidebandBins:
        return wideband_bins(self.stream, self.front_end, dtype)

    def _start_calibration(self, seconds: float | None) -> None:
        front_end = self.front_end
        self._calibration_s = seconds
        self._calibration = Calibration(front_end.threshold, front_end.artefact, self.rate, seconds)
        self._adaptation = None
        self._kept.clear()
        source = self._wideband_source("a calibration")
        n = self.stream.n_channels
        source.set_thresholds(np.full(n, np.nan), np.full(n, np.nan, np.float32))
        source.filtered = np.empty((0, 0), np.float32) if self._calibration.wants_samples else None

    def _stop_calibration(self) -> None:
        self._calibration = None
        self._wideband_source("a calibration").filtered = None

    def _wideband_source(self, what: str) -> WidebandBins:
        if not isinstance(self._source, WidebandBins):
            raise ConfigError(f"{what}: expected a wideband stream, got {self.stream.kind}")
        return self._source

    def _do_at_edge(self, action: Callable[[], None]) -> None:
        if self._begun:
            self._at_edge.append(action)
        else:
            action()


def wideband_bins(
    stream: StreamSpec, front_end: FrontEndSettings, dtype: np.dtype[np.int16] | np.dtype[np.float32]
) -> WidebandBins:
    """Make the signal chain of a stream of samples, and compile its kernels where they are not in the cache.

    Raises:
        ConfigError: The settings do not fit the stream.
    """
    banks = tuple(electrode.bank for electrode in stream.electrodes)
    rate = Rate(stream.rate_num, stream.rate_den)
    return WidebandBins(front_end, rate, stream.n_channels, stream.uv_per_bit, dtype, banks)

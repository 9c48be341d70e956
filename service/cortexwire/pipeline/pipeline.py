"""The engine's logic as one pure object: packets, ticks and commands go in, outputs come out.

It has no socket, no clock and no thread. The live engine, the offline decoder, training and the tests feed the same
object, which is why live equals offline. Times that are given to it are written on outputs and decide one thing
only: at ticks, which bins get a safe output because their deadline has passed.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.hop import hop_of
from cortexwire.decoders.overlay import Overlay
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline import commands
from cortexwire.pipeline.bin_stage import Announced, BinStage, Closed, Described, Ended, Event, Reset, Started
from cortexwire.pipeline.channels import ChannelReport, ChannelWatch
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.deadlines import Deadlines
from cortexwire.pipeline.decode_stage import NONFINITE, UNOBSERVED, WARMING, DecodeStage, validity_of
from cortexwire.pipeline.hop_stage import HopStage, HopWatch
from cortexwire.pipeline.identity import Identity
from cortexwire.pipeline.interleaved import InterleavedStage
from cortexwire.pipeline.output_stage import OutputStage
from cortexwire.pipeline.rehearsal import MOST_OF_A_PACKET, Rehearsal
from cortexwire.pipeline.safety import SafeOutput
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.signal.binning import Bin
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.types import Rate
from cortexwire.wire import Clock, Clocks, Executor, OutFlag, OutKind, Output, Times, Validity, encode_output

EXECUTORS: Final = {"onnx": Executor.ONNX, "incremental": Executor.INCREMENTAL}
OWN_TENSORS: Final = ("velocity", "counts", "band_power")
"""Tensors of a message that do not come from the decoder as they are."""
_ARMED, _BLOCKED, _CALIBRATING, _COMMAND, _DEADLINE, _ENDED, _LATE, _NEUTRAL = (
    flag.value
    for flag in (
        OutFlag.ARMED,
        OutFlag.BLOCKED,
        OutFlag.CALIBRATING,
        OutFlag.COMMAND,
        OutFlag.DEADLINE,
        OutFlag.ENDED,
        OutFlag.LATE,
        OutFlag.NEUTRAL,
    )
)
_REASONS: Final = NONFINITE | UNOBSERVED | WARMING
"""Why a decoded bin may not be a command."""
MAX_NOTES: Final = 1000
"""Notes kept for whoever drains them; the oldest go first."""


def front_end_of(bundle: Bundle, overrides: dict[str, Any] | None = None) -> FrontEndSettings:
    """The bundle's signal chain, with an operator's changes laid over it.

    Raises:
        BundleError: The bundle's front end, or what the changes make of it, is not a valid chain.
    """
    try:
        return FrontEndSettings.model_validate(_merged(bundle.manifest.front_end, overrides or {}))
    except ValidationError as error:
        faults = "; ".join(
            f"front_end.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        )
        raise BundleError(f"{bundle.path}: {faults}") from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _check_outputs(bundle: Bundle) -> None:
    """Refuse a bundle whose outputs no message could carry, or that would stand for something else there."""
    served = [spec.name for spec in bundle.manifest.outputs_of("velocity")]
    others = [spec for spec in bundle.manifest.outputs if spec.role != "state" and spec.name not in served]
    taken = [spec.name for spec in others if spec.name in OWN_TENSORS]
    if taken:
        raise BundleError(f"{bundle.path}: expected outputs not called {', '.join(OWN_TENSORS)}, got {taken[0]!r}")
    tensors: dict[str, NDArray[Any]] = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in others}
    try:
        encode_output(Output(OutKind.DECODED, 0, 0, 0, tensors=tensors))
    except ConfigError as error:
        raise BundleError(f"{bundle.path}: expected outputs that a message can carry, got {error}") from error


class _Sink:
    """Handles each event as it happens."""

    def __init__(self, handle: Callable[[Event], None]) -> None:
        self.append = handle


class Pipeline:
    """Decodes one source.

    Args:
        settings: Everything around the bundle.
        decoder: The executor of the bundle.
        armed: Whether decoded bins are commands from the start (where nothing blocks it).
        thresholds_uv: Thresholds of a file; they go before the bundle's.
        front_end: Changes of the bundle's signal chain.
        now_ns: Reads the clock for the time stamps of the stages; None leaves them out. It decides nothing.
        load_overlay: Finds the overlay that a command names.
        rehearse: Whether the end of a bin is rehearsed one packet before; it changes nothing but how long that takes.

    Raises:
        BundleError: The bundle's front end is not valid.
        ConfigError: Settings do not fit the stream that the bundle is for.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        decoder: Decoder,
        *,
        armed: bool = False,
        thresholds_uv: tuple[float, ...] | None = None,
        front_end: dict[str, Any] | None = None,
        now_ns: Callable[[], int] | None = None,
        load_overlay: Callable[[commands.ApplyOverlay], Overlay] | None = None,
        rehearse: bool = False,
    ) -> None:
        bundle = decoder.bundle
        manifest = bundle.manifest
        stream = manifest.stream
        hop = hop_of(manifest)
        chain = front_end_of(bundle, front_end)
        if chain.bin_ms != stream.bin_ms or chain.features != manifest.features.content:
            raise BundleError(
                f"{bundle.path}: expected {stream.bin_ms} ms bins of {list(manifest.features.content)}, "
                f"the front end makes {chain.bin_ms} ms bins of {list(chain.features)}"
            )
        if stream.kind != "wideband" and chain.features != ("counts",):
            raise BundleError(f"{bundle.path}: a stream of {stream.kind} has counts only, got {chain.features}")
        _check_outputs(bundle)
        self.outputs_per_bin = hop.parts
        self.counters = Counters()
        around = settings.intake, thresholds_uv, self.counters
        self.bins = HopStage(stream, chain, hop.parts, *around) if hop.parts > 1 else BinStage(stream, chain, *around)
        self.identity = Identity(settings.identity, stream.electrodes, manifest.training.channel_rates_hz)
        self._rate = Rate(stream.rate_num, stream.rate_den)
        output = OutputStage(settings.output, hop.ms(stream.bin_ms) / 1000)
        self._decode: DecodeStage | InterleavedStage
        self._decode = InterleavedStage(decoder, output, hop.parts) if hop.interleaved else DecodeStage(decoder, output)
        if hop.parts == 1:
            # The crossings of the open bin are not those of a bin that overlaps it.
            self._decode.follow(self.bins)
        self._settle = self._decode.settle if hop.interleaved else decoder.settle
        self._decoder = decoder
        self._bundle_hash = bundle.hash
        self._executor = EXECUTORS[decoder.executor]
        self._deadlines = Deadlines(settings.deadline, self.bins.hops, self._rate, settings.intake.reset_after_ms)
        self._safe = SafeOutput(settings.safety, self._rate)
        self._valid_for_ms = float(np.float32(settings.safety.valid_for_ms))
        self._gives_power = "band_power" in chain.features
        watched = stream.n_channels, stream.bin_ms / 1000, settings.identity.window_s
        self._watch = HopWatch(*watched, hop.parts) if hop.parts > 1 else ChannelWatch(*watched)
        self._armed = armed
        self._now = now_ns
        self._load_overlay = load_overlay
        self._epoch = 0
        self._incarnation = 0
        self._state = "waiting"
        self._decoding = False
        self._received_ns: int | None = None
        self._binned_ns = 0
        self._notes: list[str] = []
        self._outputs: list[Output] = []
        self._events = _Sink(self._handle)
        self._unsettled: list[tuple[Bin, bool]] = []
        self._settings = settings
        self._rehearses = rehearse
        self._rehearsal: Rehearsal | None = None
        least_ms = hop.ms(stream.bin_ms) + (settings.deadline.deadline_ms or 0.0)
        if settings.safety.valid_for_ms < least_ms:
            self._notes.append(
                f"commands expire before the next one comes: expected safety.valid_for_ms of at least {least_ms:g} "
                f"(bin and deadline), got {settings.safety.valid_for_ms:g}"
            )
        self._last_fault = ""

    @property
    def n_channels(self) -> int:
        """Channels that the bundle expects."""
        return self.bins.stream.n_channels

    @property
    def rate(self) -> Rate | None:
        """Sample rate that the bundle expects."""
        return self._rate

    @property
    def next_due_ns(self) -> int | None:
        """When the next deadline passes, on the clock of the times given; None where none is set."""
        return self._deadlines.next_due_ns(self.bins.next_bin)

    @property
    def armed(self) -> bool:
        """Whether commands are given now: armed, and nothing blocks it."""
        return self._armed and not self.identity.blocks_arming

    @property
    def state(self) -> str:
        """One of waiting, calibrating, running, refused, ended."""
        if self._state != "running":
            return self._state
        if self.identity.refused:
            return "refused"
        return "calibrating" if self.bins.calibrating else "running"

    def warm_up(self) -> None:
        """Compile the front end and run the decoder on throw-away data."""
        self.bins.warm_up()
        self._decoder.warm_up()
        if self._rehearses:
            try:
                self._rehearsal = Rehearsal(self._twin, self._settings, self._decoder, self.bins.front_end)
            # What only saves time stops no engine.
            except Exception as error:
                self._notes.append(f"bins are not rehearsed: {type(error).__name__}: {error}")

    def _twin(self, settings: PipelineSettings, decoder: Decoder) -> "Pipeline":
        return Pipeline(settings, decoder, now_ns=self._now)

    def rehearse(self) -> None:
        """Run the end of a bin on throw-away data if the next packet will end one; for when nothing else is to do."""
        rehearsal = self._rehearsal
        if rehearsal is not None and self.bins.ends_next:
            packet_ns = self.bins.packet_samples * 1e9 / self._rate.hz
            if rehearsal.takes_ns < MOST_OF_A_PACKET * packet_ns:
                try:
                    rehearsal()
                except Exception as error:  # as above
                    self._rehearsal = None
                    self._notes.append(f"bins are no longer rehearsed: {type(error).__name__}: {error}")

    def packet(self, frame: bytes | memoryview, received_ns: int | None = None) -> list[Output]:
        """Take one frame, whatever it holds.

        Args:
            frame: The message as it came.
            received_ns: When it came, on the clock that ticks use; None in a recording, which has no deadlines.

        Returns:
            The outputs that it brings about, in order.
        """
        if self._unsettled:
            self.settle()
        bins = self.bins
        before = bins.spans
        self._received_ns = received_ns
        outputs: list[Output] = []
        self._outputs = outputs
        bins.take(frame, self._events)
        position = bins.intake.position
        if position is not None and bins.spans != before:
            self._deadlines.observe(position, received_ns)
        return outputs

    def settle(self) -> None:
        """Do what can wait until outputs are out; it happens by itself before anything else is taken.

        So that when it runs makes no difference but in time.
        """
        for closed, decoded in self._unsettled:
            self._notes += self._watch.changes(closed)
            if decoded:
                self._watch.smooth(closed)
        self._unsettled.clear()
        self._settle()

    def finish(self) -> list[Output]:
        """The input is over: use what was held back to wait for missing packets."""
        return self._flush()

    def _flush(self) -> list[Output]:
        self.settle()
        outputs: list[Output] = []
        self._outputs = outputs
        self.bins.take_held(self._events)
        return outputs

    def tick(self, now_ns: int) -> list[Output]:
        """Take the time: bins whose deadline has passed get a safe output.

        Whoever waits for missing packets has waited long enough then. After a stall many bins are due at once, and only
        the last of them is a command: what was right for the others is over.
        """
        if not self._deadlines.is_due(now_ns, self.bins.next_bin):
            return []
        outputs = self._flush()
        due = self._deadlines.bins_due(now_ns, self.bins.next_bin)
        for index in due:
            end = self.bins.hops.start(index + 1)
            last = index == due[-1]
            outputs.append(self._safe_output(index, end, _DEADLINE, Validity.STALE, None, command=last))
        return outputs

    def command(self, command: commands.Command) -> tuple[int, str | None, list[Output]]:
        """Take a command.

        Returns:
            The first bin that it acts on, why it was turned down (or None), and outputs.
        """
        self.settle()
        try:
            return self._carry_out(command), None, []
        except (ConfigError, BundleError) as error:
            return self.bins.next_bin, str(error), []

    def channel_report(self) -> ChannelReport:
        """Rates, noise, thresholds and status of every channel."""
        self.settle()
        thresholds, noise = self.bins.thresholds_uv, self.bins.noise
        return self._watch.report(thresholds, None if noise is None else noise.rms_uv)

    def drain_notes(self) -> list[str]:
        """What is worth saying since the last call; faults of packets only in their newest form."""
        self.settle()
        notes = self._notes + self.bins.notes
        fault = self.bins.intake.last_fault
        if fault != self._last_fault:
            self._last_fault = fault
            notes.append(fault)
        self._notes, self.bins.notes = [], []
        return notes[-MAX_NOTES:]

    def _carry_out(self, command: commands.Command) -> int:
        here = self.bins.next_bin
        match command:
            case commands.Arm():
                if self.identity.blocks_arming:
                    raise ConfigError(f"not armed: {self.identity.why}")
                if not self._armed:
                    self._decode.output.reset()
                self._armed = True
            case commands.Disarm():
                self._armed = False
            case commands.Neutral(on=on):
                self._safe.stop(on)
                self._decode.output.reset()
            case commands.SetGain(gain=gain):
                self._decode.output.set_gain(gain)
            case commands.SetOffset(offset=offset):
                self._decode.output.set_offset(offset)
            case commands.SetThresholds(thresholds_uv=thresholds):
                self.bins.set_thresholds(thresholds)
                return self.bins.next_edge
            case commands.Recalibrate(seconds=seconds):
                self.bins.recalibrate(seconds)
                return self.bins.next_edge
            case commands.Mask(channels=channels, masked=masked):
                self.bins.mask(channels, masked)
                return self.bins.next_edge
            case commands.ApplyOverlay():
                if self._load_overlay is None:
                    raise ConfigError("overlay: expected a pipeline that can load overlays")
                self._decoder.apply(self._load_overlay(command))
            case commands.RollbackOverlay():
                self._decoder.rollback()
            case commands.ConfirmIdentity():
                self.identity.confirm()
            case commands.Mark(code=code, value=value):
                self._notes.append(f"mark {code} at bin {here}: {value}")
        return here

    def _handle(self, event: Event) -> None:
        match event:
            case Closed(bin=closed, calibrated=calibrated):
                self._state = "running"
                self._bin(closed, calibrated, self._outputs)
            case Started(epoch=epoch, incarnation=incarnation):
                self._start(epoch, incarnation)
            case Reset(skipped=skipped):
                self.counters.skipped_bins += skipped
                self._reset()
            case Ended():
                self._outputs.append(self._end())
            case Announced(descriptor_hash=descriptor_hash):
                self.identity.announced(descriptor_hash)
            case Described(descriptor=descriptor):
                refused = self.identity.refused
                self.identity.descriptor(descriptor)
                if self.identity.refused and not refused:
                    self._notes.append(f"stream refused: {self.identity.why}")

    def _start(self, epoch: int, incarnation: int) -> None:
        if epoch != self._epoch:
            self.identity.reset()
            self._watch.restart_measuring()
        self._epoch, self._incarnation = epoch, incarnation
        self._state = "running"
        self._safe.reset()
        self._deadlines.reset()
        self._decode.reset()

    def _reset(self) -> None:
        self.counters.resets += 1
        self._decode.reset()

    def _end(self) -> Output:
        self._safe.reset()
        self._state = "ended"
        # Its message may be the command of a bin that gets no other, and no tick makes one after it.
        index = self._deadlines.hand_over(max(self.bins.next_bin, 0))
        self._deadlines.reset(index + 1)
        end = self.bins.hops.start(index + 1)
        return self._safe_output(index, end, _ENDED, Validity.STALE, None)

    def _bin(self, closed: Bin, calibrated: bool, outputs: list[Output]) -> None:
        late = self._deadlines.is_late(closed.index)
        validity = validity_of(closed)
        if self._now is not None:
            self._binned_ns = self._now()
        if not calibrated or self.identity.refused:
            self._decode.skip()
            if self._decoding:
                self._decoding = False
                self._reset()
            reason = _BLOCKED if calibrated else _CALIBRATING
            if not late:
                outputs.append(self._safe_output(closed.index, closed.end, reason, validity, closed))
            self._unsettled.append((closed, False))
            return
        self._decoding = True
        self._count(validity)
        self._unsettled.append((closed, True))
        if self._watch.measuring:
            rates = self._watch.measure(closed)
            if rates is not None:
                self.identity.rates(rates)
        decoded = self._decode.step(closed, validity)
        flags, counters = decoded.flags, self.counters
        if flags & NONFINITE:
            counters.nonfinite_bins += 1
        if late:
            flags |= _LATE
            counters.late_bins += 1
        usable = decoded.usable and not self._safe.stopped
        tensors = decoded.tensors
        tensors["velocity"] = decoded.velocity
        tensors["counts"] = closed.counts
        if self._gives_power and closed.power is not None:
            tensors["band_power"] = closed.power
        counters.decoded_bins += 1
        command = usable and not late
        kind = OutKind.DECODED
        outputs.append(self._output(kind, closed.index, closed.end, flags, validity, closed, tensors, command))
        if late:
            return
        if usable:
            self._safe.good(decoded.velocity, closed.end)
        else:
            reason = decoded.flags & _REASONS
            outputs.append(self._safe_output(closed.index, closed.end, reason, validity, closed))

    def _count(self, validity: Validity) -> None:
        if validity is Validity.PARTIAL:
            self.counters.partial_bins += 1
        elif validity is Validity.STALE:
            self.counters.stale_bins += 1

    def _safe_output(
        self,
        index: int,
        end: int,
        reason: int,
        validity: Validity,
        closed: Bin | None,
        *,
        command: bool = True,
    ) -> Output:
        safe = self._safe.at(end)
        flags = reason | (_NEUTRAL if safe.neutral else 0)
        self.counters.safe_bins += 1
        tensors: dict[str, NDArray[Any]] = {"velocity": safe.velocity}
        return self._output(OutKind.SAFE, index, end, flags, validity, closed, tensors, command)

    def _output(
        self,
        kind: OutKind,
        index: int,
        end: int,
        flags: int,
        validity: Validity,
        closed: Bin | None,
        tensors: dict[str, NDArray[Any]],
        command: bool,
    ) -> Output:
        if self._armed:
            flags |= _BLOCKED if self.identity.blocks_arming else _ARMED | _COMMAND if command else _ARMED
        overlay, packet = self._decoder.overlay, self.bins.last_packet
        times, clocks = self._stamps(closed is not None)
        return Output(
            kind,
            self._epoch,
            index,
            end,
            validity,
            OutFlag(flags),
            self._valid_for_ms,
            0.0 if closed is None else closed.observed_fraction,
            0 if packet is None else packet.source,
            self._executor if kind is OutKind.DECODED else Executor.NONE,
            self._bundle_hash,
            0 if overlay is None else overlay.hash,
            self._incarnation,
            0 if closed is None else closed.missing,
            times,
            clocks,
            tensors,
        )

    def _stamps(self, of_packet: bool) -> tuple[Times, Clocks]:
        """Times of the packet that closed the bin, and of the stages; none for an output that a tick made."""
        packet = self.bins.last_packet
        if not of_packet or packet is None:
            return Times(), Clocks()
        live = self._now is not None and self._received_ns is not None
        host = Clock.MONOTONIC if live else Clock.NONE
        received = Clock.NONE if self._received_ns is None else Clock.MONOTONIC
        times = Times(
            packet.acquired_ns,
            packet.sent_ns,
            self._received_ns or 0,
            self._binned_ns if live else 0,
            self._now() if live and self._now is not None else 0,
        )
        return times, Clocks(packet.acquired_clock, packet.sent_clock, received, host, host)

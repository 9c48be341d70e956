"""The engine's logic as one pure object: packets, ticks and commands go in, outputs come out.

It has no socket, no clock and no thread. The live engine, the offline decoder, training and the tests feed the same
object, which is why live equals offline. Times that are given to it are written on outputs and decide one thing
only: at ticks, which bins get a safe output because their deadline has passed.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.overlay import Overlay
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline import commands
from cortexwire.pipeline.bin_stage import Announced, Closed, Described, Ended, Event, Reset, Started
from cortexwire.pipeline.channels import ChannelReport
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.deadlines import Deadlines
from cortexwire.pipeline.decode_stage import NONFINITE, UNOBSERVED, WARMING, validity_of
from cortexwire.pipeline.output_stage import OutputStage
from cortexwire.pipeline.rehearsal import MOST_OF_A_PACKET, Rehearsal
from cortexwire.pipeline.safety import SafeOutput
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.pipeline.strand import EXECUTORS, OWN_TENSORS, Strand, differences, front_end_of
from cortexwire.pipeline.swap import Swap, Take
from cortexwire.signal.binning import Bin
from cortexwire.types import Rate, Velocity
from cortexwire.wire import Clock, Clocks, Executor, OutFlag, OutKind, Output, Times, Validity

__all__ = ["EXECUTORS", "MAX_NOTES", "OWN_TENSORS", "Pipeline", "front_end_of"]

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
BEHIND_S: Final = 0.001
"""What is waited now and then where something is made behind a running engine's back."""
MAX_NOTES: Final = 1000
"""Notes kept for whoever drains them; the oldest go first."""


def _nothing(*_: object) -> None:
    pass


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
        load_strand: Finds the bundle that a command names, as `strand_of` made it.
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
        load_strand: Callable[[commands.AttachBundle], Strand] | None = None,
        rehearse: bool = False,
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._around = thresholds_uv, front_end
        strand = Strand(settings, decoder, thresholds_uv, front_end, self.counters)
        stream, hop = strand.bundle.manifest.stream, strand.hop
        self.outputs_per_bin = hop.parts
        self._rate = Rate(stream.rate_num, stream.rate_den)
        self._output_stage = OutputStage(settings.output, hop.ms(stream.bin_ms) / 1000)
        strand.stage.output = self._output_stage
        self._rehearsal: Rehearsal | None = None
        self._strand = strand
        self.take_up(strand)
        self._swap = Swap(self, self._output_stage)
        self.route(strand.bins.take, self.handle)
        self._deadlines = Deadlines(settings.deadline, self.bins.hops, self._rate, settings.intake.reset_after_ms)
        self._safe = SafeOutput(settings.safety, self._rate)
        self._valid_for_ms = float(np.float32(settings.safety.valid_for_ms))
        self._armed = armed
        self._now = now_ns
        self._load_overlay = load_overlay
        self._load_strand = load_strand
        self._epoch = 0
        self._incarnation = 0
        self._state = "waiting"
        self._received_ns: int | None = None
        self._binned_ns = 0
        self._notes: list[str] = []
        self._outputs: list[Output] = []
        self._unsettled: list[tuple[Bin, Velocity | None]] = []
        self._rehearses = rehearse
        self.shadow_ns = 0
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
    def strand(self) -> Strand:
        """The bundle in command, and what it takes to decode by it."""
        return self._strand

    @property
    def epoch(self) -> int:
        """Epoch of the stream."""
        return self._epoch

    @property
    def wants_armed(self) -> bool:
        """Whether it is armed, blocked or not."""
        return self._armed

    @property
    def decoded_raw(self) -> Velocity | None:
        """The velocity of the bin handled last as it was decoded, `(2,)`; None if it was not."""
        return self._unsettled[-1][1]

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

    @property
    def in_force(self) -> tuple[int, int]:
        """Hashes of the bundle and of the overlay in command, as outputs have them."""
        overlay = self._decoder.overlay
        return self._bundle_hash, 0 if overlay is None else overlay.hash

    def take_up(self, strand: Strand) -> None:
        """Put a strand in command; for `Swap`."""
        self._strand.rehearsal = self._rehearsal
        self._strand = strand
        self.bins, self.identity, self._watch = strand.bins, strand.identity, strand.watch
        self._decode, self._decoder, self._settle = strand.stage, strand.decoder, strand.settle
        self._bundle_hash, self._executor, self._gives_power = strand.bundle.hash, strand.executor, strand.gives_power
        self._rehearsal = strand.rehearsal

    def route(self, take: Take, handle: Callable[[Event], None]) -> None:
        """Say who takes frames, and who handles the events of the bins in command; for `Swap`."""
        self._take = take
        self._events = _Sink(handle)

    def note(self, text: str) -> None:
        """Say something."""
        self._notes.append(text)

    def close(self) -> None:
        """Refer to itself no more: where nothing collects garbage, a pipeline that is used no more stays otherwise."""
        self.route(_nothing, _nothing)
        del self._swap

    def strand_of(self, decoder: Decoder) -> Strand:
        """Make all that it takes to decode by another bundle, warmed; any thread may.

        Raises:
            BundleError: It cannot be served, or cannot run beside the one that is.
            ConfigError: Settings do not fit it.
        """
        bundle, other = self._strand.bundle, decoder.bundle
        if found := differences(bundle, other):
            raise BundleError(
                f"cold-only: {other.path} cannot run beside {bundle.path}: {'; '.join(found)}. Disarm, and start the "
                "engine with that bundle"
            )
        mine, theirs = (found.manifest.stream.electrodes for found in (bundle, other))
        if mine and theirs and mine != theirs:
            raise BundleError(f"{other.path}: was trained on another array than {bundle.path}: electrodes differ")
        strand = Strand(self._settings, decoder, *self._around)
        strand.bins.warm_up()
        decoder.warm_up()
        strand.rehearsal = self._rehearsed(strand, BEHIND_S)
        return strand

    def warm_up(self) -> None:
        """Compile the front end and run the decoder on throw-away data."""
        self.bins.warm_up()
        self._decoder.warm_up()
        self._rehearsal = self._rehearsed(self._strand)

    def _rehearsed(self, strand: Strand, pause_s: float = 0.0) -> Rehearsal | None:
        if self._rehearses:
            try:
                return Rehearsal(self._twin, self._settings, strand.decoder, strand.chain, pause_s)
            # What only saves time stops no engine.
            except Exception as error:
                self._notes.append(f"bins are not rehearsed: {type(error).__name__}: {error}")
        return None

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
        self._take(frame, self._events)
        position = bins.intake.position
        if position is not None and bins.spans != before:
            self._deadlines.observe(position, received_ns)
        return outputs

    def settle(self) -> None:
        """Do what can wait until outputs are out; it happens by itself before anything else is taken.

        So that when it runs makes no difference but in time.
        """
        for closed, raw in self._unsettled:
            self._notes += self._watch.changes(closed)
            if raw is not None:
                self._watch.smooth(closed)
        self._unsettled.clear()
        self._settle()
        if self._swap.shadows:
            began = 0 if self._now is None else self._now()
            self._swap.follow()
            if self._now is not None:
                self.shadow_ns += self._now() - began

    def finish(self) -> list[Output]:
        """The input is over: use what was held back to wait for missing packets."""
        return self._flush()

    def _flush(self) -> list[Output]:
        self.settle()
        outputs: list[Output] = []
        self._outputs = outputs
        if self._swap.shadows:
            self._swap.take_held()
        else:
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
            safe = self._safe_output(index, end, _DEADLINE, Validity.STALE, None, command=last)
            self._swap.name(safe)
            outputs.append(safe)
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

    def describe(self) -> dict[str, Any]:
        """What an operator may want to know and changes rarely, as plain JSON values."""
        self.settle()
        bundle, identity = self._strand.bundle, self.identity
        stream = bundle.manifest.stream
        return {
            "bundle_name": bundle.manifest.name,
            "bundle_path": str(bundle.path),
            "bundle_sha256": bundle.sha256,
            "unit": bundle.manifest.velocity.unit,
            "bin_ms": stream.bin_ms,
            "hop_ms": self._strand.hop.ms(stream.bin_ms),
            "executor": self._decoder.executor,
            "provider": self._decoder.provider,
            "fingerprint": self._decoder.fingerprint,
            "valid_for_ms": self._settings.safety.valid_for_ms,
            "wants_armed": self._armed,
            "neutral": self._safe.stopped,
            **self._output_stage.describe(),
            "identity": identity.state.value,
            "blocked": identity.blocks_arming,
            "blocked_why": identity.why or None,
            "rate_correlation": identity.correlation,
            "calibration_progress": self.bins.calibration_progress,
            **self._swap.describe(),
        }

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
                    self._output_stage.reset()
                self._armed = True
            case commands.Disarm():
                self._armed = False
            case commands.Neutral(on=on):
                self._safe.stop(on)
                self._output_stage.reset()
            case commands.SetGain(gain=gain):
                self._output_stage.set_gain(gain)
            case commands.SetOffset(offset=offset):
                self._output_stage.set_offset(offset)
            case commands.SetThresholds(thresholds_uv=thresholds):
                self.bins.set_thresholds(thresholds)
                return self.bins.next_edge
            case commands.Recalibrate(seconds=seconds):
                self.bins.recalibrate(seconds)
                return self.bins.next_edge
            case commands.Mask(channels=channels, masked=masked):
                self.bins.mask(channels, masked)
                self._swap.mask(channels, masked)
                return self.bins.next_edge
            case commands.ApplyOverlay():
                if self._load_overlay is None:
                    raise ConfigError("overlay: expected a pipeline that can load overlays")
                self._decoder.apply(self._load_overlay(command))
            case commands.RollbackOverlay():
                self._decoder.rollback()
            case commands.ConfirmIdentity():
                self.identity.confirm()
                self._swap.confirm()
            case commands.AttachBundle():
                if self._load_strand is None:
                    raise ConfigError("attach: expected a pipeline that can load bundles")
                return self._swap.attach(self._load_strand(command))
            case commands.ActivateBundle():
                return self._swap.activate(command)
            case commands.RollbackBundle():
                return self._swap.rollback()
            case commands.UnstageBundle():
                return self._swap.unstage(command)
            case commands.Mark(code=code, value=value):
                self._notes.append(f"mark {code} at bin {here}: {value}")
        return here

    def handle(self, event: Event) -> None:
        """Handle an event of the bins in command."""
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
            if self._strand.decoding:
                self._strand.decoding = False
                self._reset()
            reason = _BLOCKED if calibrated else _CALIBRATING
            if not late:
                outputs.append(self._safe_output(closed.index, closed.end, reason, validity, closed))
            self._unsettled.append((closed, None))
            return
        self._strand.decoding = True
        self._count(validity)
        if self._watch.measuring:
            rates = self._watch.measure(closed)
            if rates is not None:
                self.identity.rates(rates)
        decoded = self._decode.step(closed, validity)
        self._unsettled.append((closed, decoded.raw))
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
        packet = self.bins.last_packet
        bundle_hash, overlay_hash = self.in_force
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
            bundle_hash,
            overlay_hash,
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

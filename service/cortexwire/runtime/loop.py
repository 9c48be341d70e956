"""The hot loop: the order in which frames, ticks and commands reach the pipeline, and outputs leave it.

The clock is read once per frame and decides nothing: a tick that is due comes before the frame, a command
between two frames. What the pipeline takes is put into the tap before it is taken, and each output after it
was sent, so a log of the tap replays to the same bytes, and names the frame on which an engine fell. The loop
writes no log and waits for nothing but the next frame.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.pipeline.commands import Command
from cortexwire.pipeline.counters import NAMES as PIPELINE_COUNTERS
from cortexwire.pipeline.counters import Counters
from cortexwire.runtime.budget_watch import BudgetWatch
from cortexwire.runtime.control import ControlServer, PendingCommand
from cortexwire.runtime.ingest import Ingest
from cortexwire.runtime.notelog import NoteLog
from cortexwire.runtime.publisher import Publisher
from cortexwire.runtime.shadow_watch import ShadowWatch
from cortexwire.runtime.tap import TapWriter
from cortexwire.runtime.telemetry import PACKET_CPU, EngineStatus, TelemetryWriter
from cortexwire.types import Rate
from cortexwire.wire import Applied, Clock, Clocks, OutKind, Output, RecordKind, Start, Times, encode_output

HEARTBEAT_NS = 100_000_000
"""Telemetry is written at least this often, data or none."""
COUNTERS = (
    *("frames", "ticks", "commands", "outputs", "output_bytes", "tap_refused", "budget_breaches", "over_budget_bins"),
    *PIPELINE_COUNTERS,
)
"""Counters of the loop itself, then the pipeline's, in the order of the telemetry."""

_LONGEST_WAIT_MS = 20
_FLOWING = ("calibrating", "running")
_MS = 1_000_000
_MOST = 2**64 - 1


class ChannelReport(Protocol):
    """What the pipeline says of its channels, each array `(n_channels,)`."""

    @property
    def rates_hz(self) -> NDArray[np.float32]:
        """Crossings per second."""

    @property
    def rms_uv(self) -> NDArray[np.float32]:
        """RMS, in microvolts."""

    @property
    def thresholds_uv(self) -> NDArray[np.float32]:
        """Thresholds, in microvolts."""

    @property
    def status(self) -> NDArray[np.uint8]:
        """Flags."""


class PipelineLike(Protocol):
    """What the loop needs of a pipeline.

    Attributes:
        counters: What it counts.
        shadow_ns: Time that it has spent on what decodes in shadow.
    """

    counters: Counters
    shadow_ns: int

    @property
    def outputs_per_bin(self) -> int:
        """Outputs that come in the time of a bin."""

    @property
    def armed(self) -> bool:
        """Whether outputs may be commands now."""

    @property
    def next_due_ns(self) -> int | None:
        """When a tick is due, CLOCK_MONOTONIC; None for never."""

    @property
    def state(self) -> str:
        """One of `cortexwire.runtime.telemetry.STATES`."""

    @property
    def in_force(self) -> tuple[int, int]:
        """Hashes of the bundle and of the overlay in command, as outputs have them."""

    @property
    def n_channels(self) -> int:
        """Channels that the bundle expects."""

    @property
    def rate(self) -> Rate | None:
        """Sample rate of the stream, once known."""

    def packet(self, frame: bytes, received_ns: int) -> Sequence[Output]:
        """Take one frame, whatever it holds."""

    def tick(self, now_ns: int) -> Sequence[Output]:
        """Take the time."""

    def command(self, command: Command) -> tuple[int, str | None, Sequence[Output]]:
        """Take a command; return the bin at which it takes effect, a problem or None, and outputs."""

    def settle(self) -> None:
        """Do what could wait until outputs were out."""

    def rehearse(self) -> None:
        """Do for nothing what the next packet will bring about, so that it is quick."""

    def channel_report(self) -> ChannelReport:
        """Describe the channels."""

    def describe(self) -> Mapping[str, Any]:
        """What changes rarely, as plain JSON values; under `candidate` and `previous` who decodes in shadow."""

    def drain_notes(self) -> Sequence[str]:
        """Hand over what is worth saying since the last call."""

    def warm_up(self) -> None:
        """Compile and run everything once."""


@dataclass
class LoopParts:
    """What a loop moves data between.

    Attributes:
        tap: The tap, if there is one.
        same_host: Senders stamp with this host's CLOCK_MONOTONIC.
        silent_after_ns: A stream from which nothing came for so long is said to be silent.
        watch: Looks whether latencies stay within their budgets.
        start: What the tap says of the pipeline's beginning.
    """

    pipeline: PipelineLike
    ingest: Ingest
    publisher: Publisher
    telemetry: TelemetryWriter
    tap: TapWriter | None
    control: ControlServer
    notes: NoteLog
    same_host: bool
    silent_after_ns: int
    watch: BudgetWatch
    start: Start


class HotLoop:
    """One run of the loop.

    Attributes:
        bins: Decoded outputs published.
        frames: Messages received, whatever they held.

    Args:
        parts: What it moves data between.
        facts: What telemetry says of this run besides, as plain JSON values.
    """

    def __init__(self, parts: LoopParts, facts: Mapping[str, Any] | None = None) -> None:
        self.frames = self.ticks = self.commands = self.bins = 0
        self._parts = parts
        self._pipeline = parts.pipeline
        self._publisher = parts.publisher
        self._status = EngineStatus()
        self._told_ns = 0
        self._heard_ns = 0
        self._facts = dict(facts or {})
        self._known: dict[str, Any] = {}
        self._described_ns = 0
        self._shadows = ShadowWatch()
        histograms = parts.telemetry.histograms
        self._binned = histograms["received_to_binned"]
        self._decoded = histograms["binned_to_decoded"]
        self._published = histograms["decoded_to_published"]
        self._end_to_end = histograms["sent_to_published"]
        self._packet_cpu = histograms.get(PACKET_CPU)

    def run(self, stop: threading.Event) -> None:
        """Move data until `stop` is set; then nothing more is published."""
        pipeline, receive, control = self._pipeline, self._parts.ingest.receive, self._parts.control
        take = pipeline.packet if self._packet_cpu is None else self._timed_packet
        clock, stopped = time.monotonic_ns, stop.is_set
        now, due = clock(), pipeline.next_due_ns
        start = msgspec.structs.replace(self._parts.start, t_realtime_ns=time.time_ns())
        self._record(RecordKind.START, now, msgspec.json.encode(start))
        while not stopped():
            frame = receive(_wait_ms(now, due))
            now = clock()
            if due is not None and now >= due:
                self._tick(now)
            if frame is not None:
                self.frames += 1
                self._heard_ns = now
                self._record(RecordKind.PACKET, now, frame)
                outputs = take(frame, now)
                if outputs:
                    self._emit(outputs)
                else:
                    pipeline.settle()
                    pipeline.rehearse()
            while (pending := control.take()) is not None:
                self._command(pending)
            if now - self._told_ns >= HEARTBEAT_NS:
                self._tell()
            due = pipeline.next_due_ns

    def _timed_packet(self, frame: bytes, now: int) -> Sequence[Output]:
        began = time.thread_time_ns()
        outputs = self._pipeline.packet(frame, now)
        assert self._packet_cpu is not None
        self._packet_cpu.record(time.thread_time_ns() - began)
        return outputs

    def _tick(self, now: int) -> None:
        self.ticks += 1
        self._record(RecordKind.TICK, now, b"")
        self._emit(self._pipeline.tick(now))

    def _command(self, pending: PendingCommand) -> None:
        self.commands += 1
        self._record(RecordKind.COMMAND, time.monotonic_ns(), pending.payload)
        try:
            bin_index, problem, outputs = self._pipeline.command(pending.command)
        # Decoding goes on whatever a request does; whoever sent it is told, and so is the log.
        except Exception as error:
            problem = f"command failed: {type(error).__name__}: {error}"
            self._answer(pending, -1, problem)
            self._note(problem)
            return
        self._answer(pending, bin_index, problem)
        self._emit(outputs)

    def _answer(self, pending: PendingCommand, bin_index: int, problem: str | None) -> None:
        self._record(RecordKind.APPLIED, time.monotonic_ns(), msgspec.json.encode(Applied(bin_index, problem)))
        # Told before it is answered: whoever starts this engine anew goes on with what was answered.
        self._described_ns = 0
        self._tell()
        pending.answer(bin_index, problem)

    def _emit(self, outputs: Sequence[Output]) -> None:
        if not outputs:
            return
        sent: list[tuple[Output, int, bytes]] = []
        try:
            for output in outputs:
                now = time.monotonic_ns()
                times, clocks = output.times, output.clocks
                output.times = Times(*times[:-1], now)
                output.clocks = Clocks(*clocks[:-1], Clock.MONOTONIC)
                message = encode_output(output)
                self._publisher.send(message)
                sent.append((output, now, message))
            # What follows has time, the I/O thread has not: it may have been woken on this very CPU.
            os.sched_yield()
            self._pipeline.settle()
        finally:
            for _, now, message in sent:
                self._record(RecordKind.OUTPUT, now, message)
        for output in outputs:
            if output.kind is OutKind.DECODED:
                self.bins += 1
                self._measure(output)
        self._see(outputs[-1])
        self._tell()

    def _measure(self, output: Output) -> None:
        times, clocks = output.times, output.clocks
        # A bin that no packet of this loop closed has no time of receipt, and no latency.
        if not clocks.received == clocks.binned == clocks.decoded == Clock.MONOTONIC:
            return
        self._binned.record(times.binned_ns - times.received_ns)
        self._decoded.record(times.decoded_ns - times.binned_ns)
        self._published.record(times.published_ns - times.decoded_ns)
        sent = clocks.sent == Clock.MONOTONIC and self._parts.same_host
        if sent:
            self._end_to_end.record(times.published_ns - times.sent_ns)
        self._parts.watch.take(times, sent=sent)

    def _see(self, output: Output) -> None:
        status = self._status
        status.epoch, status.restart = output.epoch, output.restart
        status.bin, status.sample_index = output.bin, output.end_sample
        velocity = output.tensors.get("velocity")
        if velocity is not None:
            status.velocity = (float(velocity[0]), float(velocity[1]))

    def _tell(self) -> None:
        """Write telemetry, and pass on what the pipeline noted."""
        self._take_notes()
        self._refresh()
        self._parts.telemetry.publish(self._status, self._counts())
        self._told_ns = now = time.monotonic_ns()
        if now - self._described_ns >= HEARTBEAT_NS:
            self._described_ns = now
            self._describe(now)

    def _describe(self, now: int) -> None:
        """Write the facts if they changed, and see to it that shadows take no more time than there is."""
        facts = {**self._facts, **self._pipeline.describe()}
        if facts.get("candidate") or facts.get("previous"):
            too_slow = self._shadows.look(now, self._pipeline.shadow_ns, candidate=bool(facts.get("candidate")))
            if too_slow is not None:
                self._command(PendingCommand(too_slow, now))
                return
        staging = self._parts.control.staging
        if staging is not None:
            facts["candidate"] = staging.describe()
        if facts != self._known:
            self._known = facts
            self._parts.telemetry.tell(facts)

    def close(self, fault: str | None = None) -> dict[str, int]:
        """Write the last telemetry, with the fault that ended the loop if one did; return all counters."""
        self._take_notes()
        if fault is not None:
            self._status.notes += 1
            self._status.last_note = fault
        self._refresh()
        self._parts.telemetry.close(self._status, self._counts())
        return self.counters()

    def _take_notes(self) -> None:
        for note in (*self._pipeline.drain_notes(), *self._parts.watch.drain_notes()):
            self._note(note)

    def _note(self, note: str) -> None:
        self._record(RecordKind.NOTE, time.monotonic_ns(), note.encode())
        self._parts.notes.put(note)
        self._status.notes += 1
        self._status.last_note = note

    def _refresh(self) -> None:
        status, pipeline = self._status, self._pipeline
        status.state, status.armed = pipeline.state, pipeline.armed
        status.bundle_hash, status.overlay_hash = pipeline.in_force
        status.over_budget = self._parts.watch.over
        silent = time.monotonic_ns() - self._heard_ns > self._parts.silent_after_ns
        if silent and status.state in _FLOWING:
            status.state = "silent"
        status.rate = pipeline.rate or status.rate
        report = pipeline.channel_report()
        status.rate_hz, status.rms_uv = report.rates_hz, report.rms_uv
        status.threshold_uv, status.status = report.thresholds_uv, report.status

    def _counts(self) -> Sequence[int]:
        counts = self._values()
        # A rig may send nonsense that no counter of 64 bits holds.
        return counts if max(counts) <= _MOST else [min(count, _MOST) for count in counts]

    def counters(self) -> dict[str, int]:
        """Return the loop's counters and the pipeline's, always in the same order."""
        return dict(zip(COUNTERS, self._values(), strict=True))

    def _values(self) -> tuple[int, ...]:
        tap, watch = self._parts.tap, self._parts.watch
        return (
            self.frames,
            self.ticks,
            self.commands,
            self._publisher.sent,
            self._publisher.sent_bytes,
            0 if tap is None else tap.refused,
            watch.breaches,
            watch.over_bins,
            *self._pipeline.counters.values(),
        )

    def _record(self, kind: RecordKind, t_ns: int, payload: bytes) -> None:
        if self._parts.tap is not None:
            self._parts.tap.append(kind, t_ns, payload)


def _wait_ms(now: int, due: int | None) -> int:
    if due is None:
        return _LONGEST_WAIT_MS
    # Rounded up: rounded down it would spin through the last millisecond before each deadline.
    return min(max(0, -((now - due) // _MS)), _LONGEST_WAIT_MS)

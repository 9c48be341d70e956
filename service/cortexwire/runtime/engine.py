"""The engine: one process's pipeline with everything around it, opened together, run, and closed together.

Start-up finds all that is wrong before it gives up. While the loop runs, nothing collects garbage, and
threads that serve others hand the interpreter back at once; both are put back as they were afterwards.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec
import structlog
import zmq

from cortexwire.clients.sockets import is_local
from cortexwire.config import EngineConfig
from cortexwire.errors import StartupError
from cortexwire.pipeline.commands import Command
from cortexwire.runtime.assembly import Problems, assemble
from cortexwire.runtime.budget_watch import BudgetWatch
from cortexwire.runtime.budgets import read_budgets
from cortexwire.runtime.control import ControlServer
from cortexwire.runtime.curve import CurveServer, curve_server
from cortexwire.runtime.histogram import LatencySummary
from cortexwire.runtime.ingest import Ingest
from cortexwire.runtime.loop import COUNTERS, HotLoop, LoopParts, PipelineLike
from cortexwire.runtime.notelog import NoteLog
from cortexwire.runtime.orders import OrderBook
from cortexwire.runtime.publisher import Publisher
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.scheduling import SchedulingReport, apply_scheduling, ask_for_slice, fifo_permitted
from cortexwire.runtime.stopping import stop_on_signals as stop_on_signals
from cortexwire.runtime.tap import TapWriter
from cortexwire.runtime.telemetry import PACKET_CPU, STAGES, TelemetryWriter
from cortexwire.wire import Start

# How long a control request may keep the interpreter when a frame comes; Python's own 5 ms is a late bin.
_SWITCH_INTERVAL_S = 1e-4

C = TypeVar("C", bound="_Closable")
Build = Callable[[EngineConfig], tuple[PipelineLike, Callable[[Command], None], Start]]


@dataclass(frozen=True)
class EngineSummary:
    """What one run did.

    Attributes:
        frames: Messages received, whatever they held.
        bins: Decoded outputs published.
        counters: The loop's counters and the pipeline's, by name.
        latency: Latency histograms, by name.
        wall_s: Duration of the loop.
        cpu_s: CPU time of the whole process in it.
        hot_thread_cpu_s: CPU time of the hot thread in it.
        scheduling: What the hot thread was granted.
    """

    frames: int
    bins: int
    counters: dict[str, int]
    latency: dict[str, LatencySummary]
    wall_s: float
    cpu_s: float
    hot_thread_cpu_s: float
    scheduling: SchedulingReport


class Engine:
    """One engine: `prepare` it, `run` it on the thread that is to be the hot one, `close` it.

    Args:
        config: Its configuration.
        build: Makes the pipeline, what prepares a command for it outside the hot loop, and what is recorded of its
            beginning; raises a `CortexwireError` for what cannot work.
    """

    def __init__(self, config: EngineConfig, build: Build = assemble) -> None:
        self.config = config
        self.run_dir = RunDir(config.run_dir)
        self._build = build
        self._opened = ExitStack()
        self._parts: LoopParts | None = None
        self._log = structlog.get_logger("cortexwire.engine")

    @property
    def ingest_endpoint(self) -> str:
        """Where packets are taken, with the port that was chosen where the configuration left it open."""
        return self._ready().ingest.endpoint

    @property
    def output_endpoint(self) -> str:
        """Where outputs are published, with the port that was chosen where the configuration left it open."""
        return self._ready().publisher.endpoint

    def _ready(self) -> LoopParts:
        if self._parts is None:
            raise RuntimeError("expected a prepared engine: call prepare() first")
        return self._parts

    def prepare(self) -> None:
        """Build and compile the pipeline, take the run directory, open maps and sockets.

        Raises:
            StartupError: With all that is wrong, not only the first of it; nothing stays open then.
        """
        with ExitStack() as opened:
            parts, problems = self._open(opened)
            if parts is None:
                raise StartupError(problems)
            self._parts = parts
            self._opened = opened.pop_all()
        parts.control.start()
        self._log.info(
            "engine ready",
            ingest=self.ingest_endpoint,
            output=self.output_endpoint,
            control=parts.control.endpoint,
            run_dir=str(self.run_dir.path),
            armed=self.config.armed,
        )
        if self.config.budgets is not None:
            watch = parts.watch
            self._log.info("budgets", file=str(self.config.budgets), watched=watch.lines, not_watched=watch.not_watched)

    def _open(self, opened: ExitStack) -> tuple[LoopParts | None, list[str]]:
        config = self.config
        opening = _Opening(opened)
        built = opening.attempt(lambda: self._build(config))
        pipeline, prepare, start = (None, None, None) if built is None else built
        local = is_local(config.ingest.endpoint)
        watch = opening.attempt(lambda: self._watch(pipeline, local))
        context = opened.enter_context(self._context())
        curve = opening.attempt(lambda: curve_server(config))
        if curve is not None:
            opening.open(lambda: curve.attend(context))
        tap = control = telemetry = None
        if opening.open(self._take_run_dir) is not None:
            if config.tap.enabled:
                tap = opening.open(lambda: TapWriter(self.run_dir.tap, config.tap.megabytes))
            control = opening.open(lambda: self._control(prepare, curve, start))
            if pipeline is not None and watch is not None:
                telemetry = opening.attempt(lambda: self._telemetry(pipeline, watch))
        outputs_per_bin = 1 if pipeline is None else pipeline.outputs_per_bin
        publisher = opening.open(lambda: Publisher(config.output, context, outputs_per_bin, curve))
        # Compiled before the first packet can come, so that none waits; but not in vain.
        if pipeline is not None and not opening.found:
            pipeline.warm_up()
        ingest = opening.open(lambda: Ingest(config.ingest, context, curve))
        if pipeline is None or start is None or control is None or telemetry is None:
            return None, opening.found
        if opening.found or watch is None or publisher is None or ingest is None:
            return None, opening.found
        notes = NoteLog()
        opened.callback(notes.close)
        silent_after_ns = int(config.pipeline.intake.reset_after_ms * 1e6)
        opening.attempt(lambda: self.run_dir.leave_start(msgspec.json.encode(start)))
        if opening.found:
            return None, opening.found
        parts = LoopParts(
            pipeline, ingest, publisher, telemetry, tap, control, notes, local, silent_after_ns, watch, start
        )
        return parts, []

    def _take_run_dir(self) -> RunDir:
        self.run_dir.acquire()
        return self.run_dir

    def _context(self) -> zmq.Context[zmq.Socket[bytes]]:
        slice_us, priority = self.config.realtime.slice_us, self.config.realtime.fifo_priority
        if slice_us is not None:
            # Threads that start from here on inherit it; what is refused is told when the loop begins.
            with suppress(OSError):
                ask_for_slice(slice_us)
        context = zmq.Context()
        # libzmq aborts the process when its I/O thread may not have what it was told to take.
        if priority is not None and fifo_permitted(priority):
            context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_FIFO)
            context.set(zmq.THREAD_PRIORITY, priority)
        return context

    def _control(
        self, prepare: Callable[[Command], None] | None, curve: CurveServer | None, start: Start | None
    ) -> ControlServer:
        endpoint = self.config.control or self.run_dir.control_endpoint
        orders = OrderBook(self.run_dir.orders, self.config, start)
        return ControlServer(endpoint, self.run_dir.telemetry, prepare, carried_out=orders.note, curve=curve)

    def _watch(self, pipeline: PipelineLike | None, same_host: bool) -> BudgetWatch:
        budgets = None if self.config.budgets is None else read_budgets(self.config.budgets)
        return BudgetWatch(budgets, 0 if pipeline is None else pipeline.n_channels, same_host=same_host)

    def _telemetry(self, pipeline: PipelineLike, watch: BudgetWatch) -> TelemetryWriter:
        histograms = (*STAGES, PACKET_CPU) if self.config.realtime.measure_cpu else STAGES
        return TelemetryWriter(self.run_dir.telemetry, pipeline.n_channels, COUNTERS, histograms, watch.lines)

    def run(self, stop: threading.Event) -> EngineSummary:
        """Decode until `stop` is set, on the calling thread; then nothing more is published.

        Returns:
            What was done.
        """
        parts = self._ready()
        scheduling = apply_scheduling(self.config.realtime)
        self._log.info("engine running", **asdict(scheduling))
        loop = HotLoop(parts, {"scheduling": asdict(scheduling)})
        fault: str | None = None
        wall, cpu, thread = time.monotonic(), time.process_time(), time.thread_time()
        try:
            with _undisturbed():
                loop.run(stop)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
            self._log.exception("engine fell")
            raise
        finally:
            counters = loop.close(fault)
        summary = EngineSummary(
            frames=loop.frames,
            bins=loop.bins,
            counters=counters,
            latency={name: table.summary() for name, table in parts.telemetry.histograms.items()},
            wall_s=time.monotonic() - wall,
            cpu_s=time.process_time() - cpu,
            hot_thread_cpu_s=time.thread_time() - thread,
            scheduling=scheduling,
        )
        self._log.info("engine stopped", frames=summary.frames, bins=summary.bins, wall_s=summary.wall_s)
        return summary

    def close(self) -> None:
        """Close everything; safe to call twice. The run directory stays for its readers."""
        self._opened.close()
        self._parts = None

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Closable(Protocol):
    def close(self) -> None:
        """Let go of what it holds."""


class _Opening(Problems):
    """Things being opened: what was opened is closed with the stack, what could not be is a problem."""

    def __init__(self, opened: ExitStack) -> None:
        super().__init__()
        self._opened = opened

    def open(self, make: Callable[[], C]) -> C | None:
        thing = self.attempt(make)
        if thing is not None:
            self._opened.callback(thing.close)
        return thing


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the collector out (a full collection can take 0.1 s), and make other threads yield soon."""
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        if collecting:
            gc.enable()

"""A log decoded again, and each output compared with the one that was recorded: the mirror of the hot loop.

From a `START` on everything that decides an output is in the log: what the pipeline began with, and packets, ticks and
commands in the order in which it took them. So each input is given to a pipeline built from that record, and what
comes out has to be what was recorded behind it, bit for bit in all but times. After records that are missing, and
before the first `START`, the state is not known: outputs are then compared by bin, for their counts alone, and none
of that counts as agreement.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError

from cortexwire.config import EngineConfig
from cortexwire.errors import BundleError, ConfigError, CortexwireError, PacketError
from cortexwire.pipeline.commands import decode_command
from cortexwire.runtime.assembly import Assembled, assemble
from cortexwire.runtime.copies import Copies
from cortexwire.runtime.differences import Difference, differences
from cortexwire.sessions.log import Fault, Log, LogRecord
from cortexwire.wire import (
    Applied,
    OutKind,
    Output,
    RecordKind,
    Start,
    decode_journal,
    decode_output,
    encode_output,
)

DECIDING: Final = ("provider", "executor", "armed", "front_end", "pipeline")
"""What of a configuration decides outputs, besides the models; the rest is about sockets, files and processes."""
MOST_SHOWN: Final = 20
"""Differences kept word for word; all are counted."""
_MOST_UNMATCHED: Final = 4096


class Stretch(msgspec.Struct):
    """Part of a log, from one beginning or break to the next.

    Attributes:
        first: Number of its first record.
        last: Number of its last.
        reproducible: Whether outputs can be compared bit for bit.
        why: What it begins with, or why it cannot be reproduced.
        outputs: Outputs recorded in it.
        counts_equal: Where it cannot be reproduced: decoded bins whose counts are the same.
        counts_different: Those whose counts are not.
        unmatched: Outputs that could not be compared at all.
    """

    first: int
    last: int
    reproducible: bool
    why: str
    outputs: int = 0
    counts_equal: int = 0
    counts_different: int = 0
    unmatched: int = 0


class Agreement(msgspec.Struct):
    """What came of the comparison.

    Attributes:
        packets: Packets taken.
        ticks: Ticks taken.
        commands: Commands carried out.
        compared: Outputs compared bit for bit.
        equal: Those that were equal.
        missing: Outputs that the pipeline gives and the log has not.
        extra: Outputs that the log has and the pipeline does not give.
        answers: Commands that had another effect than recorded.
        unrecorded: Outputs that the log has not because it, or its engine, ended there; no difference.
        differences: The first fields that differ.
        max_abs: Largest absolute difference of each tensor that differed.
        stretches: The parts of the log.
        fingerprints: Fingerprints that were not this machine's, with this machine's.
        bundles: Where each bundle was found, by its hash.
        stopped: Whether it was stopped before the end.
    """

    packets: int = 0
    ticks: int = 0
    commands: int = 0
    compared: int = 0
    equal: int = 0
    missing: int = 0
    extra: int = 0
    answers: int = 0
    unrecorded: int = 0
    differences: list[Difference] = []
    max_abs: dict[str, float] = {}
    stretches: list[Stretch] = []
    fingerprints: list[tuple[str, str]] = []
    bundles: dict[str, str] = {}
    stopped: bool = False

    @property
    def different(self) -> int:
        """Outputs and answers that are not as recorded."""
        return self.compared - self.equal + self.missing + self.extra + self.answers

    @property
    def passed(self) -> bool:
        """Whether something can be reproduced, and all that can agrees."""
        can = self.compared > 0 or (bool(self.stretches) and all(stretch.reproducible for stretch in self.stretches))
        return can and not self.different and not self.stopped


def compare_log(
    log: Log,
    bundle: Path | None = None,
    *,
    stop: Event | None = None,
    progress: Callable[[float], Any] = lambda _: None,
) -> Agreement:
    """Decode a log again and compare.

    Args:
        log: The log.
        bundle: Where a bundle may be that is neither in the recording nor where it was.
        stop: Ends it early when set.
        progress: Told the share that is done.

    Returns:
        What came of it.
    """
    return _Comparison(log, Copies(log.folder, bundle)).run(stop or Event(), progress)


class _Comparison:
    """One comparison under way."""

    def __init__(self, log: Log, copies: Copies) -> None:
        self.found = Agreement()
        self._log = log
        self._copies = copies
        self._built: Assembled | None = None
        self._stretch: Stretch | None = None
        # Outputs of the last input that were not recorded yet, and what the pipeline answered to the last command.
        self._due: list[bytes] = []
        self._answer: Applied | None = None
        self._fell = self._unprepared = ""
        self._ours: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._theirs: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()

    def run(self, stop: Event, progress: Callable[[float], Any]) -> Agreement:
        total, told = max(1, self._log.n_bytes), -1.0
        before = np.cumsum([0, *(segment.size for segment in self._log.segments)]).tolist()
        for item in self._log.walk():
            if stop.is_set():
                self.found.stopped = True
                break
            if isinstance(item, Fault):
                if item.breaks:
                    self._lose(item.index, f"{item.records} records are missing ({item})")
                continue
            self._take(item)
            share = (before[item.segment] + item.at) / total
            if share - told >= 0.002:
                told = share
                progress(share)
        self._end()
        progress(1.0)
        return self.found

    def _take(self, record: LogRecord) -> None:
        if record.kind is RecordKind.START:
            self._end()
            self._begin(record)
            return
        if self._stretch is None:
            self._join(record.index)
        assert self._stretch is not None
        self._stretch.last = record.index
        match record.kind:
            case RecordKind.PACKET:
                self.found.packets += 1
                self._next(record.index)
                self._feed(record, lambda built: built.pipeline.packet(bytes(record.payload), record.t_ns))
            case RecordKind.TICK:
                self.found.ticks += 1
                self._next(record.index)
                self._feed(record, lambda built: built.pipeline.tick(record.t_ns))
            case RecordKind.COMMAND:
                self.found.commands += 1
                self._next(record.index)
                self._command(record)
            case RecordKind.APPLIED:
                self._applied(record)
            case RecordKind.OUTPUT:
                self._output(record)
            case RecordKind.LOSS:
                self._lose(record.index, f"records are missing: {bytes(record.payload).decode(errors='replace')}")
            case _:
                pass

    def _begin(self, record: LogRecord) -> None:
        """Build the pipeline that began here."""
        try:
            start = decode_journal(record.payload, Start)
            self._built = self._build(start)
        except CortexwireError as error:
            self._built = None
            self._open(record.index, False, f"the pipeline that began here cannot be built: {error}")
            return
        here = self._built.start.fingerprint
        if here != start.fingerprint and (start.fingerprint, here) not in self.found.fingerprints:
            self.found.fingerprints.append((start.fingerprint, here))
        self._open(record.index, True, f"a pipeline of process {start.pid} began")

    def _join(self, index: int) -> None:
        """The log does not begin with a pipeline: take the one that the sidecar tells of, for counts."""
        why = "the log joined in the middle: what the pipeline had taken before is not in it"
        sidecar = self._log.sidecar
        try:
            if sidecar is None or sidecar.start is None:
                raise ConfigError("and what it began with is not known")
            self._built = self._build(msgspec.convert(sidecar.start, Start))
        except (CortexwireError, msgspec.ValidationError) as error:
            self._built = None
            why = f"{why}, {error}"
        self._open(index, False, why)

    def _build(self, start: Start) -> Assembled:
        bundle = self._copies.bundle(start.bundle_sha256, start.bundle)
        changes: dict[str, Any] = {"bundle": str(bundle.path)}
        if start.overlay is not None and start.overlay_sha256 is not None:
            changes["overlay"] = str(self._copies.overlay_of(start.overlay_sha256, start.overlay))
        try:
            deciding = {key: start.config[key] for key in DECIDING if key in start.config}
            config = EngineConfig.model_validate(deciding | changes)
        except ValidationError as error:
            raise ConfigError(f"expected a configuration that this version knows: {error}") from error
        given = start.thresholds_uv
        thresholds = None if given is None else [math.nan if value is None else value for value in given]
        built = assemble(config, live=False, thresholds_uv=thresholds)
        if built.start.overlay_sha256 != start.overlay_sha256:
            came = built.start.overlay_sha256
            raise BundleError(f"{changes.get('overlay')}: expected sha256 {start.overlay_sha256}, got {came}")
        self.found.bundles[start.bundle_sha256] = str(bundle.path)
        return built

    def _open(self, index: int, reproducible: bool, why: str) -> None:
        self._stretch = Stretch(index, index, reproducible, why)
        self.found.stretches.append(self._stretch)

    def _lose(self, index: int, why: str) -> None:
        """From here on nothing can be reproduced, until a pipeline begins."""
        if self._stretch is None:
            self._join(index)
        assert self._stretch is not None
        # What the pipeline still owed may be among what is missing.
        self.found.unrecorded += len(self._due) if self._stretch.reproducible else 0
        self._due.clear()
        self._answer = None
        if self._stretch.reproducible:
            self._open(index, False, why)

    def _end(self) -> None:
        """A stretch is over because the log is, or because another engine began: what is owed was not recorded."""
        if self._stretch is None:
            return
        if self._stretch.reproducible:
            self.found.unrecorded += len(self._due)
        self._due.clear()
        self._stretch.unmatched += len(self._theirs)
        self._ours.clear()
        self._theirs.clear()
        self._answer, self._fell = None, ""

    def _next(self, index: int) -> None:
        """The next input comes, so all outputs of the last one must have been recorded."""
        assert self._stretch is not None
        if self._stretch.reproducible:
            for frame in self._due:
                self.found.missing += 1
                output = decode_output(frame)
                self._show(Difference(index, output.bin, "message", "none", f"{output.kind.name.lower()} output"))
            if self._fell:
                self.found.missing += 1
                self._show(Difference(index, -1, "pipeline", "went on", f"fell: {self._fell}"))
                self._lose(index, f"the pipeline fell here, and not when it was recorded: {self._fell}")
        self._due.clear()

    def _feed(self, record: LogRecord, give: Callable[[Assembled], Sequence[Output]]) -> None:
        """Give an input to the pipeline; what comes out is due."""
        if self._built is None:
            return
        try:
            outputs = give(self._built)
        # A pipeline that falls here fell there too, or it is a difference; which, the next record says.
        except Exception as error:
            self._fell = f"{type(error).__name__}: {error}"
            self._built = None
            return
        self._owe(outputs)

    def _owe(self, outputs: Sequence[Output]) -> None:
        assert self._stretch is not None
        if self._stretch.reproducible:
            self._due += [encode_output(output) for output in outputs]
        else:
            for output in outputs:
                if output.kind is OutKind.DECODED:
                    self._match(output, self._ours, self._theirs)

    def _command(self, record: LogRecord) -> None:
        built = self._built
        if built is None:
            return
        prepared = ""
        try:
            command = decode_command(bytes(record.payload))
            command = self._copies.located(command)
            built.prepare(command)
        except CortexwireError as error:
            prepared = str(error)
        try:
            if prepared:
                command = decode_command(bytes(record.payload))
            bin_index, problem, outputs = built.pipeline.command(command)
        # As in the loop: decoding goes on whatever a request does.
        except Exception as error:
            bin_index, problem, outputs = -1, f"command failed: {type(error).__name__}: {error}", []
        self._answer = Applied(bin_index, problem)
        self._unprepared = prepared
        self._owe(outputs)

    def _applied(self, record: LogRecord) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        try:
            recorded = decode_journal(record.payload, Applied)
        except PacketError:
            return
        if recorded.bin == answer.bin and (recorded.problem is None) == (answer.problem is None):
            return
        assert self._stretch is not None
        if self._unprepared and recorded.problem is None:
            self._lose(record.index, f"a command cannot be carried out here: {self._unprepared}")
        elif self._stretch.reproducible:
            self.found.answers += 1
            self._show(Difference(record.index, recorded.bin, "answer to a command", str(recorded), str(answer)))

    def _output(self, record: LogRecord) -> None:
        assert self._stretch is not None
        self._stretch.outputs += 1
        if not self._stretch.reproducible:
            try:
                output = decode_output(bytes(record.payload))
            except PacketError:
                self._stretch.unmatched += 1
                return
            if output.kind is OutKind.DECODED:
                self._match(output, self._theirs, self._ours)
            return
        if not self._due:
            self.found.extra += 1
            self._show(Difference(record.index, _bin_of(record.payload), "message", "an output", "none"))
            return
        self.found.compared += 1
        differing = differences(record.index, record.payload, self._due.pop(0))
        self.found.equal += not differing
        for difference in differing:
            self._show(difference)
            if difference.max_abs is not None:
                most = max(self.found.max_abs.get(difference.field, 0.0), difference.max_abs)
                self.found.max_abs[difference.field] = most

    def _match(self, output: Output, mine: "_Waiting", others: "_Waiting") -> None:
        """Compare the counts of a decoded bin with those of the other side, now or when it comes."""
        assert self._stretch is not None
        key = output.epoch, output.restart, output.bin
        counts = output.tensors["counts"].tobytes() if "counts" in output.tensors else b""
        other = others.pop(key, None)
        if other is not None:
            self._stretch.counts_equal += other == counts
            self._stretch.counts_different += other != counts
            return
        mine[key] = counts
        if len(mine) > _MOST_UNMATCHED:
            mine.popitem(last=False)
            self._stretch.unmatched += mine is self._theirs

    def _show(self, difference: Difference) -> None:
        if len(self.found.differences) < MOST_SHOWN:
            self.found.differences.append(difference)


def _bin_of(frame: memoryview) -> int:
    try:
        return decode_output(frame).bin
    except PacketError:
        return -1


_Waiting = OrderedDict[tuple[int, int, int], bytes]

"""From a log to a recording to export: outputs as they were recorded, crossings from the packets in their order.

The signal chain is given what the engine's was given: packets in the order in which it took them, the commands that
concern it where they stood, and an end to waiting wherever the clock made the engine stop waiting. So its crossings are
those that the recorded counts count.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle
from cortexwire.errors import BundleError, ConfigError, PacketError
from cortexwire.pipeline import commands
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.runtime.copies import Copies
from cortexwire.runtime.nwb_export.crossings import CrossingKeeper
from cortexwire.runtime.nwb_export.recording import MARK_DTYPE, Recording
from cortexwire.sessions.log import Fault, Log, LogRecord, LogSession
from cortexwire.wire import (
    Kind,
    Output,
    RecordKind,
    Start,
    decode_journal,
    decode_output,
    decode_packet,
)
from cortexwire.wire.codes import USER_MARKER


def logged_recording(
    recording: Recording,
    log: Log,
    bundle: Path | None = None,
    share: Callable[[float], Any] = lambda _share: None,
) -> Recording:
    """The recording with what the log says of its session: crossings, outputs, marks, when it was, and with what.

    Args:
        recording: A recording whose session is a `LogSession` of `log`.
        log: The log.
        bundle: Where a bundle may be that is neither in the log's folder nor where it was.
        share: Told the share of the log that is read.

    Raises:
        BundleError: A bundle that the log names is nowhere to be found.
    """
    session = recording.session
    if not isinstance(session, LogSession):
        raise ConfigError(f"{session.name}: expected a session of a log")
    reading = _Reading(session, Copies(log.folder, bundle))
    reading.run(log, share)
    sidecar = log.sidecar
    epoch = f"{session.stream.id.epoch:016x}"
    return replace(
        recording,
        started=recording.started or reading.started,
        identifier=recording.identifier or (f"{sidecar.recording}-{epoch}" if sidecar else epoch),
        crossings=reading.keeper.result() if session.kind == "wideband" else None,
        outputs=_outputs(log, session),
        velocity_unit=reading.unit,
        marks=np.array(sorted(reading.marks), MARK_DTYPE),
        bundle="; ".join(reading.bundles),
        configuration=reading.configuration,
        about=recording.about or (sidecar.about if sidecar else ""),
    )


class _Reading:
    """One pass through a log."""

    def __init__(self, session: LogSession, copies: Copies) -> None:
        self.keeper = CrossingKeeper(
            session.n_channels, epoch=session.stream.id.epoch, first_sample=session.first_sample
        )
        self.marks: list[tuple[int, int, float]] = []
        self.bundles: dict[str, None] = {}
        self.configuration: dict[str, Any] = {}
        self.started: datetime | None = None
        self.unit = ""
        self._session = session
        self._copies = copies
        self._stage: BinStage | None = None
        self._began: tuple[int, int] | None = None
        self._ticked = False

    def run(self, log: Log, share: Callable[[float], Any]) -> None:
        total = max(1, log.n_bytes)
        before = np.cumsum([0, *(segment.size for segment in log.segments)]).tolist()
        if log.sidecar is not None and log.sidecar.start is not None and not log.sidecar.from_start:
            self._begin(msgspec.convert(log.sidecar.start, Start), None)
        for item in log.walk():
            if not isinstance(item, Fault):
                self._take(item)
                share((before[item.segment] + item.at) / total)
        if self._stage is not None:
            self._stage.take_held(self.keeper)

    def _take(self, record: LogRecord) -> None:
        match record.kind:
            case RecordKind.START:
                self._begin(decode_journal(record.payload, Start), record.t_ns)
            case RecordKind.PACKET:
                self._ticked = False
                self._packet(bytes(record.payload), record.t_ns)
            case RecordKind.TICK:
                self._ticked = True
            case RecordKind.OUTPUT if self._ticked and self._stage is not None:
                # The clock said that packets had been waited for long enough.
                self._stage.take_held(self.keeper)
            case RecordKind.COMMAND:
                self._command(bytes(record.payload))
            case _:
                pass

    def _begin(self, start: Start, t_ns: int | None) -> None:
        bundle: Bundle = self._copies.bundle(start.bundle_sha256, start.bundle)
        changes = {"bundle": str(bundle.path), "budgets": None, "thresholds": None}
        config = EngineConfig.model_validate(start.config | changes)
        given = start.thresholds_uv
        thresholds = None if given is None else tuple(math.nan if value is None else value for value in given)
        if self._stage is not None:
            self._stage.take_held(self.keeper)
        chain = front_end_of(bundle, config.front_end)
        self._stage = BinStage(bundle.manifest.stream, chain, config.pipeline.intake, thresholds)
        self.keeper.follow(self._stage)
        self.bundles[f"{bundle.manifest.name} {bundle.sha256}"] = None
        self.configuration = self.configuration or start.config
        self._began = None if t_ns is None else (t_ns, start.t_realtime_ns)
        for spec in bundle.manifest.outputs_of("velocity"):
            self.unit = self.unit or spec.unit

    def _packet(self, frame: bytes, t_ns: int) -> None:
        if self._stage is not None:
            self._stage.take(frame, self.keeper)
        if self.started is not None and frame[6:7] != bytes([Kind.MARKERS]):
            return
        try:
            packet = decode_packet(frame)
        except PacketError:
            return
        stream, rate = self._session.stream.id, self._session.rate
        if packet.epoch != stream.epoch or packet.source != stream.source:
            return
        if packet.kind is Kind.MARKERS:
            for offset, code, value in packet.data.tolist():
                if code >= USER_MARKER:
                    self.marks.append((packet.sample_index + offset - self._session.first_sample, code, value))
        elif packet.kind is stream.kind and self._began is not None:
            at_ns = self._began[1] + t_ns - self._began[0]
            since_s = (packet.end_sample - self._session.first_sample) / rate.hz
            self.started = datetime.fromtimestamp(at_ns / 1e9, UTC) - timedelta(seconds=since_s)

    def _command(self, payload: bytes) -> None:
        """Carry out what concerns the signal chain, and note marks; commands that were refused are refused again."""
        stage = self._stage
        if stage is None:
            return
        try:
            match commands.decode_command(payload):
                case commands.SetThresholds(thresholds_uv=thresholds):
                    stage.set_thresholds(thresholds)
                case commands.Recalibrate(seconds=seconds):
                    stage.recalibrate(seconds)
                case commands.Mask(channels=channels, masked=masked):
                    stage.mask(channels, masked)
                case commands.Mark(code=code, value=value):
                    sample = stage.clock.start(max(0, stage.next_bin)) - self._session.first_sample
                    self.marks.append((sample, code, math.nan if value is None else value))
        except (ConfigError, BundleError):
            return


def _outputs(log: Log, session: LogSession) -> Iterator[Output]:
    epoch = session.stream.id.epoch
    for item in log.walk():
        if not isinstance(item, Fault) and item.kind is RecordKind.OUTPUT:
            output = decode_output(bytes(item.payload))
            if output.epoch == epoch and session.first_sample < output.end_sample:
                yield output

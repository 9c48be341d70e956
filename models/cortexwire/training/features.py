"""What a decoder learns from: bins of a session, made by the very code that runs live."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.manifest import Electrode, StreamSpec
from cortexwire.errors import SessionError
from cortexwire.pipeline.bin_stage import BinStage, Closed
from cortexwire.pipeline.decode_stage import ENOUGH
from cortexwire.pipeline.hop_stage import HopStage
from cortexwire.sessions.packets import session_packets
from cortexwire.sessions.session import Session
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.types import Counts, Features

PACKET_MS: Final = 20
"""Packet length for reading a session; it shows in nothing but speed."""
EPOCH: Final = 1


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The bins of one session in order.

    Attributes:
        stream: The stream that they are from.
        front_end: How they were made.
        index: Bin numbers, `(n_bins,)`.
        end: One past the last sample of each bin, `(n_bins,)`.
        counts: `(n_bins, n_channels)`.
        power: `(n_bins, n_channels)` float32, or None.
        observed_fraction: `(n_bins,)`.
        status: Status bits, `(n_bins, n_channels)`.
        thresholds_uv: Thresholds that were in force at the end, or None.
        notes: What the stage had to say.
        rows: Rows for each bin's length: 1 for bins that follow each other, more for bins that overlap.
    """

    stream: StreamSpec
    front_end: FrontEndSettings
    index: NDArray[np.int64]
    end: NDArray[np.int64]
    counts: Counts
    power: NDArray[np.float32] | None
    observed_fraction: NDArray[np.float64]
    status: NDArray[np.uint8]
    thresholds_uv: NDArray[np.float64] | None
    notes: tuple[str, ...]
    rows: int = 1

    @property
    def row_ms(self) -> float:
        """Time from one row to the next."""
        return self.stream.bin_ms / self.rows

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Bins of which every sample was observed, `(n_bins,)`."""
        return np.asarray(self.observed_fraction == 1.0)

    @property
    def rates_hz(self) -> NDArray[np.float64]:
        """Crossings per second of each channel over the valid bins, `(n_channels,)`."""
        return np.asarray(self.counts[self.valid].mean(axis=0) * 1000 / self.stream.bin_ms)

    def features(self) -> Features:
        """What a decoder would be given, `(n_bins, n_features)`; the mean of the valid bins where nothing is known."""
        fraction = np.maximum(self.observed_fraction, 1e-9)[:, None].astype(np.float32)
        parts = []
        for kind in self.front_end.features:
            if kind == "counts":
                parts.append(self.counts.astype(np.float32) / fraction)
            elif self.power is None:
                raise SessionError(f"a stream of {self.stream.kind} has no band power")
            else:
                parts.append(self.power)
        features = np.concatenate(parts, axis=1)
        mean = features[self.valid].mean(axis=0, dtype=np.float64).astype(np.float32)
        without = np.tile(self.status != 0, (1, len(parts))) | (self.observed_fraction < ENOUGH)[:, None]
        return np.where(without, mean, features)


def stream_of(session: Session, bin_ms: float) -> StreamSpec:
    """The stream that a session is a recording of."""
    descriptor = session.descriptor
    return StreamSpec(
        kind=session.kind,
        rate_num=session.rate.num,
        rate_den=session.rate.den,
        uv_per_bit=session.uv_per_bit,
        n_channels=session.n_channels,
        electrodes=tuple(Electrode(id=e.id, bank=e.bank) for e in descriptor.electrodes),
        reference=descriptor.reference,
        bin_ms=bin_ms,
    )


def designed(front_end: FrontEndSettings, session: Session) -> FrontEndSettings:
    """The same chain with its filter designed for the session's rate, where it needs one.

    Raises:
        ConfigError: The filter cannot be designed at that rate.
    """
    if session.kind != "wideband":
        return front_end
    design = design_filter(front_end.filter, session.rate)
    return front_end.model_copy(update={"filter": front_end.filter.model_copy(update={"design": design})})


def packet_size(session: Session) -> int:
    """Samples in packets of `PACKET_MS`, at least one."""
    return max(1, int(session.rate.fraction * PACKET_MS / 1000))


def extract_features(
    session: Session,
    front_end: FrontEndSettings,
    *,
    thresholds_uv: tuple[float, ...] | None = None,
    start: int = 0,
    stop: int | None = None,
    rows: int = 1,
    progress: Callable[[float], Any] = lambda _: None,
) -> FeatureTable:
    """Send a session through the signal chain and collect its bins.

    Args:
        session: The recording.
        front_end: The chain; its filter is designed here.
        thresholds_uv: Thresholds to use rather than the chain's own rule.
        start: First sample.
        stop: One past the last sample; the end when None.
        rows: Hops in a bin, each of which makes a row.
        progress: Told the share that is done.

    Raises:
        ConfigError: The chain does not fit the session.
        SessionError: No bin came out.
    """
    front_end = designed(front_end, session)
    stream = stream_of(session, front_end.bin_ms)
    stage = BinStage(stream, front_end, thresholds_uv=thresholds_uv)
    if rows > 1:
        stage = HopStage(stream, front_end, rows, thresholds_uv=thresholds_uv)
    stop = session.n_samples if stop is None else stop
    frames = session_packets(session, packet_size(session), EPOCH, start, stop)
    bins = [event.bin for event in _closed(stage, frames, start, stop, progress) if event.calibrated]
    if not bins:
        raise SessionError(
            f"{session.name}: expected at least one bin after calibration, got none from "
            f"{(stop - start) / session.rate.hz:.1f} s (calibration takes {front_end.threshold.calibration_s:g} s)"
        )
    power = [closed.power for closed in bins]
    known = [p for p in power if p is not None]
    zero = np.zeros(stream.n_channels, np.float32)
    return FeatureTable(
        stream=stream,
        front_end=front_end,
        index=np.array([closed.index for closed in bins]),
        end=np.array([closed.end for closed in bins]),
        counts=np.stack([closed.counts for closed in bins]),
        power=np.stack([zero if p is None else p for p in power]) if known else None,
        observed_fraction=np.array([closed.observed_fraction for closed in bins]),
        status=np.stack([closed.status for closed in bins]),
        thresholds_uv=stage.thresholds_uv,
        notes=tuple(stage.notes),
        rows=rows,
    )


def _closed(
    stage: BinStage, frames: Iterable[bytes], start: int, stop: int, progress: Callable[[float], Any]
) -> Iterable[Closed]:
    for frame in frames:
        for event in stage.packet(frame):
            if isinstance(event, Closed):
                progress((event.bin.end - start) / (stop - start))
                yield event
    for event in stage.flush():
        if isinstance(event, Closed):
            yield event

"""What is sent through a service that is measured, and how that service is set up."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from cortexwire.bench.slowing import Slowing
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, RealtimeSettings, TapSettings
from cortexwire.decoders import Bundle
from cortexwire.errors import ConfigError
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.signal.settings import FrontEndSettings, ThresholdSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded import seeded_bundle
from cortexwire.training.seeded_gru import seeded_gru

SECONDS: Final = 20.0
SEED: Final = 6
HISTORY: Final = 20
BIN_MS: Final = FrontEndSettings().bin_ms
UNITS: Final = {96: 128, 256: 256, 1024: 512}
"""Units of a GRU by the most channels that it is meant for."""
_OUTPUT_BINS: Final = 250
"""Room for outputs: one that a short queue drops would be missing from the latencies that its stall should show in."""

DecoderName = Literal["wiener", "gru"]


def units_for(channels: int) -> int:
    """Units of the GRU that goes with so many channels; the largest beyond the table."""
    return next((units for most, units in UNITS.items() if channels <= most), max(UNITS.values()))


@dataclass(frozen=True)
class Load:
    """What is sent through the service, and how it is set up.

    Attributes:
        channels: Channels of the rig.
        seconds: How long to measure, after calibration.
        packet_ms: Signal in a packet.
        transport: How packets travel.
        tap: Whether the engine writes its tap.
        fifo_priority: SCHED_FIFO priority of the engine's hot thread.
        simulator: Other settings of the simulated rig.
        decoder: What decodes, with random weights: a Wiener filter over 20 bins, or a GRU of one layer.
        units: Units of the GRU; as `units_for` says if None.
        executor: What runs the decoder.
        deadline_ms: After the end of a bin, when its output is due; the pipeline's own if None.
        lock_memory: Whether the engine locks its memory.
        cpu: The one CPU that the engine's hot thread may run on.
        slow: A stage of the engine to slow on purpose.
        rehearse: Whether the engine rehearses the end of a bin.
        record_to: Where a recorder writes the tap meanwhile; none does if None.
        tap_megabytes: Length of the tap's ring.
    """

    channels: int = 96
    seconds: float = SECONDS
    packet_ms: float = 1.0
    transport: Literal["tcp", "ipc"] = "tcp"
    tap: bool = True
    fifo_priority: int | None = None
    simulator: Mapping[str, Any] | None = None
    decoder: DecoderName = "wiener"
    units: int | None = None
    executor: str = "onnx"
    deadline_ms: float | None = None
    lock_memory: bool = False
    cpu: int | None = None
    slow: Slowing | None = None
    rehearse: bool = True
    record_to: Path | None = None
    tap_megabytes: int = TapSettings().megabytes

    @property
    def hidden(self) -> int | None:
        """Units that the decoder has; None for one without."""
        return (self.units or units_for(self.channels)) if self.decoder == "gru" else None

    @property
    def rig(self) -> SimulatorSettings:
        """The simulated rig."""
        return SimulatorSettings(channels=self.channels, seed=SEED, **(self.simulator or {}))

    @property
    def packet_samples(self) -> int:
        """Samples in a packet, at least one."""
        return max(1, round(self.packet_ms * self.rig.rate_hz / 1000))

    @property
    def due_ms(self) -> float:
        """The deadline in force."""
        return self.deadline_ms or DeadlineSettings().deadline_ms or BIN_MS

    def describe(self) -> dict[str, Any]:
        """What tells this load from another, in plain values."""
        return {
            "channels": self.channels,
            "decoder": self.decoder,
            "units": self.hidden,
            "executor": self.executor,
            "packet_ms": self.packet_ms,
            "transport": self.transport,
            "tap": self.tap,
            "fifo_priority": self.fifo_priority,
            "deadline_ms": self.due_ms,
            **({} if self.slow is None else {"slowed": str(self.slow)}),
            "rehearse": self.rehearse,
            **({} if self.record_to is None else {"recorded": True, "tap_megabytes": self.tap_megabytes}),
        }

    def bundle(self, folder: Path, calibration_s: float) -> Bundle:
        """Write the decoder's bundle.

        Args:
            folder: The folder to make.
            calibration_s: How long the stream's thresholds are learned at its beginning.

        Raises:
            ConfigError: There is no decoder of that name.
        """
        session = SimulatedSession(self.rig, 1.0)
        chain = designed(FrontEndSettings(threshold=ThresholdSettings(calibration_s=calibration_s)), session)
        stream, front_end = stream_of(session, chain.bin_ms), chain.model_dump(mode="json")
        if self.decoder == "wiener":
            return seeded_bundle(folder, seed=SEED, stream=stream, history=HISTORY, front_end=front_end)
        if self.decoder == "gru":
            assert self.hidden is not None
            return seeded_gru(folder, seed=SEED, stream=stream, units=self.hidden, front_end=front_end)
        raise ConfigError(f"decoder: expected wiener or gru, got {self.decoder!r}")

    def engine(self, bundle: Path, folder: Path) -> EngineConfig:
        """The engine's configuration.

        Args:
            bundle: The bundle's folder.
            folder: Where sockets and the run directory are made; its path must be short.

        Raises:
            ConfigError: The engine has no such setting.
        """
        tcp = self.transport == "tcp"
        ingest, output = ("tcp://127.0.0.1:*",) * 2 if tcp else (f"ipc://{folder}/in", f"ipc://{folder}/out")
        more: dict[str, Any] = {} if self.executor == "onnx" else {"executor": self.executor}
        try:
            return EngineConfig(
                ingest=IngestSettings(endpoint=ingest, bind=True, packet_ms=self.packet_ms),
                output=OutputSocketSettings(endpoint=output, high_water_bins=_OUTPUT_BINS),
                bundle=bundle,
                armed=True,
                run_dir=folder / "run",
                tap=TapSettings(enabled=self.tap, megabytes=self.tap_megabytes),
                pipeline=PipelineSettings(deadline=DeadlineSettings(deadline_ms=self.due_ms)),
                realtime=RealtimeSettings(
                    fifo_priority=self.fifo_priority,
                    lock_memory=self.lock_memory,
                    cpu=self.cpu,
                    rehearse=self.rehearse,
                ),
                **more,
            )
        except ValidationError as error:
            raise ConfigError(f"the engine cannot be set up so: {error}") from error

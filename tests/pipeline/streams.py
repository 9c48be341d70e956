"""Small streams and decoders to feed a pipeline with, and a pipeline that keeps what it gave."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.faults.injector import FaultMix
from cortexwire.bench.faults.rig import FaultyRig, event_rig, simulated_rig
from cortexwire.bench.faults.scenario import fault_bundle
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle
from cortexwire.decoders.manifest import Electrode, StreamKind, StreamSpec, TrainingSpec
from cortexwire.pipeline.commands import Command
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.training.seeded import seeded_bundle
from cortexwire.types import Features, Rate
from cortexwire.wire import OutFlag, OutKind, Output, PacketEncoder, encode_output, make_events, strip_times

RATE: Final = Rate(30_000)
BIN: Final = 600
"""Samples in a bin of 20 ms."""
N: Final = 4
"""Channels of the event streams."""
MS: Final = 1_000_000
SECONDS: Final = 3.0
QUIET: Final = PipelineSettings.model_validate({"deadline": {"deadline_ms": None}})
"""No deadlines."""
NOTHING = FaultMix(
    drop_share=0.0,
    lost_runs=0,
    duplicates=0,
    swaps=0,
    delays=0,
    truncated=0,
    truncated_copies=0,
    garbage=0,
    garbled=0,
    wrong_channels=0,
    wrong_channel_copies=0,
    stragglers=0,
    lead_s=0.1,
)
"""No faults."""


def events() -> FaultyRig:
    """A rig of four channels of spike events."""
    return event_rig(11, N, SECONDS)


def wideband(channels: int = 9) -> FaultyRig:
    """A rig of a few channels of wideband, nothing wrong with it."""
    return simulated_rig(SimulatorSettings(channels=channels, seed=3, artefacts=False, railing=False, dead=False))


def bundle_for(folder: Path, rig: FaultyRig, kind: StreamKind = "events", history: int = 3) -> Bundle:
    """A decoder of random weights for a rig, made once in a folder."""
    path = folder / f"{kind}-{rig.n_channels}-{rig.rate.den}-{history}"
    return load_bundle(path) if path.exists() else fault_bundle(path, rig, kind, history)


def event_bundle(
    folder: Path,
    *,
    electrodes: bool = True,
    rates_hz: Sequence[float] = (),
    history: int = 3,
    kind: StreamKind = "events",
) -> Bundle:
    """A decoder for `N` channels of events or counts, with or without identities and rates of training."""
    names = tuple(Electrode(id=f"e{k:03}", bank="A") for k in range(N)) if electrodes else ()
    stream = StreamSpec(kind=kind, rate_num=30_000, uv_per_bit=1.0, n_channels=N, electrodes=names, bin_ms=20.0)
    training = TrainingSpec(channel_rates_hz=tuple(rates_hz))
    return seeded_bundle(folder, seed=5, stream=stream, history=history, training=training, front_end={"bin_ms": 20.0})


class Feed:
    """A pipeline and everything that it gave.

    Attributes:
        pipeline: The pipeline.
        outputs: Its outputs in order.
        log: What went in, to be fed again.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: PipelineSettings = QUIET,
        decoder: OnnxDecoder | None = None,
        *,
        armed: bool = True,
        **options: Any,
    ) -> None:
        self.pipeline = Pipeline(settings, decoder or OnnxDecoder(bundle, "cpu"), armed=armed, **options)
        self.outputs: list[Output] = []
        self.log: list[tuple[str, Any, int | None]] = []

    def packets(self, frames: Iterable[bytes], received_ns: int | None = None) -> list[Output]:
        """Feed packets, all of which came at once."""
        came = []
        for frame in frames:
            self.log.append(("packet", frame, received_ns))
            came += self.pipeline.packet(frame, received_ns)
        self.outputs += came
        return came

    def tick(self, now_ns: int) -> list[Output]:
        """Feed a tick."""
        self.log.append(("tick", now_ns, None))
        came = self.pipeline.tick(now_ns)
        self.outputs += came
        return came

    def command(self, command: Command) -> tuple[int, str | None]:
        """Feed a command."""
        self.log.append(("command", command, None))
        index, problem, came = self.pipeline.command(command)
        self.outputs += came
        return index, problem

    def obey(self, command: Command) -> int:
        """Feed a command that is not turned down; returns the bin that it acts on."""
        index, problem = self.command(command)
        assert problem is None
        return index

    def replay(self, log: Iterable[tuple[str, Any, int | None]]) -> "Feed":
        """Feed what another one was fed."""
        for kind, what, received_ns in log:
            if kind == "packet":
                self.packets([what], received_ns)
            elif kind == "tick":
                self.tick(what)
            else:
                self.command(what)
        return self

    @property
    def frames(self) -> list[bytes]:
        """All outputs as they go over the wire, without times."""
        return [strip_times(encode_output(output)) for output in self.outputs]

    @property
    def decoded(self) -> list[Output]:
        """Decoded outputs."""
        return [output for output in self.outputs if output.kind is OutKind.DECODED]

    @property
    def safe(self) -> list[Output]:
        """Safe outputs."""
        return [output for output in self.outputs if output.kind is OutKind.SAFE]

    @property
    def commands(self) -> list[tuple[int, int, int]]:
        """Bins that were given a command, in order."""
        return [(o.epoch, o.restart, o.bin) for o in self.outputs if OutFlag.COMMAND in o.flags]

    def nonzero(self) -> dict[str, int]:
        """Counters that are not 0."""
        return {name: count for name, count in self.pipeline.counters.as_dict().items() if count}


def velocity(output: Output) -> list[float]:
    """The velocity of an output."""
    values: list[float] = output.tensors["velocity"].tolist()
    return values


class Spy(OnnxDecoder):
    """A decoder that keeps its features, and gives what is no number when told to."""

    def __init__(self, bundle: Bundle, nan_at: Callable[[int], bool] = lambda _: False) -> None:
        super().__init__(bundle, "cpu")
        self.seen: list[Features] = []
        self._nan_at = nan_at

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Decode, or give NaN."""
        self.seen.append(features.copy())
        results = super().step(features)
        if self._nan_at(len(self.seen) - 1):
            results["velocity"] = np.full(2, np.nan, np.float32)
        return results


class Sender:
    """An encoder of `N` channels of events that need not be spread evenly."""

    def __init__(self, epoch: int = 1, descriptor: bool = True, **options: Any) -> None:
        self.encoder = PacketEncoder(RATE, N, events().descriptor if descriptor else None, epoch=epoch, **options)
        self.at = 0

    def describe(self) -> bytes:
        """The descriptor."""
        return self.encoder.descriptor_packet(self.at)

    def bins(self, n: int = 1, counts: Sequence[int] = (3, 0, 1, 2)) -> list[bytes]:
        """Packets of one whole bin each, with so many events of each channel, all at the bin's first samples."""
        return [self.span(BIN, counts) for _ in range(n)]

    def span(self, n_samples: int, counts: Sequence[int] = (0, 0, 0, 0)) -> bytes:
        """A packet of so many samples."""
        channels = np.repeat(np.arange(N), counts)
        frame = self.encoder.events(self.at, n_samples, make_events(np.zeros(len(channels), np.int64), channels))
        self.at += n_samples
        return frame

    def skip(self, n_samples: int) -> None:
        """Samples that are never sent."""
        self.at += n_samples

    def lose(self, n_packets: int, n_samples: int) -> None:
        """Packets that were sent, and lost."""
        self.encoder.sequence += n_packets
        self.at += n_packets * n_samples


def with_settings(**parts: Any) -> PipelineSettings:
    """Pipeline settings without deadlines, and with other parts."""
    return PipelineSettings.model_validate({"deadline": {"deadline_ms": None}} | parts)


def frames_of(rig: FaultyRig, epoch: int = 1, seconds: float = SECONDS, **options: Any) -> list[bytes]:
    """The frames of a stream of a rig."""
    return [sent.frame for sent in rig.stream(epoch, seconds, **options).packets]


def without_electrodes(rig: FaultyRig) -> FaultyRig:
    """The same rig, which does not know what it is."""
    return FaultyRig(rig.rate, rig.n_channels, replace(rig.descriptor, electrodes=()), rig.encode)

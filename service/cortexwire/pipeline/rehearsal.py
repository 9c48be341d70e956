"""Rehearsing the end of a bin: code and data that were idle for 20 ms are slow the first time, so that is thrown away.

A processor forgets what it does not use, most of all in a process that sleeps between packets: the end of a bin, run
once every 20 ms, then takes three to five times as long as run twice in a row. One packet before a bin ends, the
engine therefore ends a bin of a twin of its pipeline: a stream of a few channels that comes from nowhere, decoded by
a throw-away run of the engine's own decoder. Nothing of it is seen, and nothing remembers it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.contract import CountingDecoder, Decoder, State
from cortexwire.decoders.manifest import Manifest
from cortexwire.decoders.overlay import Overlay
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.types import Counts, Features, Rate
from cortexwire.wire import PacketEncoder, encode_output, make_events
from cortexwire.wire.header import HEADER_BYTES

if TYPE_CHECKING:
    from cortexwire.pipeline.pipeline import Pipeline

CHANNELS: Final = 32
RATE: Final = Rate(30_000)
PACKET: Final = 30
"""Samples in a packet of the twin, and in its bins."""
SETTLING_PACKETS: Final = 400
"""Packets after which filters have settled, kernels are loaded and thresholds are in force."""
TIMED: Final = 5
MOST_OF_A_PACKET: Final = 0.25
"""Share of a packet's time that a rehearsal may take, warm: cold it takes several times as long."""
_COUNTERS: Final = Struct("<Qq")
_COUNTERS_AT: Final = 16
_CRC_AT: Final = HEADER_BYTES - 4


class Rehearsal:
    """Ends a bin on throw-away data each time that it is called.

    Args:
        make: Makes a pipeline of settings and a decoder.
        settings: The engine's settings.
        decoder: The engine's decoder, of which only `warm_up` is called.
        chain: The engine's signal chain.
        pause_s: What is waited between two of the first rehearsals, so that another thread is not kept waiting.

    Attributes:
        takes_ns: How long it takes when nothing has been forgotten.
    """

    def __init__(
        self,
        make: "Callable[[PipelineSettings, Decoder], Pipeline]",
        settings: PipelineSettings,
        decoder: Decoder,
        chain: FrontEndSettings,
        pause_s: float = 0.0,
    ) -> None:
        kind = _CountingStandIn if isinstance(decoder, CountingDecoder) else _StandIn
        stand_in = kind(decoder, chain)
        self._pipeline = make(settings, stand_in)
        self._pipeline.warm_up()
        self._frame = bytearray(_frame(stand_in.bundle.manifest))
        self._number = 0
        for _ in range(SETTLING_PACKETS):
            self()
            if pause_s:
                time.sleep(pause_s)
        began = time.perf_counter_ns()
        for _ in range(TIMED):
            self()
        self.takes_ns = (time.perf_counter_ns() - began) // TIMED

    def close(self) -> None:
        """It is called no more."""
        self._pipeline.close()

    def __call__(self) -> None:
        """Rehearse once."""
        frame, number = self._frame, self._number
        _COUNTERS.pack_into(frame, _COUNTERS_AT, number, number * PACKET)
        frame[_CRC_AT:HEADER_BYTES] = crc32(memoryview(frame)[:_CRC_AT]).to_bytes(4, "little")
        self._number = number + 1
        for output in self._pipeline.packet(bytes(frame), time.monotonic_ns()):
            encode_output(output)
        self._pipeline.settle()


class _StandIn:
    """Takes the place of a decoder in the twin: steps are throw-away runs of the real one."""

    overlay: Overlay | None = None

    def __init__(self, decoder: Decoder, chain: FrontEndSettings) -> None:
        self._decoder = decoder
        manifest = decoder.bundle.manifest
        twin = _manifest(manifest, chain)
        self.bundle = replace(decoder.bundle, manifest=twin)
        self.executor, self.provider, self.fingerprint = decoder.executor, decoder.provider, decoder.fingerprint
        self.n_features = twin.n_features
        self.feature_mean: NDArray[np.float32] = np.zeros(self.n_features, np.float32)
        self._outputs = {
            spec.name: np.zeros(spec.shape, spec.dtype) for spec in manifest.outputs if spec.role != "state"
        }

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Run the real decoder once, for nothing."""
        self._decoder.warm_up()
        return {name: zeros.copy() for name, zeros in self._outputs.items()}

    def reset(self) -> None:
        """There is no state."""

    def state(self) -> dict[str, NDArray[Any]]:
        """There is none."""
        return {}

    def set_state(self, state: State) -> None:
        """There is none."""

    def prepare(self, overlay: Overlay) -> None:
        """Nothing is laid over it."""

    def apply(self, overlay: Overlay | None) -> None:
        """Nothing is laid over it."""

    def rollback(self) -> None:
        """Nothing was laid over it."""

    def warm_up(self, runs: int = 1) -> None:
        """Nothing to warm."""

    def settle(self) -> None:
        """Nothing was put off."""


class _CountingStandIn(_StandIn):
    """The same for a decoder that is told of crossings."""

    def listen(self, n_kept: int, crossings: int, most: int) -> None:
        """The twin's crossings are nobody's."""

    def follow(self) -> None:
        """Nothing is added."""

    def discard(self) -> None:
        """Nothing was added."""

    def step_counts(self, counts: Counts, status: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Run the real decoder once, for nothing."""
        self._decoder.warm_up()
        return {name: zeros.copy() for name, zeros in self._outputs.items()}


def _manifest(manifest: Manifest, chain: FrontEndSettings) -> Manifest:
    """That of a stream of a few channels in bins of one packet, which goes through this chain."""
    bin_ms = 1000 * PACKET / RATE.hz
    stream = msgspec.structs.replace(
        manifest.stream, rate_num=RATE.num, rate_den=RATE.den, n_channels=CHANNELS, electrodes=(), bin_ms=bin_ms
    )
    # Of hops there is no room in a bin of one packet; without a timing there are none.
    shape = (CHANNELS * len(manifest.features.content),)
    wide = msgspec.structs.replace(manifest.features, shape=shape, timing=None)
    inputs = tuple(wide if spec.role == "features" else spec for spec in manifest.inputs)
    training = msgspec.structs.replace(manifest.training, channel_rates_hz=(), thresholds_uv=())
    return msgspec.structs.replace(
        manifest, stream=stream, inputs=inputs, training=training, front_end=_front_end(chain)
    )


def _front_end(chain: FrontEndSettings) -> dict[str, Any]:
    """The signal chain as suits the twin, its kernels those of the engine; as plain JSON."""
    reference, design = chain.reference, chain.filter.design
    apart = reference.mode != "none" and reference.groups != "all"
    groups = {"all": tuple(range(CHANNELS))} if apart else "all"
    threshold = {"mode": "absolute", "absolute_uv": -1e9, "values_uv": None, "adapt_every_s": None}
    if design is not None:
        design = design.model_copy(update={"rate_hz": RATE.hz, "settling_samples": 0})
    parts = {
        "bin_ms": 1000 * PACKET / RATE.hz,
        "masked": (),
        "reference": reference.model_copy(update={"groups": groups}),
        "threshold": chain.threshold.model_copy(update=threshold),
        "filter": chain.filter.model_copy(update={"design": design}),
    }
    return chain.model_copy(update=parts).model_dump(mode="json")


def _frame(manifest: Manifest) -> bytes:
    """A packet that fills one bin of the twin."""
    stream = manifest.stream
    encoder = PacketEncoder(RATE, CHANNELS, None, stream.uv_per_bit, epoch=1)
    now = time.monotonic_ns()
    if stream.kind == "wideband":
        noise = np.random.default_rng(0).integers(-30, 30, (PACKET, CHANNELS)).astype(np.int16)
        return encoder.wideband(0, noise, now, now)
    if stream.kind == "events":
        events = make_events(np.arange(8), np.arange(8))
        return encoder.events(0, PACKET, events, now, now)
    return encoder.counts(0, PACKET, np.ones(CHANNELS, np.uint16), now, now)

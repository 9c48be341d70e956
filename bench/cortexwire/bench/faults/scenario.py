"""What a fault run is made of: a rig, a decoder for it, and three streams with their faults.

A rig starts, starts again with a new epoch, and starts a third time without one. It skips some samples in the first
stream and two seconds in the second: the rig went on, and nothing was acquired.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.faults.injector import FaultMix, Injection, inject
from cortexwire.bench.faults.marks import BinRules
from cortexwire.bench.faults.rig import FaultyRig, Stream
from cortexwire.decoders import Bundle
from cortexwire.decoders.manifest import Electrode, StreamKind, StreamSpec
from cortexwire.pipeline.settings import IntakeSettings
from cortexwire.signal.bins import samples_in
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training.seeded import seeded_bundle
from cortexwire.types import Rate

BIN_MS: Final = 20.0
THRESHOLD_UV: Final = -45.0
STALL_S: Final = 2.0


@dataclass(frozen=True)
class Scenario:
    """One seed's run.

    Attributes:
        streams: As the rig sends them.
        whole: The same streams with the samples that the rig skips.
        injection: What is sent instead of `streams`.
    """

    streams: tuple[Stream, ...]
    whole: tuple[Stream, ...]
    injection: Injection


@dataclass(frozen=True)
class Plan:
    """How long the streams are and what happens in them.

    Attributes:
        seconds: Length of each of the three streams.
        skip_ms: Stretch that the rig skips in the first stream.
        stall_s: Stretch that it skips in the second.
        mix: What goes wrong on the way.
        packet_samples: Samples in a packet; about 1 ms by default.
    """

    seconds: tuple[float, float, float] = (8.0, 7.0, 4.0)
    skip_ms: float = 50.0
    stall_s: float = STALL_S
    mix: FaultMix = field(default_factory=FaultMix)
    packet_samples: int | None = None


def scenario(rig: FaultyRig, plan: Plan, seed: int) -> Scenario:
    """Draw what happens for one seed."""
    rng = np.random.default_rng((seed, 1))
    rate_hz = rig.rate.hz
    first, second = (int(value) for value in rng.integers(1, 2**62, 2))
    lead = plan.mix.lead_s
    skips = [
        [_stretch(rng, rate_hz, lead, plan.seconds[0] - plan.skip_ms / 1000 - 0.2, plan.skip_ms / 1000)],
        [_stretch(rng, rate_hz, lead, plan.seconds[1] - plan.stall_s - 0.2, plan.stall_s)],
        [],
    ]
    offset, made = 0, []
    for number, (epoch, restart) in enumerate(((first, 0), (second, 0), (second, 1))):
        seconds = plan.seconds[number]
        parts = [
            rig.stream(
                epoch,
                seconds,
                restart=restart,
                offset=offset,
                packet_samples=plan.packet_samples,
                skips=what,
                end=number == 2,
            )
            for what in (skips[number], [])
        ]
        offset += round(seconds * rate_hz)
        made.append(parts)
    streams, whole = (tuple(parts[k] for parts in made) for k in (0, 1))
    injection = inject(streams, plan.mix, seed)
    injection.ledger.enter("samples skipped by the rig")
    injection.ledger.enter("stall: the stream goes on later in sample index")
    injection.ledger.enter("end of the stream", safe_bins=1)
    return Scenario(streams, whole, injection)


def _stretch(rng: np.random.Generator, rate_hz: float, low_s: float, high_s: float, length_s: float) -> tuple[int, int]:
    start = int(rng.integers(round(low_s * rate_hz), round(high_s * rate_hz)))
    return start, start + round(length_s * rate_hz)


def fault_bundle(
    folder: Path, rig: FaultyRig, kind: StreamKind, history: int, seed: int = 5, *, replace: bool = False
) -> Bundle:
    """Write a decoder of random weights for a rig: fixed thresholds, mean reference, `history` bins."""
    stream = StreamSpec(
        kind=kind,
        rate_num=rig.rate.num,
        rate_den=rig.rate.den,
        uv_per_bit=rig.descriptor.uv_per_bit,
        n_channels=rig.n_channels,
        electrodes=tuple(Electrode(id=e.id, bank=e.bank) for e in rig.descriptor.electrodes),
        bin_ms=BIN_MS,
    )
    chain = front_end(rig, kind)
    return seeded_bundle(folder, seed=seed, stream=stream, history=history, front_end=chain, replace=replace)


def front_end(rig: FaultyRig, kind: StreamKind) -> Mapping[str, Any]:
    """The signal chain of the fault runs, as plain JSON."""
    if kind != "wideband":
        return {"bin_ms": BIN_MS}
    settings = FrontEndSettings(
        bin_ms=BIN_MS,
        reference=ReferenceSettings(mode="mean" if rig.n_channels >= 8 else "none"),
        filter=FilterSettings(design=design_filter(FilterSettings(), rig.rate)),
        threshold=ThresholdSettings(values_uv=(THRESHOLD_UV,) * rig.n_channels),
    )
    plain: dict[str, Any] = settings.model_dump(mode="json")
    return plain


def rules_of(bundle: Bundle, intake: IntakeSettings | None = None) -> BinRules:
    """What decides the marks of a bundle's bins, read from its manifest."""
    manifest = bundle.manifest
    stream = manifest.stream
    rate = Rate(stream.rate_num, stream.rate_den)
    chain = FrontEndSettings.model_validate(manifest.front_end)
    settling = 0
    if stream.kind == "wideband":
        assert chain.filter.design is not None
        settling = chain.filter.design.settling_samples + samples_in(rate, chain.threshold.refractory_ms)
    reset = samples_in(rate, (intake or IntakeSettings()).reset_after_ms)
    return BinRules(rate, stream.bin_ms, settling, reset, manifest.memory_bins, manifest.warm_up_bins)

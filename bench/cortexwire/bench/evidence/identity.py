"""Bit identity: what comes out depends on the samples that went in, not on packets, sockets or the clock.

One stream is cut into packets of several sizes and sent both through a live engine (`replay`, PUSH/PULL, outputs
over PUB/SUB) and through the offline pipeline. Every output message, its times taken out, has to be the same bytes.
There are no deadlines in these runs: a safe message says that the clock passed a deadline, so it depends on the clock
by definition. Each size is compared over the longest stretch that it can carry in reasonable time; the sizes that are
compared over a stretch are named in the result.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.evidence.sources import SEEDED_BUNDLE, recording
from cortexwire.bench.live import (
    decode_offline,
    lossless_config,
    replay_live,
    short_folder,
    untimed,
)
from cortexwire.clients.simulator import Simulator, SimulatorSettings
from cortexwire.decoders import ExecutorName
from cortexwire.sessions import RecordedSession, Session
from cortexwire.sessions.matrix import ArrayMatrix
from cortexwire.sessions.packets import PacketSizes
from cortexwire.sessions.signals import WidebandSignal
from cortexwire.signal.settings import FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded import seeded_bundle
from cortexwire.wire import OutKind, Output, decode_output

RANDOM: Final = "random"
SIZES: Final[tuple[int | str, ...]] = (1, 7, 30, 600, RANDOM)
LONGEST_RANDOM: Final = 1000
SEED: Final = 3
EPOCH: Final = 3
SIMULATED_CHANNELS: Final = (1, 3, 65, 96, 1024)
SIMULATED_S: Final = 2.0
CONTDATA_S: Final[dict[float, tuple[int | str, ...]]] = {4.0: SIZES, 120.0: (30, 600, RANDOM)}
"""Stretches of `contdata95`, in seconds from its start, and the sizes compared over each."""
_CALIBRATION_S: Final = 0.3


@dataclass(frozen=True)
class Case:
    """One stream whose outputs have to be the same however it comes.

    Attributes:
        name: What it is called.
        session: Where it comes from.
        bundle: The decoder.
        seconds: How much of it is sent; all of it when None.
        sizes: Packet sizes to compare.
        executor: What decodes.
    """

    name: str
    session: Session
    bundle: Path
    seconds: float | None
    sizes: Sequence[int | str]
    executor: ExecutorName = "onnx"


def identity(
    *,
    n1_sizes: Sequence[int | str] = SIZES,
    n1_s: float | None = None,
    contdata_s: Mapping[float, Sequence[int | str]] | None = None,
    channels: Sequence[int] = SIMULATED_CHANNELS,
    simulated_s: float = SIMULATED_S,
    simulated_sizes: Sequence[int | str] = SIZES,
) -> dict[str, Any]:
    """Must-show 3: outputs are bit-identical for every packet size, live and offline.

    Args:
        n1_sizes: Packet sizes for `neuralink_n1`; none leaves it out.
        n1_s: Seconds of it; all of it by default.
        contdata_s: Stretches of `contdata95`, in seconds, and the sizes of each.
        channels: Numbers of simulated channels.
        simulated_s: Seconds of each simulation.
        simulated_sizes: Packet sizes for these.

    Returns:
        `passed`, `expected`, and a result for each case.

    Raises:
        RunError: A run failed.
    """
    began = time.monotonic()
    stretches = CONTDATA_S if contdata_s is None else contdata_s
    with short_folder() as folder:
        cases: list[Case] = []
        if n1_sizes:
            cases.append(Case("neuralink_n1", recording("neuralink_n1"), SEEDED_BUNDLE, n1_s, n1_sizes))
        cases += _contdata_cases(folder, stretches)
        cases += [simulated_case(folder, n, simulated_s, simulated_sizes) for n in channels]
        results = {case.name: compare(case) for case in cases}
    return {
        "passed": all(result["passed"] for result in results.values()),
        "expected": {
            "outputs": "the same bytes for every packet size, live and offline, all times taken out",
            "content": "decoded outputs whose velocities and counts are not all the same",
        },
        "deadlines": "none: whether a bin is late depends on the clock by definition",
        "random_sizes": f"uniform from 1 to {LONGEST_RANDOM}, seed {SEED}",
        "cases": results,
        "seconds": round(time.monotonic() - began, 1),
    }


def compare(case: Case) -> dict[str, Any]:
    """Run one case with every size, live and offline, against its first size offline.

    Raises:
        RunError: A live run failed.
    """
    began = time.monotonic()
    reference: list[bytes] = []
    differences: dict[str, str] = {}
    digests: set[str] = set()
    for size in case.sizes:
        for way in ("offline", "live"):
            frames = untimed(_outputs(case, size, way))
            reference = reference or frames
            digests.add(_digest(frames))
            if (difference := first_difference(reference, frames)) is not None:
                differences[f"{way}, packets of {size}"] = difference
    decoded = [output for output in map(decode_output, reference) if output.kind is OutKind.DECODED]
    velocities = np.array([output.tensors["velocity"] for output in decoded]).reshape(-1, 2)
    crossings = sum(int(output.tensors["counts"].sum()) for output in decoded)
    alive = len(decoded) > 1 and bool((velocities.std(axis=0) > 0).all()) and crossings > 0
    return {
        "passed": not differences and alive,
        "packet_samples": list(case.sizes),
        "stretch_s": case.seconds or round(case.session.n_samples / case.session.rate.hz, 2),
        "channels": case.session.n_channels,
        "kind": case.session.kind,
        "runs": 2 * len(case.sizes),
        "outputs_each": len(reference),
        "decoded_each": len(decoded),
        "crossings": crossings,
        "sha256": sorted(digests),
        "differences": differences,
        "seconds": round(time.monotonic() - began, 1),
    }


def first_difference(expected: Sequence[bytes], came: Sequence[bytes]) -> str | None:
    """Say where two runs first differ; None where they do not."""
    for number, (one, other) in enumerate(zip(expected, came, strict=False)):
        if one != other:
            return f"output {number}: {_difference(decode_output(one), decode_output(other))}"
    if len(expected) != len(came):
        return f"expected {len(expected)} outputs, got {len(came)}"
    return None


def _difference(one: Output, other: Output) -> str:
    names = (name for name in one.__struct_fields__ if name != "tensors")
    fields = [name for name in names if getattr(one, name) != getattr(other, name)]
    mine, theirs = ({name: array.tobytes() for name, array in out.tensors.items()} for out in (one, other))
    tensors = [f"tensor {name}" for name in sorted(mine | theirs) if mine.get(name) != theirs.get(name)]
    return f"bins {one.bin} and {other.bin} differ in {', '.join(fields + tensors)}"


def _outputs(case: Case, size: int | str, way: str) -> Sequence[bytes]:
    sizes = packet_sizes(size)
    with short_folder() as folder:
        config = lossless_config(case.bundle, folder, executor=case.executor)
        if way == "offline":
            return decode_offline(config, case.session, sizes, epoch=EPOCH, stop_s=case.seconds)
        return replay_live(config, case.session, sizes, epoch=EPOCH, stop_s=case.seconds).frames


def packet_sizes(size: int | str) -> PacketSizes:
    """Samples per packet: a number, or for `random` a fresh seeded sequence."""
    if isinstance(size, int):
        return size
    return _random_sizes(np.random.default_rng(SEED))


def _random_sizes(rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.integers(1, LONGEST_RANDOM + 1, 1000).tolist()


def _digest(frames: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(len(frame).to_bytes(4, "little"))
        digest.update(frame)
    return digest.hexdigest()


def _contdata_cases(folder: Path, stretches: Mapping[float, Sequence[int | str]]) -> list[Case]:
    if not stretches:
        return []
    session = recording("contdata95")
    chain = FrontEndSettings()
    bundle = seeded_bundle(
        folder / "contdata95",
        seed=SEED,
        stream=stream_of(session, chain.bin_ms),
        front_end=chain.model_dump(mode="json"),
    )
    return [
        Case(f"contdata95, {seconds:g} s", session, bundle.path, seconds, sizes) for seconds, sizes in stretches.items()
    ]


def simulated_case(folder: Path, n_channels: int, seconds: float, sizes: Sequence[int | str]) -> Case:
    """A simulated array, rendered once; from 8 channels on with a median reference, which needs so many."""
    simulator = Simulator(SimulatorSettings(channels=n_channels, seed=SEED))
    samples = simulator.next(round(seconds * simulator.rate.hz))
    session = RecordedSession(
        f"sim{n_channels}", simulator.rate, WidebandSignal(ArrayMatrix(samples)), simulator.descriptor
    )
    chain = FrontEndSettings(
        features=("counts", "band_power"),
        reference=ReferenceSettings(mode="median" if n_channels >= 8 else "none"),
        threshold=ThresholdSettings(calibration_s=min(_CALIBRATION_S, seconds / 3)),
    )
    chain = designed(chain, session)
    bundle = seeded_bundle(
        folder / session.name,
        seed=SEED,
        stream=stream_of(session, chain.bin_ms),
        content=chain.features,
        front_end=chain.model_dump(mode="json"),
    )
    return Case(f"simulated, {n_channels} channels", session, bundle.path, None, sizes)

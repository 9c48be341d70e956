"""Rehearsing the end of a bin changes nothing that anybody can see but how long the real one takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from cortexwire.decoders import Bundle, ExecutorName, make_decoder, make_overlay
from cortexwire.decoders.manifest import FeatureKind, StreamKind, StreamSpec
from cortexwire.pipeline.commands import (
    ApplyOverlay,
    Command,
    Disarm,
    Mask,
    Recalibrate,
    RollbackOverlay,
    SetGain,
    SetThresholds,
)
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.rehearsal import Rehearsal
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.signal import blocks, fused
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training import seeded_bundle
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.wire import OutKind, PacketEncoder, decode_output, encode_output, make_events, strip_times
from tests.pipeline.streams import MS, QUIET, RATE

N: Final = 17
LENGTH: Final = 10_800
PACKET: Final = 30
EXECUTORS: Final[tuple[ExecutorName, ...]] = ("onnx", "incremental")


@dataclass(frozen=True)
class Stream:
    """A stream and the chain that it goes through."""

    kind: StreamKind
    chain: FrontEndSettings
    decoder: str = "gru"


def chain(**parts: Any) -> FrontEndSettings:
    kind = parts.pop("filter", "bandpass")
    filtered = FilterSettings(kind=kind)
    design = design_filter(filtered, RATE)
    threshold = ThresholdSettings(calibration_s=0.08)
    return FrontEndSettings(filter=FilterSettings(kind=kind, design=design), threshold=threshold, **parts)


def reference(mode: Any, groups: Any = "all") -> ReferenceSettings:
    return ReferenceSettings(mode=mode, groups=groups)


GROUPS: Final = {"low": tuple(range(8)), "high": tuple(range(8, N))}
BOTH: Final[tuple[FeatureKind, ...]] = ("counts", "band_power")
STREAMS: Final = {
    "plain": Stream("wideband", chain()),
    "mean": Stream("wideband", chain(reference=reference("mean"))),
    "median": Stream("wideband", chain(reference=reference("median"))),
    "grouped mean": Stream("wideband", chain(reference=reference("mean", GROUPS))),
    "grouped median": Stream("wideband", chain(reference=reference("median", GROUPS))),
    "highpass": Stream("wideband", chain(filter="highpass")),
    "mean absolute power": Stream("wideband", chain(features=BOTH, power="mean_absolute"), decoder="wiener"),
    "power and median": Stream("wideband", chain(features=BOTH, reference=reference("median")), decoder="wiener"),
    "window": Stream("wideband", chain(), decoder="wiener"),
    "events": Stream("events", FrontEndSettings()),
    "counts": Stream("counts", FrontEndSettings()),
}


def bundle_of(folder: Path, stream: Stream) -> Bundle:
    spec = StreamSpec(kind=stream.kind, rate_num=30_000, uv_per_bit=1.0, n_channels=N, bin_ms=20.0)
    made = stream.chain.model_dump(mode="json")
    if stream.decoder == "gru":
        return seeded_gru(folder, seed=2, stream=spec, units=10, front_end=made)
    return seeded_bundle(folder, seed=2, stream=spec, history=4, content=stream.chain.features, front_end=made)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    folder, made = tmp_path_factory.mktemp("rehearsed"), dict[str, Bundle]()

    def of(name: str) -> Bundle:
        if name not in made:
            made[name] = bundle_of(folder / name.replace(" ", "-"), STREAMS[name])
        return made[name]

    return of


def samples_of(n: int = LENGTH) -> np.ndarray:
    rng = np.random.default_rng(4)
    raw = rng.normal(0, 8, (n, N))
    for _ in range(n * N // 300):
        at = rng.integers(n - 12)
        raw[at : at + 12, rng.integers(N)] -= 120 * np.hanning(12)
    raw[:, 3] = 7  # a dead channel
    return raw.round().astype(np.int16)


SAMPLES: Final = samples_of()


def frames_of(kind: StreamKind, size: int = PACKET, epoch: int = 5) -> list[bytes]:
    encoder = PacketEncoder(RATE, N, None, 1.0, epoch=epoch)
    if kind == "counts":
        size = 600
    frames = []
    for at in range(0, LENGTH - LENGTH % size, size):
        rng = np.random.default_rng(at)
        if kind == "wideband":
            frames.append(encoder.wideband(at, SAMPLES[at : at + size], at + 1, at + 2))
        elif kind == "events":
            n = rng.integers(3)
            frames.append(encoder.events(at, size, make_events(rng.integers(size, size=n), rng.integers(N, size=n))))
        else:
            frames.append(encoder.counts(at, size, rng.poisson(1.0, N)))
    return frames


class Run:
    """A pipeline that rehearses, or one that does not, and all that it says."""

    def __init__(
        self, bundle: Bundle, executor: ExecutorName, *, rehearse: bool, options: Any = QUIET, front_end: Any = None
    ) -> None:
        overlay = make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + np.float32(0.1)})
        self.clock_ns = 0
        self.pipeline = Pipeline(
            options,
            make_decoder(bundle, executor),
            armed=True,
            now_ns=self.now,
            load_overlay=lambda _: overlay,
            rehearse=rehearse,
            front_end=front_end,
        )
        self.pipeline.warm_up()
        self.outputs: list[bytes] = []

    def now(self) -> int:
        """A clock that goes on whenever it is looked at."""
        self.clock_ns += 1
        return self.clock_ns

    def packet(self, frame: bytes, received_ns: int | None = None) -> list[Any]:
        """Feed a packet."""
        outputs = self.pipeline.packet(frame, received_ns)
        self.outputs += [strip_times(encode_output(output)) for output in outputs]
        return list(outputs)

    def everything(self) -> dict[str, Any]:
        """All that could differ."""
        pipeline = self.pipeline
        self.outputs += [strip_times(encode_output(output)) for output in pipeline.finish()]
        bins, overlay = pipeline.bins, pipeline._decoder.overlay
        return {
            "outputs": self.outputs,
            "counters": pipeline.counters.as_dict(),
            "notes": pipeline.drain_notes(),
            "report": repr(pipeline.channel_report()),
            "state": {name: value.tobytes() for name, value in pipeline._decoder.state().items()},
            "told": (pipeline.state, pipeline.armed, pipeline.next_due_ns, bins.next_bin, bins.spans),
            "progress": (bins.calibration_progress, None if overlay is None else overlay.hash),
        }


def at_once(pipeline: Pipeline) -> Rehearsal:
    """What a pipeline rehearses with, which it has once it is warm."""
    rehearsal = pipeline._rehearsal
    assert rehearsal is not None
    return rehearsal


def same(one: Run, other: Run) -> None:
    want, came = one.everything(), other.everything()
    for name in want:
        assert came[name] == want[name], name


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", STREAMS)
def test_rehearsing_between_any_packets_changes_no_bit(
    bundles: Callable[[str], Bundle], name: str, executor: ExecutorName
) -> None:
    bundle = bundles(name)
    plain, rehearsed = Run(bundle, executor, rehearse=False), Run(bundle, executor, rehearse=True)
    rehearsal = at_once(rehearsed.pipeline)
    for number, frame in enumerate(frames_of(STREAMS[name].kind)):
        plain.packet(frame)
        # Before any output, in the middle of a bin and at its end; twice now and then.
        for _ in range(1 + (number % 5 == 0)):
            rehearsal()
        rehearsed.packet(frame)
        if number % 3 == 0:
            rehearsal()
            rehearsed.pipeline.settle()
            rehearsal()
        assert rehearsed.outputs == plain.outputs
    decoded = [output for output in map(decode_output, plain.outputs) if output.kind is OutKind.DECODED]
    assert len(decoded) > 8
    assert len({output.tensors["velocity"].tobytes() for output in decoded}) == len(decoded)
    same(plain, rehearsed)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ["median", "window"])
def test_nor_does_it_with_commands_and_overlays_in_between(
    bundles: Callable[[str], Bundle], name: str, executor: ExecutorName
) -> None:
    commands: dict[int, Command] = {
        95: Mask((1, 2), True),
        105: ApplyOverlay("today", "0" * 16),
        111: SetGain(1.5),
        125: SetThresholds((-40.0,) * N),
        131: RollbackOverlay(),
        133: Mask((2,), False),
        150: ApplyOverlay("again", "0" * 16),
        171: Recalibrate(0.03),
        205: Disarm(),
    }
    bundle = bundles(name)
    plain, rehearsed = Run(bundle, executor, rehearse=False), Run(bundle, executor, rehearse=True)
    rehearsal = at_once(rehearsed.pipeline)
    for number, frame in enumerate(frames_of("wideband")):
        for run in (plain, rehearsed):
            if run is rehearsed:
                rehearsal()
            if number in commands:
                assert run.pipeline.command(commands[number])[1] is None
            if run is rehearsed:
                rehearsal()
            run.packet(frame)
    assert len({decode_output(output).overlay_hash for output in plain.outputs}) == 2
    same(plain, rehearsed)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nor_does_it_across_gaps_resets_and_new_streams(
    bundles: Callable[[str], Bundle], executor: ExecutorName
) -> None:
    frames = frames_of("wideband")
    frames = [*frames[:110], *frames[112:150], b"nonsense", *frames[190:], *frames_of("wideband", epoch=6)]
    options = PipelineSettings.model_validate({"intake": {"reset_after_ms": 30.0}})
    bundle = bundles("mean")
    plain = Run(bundle, executor, rehearse=False, options=options)
    rehearsed = Run(bundle, executor, rehearse=True, options=options)
    rehearsal = at_once(rehearsed.pipeline)
    for number, frame in enumerate(frames):
        now_ns = 10**9 + number * MS
        for run in (plain, rehearsed):
            run.outputs += [strip_times(encode_output(output)) for output in run.pipeline.tick(now_ns)]
            if run is rehearsed:
                rehearsal()
            run.packet(frame, now_ns)
        assert rehearsed.pipeline.next_due_ns == plain.pipeline.next_due_ns
    assert plain.pipeline.counters.resets > 0
    same(plain, rehearsed)


def kernels() -> dict[str, int]:
    """How many variants of each kernel there are in this process."""
    found = {}
    modules = [fused, blocks, *_incremental()]
    for module in modules:
        for name, kernel in vars(module).items():
            if hasattr(kernel, "signatures"):
                found[f"{module.__name__}.{name}"] = len(kernel.signatures)
    return found


def _incremental() -> list[Any]:
    from cortexwire.decoders.incremental import machine, rows

    return [machine, rows]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", STREAMS)
def test_it_compiles_no_kernel_that_the_engine_does_not_run(
    bundles: Callable[[str], Bundle], name: str, executor: ExecutorName
) -> None:
    bundle = bundles(name)
    run = Run(bundle, executor, rehearse=False)
    for frame in frames_of(STREAMS[name].kind):
        run.packet(frame)
    before = kernels()
    if STREAMS[name].kind == "wideband":
        assert before["cortexwire.signal.fused.run_front_end"] > 0
    at_once(Run(bundle, executor, rehearse=True).pipeline)()
    assert kernels() == before


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_goes_through_the_chain_as_an_operator_changed_it(
    bundles: Callable[[str], Bundle], executor: ExecutorName
) -> None:
    wanted = STREAMS["grouped median"].chain.model_dump(mode="json")["reference"]
    other = STREAMS["highpass"].chain.model_dump(mode="json")["filter"]
    changes = {"reference": wanted, "filter": other, "masked": (12,), "artefact": {"amplitude_uv": 900.0}}
    runs = [Run(bundles("plain"), executor, rehearse=on, front_end=changes) for on in (False, True)]
    plain, rehearsed = runs
    rehearsal = at_once(rehearsed.pipeline)
    twin, own = rehearsal._pipeline.bins.front_end, rehearsed.pipeline.bins.front_end
    assert (twin.reference.mode, twin.filter.kind) == (own.reference.mode, own.filter.kind) == ("median", "highpass")
    assert twin.filter.design is not None
    assert own.filter.design is not None
    assert twin.filter.design.sections == own.filter.design.sections
    for frame in frames_of("wideband"):
        plain.packet(frame)
        rehearsal()
        rehearsed.packet(frame)
    before = kernels()
    rehearsal()
    assert kernels() == before
    same(plain, rehearsed)


class Counted:
    """Counts rehearsals in the engine's own order: only behind a packet that brought no output."""

    def __init__(self, run: Run, takes_ns: int = 0) -> None:
        self.run, self.before = run, list[int]()
        self.takes_ns = takes_ns
        run.pipeline._rehearsal = self  # type: ignore[assignment]

    def __call__(self) -> None:
        """Count."""
        self.before.append(self.run.pipeline.bins._source.until_edge)

    def feed(self, frames: list[bytes]) -> list[int]:
        """Samples to the bin's end at each rehearsal."""
        for frame in frames:
            if not self.run.packet(frame):
                self.run.pipeline.rehearse()
        return self.before


def test_each_bin_is_rehearsed_once_one_packet_before_its_end(bundles: Callable[[str], Bundle]) -> None:
    for size in (30, 60, 150, 77):
        counted = Counted(Run(bundles("plain"), "incremental", rehearse=True))
        ahead = counted.feed(frames_of("wideband", size))
        settled = counted.run.pipeline.bins._source.settled_at  # type: ignore[union-attr]
        bins = LENGTH // 600 - -(-settled // 600)
        assert bins <= len(ahead) <= bins + 1
        assert all(0 < left <= size for left in ahead)


@pytest.mark.parametrize("size", [600, 601, 1300])
def test_packets_as_long_as_a_bin_are_not_rehearsed_for(bundles: Callable[[str], Bundle], size: int) -> None:
    counted = Counted(Run(bundles("plain"), "onnx", rehearse=True))
    assert counted.feed(frames_of("wideband", size)) == []


def test_irregular_packets_are_not_rehearsed_for(bundles: Callable[[str], Bundle]) -> None:
    frames = frames_of("wideband")
    encoder = PacketEncoder(RATE, N, None, 1.0, epoch=5)
    whole = SAMPLES.astype(np.float32)
    floats = [encoder.wideband(at, whole[at : at + PACKET]) for at in range(0, LENGTH, PACKET)]
    for given in (floats, [frame for pair in zip(frames[1::2], frames[::2], strict=True) for frame in pair]):
        assert Counted(Run(bundles("plain"), "onnx", rehearse=True)).feed(given) == []
    # A packet is lost just before each end of a bin: what follows it is not known.
    lossy = [frame for k, frame in enumerate(frames) if k % 20 != 18]
    assert Counted(Run(bundles("plain"), "onnx", rehearse=True)).feed(lossy) == []


@pytest.mark.parametrize("name", ["events", "counts"])
def test_only_samples_are_rehearsed_for(bundles: Callable[[str], Bundle], name: str) -> None:
    counted = Counted(Run(bundles(name), "onnx", rehearse=True))
    assert counted.feed(frames_of(STREAMS[name].kind)) == []


def test_what_takes_too_much_of_a_packet_is_left_out(bundles: Callable[[str], Bundle]) -> None:
    run = Run(bundles("plain"), "onnx", rehearse=True)
    assert Counted(run, takes_ns=MS // 2).feed(frames_of("wideband")) == []
    run = Run(bundles("plain"), "onnx", rehearse=True)
    assert len(Counted(run, takes_ns=MS // 5).feed(frames_of("wideband"))) > 3


def test_without_being_asked_for_it_is_never_made(bundles: Callable[[str], Bundle]) -> None:
    run = Run(bundles("plain"), "onnx", rehearse=False)
    assert run.pipeline._rehearsal is None
    run.pipeline.rehearse()


def test_it_remembers_no_more_the_longer_it_runs(bundles: Callable[[str], Bundle]) -> None:
    rehearsal = at_once(Run(bundles("mean"), "incremental", rehearse=True).pipeline)
    twin = rehearsal._pipeline
    before = len(twin._notes), len(twin.bins.notes), len(twin._unsettled), twin.counters.decoded_bins
    for _ in range(2000):
        rehearsal()
    after = len(twin._notes), len(twin.bins.notes), len(twin._unsettled)
    assert after == before[:3]
    assert twin.counters.decoded_bins == before[3] + 2000


def test_each_rehearsal_ends_and_decodes_one_bin(bundles: Callable[[str], Bundle]) -> None:
    for name in STREAMS:
        for executor in EXECUTORS:
            run = Run(bundles(name), executor, rehearse=True)
            rehearsal, steps = at_once(run.pipeline), list[int]()
            warm_up = run.pipeline._decoder.warm_up
            run.pipeline._decoder.warm_up = lambda runs=1, w=warm_up, s=steps: (s.append(runs), w(runs))[1]  # type: ignore
            rehearsal()
            rehearsal()
            assert steps == [1, 1], (name, executor)

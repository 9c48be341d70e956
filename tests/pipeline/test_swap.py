"""The laws of hot swap: each bin from one named bundle, once, wherever packets are cut and whatever happens to them."""

import gc
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortexwire.decoders import Bundle, ExecutorName, load_bundle, make_decoder, make_overlay
from cortexwire.decoders.manifest import Electrode, StreamKind, StreamSpec
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import (
    ActivateBundle,
    ApplyOverlay,
    Arm,
    AttachBundle,
    Command,
    ConfirmIdentity,
    Mask,
    Recalibrate,
    RollbackBundle,
    RollbackOverlay,
    SetGain,
    UnstageBundle,
    decode_command,
    decode_request,
    encode_command,
)
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training import seeded_bundle
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.wire import OutFlag, OutKind, Output, PacketEncoder, encode_output, make_events, strip_times
from tests.pipeline.hopping import hopping
from tests.pipeline.streams import QUIET, RATE

N: Final = 9
BIN: Final = 600
BINS: Final = 48
LENGTH: Final = BINS * BIN
HISTORY: Final = 3
NAMES: Final = tuple(Electrode(id=f"e{k}", bank="A") for k in range(N))
LOSSY: Final = PipelineSettings.model_validate(
    {"deadline": {"deadline_ms": None}, "intake": {"reset_after_ms": 50.0, "reorder_window_packets": 2}}
)
EXECUTORS: Final[tuple[ExecutorName, ...]] = ("onnx", "incremental")


def chain(low_hz: float = 250.0, **parts: Any) -> dict[str, Any]:
    filtered = FilterSettings(low_hz=low_hz)
    found = FilterSettings(low_hz=low_hz, design=design_filter(filtered, RATE))
    threshold = parts.pop("threshold", ThresholdSettings(calibration_s=0.06))
    return FrontEndSettings(filter=found, threshold=threshold, **parts).model_dump(mode="json")


CHAINS: Final = {
    "a": chain(),
    "same": chain(),
    "other": chain(
        400.0, reference=ReferenceSettings(mode="mean"), threshold=ThresholdSettings(values_uv=(-45.0,) * N)
    ),
    "learning": chain(400.0),
    "gru": chain(),
}


def spec_of(kind: StreamKind, electrodes: tuple[Electrode, ...] = NAMES, channels: int = N) -> StreamSpec:
    return StreamSpec(
        kind=kind, rate_num=30_000, uv_per_bit=1.0, n_channels=channels, electrodes=electrodes, bin_ms=20.0
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    folder = tmp_path_factory.mktemp("swapped")

    def of(name: str, kind: StreamKind = "wideband", parts: int = 1) -> Bundle:
        path = folder / f"{kind}-{name}"
        front_end = CHAINS[name] if kind == "wideband" else {"bin_ms": 20.0}
        if not path.exists():
            seed = list(CHAINS).index(name)
            if name == "gru":
                seeded_gru(path, seed=seed, stream=spec_of(kind), units=6, front_end=front_end)
            else:
                seeded_bundle(path, seed=seed, stream=spec_of(kind), history=HISTORY, front_end=front_end)
        found = load_bundle(path)
        return hopping(found, parts) if parts > 1 else found

    return of


def samples() -> np.ndarray:
    rng = np.random.default_rng(4)
    raw = rng.normal(0, 8, (LENGTH, N))
    for _ in range(LENGTH * N // 300):
        at = rng.integers(LENGTH - 12)
        raw[at : at + 12, rng.integers(N)] -= 120 * np.hanning(12)
    return raw.round().astype(np.int16)


SAMPLES: Final = samples()
_RNG: Final = np.random.default_rng(9)
EVENTS: Final = (np.sort(_RNG.integers(0, LENGTH, 900)), _RNG.integers(0, N, 900))


def frames_of(kind: StreamKind, cuts: Sequence[int], epoch: int = 5) -> list[tuple[int, bytes]]:
    """Packets cut at these samples, each with the sample that it begins with."""
    encoder = PacketEncoder(RATE, N, None, 1.0, epoch=epoch)
    edges = sorted({0, LENGTH, *cuts})
    frames = []
    for start, stop in pairwise(edges):
        if kind == "wideband":
            frame = encoder.wideband(start, SAMPLES[start:stop])
        else:
            inside = (EVENTS[0] >= start) & (EVENTS[0] < stop)
            frame = encoder.events(start, stop - start, make_events(EVENTS[0][inside] - start, EVENTS[1][inside]))
        frames.append((start, frame))
    return frames


def attach(bundle: Bundle) -> AttachBundle:
    return AttachBundle(str(bundle.path), bundle.sha256)


class Run:
    """A pipeline that may swap, and all that it said."""

    def __init__(
        self,
        bundle: Bundle,
        executor: ExecutorName = "onnx",
        options: PipelineSettings = QUIET,
        *,
        armed: bool = True,
        eager: bool = False,
        **given: Any,
    ) -> None:
        self.executor: ExecutorName = executor
        self.pipeline = Pipeline(
            options,
            make_decoder(bundle, executor),
            armed=armed,
            load_strand=self.load,
            load_overlay=self.overlay,
            **given,
        )
        self.eager = eager
        self.outputs: list[Output] = []
        self.said: list[tuple[int, str | None]] = []

    def load(self, command: AttachBundle) -> Any:
        """Load what a command names."""
        return self.pipeline.strand_of(make_decoder(load_bundle(command.path), self.executor))

    def overlay(self, command: ApplyOverlay) -> Any:
        """Another bias for the bundle in the folder that a command names."""
        bundle = load_bundle(command.path)
        return make_overlay(bundle, {"bias": bundle.parameters["bias"] + np.float32(1)})

    def feed(self, what: str, content: Any) -> None:
        """Feed a packet with its time, a tick or a command."""
        if what == "packet":
            self.packet(*content)
        elif what == "tick":
            self.outputs += self.pipeline.tick(content)
        else:
            self.command(content)

    def packet(self, frame: bytes, received_ns: int | None = None) -> None:
        """Feed a packet."""
        came = self.pipeline.packet(memoryview(bytearray(frame)) if self.eager else frame, received_ns)
        self.outputs += came
        if self.eager:
            self.pipeline.settle()

    def command(self, command: Command) -> tuple[int, str | None]:
        """Feed a command."""
        index, problem, came = self.pipeline.command(decode_command(encode_command(command)))
        self.outputs += came
        self.said.append((index, problem))
        return index, problem

    def obey(self, command: Command) -> int:
        """Feed a command that is not turned down; returns its bin."""
        index, problem = self.command(command)
        assert problem is None, problem
        return index

    def finish(self) -> None:
        """The input is over."""
        self.outputs += self.pipeline.finish()

    @property
    def decoded(self) -> dict[tuple[int, int], Output]:
        """Decoded outputs by epoch and bin, of which there is one each, in order."""
        made = [output for output in self.outputs if output.kind is OutKind.DECODED]
        found = {(output.epoch, output.bin): output for output in made}
        assert len(found) == len(made)
        assert list(found) == sorted(found)
        return found

    @property
    def frames(self) -> list[bytes]:
        """All outputs as they go over the wire, without times."""
        return [strip_times(encode_output(output)) for output in self.outputs]

    @property
    def described(self) -> dict[str, Any]:
        """What it says of itself."""
        return self.pipeline.describe()


def plain(bundle: Bundle, frames: Sequence[tuple[int, bytes]], executor: ExecutorName = "onnx", **given: Any) -> Run:
    run = Run(bundle, executor, **given)
    for _, frame in frames:
        run.packet(frame)
    run.finish()
    return run


def untold(output: Output) -> bytes:
    """All of an output but its times and who made it."""
    return strip_times(encode_output(msgspec.structs.replace(output, bundle_hash=0)))


def every(n: int) -> list[int]:
    return list(range(0, LENGTH, n))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ["same", "other", "gru"])
@pytest.mark.parametrize("size", [30, 250, 600, 1500, 5000])
def test_each_bin_is_that_of_the_one_bundle_in_command(
    bundles: Callable[..., Bundle], name: str, executor: ExecutorName, size: int
) -> None:
    a, b = bundles("a"), bundles(name)
    frames = frames_of("wideband", every(size))
    run = Run(a, executor)
    asked = back = None
    for start, frame in frames:
        if start >= 2 * BIN and not run.pipeline._swap.shadows:
            run.obey(attach(b))
        if asked is None and start >= 30 * BIN:
            assert run.described["candidate"]["phase"] == "ready"
            asked = run.obey(ActivateBundle(33))
        if back is None and start >= 41 * BIN:
            back = run.obey(RollbackBundle())
        run.packet(frame)
    run.finish()
    assert asked == 33
    assert back is not None
    decoded = run.decoded
    assert [index for _, index in decoded] == list(range(min(k for _, k in decoded), BINS))
    for (_, index), output in decoded.items():
        assert output.bundle_hash == (b.hash if 33 <= index < back else a.hash)
    if executor == "onnx" and name != "gru":
        alone = {bundle.hash: plain(bundle, frames).decoded for bundle in (a, b)}
        for key, output in decoded.items():
            assert untold(output) == untold(alone[output.bundle_hash][key])
    moved = [output.tensors["velocity"].tobytes() for output in decoded.values()]
    assert len(set(moved)) == len(moved)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ["same", "other"])
@pytest.mark.parametrize("fade", [0, 5])
def test_a_swap_does_not_depend_on_how_packets_are_cut(
    bundles: Callable[..., Bundle], name: str, executor: ExecutorName, fade: int
) -> None:
    a, b = bundles("a"), bundles(name)
    given: list[list[bytes]] = []
    for size, eager in ((30, False), (200, True), (600, False), (3000, False)):
        run = Run(a, executor, eager=eager)
        for start, frame in frames_of("wideband", every(size)):
            if start == 3000:
                run.obey(attach(b))
            if start == 24_000 - 24_000 % 3000:
                run.obey(ActivateBundle(42, fade))
            run.packet(frame)
        run.finish()
        given.append(run.frames)
    assert all(frames == given[0] for frames in given)


def test_a_cross_fade_goes_from_the_one_to_the_other_and_the_new_one_is_named(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("other")
    frames = frames_of("wideband", every(100))
    run = Run(a)
    for start, frame in frames:
        if start == 600:
            run.obey(attach(b))
        if start == 24_000:
            assert run.obey(ActivateBundle(None, 4)) == 40
        if start == 25_200:
            assert "cross-fade goes on until bin 44" in str(run.command(ActivateBundle())[1])
        run.packet(frame)
    run.finish()
    old, new = plain(a, frames).decoded, plain(b, frames).decoded
    for (_, index), output in run.decoded.items():
        key = 5, index
        share = np.clip((index - 39) / 5, 0, 1)
        want = (1 - share) * old[key].tensors["velocity"] + share * new[key].tensors["velocity"] if key in new else None
        if want is not None:
            np.testing.assert_allclose(output.tensors["velocity"], want, rtol=1e-4, atol=1e-4)
        assert output.bundle_hash == (b.hash if index >= 40 else a.hash)
    assert run.described["crossfade_until"] is None


def test_gain_and_limits_hold_through_a_swap(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("gru")
    limit = {"deadline": {"deadline_ms": None}, "output": {"max_acceleration": 5.0, "smoothing": 0.5}}
    run = Run(a, options=PipelineSettings.model_validate(limit))
    for start, frame in frames_of("wideband", every(600)):
        if start == 1200:
            run.obey(attach(b))
        if start == 18_000:
            run.obey(SetGain(0.5))
        if start == 24_000:
            run.obey(ActivateBundle())
        run.packet(frame)
    said = np.array([o.tensors["velocity"] for o in run.decoded.values() if OutFlag.WARMING not in o.flags], np.float64)
    steps = np.linalg.norm(np.diff(said, axis=0), axis=1)
    assert steps.max() <= 5.0 * 0.02 + 1e-5
    assert steps.max() > 0.05


def wanted(what: str, others: dict[str, Bundle], open_bin: int, k: int) -> Command:
    match what:
        case "activate":
            return ActivateBundle(open_bin + k % 3)
        case "fade":
            return ActivateBundle(None, 3)
        case "rollback":
            return RollbackBundle()
        case "unstage":
            return UnstageBundle()
        case "gain":
            return SetGain(1.5)
        case "mask":
            return Mask((1,), k % 2 == 0)
        case _:
            return attach(others[what.removeprefix("attach ")])


_KINDS = st.sampled_from(["attach same", "attach other", "activate", "fade", "rollback", "unstage", "gain", "mask"])


TIMED: Final = PipelineSettings.model_validate(
    {"deadline": {"deadline_ms": 15.0}, "intake": {"reset_after_ms": 80.0, "reorder_window_packets": 1}}
)


class Story:
    """What comes in, and what is asked between: packets with the time of receipt, ticks and requests."""

    def __init__(self, steps: list[tuple[str, Any]], options: PipelineSettings) -> None:
        self.steps, self.options = steps, options

    def __repr__(self) -> str:
        steps = [f"{what} {len(content[0]) if what == 'packet' else content}" for what, content in self.steps]
        return f"{self.options.intake} {self.options.deadline}: {', '.join(steps)}"

    def told(self, run: Run, others: dict[str, Bundle] | None) -> list[tuple[str, Any]]:
        """Feed it, without other bundles only what does not swap. What was fed, to be fed again."""
        fed: list[tuple[str, Any]] = []
        for number, (what, content) in enumerate(self.steps):
            if what != "ask":
                fed.append((what, content))
            elif others is not None or content in ("gain", "mask"):
                fed.append(("command", wanted(content, others or {}, max(run.pipeline.bins.next_bin, 0), number)))
            else:
                continue
            run.feed(*fed[-1])
        run.finish()
        return fed


@st.composite
def stories(draw: st.DrawFn, kind: StreamKind) -> Story:
    """Packets of two streams cut anywhere, some lost, doubled or swapped, with ticks and requests in between."""
    cuts = draw(st.lists(st.integers(1, LENGTH - 1), min_size=40, max_size=120, unique=True))
    end = PacketEncoder(RATE, N, None, 1.0, epoch=5).end(LENGTH)
    first = frames_of(kind, cuts)
    second = frames_of(kind, draw(st.sampled_from([every(600), every(1000), every(4000)])), epoch=6)[:12]
    frames = [*first, *([(LENGTH, end)] if draw(st.booleans()) else []), *second]
    for k in draw(st.sets(st.integers(1, len(frames) - 2), max_size=3)):
        frames[k], frames[k + 1] = frames[k + 1], frames[k]
    lost = draw(st.sets(st.integers(1, len(frames) - 1), max_size=5))
    twice = draw(st.sets(st.integers(1, len(frames) - 1), max_size=3))
    asked = draw(st.dictionaries(st.integers(0, len(frames)), st.lists(_KINDS, max_size=3), max_size=14))
    late = draw(st.sets(st.integers(0, len(frames) - 1), max_size=4))
    # Mostly an operator gets somewhere: staged early, activated when it has settled.
    asked.setdefault(1, []).append(draw(st.sampled_from(["attach same", "attach other"])))
    asked.setdefault(draw(st.integers(len(first) // 2, len(first) - 1)), []).append(
        draw(st.sampled_from(["activate", "fade"]))
    )
    steps: list[tuple[str, Any]] = []
    now_ns = 10**9
    for k, (_, frame) in enumerate(frames):
        steps += [("ask", what) for what in asked.get(k, [])]
        now_ns += 20 * 10**6 * BINS // len(first)
        if k in late:
            now_ns += 60 * 10**6
            steps.append(("tick", now_ns))
        if k not in lost:
            steps += [("packet", (frame, now_ns))] * (1 + (k in twice))
    return Story(steps, draw(st.sampled_from([LOSSY, QUIET, TIMED])))


@pytest.mark.parametrize("kind", ["wideband", "events"])
def test_whatever_is_asked_and_lost_each_bin_comes_once_and_a_replay_is_equal(
    bundles: Callable[..., Bundle], kind: StreamKind
) -> None:
    a, others = bundles("a", kind), {name: bundles(name, kind) for name in ("same", "other")}
    known = {bundle.hash for bundle in (a, *others.values())}
    swapped = 0

    @settings(max_examples=40)
    @given(story=stories(kind))
    def told(story: Story) -> None:
        nonlocal swapped
        run, without, again = (Run(a, options=story.options, eager=eager) for eager in (False, False, True))
        fed = story.told(run, others)
        story.told(without, None)
        # Which bins are decoded depends on the stream, and on whether who is in command knows its thresholds.
        assert set(without.decoded) <= set(run.decoded)
        assert all(run.decoded[key].bundle_hash != a.hash for key in set(run.decoded) - set(without.decoded))
        assert {output.bundle_hash for output in run.decoded.values()} <= known
        assert len({(o.epoch, o.restart, o.bin) for o in run.outputs if OutFlag.COMMAND in o.flags}) == sum(
            OutFlag.COMMAND in o.flags for o in run.outputs
        )
        swapped += len({output.bundle_hash for output in run.decoded.values()}) > 1
        for what, content in fed:
            again.feed(what, content)
        again.finish()
        assert again.frames == run.frames
        assert again.said == run.said
        assert again.pipeline.counters.as_dict() == run.pipeline.counters.as_dict()

    told()
    assert swapped > 3


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("name", ["same", "other"])
def test_finer_output_is_swapped_between_hops(bundles: Callable[..., Bundle], parts: int, name: str) -> None:
    a, b = bundles("a", parts=parts), bundles(name, parts=parts)
    for size in (150, 1000):
        frames = frames_of("wideband", every(size))
        run, asked = Run(a), None
        for start, frame in frames:
            if start >= 3000 and not run.pipeline._swap.shadows:
                run.obey(attach(b))
            if start >= 21_000 and asked is None:
                asked = run.obey(ActivateBundle(38 * parts + 1, 0))
            run.packet(frame)
        alone = {bundle.hash: plain(bundle, frames).decoded for bundle in (a, b)}
        for key, output in run.decoded.items():
            assert output.bundle_hash == (b.hash if key[1] >= 38 * parts + 1 else a.hash)
            assert untold(output) == untold(alone[output.bundle_hash][key])


def test_it_is_refused_until_it_has_settled_and_at_bins_that_are_past(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("learning")
    run = Run(a)
    frames = frames_of("wideband", every(600))
    assert "expected a bundle that was staged" in str(run.command(ActivateBundle())[1])
    assert "expected a bundle that was in command before" in str(run.command(RollbackBundle())[1])
    assert "expected a candidate, got none" in str(run.command(UnstageBundle())[1])
    phases = []
    for start, frame in frames[:40]:
        if start == 6000:
            run.obey(attach(b))
        if start >= 6000:
            phases.append(run.described["candidate"]["phase"])
            if phases[-1] == "warming":
                assert "is not ready: " in str(run.command(ActivateBundle())[1])
        run.packet(frame)
    assert phases == sorted(phases, reverse=True)
    assert set(phases) == {"warming", "ready"}
    assert "expected a bin from 40 on, got 39" in str(run.command(ActivateBundle(39))[1])
    other = "0" * 16
    assert f"expected bundle {other} to be staged" in str(run.command(ActivateBundle(bundle_hash=other))[1])
    divergence = run.described["candidate"]["divergence"]
    assert 0 < divergence["rms"] <= divergence["max"]
    run.obey(ActivateBundle(44))
    assert run.described["takeover_bin"] == 44
    assert "a takeover comes at bin 44" in str(run.command(ActivateBundle())[1])
    assert run.obey(RollbackBundle()) == 40
    for _, frame in frames[40:]:
        run.packet(frame)
    assert {output.bundle_hash for output in run.decoded.values()} == {a.hash}
    assert "does not take over at bin 44: taken back" in " ".join(run.pipeline.drain_notes())


def test_what_interrupts_the_stream_withdraws_a_takeover(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("same")
    run = Run(a, options=LOSSY)
    frames = frames_of("wideband", every(600))
    for start, frame in frames:
        if start == 600:
            run.obey(attach(b))
        if start == 18_000:
            run.obey(ActivateBundle(40))
        if not 21_000 <= start < 24_000:
            run.packet(frame)
    run.finish()
    assert {output.bundle_hash for output in run.decoded.values()} == {a.hash}
    assert "does not take over at bin 40: the stream was interrupted" in " ".join(run.pipeline.drain_notes())
    assert run.described["candidate"]["phase"] == "ready"


def test_a_bundle_of_another_stream_is_cold_only(bundles: Callable[..., Bundle], tmp_path: Path) -> None:
    a = bundles("a")
    run = Run(a)
    apart: list[tuple[StreamKind, int, str]] = [("events", 1, "stream kind"), ("wideband", 2, "outputs in a bin")]
    for kind, parts, words in apart:
        found = bundles("same", kind, parts=parts)
        problem = str(run.command(attach(found))[1])
        assert problem.startswith("cold-only: ")
        assert words in problem
        assert "Disarm, and start the engine with that bundle" in problem
    wide = spec_of("wideband", channels=N + 1, electrodes=())
    more = seeded_bundle(tmp_path / "more", seed=1, stream=wide, history=2, front_end=CHAINS["a"])
    assert "channels: expected 9, got 10" in str(run.command(attach(more))[1])
    turned = seeded_bundle(
        tmp_path / "turned", seed=1, stream=spec_of("wideband", NAMES[::-1]), history=2, front_end=CHAINS["a"]
    )
    with pytest.raises(BundleError, match="trained on another array"):
        run.load(attach(turned))
    assert run.described["candidate"] is None


def test_overlays_belong_to_the_bundle_in_command(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("same")
    run = Run(a)
    frames = frames_of("wideband", every(600))
    hashes = {}
    for start, frame in frames:
        index = start // BIN
        if index == 5:
            run.obey(ApplyOverlay(str(a.path), "0" * 16))
            run.obey(attach(b))
        if index == 20:
            run.obey(ActivateBundle())
            assert "expected one of bundle" in str(run.command(ApplyOverlay(str(a.path), "0" * 16))[1])
            assert "expected an overlay applied before" in str(run.command(RollbackOverlay())[1])
        if index == 25:
            run.obey(ApplyOverlay(str(b.path), "0" * 16))
        if index == 30:
            run.obey(RollbackBundle())
        if index == 35:
            run.obey(RollbackOverlay())
        run.packet(frame)
        hashes[index] = run.outputs[-1].bundle_hash, run.outputs[-1].overlay_hash != 0
    assert [hashes[k] for k in (4, 6, 21, 26, 31, 36)] == [
        (a.hash, False), (a.hash, True), (b.hash, False), (b.hash, True), (a.hash, True), (a.hash, False)
    ]  # fmt: skip


def test_recalibration_and_masks_reach_who_follows(bundles: Callable[..., Bundle]) -> None:
    a, b = bundles("a"), bundles("other")
    run = Run(a)
    frames = frames_of("wideband", every(600))
    for start, frame in frames:
        index = start // BIN
        if index == 3:
            run.obey(Mask((0,), True))
        if index == 5:
            run.obey(attach(b))
        if index == 8:
            # One channel less than its reference takes.
            run.command(Mask((1,), True))
        if index == 20:
            run.obey(Recalibrate(0.05))
        run.packet(frame)
    assert run.described["candidate"] is None
    assert "is dropped: reference group" in " ".join(run.pipeline.drain_notes())


def test_nothing_of_a_dropped_bundle_stays_though_nobody_collects(bundles: Callable[..., Bundle]) -> None:
    a = bundles("a")
    run = Run(a, rehearse=True, now_ns=lambda: 0)
    run.pipeline.warm_up()
    frames = frames_of("wideband", every(600))
    gc.collect()
    gc.disable()
    try:
        gone = list[Callable[[], Any]]()
        for start, frame in frames:
            index = start // BIN
            if index in (4, 6, 20):
                run.obey(attach(bundles("other")))
                gone.append(weakref.ref(run.pipeline._swap.shadows[0].strand))
                gone.append(weakref.ref(run.pipeline._swap.shadows[0].strand.bins))
                gone.append(weakref.ref(run.pipeline._swap.shadows[0].strand.rehearsal))
            if index == 36:
                run.obey(ActivateBundle())
            if index == 40:
                run.obey(RollbackBundle())
            if index == 44:
                run.obey(UnstageBundle("previous", "enough"))
            run.packet(frame)
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()


def test_arming_is_not_lost_to_a_bundle_that_nobody_has_confirmed(
    bundles: Callable[..., Bundle], tmp_path: Path
) -> None:
    a = bundles("a")
    nameless = seeded_bundle(tmp_path / "b", seed=2, stream=spec_of("wideband", ()), history=2, front_end=CHAINS["a"])
    run = Run(a, armed=False)
    frames = frames_of("wideband", every(600))
    run.packet(frames[0][1])
    run.obey(ConfirmIdentity())
    run.obey(Arm())
    run.obey(attach(nameless))
    for _, frame in frames[1:30]:
        run.packet(frame)
    assert run.described["candidate"]["phase"] == "shadow"
    problem = str(run.command(ActivateBundle())[1])
    assert "may not be armed: the bundle has no electrode identities" in problem
    assert "confirm, or disarm first" in problem
    run.obey(ConfirmIdentity())
    assert run.described["candidate"]["phase"] == "ready"
    run.obey(ActivateBundle())
    run.packet(frames[30][1])
    assert OutFlag.COMMAND in run.outputs[-1].flags


def test_what_is_confirmed_holds_for_a_bundle_with_the_same_electrodes(bundles: Callable[..., Bundle]) -> None:
    run = Run(bundles("a"), armed=False)
    frames = frames_of("wideband", every(600))
    run.packet(frames[0][1])
    run.obey(ConfirmIdentity())
    run.obey(attach(bundles("same")))
    for _, frame in frames[1:30]:
        run.packet(frame)
    assert run.described["candidate"]["phase"] == "ready"


def test_requests_are_read_and_only_commands_are_logged() -> None:
    request = decode_request('{"command":"stage_bundle","path":"b"}')
    assert request.path == "b"  # type: ignore[union-attr]
    assert decode_request('{"command":"arm"}') == Arm()
    with pytest.raises(Exception, match="not a command"):
        decode_command('{"command":"stage_bundle","path":"b"}')
    with pytest.raises(Exception, match="not a command"):
        decode_request('{"command":"activate_bundle","crossfade_bins":251}')

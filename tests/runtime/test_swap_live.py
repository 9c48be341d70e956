"""Hot swap in a running engine: staged off the hot thread, taken over at a bin, and replayed from the tap."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from cortexwire.config import EngineConfig, TapSettings
from cortexwire.decoders import Bundle, StreamSpec, write_overlay
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import (
    ActivateBundle,
    ApplyOverlay,
    AttachBundle,
    RollbackBundle,
    StageBundle,
    UnstageBundle,
    decode_command,
)
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.engine import Engine
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.shadow_watch import WINDOW_NS, ShadowWatch
from cortexwire.runtime.staging import Stager, attach_command
from cortexwire.runtime.tap import TapReader
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import (
    OutKind,
    PacketEncoder,
    RecordKind,
    decode_output,
    encode_output,
    make_events,
    strip_times,
)
from tests.runtime.fakes import config

N = 5
STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=N, bin_ms=20.0)
TIMELESS = PipelineSettings(deadline=DeadlineSettings(deadline_ms=None))
LONGEST_S = 30.0


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    return seeded_bundle(tmp_path / "old", seed=1, stream=STREAM, history=4)


@pytest.fixture
def new(tmp_path: Path) -> Bundle:
    return seeded_bundle(tmp_path / "new", seed=2, stream=STREAM, history=4)


class Rig:
    """An engine that is fed 1 ms packets until it is stopped, and its operator."""

    def __init__(self, settings: EngineConfig, engine: Engine) -> None:
        self.settings = settings
        self.client = ControlClient(RunDir(settings.run_dir).control_endpoint, timeout_s=LONGEST_S)
        self.stop, self.over = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=engine.run, args=(self.stop,)), threading.Thread(target=self._feed)]
        self._endpoint = engine.ingest_endpoint

    def _feed(self) -> None:
        rng = np.random.default_rng(8)
        encoder = PacketEncoder(Rate(30000), N, None, 1.0, epoch=99)
        at = 0
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.set(zmq.SNDTIMEO, 1000)
            push.connect(self._endpoint)
            while not self.over.is_set():
                n = int(rng.integers(0, 4))
                events = make_events(np.sort(rng.integers(0, 150, n)), rng.integers(0, N, n))
                push.send(encoder.events(at, 150, events))
                at += 150
                time.sleep(0.001)

    def state(self, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The engine's state once it is as wanted."""
        until = time.monotonic() + LONGEST_S
        while True:
            state = self.client.state().state
            assert state is not None
            if wanted(state):
                return state
            assert time.monotonic() < until, state["candidate"]
            time.sleep(0.01)

    def obey(self, command: Any) -> Any:
        """Send a command that is carried out; the bin from which on."""
        reply = self.client.send(command)
        assert reply.problem is None, reply.problem
        return reply.bin


@contextmanager
def running(settings: EngineConfig) -> Iterator[Rig]:
    with Engine(settings) as engine:
        rig = Rig(settings, engine)
        for thread in rig.threads:
            thread.start()
        try:
            yield rig
        finally:
            rig.over.set()
            rig.threads[1].join()
            rig.stop.set()
            rig.threads[0].join()
            rig.client.close()


def phase(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: (state["candidate"] or {}).get("phase") == name


def in_command(bundle: Bundle) -> Callable[[dict[str, Any]], bool]:
    return lambda state: state["bundle_hash"] == f"{bundle.hash:016x}" and state["crossfade_until"] is None


def settings_of(folder: Path, bundle: Bundle, **changes: Any) -> EngineConfig:
    given = {"pipeline": TIMELESS, "tap": TapSettings(megabytes=32), **changes}
    return config(folder, bundle=bundle.path, armed=True, **given)


def replayed(settings: EngineConfig) -> tuple[list[bytes], list[bytes]]:
    """What the tap says was sent, and what comes of its packets, ticks and commands offline."""
    pipeline, prepare, _ = assemble(settings, live=False)
    sent, made = [], []
    with TapReader(settings.run_dir / "tap.ring") as tap:
        for record in tap:
            if record.kind is RecordKind.OUTPUT:
                sent.append(strip_times(record.payload))
                continue
            outputs: Any = []
            if record.kind is RecordKind.PACKET:
                outputs = pipeline.packet(record.payload)
            elif record.kind is RecordKind.COMMAND:
                command = decode_command(record.payload)
                prepare(command)
                outputs = pipeline.command(command)[2]
            made += [strip_times(encode_output(output)) for output in outputs]
    return sent, made


@pytest.mark.parametrize("executor", ["onnx", "incremental"])
def test_bundles_are_swapped_back_and_forth_and_the_tap_replays_it(
    tmp_path: Path, old: Bundle, new: Bundle, executor: str
) -> None:
    settings = settings_of(tmp_path, old, executor=executor)
    swaps = []
    with running(settings) as rig:
        for number, bundle in enumerate((new, old, new)):
            assert rig.obey(StageBundle(str(bundle.path), bundle.sha256)) is None
            state = rig.state(phase("ready"))
            assert state["candidate"]["bundle_hash"] == f"{bundle.hash:016x}"
            if number == 0:
                assert state["previous"] is None
                assert (
                    rig.state(lambda s: s["candidate"]["divergence"]["rms"] > 0)["candidate"]["own_front_end"] is False
                )
            swaps.append((rig.obey(ActivateBundle(None, 3 * (number == 1))), bundle.hash))
            rig.state(in_command(bundle))
        assert rig.state()["previous"] == f"{old.hash:016x}"
        swaps.append((rig.obey(RollbackBundle()), old.hash))
        last = rig.state(lambda s: s["bundle_hash"] == f"{old.hash:016x}" and s["bin"] > swaps[-1][0])["bin"]
    sent, made = replayed(settings)
    assert sent == made
    decoded = [output for output in map(decode_output, sent) if output.kind is OutKind.DECODED]
    assert [output.bin for output in decoded] == list(range(decoded[0].bin, decoded[0].bin + len(decoded)))
    assert decoded[-1].bin >= last
    for output in decoded:
        assert output.bundle_hash == [old.hash, *(which for at, which in swaps if at <= output.bin)][-1]


def test_facts_of_the_engine_are_in_its_state(tmp_path: Path, old: Bundle) -> None:
    with running(settings_of(tmp_path, old)) as rig:
        state = rig.state(lambda s: s["bundle_name"] != "" and s["bin"] > 3)
        assert state["bundle_name"] == old.manifest.name
        assert state["bundle_path"] == str(old.path)
        assert (state["bin_ms"], state["executor"], state["provider"]) == (20.0, "onnx", "cpu")
        assert state["unit"] == old.manifest.velocity.unit
        assert state["scheduling"]["cpus"]
        assert state["neutral"] is False
        assert state["blocked"] is True
        assert "no electrode identities" in state["blocked_why"]
        rig.obey({"command": "neutral", "on": True})
        rig.obey({"command": "set_gain", "gain": 2.0})
        assert rig.state(lambda s: s["neutral"])["neutral"] is True
        assert rig.state(lambda s: s["gain"] == [[2.0, 0.0], [0.0, 2.0]])


def test_what_cannot_be_staged_is_told_with_the_reason(tmp_path: Path, old: Bundle, new: Bundle) -> None:
    more = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=N + 1, bin_ms=20.0)
    other = seeded_bundle(tmp_path / "other", seed=3, stream=more, history=4)
    broken = shutil.copytree(new.path, tmp_path / "broken")
    (broken / "decoder.onnx").write_bytes(b"none")
    with running(settings_of(tmp_path, old)) as rig:
        problem = rig.client.send(StageBundle(str(tmp_path / "absent"))).problem
        assert problem == f"stage: expected the folder of a bundle, with its manifest.json, got {tmp_path / 'absent'}"
        assert rig.state()["candidate"] is None
        for request, why in (
            (StageBundle(str(other.path)), "cold-only: "),
            (StageBundle(str(broken)), "expected sha256"),
            (StageBundle(str(new.path), "0" * 64), "expected sha256 0000"),
            (StageBundle(str(new.path), None, str(tmp_path / "no")), "no: expected an overlay"),
        ):
            rig.obey(request)
            state = rig.state(phase("refused"))
            assert why in state["candidate"]["why"]
            rig.obey(UnstageBundle())
            rig.state(lambda s: s["candidate"] is None)
        problem = rig.client.send(ActivateBundle()).problem
        assert "expected a bundle that was staged" in str(problem)
        problem = rig.client.send(AttachBundle(str(new.path), new.sha256)).problem
        assert "expected a request to stage_bundle" in str(problem)


def test_a_staged_overlay_comes_with_its_bundle_and_others_of_it_are_found(
    tmp_path: Path, old: Bundle, new: Bundle
) -> None:
    first = write_overlay(tmp_path / "first", new, {"bias": np.ones(2, np.float32)})
    second = write_overlay(tmp_path / "second", new, {"bias": np.full(2, 2, np.float32)})
    settings = settings_of(tmp_path, old)
    with running(settings) as rig:
        rig.obey(StageBundle(str(new.path), None, str(tmp_path / "first")))
        rig.state(phase("ready"))
        rig.obey(ActivateBundle())
        rig.state(lambda s: s["overlay_hash"] == f"{first.hash:016x}")
        at = rig.obey(ApplyOverlay(str(tmp_path / "second"), f"{second.hash:016x}"))
        rig.state(lambda s: s["overlay_hash"] == f"{second.hash:016x}" and s["bin"] > at)
    sent, made = replayed(settings)
    assert sent == made


def test_shadows_that_take_too_long_are_dropped_by_a_command() -> None:
    watch = ShadowWatch()
    assert watch.look(WINDOW_NS, 0, candidate=True) is None
    assert watch.look(WINDOW_NS + 1, WINDOW_NS, candidate=True) is None
    assert watch.look(2 * WINDOW_NS, WINDOW_NS // 3, candidate=True) is None
    found = watch.look(3 * WINDOW_NS, WINDOW_NS, candidate=True)
    assert found is not None
    assert (found.which, "too slow" in found.why) == ("candidate", True)
    again = watch.look(4 * WINDOW_NS, 2 * WINDOW_NS, candidate=False)
    assert again is not None
    assert again.which == "previous"


def test_a_slow_candidate_is_dropped_from_a_running_engine(
    tmp_path: Path, old: Bundle, new: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortexwire.runtime.shadow_watch.MOST", 0.0)
    settings = settings_of(tmp_path, old)
    with running(settings) as rig:
        rig.obey(StageBundle(str(new.path)))
        rig.state(lambda s: "is dropped: too slow" in s["last_note"])
        rig.state(lambda s: s["candidate"] is None)
    with TapReader(settings.run_dir / "tap.ring") as tap:
        commands = [decode_command(record.payload) for record in tap if record.kind is RecordKind.COMMAND]
    assert [type(command) for command in commands] == [AttachBundle, UnstageBundle]


def test_one_bundle_is_staged_at_a_time_and_may_be_given_up(new: Bundle) -> None:
    gate, submitted = threading.Event(), list[Any]()

    def submit(command: Any) -> None:
        submitted.append(command)

    stager = Stager(lambda _: (gate.wait(LONGEST_S), None)[1], submit)
    stager.stage(StageBundle(str(new.path)))
    with pytest.raises(Exception, match="is being loaded; wait for it"):
        stager.stage(StageBundle(str(new.path)))
    assert stager.status is not None
    assert stager.status.describe()["phase"] == "loading"
    assert stager.forget()
    gate.set()
    stager.close()
    assert not submitted
    assert not stager.forget()
    stager.stage(StageBundle(str(new.path)))
    until = time.monotonic() + LONGEST_S
    while not submitted and time.monotonic() < until:
        time.sleep(0.01)
    stager.close()
    assert submitted == [attach_command(StageBundle(str(new.path)))]


def test_what_lies_there_now_is_named(tmp_path: Path, new: Bundle) -> None:
    command = attach_command(StageBundle(str(new.path)))
    assert command == AttachBundle(str(new.path), new.sha256)
    with pytest.raises(BundleError, match="expected a bundle"):
        attach_command(StageBundle(str(tmp_path)))

import math
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle, StreamSpec, write_overlay
from cortexwire.errors import BundleError, ConfigError, StartupError
from cortexwire.pipeline.commands import ApplyOverlay, Arm
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.runtime.assembly import MOST_SHELVED, OverlayShelf, assemble, read_thresholds
from cortexwire.runtime.engine import Engine
from cortexwire.runtime.tap import TapReader
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import (
    OutFlag,
    OutKind,
    PacketEncoder,
    RecordKind,
    decode_output,
    encode_output,
    make_events,
    strip_times,
)
from tests.runtime.fakes import config

N_CHANNELS = 5
EPOCH = 99
STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=N_CHANNELS, bin_ms=20.0)
TIMELESS = PipelineSettings(deadline=DeadlineSettings(deadline_ms=None))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return seeded_bundle(tmp_path / "bundle", seed=1, stream=STREAM, history=4)


def events_frames(n_packets: int, packet_samples: int = 250) -> list[bytes]:
    rng = np.random.default_rng(8)
    encoder = PacketEncoder(Rate(30000), N_CHANNELS, None, 1.0, epoch=EPOCH)
    frames = []
    for packet in range(n_packets):
        n = int(rng.integers(0, 9))
        offsets = np.sort(rng.integers(0, packet_samples, n))
        events = make_events(offsets, rng.integers(0, N_CHANNELS, n))
        frames.append(encoder.events(packet * packet_samples, packet_samples, events))
    frames.append(encoder.end(n_packets * packet_samples))
    return frames


def offline(settings: EngineConfig, frames: list[bytes]) -> list[bytes]:
    pipeline, _, _ = assemble(settings, live=False)
    return [encode_output(output) for frame in frames for output in pipeline.packet(frame)]


def live(settings: EngineConfig, frames: list[bytes]) -> list[bytes]:
    """What a subscriber gets from an engine that is fed the frames, up to the end of the stream."""
    knock = PacketEncoder(Rate(30000), N_CHANNELS, None, 1.0, epoch=1)
    got: list[bytes] = []
    with Engine(settings) as engine, zmq.Context() as context:
        stop = threading.Event()
        thread = threading.Thread(target=engine.run, args=(stop,))
        thread.start()
        try:
            with context.socket(zmq.PUSH) as push, context.socket(zmq.SUB) as sub:
                sub.set(zmq.RCVTIMEO, 10_000)
                sub.set(zmq.SUBSCRIBE, b"")
                sub.connect(engine.output_endpoint)
                push.connect(engine.ingest_endpoint)
                while not sub.poll(5):
                    push.send(knock.end(0))
                for frame in frames:
                    push.send(frame)
                while not got or not decode_output(got[-1]).flags & OutFlag.ENDED:
                    frame = sub.recv()
                    if decode_output(frame).epoch == EPOCH:
                        got.append(frame)
        finally:
            stop.set()
            thread.join()
    return got


def test_live_equals_offline_bit_for_bit_save_the_times(tmp_path: Path, bundle: Bundle) -> None:
    frames = events_frames(60)
    settings = config(tmp_path, bundle=bundle.path, pipeline=TIMELESS, armed=True)
    got = live(settings, frames)
    assert [strip_times(frame) for frame in got] == [strip_times(frame) for frame in offline(settings, frames)]
    decoded = [out for frame in got if (out := decode_output(frame)).kind is OutKind.DECODED]
    assert len(decoded) == 60 * 250 // 600
    assert all(out.times.received_ns <= out.times.binned_ns <= out.times.published_ns for out in decoded)


def test_a_tap_replays_to_what_was_published(tmp_path: Path, bundle: Bundle) -> None:
    settings = config(tmp_path, bundle=bundle.path, pipeline=TIMELESS, armed=True)
    got = live(settings, events_frames(20))
    with TapReader(settings.run_dir / "tap.ring") as tap:
        records = list(tap)
    published = [record.payload for record in records if record.kind is RecordKind.OUTPUT]
    assert published[-len(got) :] == got
    frames = [record.payload for record in records if record.kind is RecordKind.PACKET]
    assert [strip_times(frame) for frame in offline(settings, frames)] == [strip_times(frame) for frame in published]


def test_a_configuration_changes_what_the_bundle_says(tmp_path: Path, bundle: Bundle) -> None:
    overlay = write_overlay(tmp_path / "day", bundle, {"bias": np.ones(2, np.float32)})
    pipeline, _, _ = assemble(config(tmp_path, bundle=bundle.path, overlay=tmp_path / "day"), live=False)
    outputs = [output for frame in events_frames(12) for output in pipeline.packet(frame)]
    assert {output.overlay_hash for output in outputs} == {overlay.hash}
    assert {output.bundle_hash for output in outputs} == {bundle.hash}


def test_an_overlay_is_loaded_before_the_pipeline_asks_for_it(tmp_path: Path, bundle: Bundle) -> None:
    overlay = write_overlay(tmp_path / "day", bundle, {"bias": np.ones(2, np.float32)})
    command = ApplyOverlay(str(tmp_path / "day"), f"{overlay.hash:016x}")
    shelf = OverlayShelf(bundle)
    shelf.prepare(Arm())
    shelf.prepare(command)
    (tmp_path / "day").unlink()
    assert shelf.take(command).hash == overlay.hash
    with pytest.raises(BundleError, match="expected an overlay: No such file"):
        shelf.take(command)


def test_an_overlay_with_another_hash_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    write_overlay(tmp_path / "day", bundle, {"bias": np.ones(2, np.float32)})
    with pytest.raises(BundleError, match="day: expected hash 00000000000000ff, got "):
        OverlayShelf(bundle).prepare(ApplyOverlay(str(tmp_path / "day"), "00000000000000ff"))


def test_overlays_that_nobody_takes_do_not_pile_up(tmp_path: Path, bundle: Bundle) -> None:
    shelf = OverlayShelf(bundle)
    commands = []
    for day in range(MOST_SHELVED + 2):
        overlay = write_overlay(tmp_path / str(day), bundle, {"bias": np.full(2, day, np.float32)})
        commands.append(ApplyOverlay(str(tmp_path / str(day)), f"{overlay.hash:016x}"))
        shelf.prepare(commands[-1])
        (tmp_path / str(day)).unlink()
    for command in commands[2:]:
        shelf.take(command)
    with pytest.raises(BundleError, match="No such file"):
        shelf.take(commands[0])


def test_everything_wrong_with_the_decoder_is_told_at_once(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "day").write_bytes(b"no overlay")
    settings = config(
        tmp_path, bundle=bundle.path, overlay=tmp_path / "day", thresholds=tmp_path / "absent", provider="cuda"
    )
    with pytest.raises(StartupError, match="at start-up") as raised:
        assemble(settings)
    message = str(raised.value)
    assert "absent: No such file" in message
    assert "day: expected an overlay" in message
    assert "cuda" in message


def test_without_a_bundle_there_is_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="bundle: expected the folder of a model bundle, got none"):
        assemble(config(tmp_path))
    with pytest.raises(StartupError, match="absent"):
        assemble(config(tmp_path, bundle=tmp_path / "absent"))


def test_a_front_end_that_does_not_fit_is_a_start_up_problem(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(StartupError, match=r"front_end\.bin_ms"):
        assemble(config(tmp_path, bundle=bundle.path, front_end={"bin_ms": -1}))


def test_a_thresholds_file_names_each_channel_or_disables_it(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.json"
    file.write_bytes(msgspec.json.encode({"thresholds_uv": [-50.5, None, -40]}))
    first, second, third = read_thresholds(file)
    assert (first, third) == (-50.5, -40.0)
    assert math.isnan(second)
    file.write_text("[1, 2]")
    with pytest.raises(ConfigError, match=r"thresholds: expected .* in .*thresholds.json"):
        read_thresholds(file)

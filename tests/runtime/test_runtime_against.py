"""What an engine really did is reproduced from its log, and what cannot be is said and never passes."""

import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle, StreamSpec, write_overlay
from cortexwire.decoders.manifest import Electrode
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import (
    ApplyOverlay,
    Arm,
    Disarm,
    Mask,
    Neutral,
    RollbackOverlay,
    SetGain,
    SetThresholds,
)
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.runtime.against import Agreement, compare_log
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.copies import Copies
from cortexwire.sessions.log import open_log
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import (
    OutFlag,
    OutKind,
    PacketEncoder,
    RecordKind,
    Start,
    decode_output,
    encode_output,
)
from tests.runtime.fakes import config
from tests.sessions.logs import (
    ELECTRODES,
    N_CHANNELS,
    Raw,
    Step,
    event_frames,
    loss,
    running,
    tap_records,
    write_log,
)

STREAM = StreamSpec(
    kind="events",
    rate_num=30000,
    uv_per_bit=1.0,
    n_channels=N_CHANNELS,
    electrodes=tuple(Electrode(id=electrode.id, bank=electrode.bank) for electrode in ELECTRODES),
    bin_ms=20.0,
)
WIDEBAND = StreamSpec(kind="wideband", rate_num=30000, uv_per_bit=0.25, n_channels=N_CHANNELS, bin_ms=20.0)
QUICK = PipelineSettings(deadline=DeadlineSettings(deadline_ms=5.0))
TIMELESS = PipelineSettings(deadline=DeadlineSettings(deadline_ms=None))


def bundle_of(folder: Path, seed: int = 1) -> Bundle:
    return seeded_bundle(folder, seed=seed, stream=STREAM, history=4)


def wideband_bundle(folder: Path) -> Bundle:
    chain = FilterSettings(high_hz=3000.0)
    chain = chain.model_copy(update={"design": design_filter(chain, Rate(30_000))})
    front_end = {"filter": chain.model_dump(mode="json"), "threshold": {"calibration_s": 0.2}}
    return seeded_bundle(folder, seed=1, stream=WIDEBAND, history=3, front_end=front_end)


def recorded(tmp_path: Path, steps: Iterable[Step], bundle: Bundle, **changes: Any) -> list[Raw]:
    """What the tap of an engine holds that went through these steps."""
    settings = config(tmp_path, **({"bundle": bundle.path, "pipeline": QUICK} | changes))
    with running(settings) as (_, give):
        give(steps)
    return tap_records(settings.run_dir)


class Ran(NamedTuple):
    """An engine's run: its bundle, and what its tap held."""

    bundle: Bundle
    records: list[Raw]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run in which nothing went wrong."""
    folder = tmp_path_factory.mktemp("ran")
    bundle = bundle_of(folder / "bundle")
    return Ran(bundle, recorded(folder, event_frames(90), bundle, pipeline=TIMELESS))


def compared(folder: Path, records: list[Raw], **options: Any) -> Agreement:
    return compare_log(open_log(write_log(folder / "log", records, 50)), **options)


def lossy(frames: list[bytes]) -> list[Step]:
    """Frames of which some are lost, one comes twice, one late, and one is nonsense; with silences between."""
    steps: list[Step] = [frame for k, frame in enumerate(frames) if k not in (13, 14, 40)]
    steps[30:30] = [steps[29], b"nonsense"]
    steps[20], steps[21] = steps[21], steps[20]
    steps[60:60] = [0.06]
    steps[80:80] = [0.04]
    return steps


@pytest.mark.parametrize("executor", ["onnx", "incremental"])
@pytest.mark.parametrize("sizes", [[250] * 120, [30] * 400, [7, 900, 1, 600, 599, 1201] * 15], ids=["250", "30", "odd"])
def test_an_engine_with_faults_ticks_and_commands_is_reproduced_bit_for_bit(
    tmp_path: Path, executor: str, sizes: list[int]
) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    overlay = write_overlay(tmp_path / "day", bundle, {"bias": np.ones(2, np.float32)})
    steps = lossy(event_frames(sizes=sizes))
    middle = len(steps) // 2
    steps[middle:middle] = [
        Arm(),
        SetGain(1.5),
        Mask((1, 3)),
        ApplyOverlay(str(tmp_path / "day"), f"{overlay.hash:016x}"),
    ]
    steps[-9:-9] = [RollbackOverlay(), Neutral(), Neutral(False), Disarm(), SetThresholds((1.0,) * (N_CHANNELS + 1))]
    records = recorded(tmp_path, steps, bundle, executor=executor)
    found = compared(tmp_path, records)
    outputs = [decode_output(body) for kind, _, body in records if kind is RecordKind.OUTPUT]
    assert found.differences == []
    assert found.passed
    assert (found.compared, found.equal, found.unrecorded) == (len(outputs), len(outputs), 0)
    assert (found.ticks, found.commands) == (sum(kind is RecordKind.TICK for kind, _, _ in records), 9)
    assert [stretch.reproducible for stretch in found.stretches] == [True]
    # What is claimed to be reproduced was there: deadlines that passed, commands, an overlay, lost samples.
    assert any(OutFlag.DEADLINE in output.flags for output in outputs)
    assert any(OutFlag.COMMAND in output.flags for output in outputs)
    assert overlay.hash in {output.overlay_hash for output in outputs}
    assert any(output.missing_samples for output in outputs)


@pytest.mark.parametrize("executor", ["onnx", "incremental"])
def test_wideband_that_calibrates_itself_is_reproduced(tmp_path: Path, executor: str) -> None:
    send = PacketEncoder(Rate(30_000), N_CHANNELS, None, 0.25, epoch=5)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 60, (24_000, N_CHANNELS))
    noise[rng.integers(0, len(noise), 300), rng.integers(0, N_CHANNELS, 300)] -= 1500
    samples = noise.astype(np.int16)
    frames: list[Step] = [send.wideband(at, samples[at : at + 150]) for at in range(0, len(samples), 150)]
    del frames[120]
    bundle = wideband_bundle(tmp_path / "bundle")
    records = recorded(tmp_path, frames, bundle, executor=executor, pipeline=TIMELESS)
    found = compared(tmp_path, records)
    assert (found.passed, found.differences) == (True, [])
    outputs = [decode_output(body) for kind, _, body in records if kind is RecordKind.OUTPUT]
    assert any(output.tensors["counts"].any() for output in outputs if output.kind is OutKind.DECODED)


def test_each_engine_begins_anew_with_its_own_bundle_thresholds_and_overlay(tmp_path: Path) -> None:
    first, second = bundle_of(tmp_path / "one"), bundle_of(tmp_path / "two", seed=2)
    write_overlay(tmp_path / "day", second, {"bias": np.ones(2, np.float32)})
    thresholds = tmp_path / "thresholds.json"
    thresholds.write_text('{"thresholds_uv": [-50.5, null, -40, -40, -33.125]}')
    recorded(tmp_path, event_frames(60), first)
    again = event_frames(60, epoch=5, seed=3)
    records = recorded(tmp_path, again, second, overlay=tmp_path / "day", thresholds=thresholds, armed=True)
    assert [kind for kind, _, _ in records].count(RecordKind.START) == 2
    thresholds.unlink()
    found = compared(tmp_path, records)
    assert (found.passed, found.differences, len(found.stretches)) == (True, [], 2)
    assert set(found.bundles) == {first.sha256, second.sha256}


@pytest.mark.parametrize("cut", range(1, 9))
def test_outputs_that_a_killed_engine_did_not_record_are_no_difference(ran: Ran, tmp_path: Path, cut: int) -> None:
    records = list(ran.records)
    found = compared(tmp_path, [*records[:-cut], *records])
    assert (found.passed, found.differences) == (True, [])
    cut_off = [kind for kind, _, _ in records[-cut:]]
    kept_input = RecordKind.PACKET not in cut_off
    lost = sum(kind is RecordKind.OUTPUT for kind in cut_off)
    assert found.unrecorded == (lost if kept_input else found.unrecorded)
    assert found.unrecorded <= 3


def altered(records: list[Raw], number: int, change: Callable[[bytes], bytes]) -> list[Raw]:
    """The records with one of their outputs changed."""
    where = [k for k, (kind, _, _) in enumerate(records) if kind is RecordKind.OUTPUT][number]
    kind, t_ns, body = records[where]
    return [*records[:where], (kind, t_ns, change(body)), *records[where + 1 :]]


def velocity_moved(frame: bytes) -> bytes:
    output = decode_output(frame)
    tensors = {name: array.copy() for name, array in output.tensors.items()}
    tensors["velocity"][0] = np.nextafter(tensors["velocity"][0], np.float32(math.inf))
    return encode_output(msgspec.structs.replace(output, tensors=tensors))


def flag_set(frame: bytes) -> bytes:
    output = decode_output(frame)
    return encode_output(msgspec.structs.replace(output, flags=output.flags | OutFlag.LATE))


def test_what_differs_is_named_by_record_bin_and_field(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    found = compared(tmp_path / "velocity", altered(records, 17, velocity_moved))
    (difference,) = found.differences
    assert (found.passed, found.different, difference.field) == (False, 1, "velocity")
    assert difference.bin == decode_output([b for k, _, b in records if k is RecordKind.OUTPUT][17]).bin
    assert difference.max_abs == found.max_abs["velocity"]
    assert 0 < found.max_abs["velocity"] < 1e-3
    found = compared(tmp_path / "flag", altered(records, 3, flag_set))
    assert [(d.field, "late" in d.recorded, "late" in d.here) for d in found.differences] == [("flags", True, False)]


def test_messages_too_many_and_too_few_are_differences(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    outputs = [k for k, (kind, _, _) in enumerate(records) if kind is RecordKind.OUTPUT]
    found = compared(tmp_path / "few", [*records[: outputs[9]], *records[outputs[9] + 1 :]])
    assert (found.passed, found.missing, found.extra) == (False, 1, 0)
    found = compared(tmp_path / "many", [*records[: outputs[9]], records[outputs[9]], *records[outputs[9] :]])
    assert (found.passed, found.missing, found.extra) == (False, 0, 1)


def test_a_command_with_another_effect_is_a_difference(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    frames = event_frames(40)
    records = recorded(tmp_path, [*frames[:20], Arm(), *frames[20:]], bundle, pipeline=TIMELESS)
    at = next(k for k, (kind, _, _) in enumerate(records) if kind is RecordKind.APPLIED)
    records[at] = (RecordKind.APPLIED, 0, b'{"bin":77777}')
    found = compared(tmp_path, records)
    assert (found.passed, found.answers, found.differences[0].field) == (False, 1, "answer to a command")


def test_after_a_loss_only_counts_are_compared_and_the_next_engine_is_reproduced_again(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    recorded(tmp_path, event_frames(120), bundle, pipeline=TIMELESS)
    records = recorded(tmp_path, event_frames(60, epoch=4), bundle, pipeline=TIMELESS)
    frames = [k for k, (kind, _, _) in enumerate(records) if kind is RecordKind.PACKET]
    records[frames[40]] = (RecordKind.LOSS, 0, loss(1, packets=1, samples=250))
    found = compared(tmp_path, records)
    whole, broken, again = found.stretches
    assert (found.passed, whole.reproducible, broken.reproducible, again.reproducible) == (True, True, False, True)
    assert (broken.first, "records are missing" in broken.why) == (frames[40], True)
    assert broken.outputs == broken.counts_equal + broken.counts_different + broken.unmatched + 1  # the stream's end
    assert broken.counts_equal >= broken.outputs - 4
    assert found.compared == whole.outputs + again.outputs < sum(kind is RecordKind.OUTPUT for kind, _, _ in records)


def test_damage_in_the_log_breaks_what_can_be_reproduced(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    folder = write_log(tmp_path / "log", records)
    path = folder / "000000.cxlog"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = compare_log(open_log(folder))
    assert [stretch.reproducible for stretch in found.stretches] == [True, False]
    assert found.passed
    assert found.stretches[1].outputs > 5


def test_a_log_that_joined_in_the_middle_never_passes(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    folder = write_log(tmp_path / "log", records)
    sidecar = (folder / "recording.json").read_bytes()
    write_log(folder, records[40:], first_index=40)
    (folder / "recording.json").write_bytes(sidecar)
    found = compare_log(open_log(folder))
    (stretch,) = found.stretches
    assert (found.passed, found.compared, found.different) == (False, 0, 0)
    assert "joined in the middle" in stretch.why
    assert stretch.counts_equal > 20
    assert stretch.counts_different == 0


def test_a_bundle_is_the_recordings_own_or_the_one_where_it_was_or_the_one_named(ran: Ran, tmp_path: Path) -> None:
    bundle = ran.bundle
    kind, t_ns, body = ran.records[0]
    start = msgspec.structs.replace(msgspec.json.decode(body, type=Start), bundle=str(tmp_path / "was"))
    folder = write_log(tmp_path / "log", [(kind, t_ns, msgspec.json.encode(start)), *ran.records[1:]])
    moved = tmp_path / "elsewhere"
    shutil.copytree(bundle.path, moved)
    found = compare_log(open_log(folder))
    assert not found.passed
    assert f"expected a bundle with sha256 {bundle.sha256}, got none" in found.stretches[0].why
    assert compare_log(open_log(folder), moved).passed
    other = bundle_of(tmp_path / "other", seed=9)
    found = compare_log(open_log(folder), other.path)
    assert f"its sha256 is {other.sha256}" in found.stretches[0].why
    moved.rename(folder / "bundle")
    assert compare_log(open_log(folder), other.path).passed
    (folder / "bundles").mkdir()
    (folder / "bundle").rename(folder / "bundles" / bundle.sha256[:16])
    assert compare_log(open_log(folder)).bundles == {bundle.sha256: str(folder / "bundles" / bundle.sha256[:16])}


def test_an_overlay_is_taken_from_the_recording_and_without_it_the_rest_is_not_reproducible(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    overlay = write_overlay(tmp_path / "day", bundle, {"bias": np.ones(2, np.float32)})
    frames = event_frames(60)
    command = ApplyOverlay(str(tmp_path / "day"), f"{overlay.hash:016x}")
    records = recorded(tmp_path, [*frames[:30], command, *frames[30:]], bundle, pipeline=TIMELESS)
    folder = write_log(tmp_path / "log", records)
    (tmp_path / "day").rename(tmp_path / "gone")
    found = compare_log(open_log(folder))
    assert [stretch.reproducible for stretch in found.stretches] == [True, False]
    assert "a command cannot be carried out here" in found.stretches[1].why
    (folder / "overlays").mkdir()
    (tmp_path / "gone").rename(folder / "overlays" / f"{overlay.hash:016x}")
    found = compare_log(open_log(folder))
    assert (found.passed, len(found.stretches)) == (True, 1)


def test_another_fingerprint_is_said(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    kind, t_ns, body = records[0]
    start = msgspec.json.decode(body, type=Start)
    here = start.fingerprint
    records[0] = (kind, t_ns, msgspec.json.encode(msgspec.structs.replace(start, fingerprint="another machine")))
    found = compared(tmp_path, records)
    assert found.fingerprints == [("another machine", here)]
    assert found.passed


def test_a_configuration_that_nobody_knows_cannot_be_reproduced(ran: Ran, tmp_path: Path) -> None:
    records = list(ran.records)
    kind, t_ns, body = records[0]
    start = msgspec.json.decode(body, type=Start)
    odd = msgspec.structs.replace(start, config=start.config | {"pipeline": {"from_the_future": 1}})
    shell = msgspec.structs.replace(start, config=start.config | {"from_the_future": 1})
    assert compared(tmp_path / "shell", [(kind, t_ns, msgspec.json.encode(shell)), *records[1:]]).passed
    found = compared(tmp_path, [(kind, t_ns, msgspec.json.encode(odd)), *records[1:]])
    assert (found.passed, found.compared) == (False, 0)
    assert "from_the_future" in found.stretches[0].why


def test_a_pipeline_that_falls_where_the_engine_fell_is_no_difference(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(ran.records)
    last = max(k for k, (kind, _, _) in enumerate(records) if kind is RecordKind.PACKET)
    frame = records[last][2]

    def falling(settings: EngineConfig, **options: Any) -> Any:
        built = assemble(settings, **options)
        packet = built.pipeline.packet

        def fall(given: bytes, received_ns: int | None = None) -> Any:
            if given == frame:
                raise RuntimeError("a fault of our own")
            return packet(given, received_ns)

        monkeypatch.setattr(built.pipeline, "packet", fall)
        return built

    monkeypatch.setattr("cortexwire.runtime.against.assemble", falling)
    assert compared(tmp_path / "same", [*records[: last + 1], *records[: last + 1]]).passed
    found = compared(tmp_path / "not", [*records[: last + 1], records[1], *records[last + 1 :]])
    assert not found.passed
    assert found.differences[0].here == "fell: RuntimeError: a fault of our own"


class Attach(msgspec.Struct, frozen=True):
    """A command that names a bundle and an overlay for it."""

    path: str
    sha256: str
    overlay: str | None = None
    overlay_hash: str | None = None


def test_whatever_a_command_names_by_a_hash_is_looked_for_in_the_recording(ran: Ran, tmp_path: Path) -> None:
    overlay = write_overlay(tmp_path / "day", ran.bundle, {"bias": np.ones(2, np.float32)})
    number, kept = f"{overlay.hash:016x}", tmp_path / "bundles" / ran.bundle.sha256[:16]
    shutil.copytree(ran.bundle.path, kept)
    (tmp_path / "overlays").mkdir()
    (tmp_path / "day").rename(tmp_path / "overlays" / number)
    copies = Copies(tmp_path)
    given: Any = Attach("gone", ran.bundle.sha256, "gone too", number)
    found: Any = copies.located(given)
    assert found == Attach(str(kept), ran.bundle.sha256, str(tmp_path / "overlays" / number), number)
    assert copies.located(Arm()) == Arm()
    missing: Any = Attach("gone", "0" * 64)
    with pytest.raises(BundleError, match="expected a bundle with sha256 0000"):
        copies.located(missing)

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from cortexwire.decoders import load_bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.runtime.recorder.keeping import (
    BUNDLE,
    BUNDLES,
    OVERLAYS,
    Keeper,
    copy_bundle,
    copy_overlay,
    read_sidecar,
    short_hash,
    write_sidecar,
)
from cortexwire.runtime.recorder.status import NUMBERS, StatusMap, read_status
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.shipped import bundle_folder
from cortexwire.wire import RecordKind, Sidecar, Start
from tests.runtime.recordings import Feeder, assert_same, losses, only_folder, read_log, recorder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shipped = bundle_folder(Path("reference"))
    assert shipped is not None
    return Path(shutil.copytree(shipped, tmp_path / "shipped"))


def start_of(bundle: Path, sha256: str, overlay: Path | None = None) -> bytes:
    content = b"" if overlay is None else overlay.read_bytes()
    return msgspec.json.encode(
        Start(
            pid=1,
            t_realtime_ns=2,
            config={},
            bundle=str(bundle),
            bundle_sha256=sha256,
            fingerprint="f",
            overlay=None if overlay is None else str(overlay),
            overlay_sha256=None if overlay is None else hashlib.sha256(content).hexdigest(),
        )
    )


def test_bundles_and_overlays_that_records_name_are_kept_and_verified(tmp_path: Path, bundle: Path) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    sidecar = Sidecar(recording="00" * 16, name="n", started="now")
    write_sidecar(folder, sidecar)
    one, two = tmp_path / "one.overlay", tmp_path / "two.overlay"
    one.write_bytes(b"monday")
    two.write_bytes(b"tuesday")
    sha256 = load_bundle(bundle).sha256
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    manifest = other / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    other_sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
    hash_of_two = short_hash(hashlib.sha256(b"tuesday").hexdigest())
    keeper = Keeper(folder, sidecar, copies=True)
    keeper.start()
    keeper.take(RecordKind.START, start_of(bundle, sha256, one), is_first=True)
    keeper.take(RecordKind.START, start_of(bundle, sha256), is_first=False)
    for command in (
        {"command": "apply_overlay", "path": str(two), "hash": hash_of_two},
        {"command": "attach_bundle", "path": str(other), "sha256": other_sha256},
        {"command": "attach_bundle", "path": str(bundle), "sha256": sha256},
        {"command": "apply_overlay", "path": str(tmp_path / "gone"), "hash": hash_of_two},
        {"command": "set_gain", "gain": 1.0},
    ):
        keeper.take(RecordKind.COMMAND, msgspec.json.encode(command), is_first=False)
    keeper.take(RecordKind.COMMAND, b"no json", is_first=False)
    keeper.stop(finished=True)
    assert load_bundle(folder / BUNDLE).sha256 == sha256
    assert load_bundle(folder / BUNDLES / other_sha256[:16]).sha256 == other_sha256
    kept = {path.name: path.read_bytes() for path in (folder / OVERLAYS).iterdir()}
    assert kept == {short_hash(hashlib.sha256(b"monday").hexdigest()): b"monday", hash_of_two: b"tuesday"}
    assert len(list((folder / BUNDLES).iterdir())) == 1
    found = read_sidecar(folder)
    assert found is not None
    assert (found.bundle, found.from_start, found.stopped is not None) == ("bundle", True, True)


def test_a_recording_that_joined_in_the_middle_keeps_the_bundle_that_the_engine_said_it_runs(
    tmp_path: Path, bundle: Path
) -> None:
    feeder = Feeder(tmp_path / "run")
    sha256 = load_bundle(bundle).sha256
    RunDir(tmp_path / "run").leave_start(start_of(bundle, sha256))
    with recorder(tmp_path / "run", tmp_path / "out") as recording:
        feeder.packets(20)
        recording.until_written(feeder)
        recording.stop()
    folder = only_folder(tmp_path / "out")
    found = read_sidecar(folder)
    assert found is not None
    assert (found.bundle, found.from_start) == ("bundle", False)
    assert load_bundle(folder / BUNDLE).sha256 == sha256
    feeder.close()


def test_what_is_another_bundle_or_overlay_by_now_is_not_kept(tmp_path: Path, bundle: Path) -> None:
    sha256 = load_bundle(bundle).sha256
    with pytest.raises(BundleError, match="expected sha256 0000"):
        copy_bundle(bundle, "0" * 64, tmp_path / "copy")
    (bundle / "MODEL_CARD.md").write_text("another")
    with pytest.raises(BundleError, match=r"MODEL_CARD\.md: expected sha256"):
        copy_bundle(bundle, sha256, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    overlay = tmp_path / "overlay"
    overlay.write_bytes(b"x")
    with pytest.raises(BundleError, match="expected hash 00"):
        copy_overlay(overlay, tmp_path, short="0" * 16)


def test_a_status_comes_back_whole_and_tells_a_recorder_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "recorder.map"
    with pytest.raises(ConfigError, match="expected a recorder's status"):
        read_status(path)
    written = StatusMap(path)
    written.update({"records": 2}, folder="f" * 5000, note="é" * 400, **dict.fromkeys(NUMBERS[2:], 7))
    found = read_status(path)
    assert all(getattr(found, name) == 7 for name in NUMBERS[2:])
    assert len(found.folder) == 1022
    assert set(found.note) <= {"é", "�"}
    assert found.health == "live"
    raw = bytearray(path.read_bytes())
    at = 48 + 8 * NUMBERS.index("heartbeat_ns")
    for age_s, health in ((2, "stale"), (60, "dead"), (-60, "dead")):
        raw[at : at + 8] = (time.monotonic_ns() - age_s * 10**9).to_bytes(8, "little", signed=True)
        path.write_bytes(raw)
        assert read_status(path).health == health
    path.write_bytes(bytes(2048))
    with pytest.raises(ConfigError, match="expected a status of version 1"):
        read_status(path)
    written.close()


def test_files_that_may_not_grow_make_short_segments_and_cost_nothing(tmp_path: Path) -> None:
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("prlimit is not here")
    feeder = Feeder(tmp_path / "run")
    with recorder(tmp_path / "run", tmp_path / "out", wrapper=(prlimit, "--fsize=100001")) as recording:
        feeder.packets(300)
        recording.until_written(feeder)
        recording.stop()
    folder = only_folder(tmp_path / "out")
    entries = read_log(folder)
    assert_same(entries, feeder.sent)
    assert len(entries) == len(feeder.sent)
    assert not losses(entries)
    assert len(list(folder.glob("*.cxlog"))) > 10
    feeder.close()


def test_a_small_disk_runs_full_and_goes_on_when_it_has_room(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(out)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        filler = out / "filler"
        filler.write_bytes(bytes(11 * 2**20))
        feeder = Feeder(tmp_path / "run", 16)
        with recorder(tmp_path / "run", out / "recordings") as recording:
            feeder.packets(600)
            status = recording.until(lambda status: status.records + status.lost_records == len(feeder.sent))
            assert (status.state, status.lost_records > 0) == ("full", True)
            filler.unlink()
            time.sleep(0.5)
            feeder.packets(50)
            recording.until(lambda status: status.state == "recording" and status.durable_index == len(feeder.sent))
            recording.stop()
        entries = read_log(only_folder(out / "recordings"))
        assert_same(entries, feeder.sent)
        (loss,) = losses(entries)
        assert loss.records + len(entries) - 1 == len(feeder.sent)
        assert loss.records == status.lost_records
        feeder.close()
    finally:
        subprocess.run(["umount", "--lazy", str(out)], check=True)

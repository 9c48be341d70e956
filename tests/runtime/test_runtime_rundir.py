import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cortexwire.errors import ConfigError
from cortexwire.runtime.rundir import RunDir


def test_one_engine_at_a_time_and_the_holder_is_named(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path / "run"), RunDir(tmp_path / "run")
    first.acquire()
    with pytest.raises(ConfigError, match=f"another engine .process {os.getpid()}. runs in"):
        second.acquire()
    first.close()
    first.close()
    second.acquire()
    second.close()


def test_a_dead_engine_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from cortexwire.runtime.rundir import RunDir;"
        "RunDir(pathlib.Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -9
    folder = RunDir(tmp_path)
    folder.acquire()
    folder.close()


def test_whether_somebody_runs_is_seen_without_being_in_the_way(tmp_path: Path) -> None:
    engine, looker, other = RunDir(tmp_path), RunDir(tmp_path), RunDir(tmp_path, role="recorder")
    assert not looker.is_taken
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            _ = looker.is_taken

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(50):
        engine.acquire()
        engine.close()
    stop.set()
    looking.join()
    engine.acquire()
    taken = (looker.is_taken, other.is_taken)
    engine.close()
    assert (*taken, looker.is_taken) == (True, False, False)


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "a" / "run")
    folder.acquire()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.telemetry.parent == folder.tap.parent == folder.path
    folder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run_dir: cannot use .*file"):
        RunDir(tmp_path / "file" / "run").acquire()


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with pytest.raises(ConfigError, match="belongs to user"):
        RunDir(tmp_path).acquire()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    assert RunDir(Path("/run/x")).control_endpoint == "ipc:///run/x/control.sock"
    with pytest.raises(ConfigError, match="run_dir: expected a path"):
        _ = RunDir(tmp_path / ("x" * 100)).control_endpoint

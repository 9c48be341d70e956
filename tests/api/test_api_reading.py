"""What the API tells: the state of a live engine, of none, and of one that has died."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from cortexwire.api.picture import scheduling_of
from cortexwire.runtime.tap import TapWriter
from cortexwire.wire import RecordKind
from tests.api.serving import engine_and_api, serving, settings
from tests.runtime.fakes import running


def test_the_state_is_that_of_the_engine(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        for _ in range(3):
            api.rig.push.send(b"frame")
        state = api.until("/v1/state", lambda state: (state["last_output"] or {}).get("bin", 0) >= 3)
        last = state["last_output"]["bin"]
        assert state["engine"] | {"armed": False, "neutral": False, "n_channels": 2} == state["engine"]
        assert state["engine"]["epoch"] == f"{77:016x}"
        assert state["last_output"]["velocity"] == [last, -last]
        assert state["last_output"]["times"]["published_ns"] >= state["last_output"]["times"]["received_ns"]
        assert state["channels"] == {"total": 2, "good": 1, "masked": 1, "dead": 0, "railing": 0, "disabled": 0}
        assert state["counters"]["outputs"] >= 4
        assert state["scheduling"]["kernel"]["policy"] in ("other", "fifo")
        assert not state["insecure"]


def test_a_bundle_that_somebody_else_swapped_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in no folder on offer, and the engine did not begin with it: what the engine tells is enough."""
    told = {"bundle_name": "monday", "unit": "mm/s", "bin_ms": 10.0, "previous": "2" * 16, "candidate": {"phase": "x"}}
    with engine_and_api(tmp_path) as api:
        monkeypatch.setattr(api.rig.pipeline, "describe", lambda: told)
        state = api.until("/v1/state", lambda state: state["engine"]["bundle_name"] == "monday")
        assert (state["engine"]["unit"], state["engine"]["bin_ms"]) == ("mm/s", 10.0)
        assert (state["previous"], state["candidate"]) == ("2" * 16, {"phase": "x"})
        assert b'name="monday"' in api.get("/metrics").content


def test_channels_and_outputs_and_latency(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        for _ in range(5):
            api.rig.push.send(b"frame")
        api.until("/v1/state", lambda state: (state["last_output"] or {}).get("bin", 0) >= 5)
        assert api.get("/v1/channels").json()["rms_uv"] == [11.0, 12.0]
        first, second = [output["bin"] for output in api.get("/v1/outputs", params={"last": 2}).json()["outputs"]]
        assert second == first + 1 >= 5
        latency = api.until("/v1/latency", lambda found: found["latency"]["decoded_to_published"]["total"] >= 6)
        assert latency["latency"]["decoded_to_published"]["p99_ns"] > 0


def test_notes_of_the_engine_are_told(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        api.rig.push.send(b"bad")
        state = api.until("/v1/state", lambda state: state["notes"])
        assert state["notes"][0]["text"] == "packet 3: expected magic"
        assert api.get("/v1/state").json()["counters"]["malformed_magic"] == 1


def test_an_api_without_an_engine_says_so(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api:
        assert api.get("/healthz").status_code == 200
        ready = api.get("/readyz")
        assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
        assert "absent" in ready.json()["detail"]
        state = api.get("/v1/state").json()
        assert state["stale"]
        assert state["engine"]["writer"] == "absent"
        assert api.post("/v1/arm").status_code == 503
        assert api.get("/v1/channels").json()["rate_hz"] == []
        assert b"cortexwire_up 0.0" in api.get("/metrics").content


def test_an_engine_that_comes_later_is_found(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with serving(chosen) as api:
        assert api.get("/v1/state").json()["engine"]["writer"] == "absent"
        with running(chosen) as rig:
            api.until("/v1/state", lambda state: state["engine"]["writer"] == "live" and state["last_output"])
            rig.finish()
            api.until("/v1/state", lambda state: state["engine"]["writer"] == "closed" and state["stale"])
        with running(chosen):
            api.until("/v1/state", lambda state: state["engine"]["writer"] == "live")


def test_a_running_engine_is_ready_and_a_silent_one_is_not(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        give_up = time.monotonic() + 30
        while api.get("/readyz").status_code != 200 and time.monotonic() < give_up:
            api.rig.push.send(b"frame")
            time.sleep(0.02)
        assert api.get("/readyz").status_code == 200
        while api.get("/readyz").status_code == 200 and time.monotonic() < give_up:
            time.sleep(0.1)
        assert "silent" in api.get("/readyz").json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/state", 405),
        ("GET", "/v1/outputs?last=0", 422),
        ("GET", "/v1/jobs/x", 404),
    ],
)
def test_every_error_is_a_problem(tmp_path: Path, method: str, path: str, status: int) -> None:
    with serving(settings(tmp_path)) as api:
        answer = api.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert problem["status"] == status
        assert set(problem) >= {"type", "title", "status", "detail", "instance"}


def test_a_fault_of_ours_is_a_problem_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings(tmp_path)) as api:
        monkeypatch.setattr("cortexwire.api.picture.Picture.state", lambda _: 1 / 0)
        answer = api.get("/v1/state")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "ZeroDivision" not in answer.text
        assert api.get("/healthz").status_code == 200


def test_what_the_engine_began_with_is_told(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        config = api.get("/v1/config").json()
        assert config["bundle"] == "none"
        assert json.loads((api.folder / "start.json").read_text())["fingerprint"] == config["fingerprint"]


def test_a_damaged_record_of_the_tap_disturbs_nothing(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    chosen.run_dir.mkdir()
    writer = TapWriter(chosen.run_dir / "tap.ring", 1)
    for kind in (RecordKind.OUTPUT, RecordKind.START):
        writer.append(kind, 1, b"nonsense")
    writer.append(RecordKind.PACKET, 1, b"CXWP\x01\x00\x05 and what follows is no packet")
    writer.append(RecordKind.NOTE, 1, b"good")
    with serving(chosen) as api:
        state = api.until("/v1/state", lambda state: state["notes"])
        assert state["tap"] == {"lost": 0, "damaged": 3}
    writer.close()


def test_of_a_process_that_was_killed_a_moment_ago_less_is_known() -> None:
    process = subprocess.Popen(["sleep", "60"])
    process.kill()
    # Dead, and not yet waited for.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    found = scheduling_of(process.pid)
    process.wait()
    assert found is not None
    assert found["locked_kib"] is None
    assert scheduling_of(process.pid) is None

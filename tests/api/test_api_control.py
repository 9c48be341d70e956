"""What the API changes: commands reach the engine, refusals come back as problems, all of it is in the audit log."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from cortexwire.decoders import load_bundle, write_overlay
from cortexwire.pipeline import commands
from cortexwire.runtime.control import ControlClient, ControlReply
from cortexwire.runtime.shipped import reference_bundle
from tests.api.serving import Served, engine_and_api, serving, settings


def audit(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        ("/v1/arm", None, commands.Arm()),
        ("/v1/disarm", None, commands.Disarm()),
        ("/v1/gain", {"gain": 0.5}, commands.SetGain(0.5)),
        ("/v1/gain", {"gain": [[1, 0], [0, 2]]}, commands.SetGain(((1.0, 0.0), (0.0, 2.0)))),
        ("/v1/channels/mask", {"channels": [0, 1]}, commands.Mask((0, 1), True)),
        ("/v1/channels/mask", {"channels": [1], "masked": False}, commands.Mask((1,), False)),
        ("/v1/identity/confirm", None, commands.ConfirmIdentity()),
        ("/v1/overlay/rollback", None, commands.RollbackOverlay()),
    ],
)
def test_a_request_becomes_its_command(tmp_path: Path, path: str, body: object, command: commands.Command) -> None:
    with engine_and_api(tmp_path) as api:
        answer = api.post(path, body)
        assert answer.status_code == 200
        assert answer.json()["bin"] >= 1
        assert ("command", command) in api.rig.pipeline.taken
        (line,) = audit(api.folder)
        assert line | {"who": "local", "client": "127.0.0.1", "status": 200, **answer.json()} == line


def test_a_refusal_is_a_conflict_with_the_engines_words(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        answer = api.post("/v1/neutral", {"on": True})
        assert (answer.status_code, answer.json()["detail"]) == (409, "not now")
        assert api.post("/v1/marks", {"code": 300}).json()["detail"] == "command failed: ValueError: no marks here"
        assert [line["status"] for line in audit(api.folder)] == [409, 409]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/gain", {"gain": "2"}),
        ("/v1/gain", {}),
        ("/v1/channels/mask", {"channels": []}),
        ("/v1/channels/mask", {"channels": [70000]}),
        ("/v1/marks", {"code": 5}),
        ("/v1/marks", {"code": 300.5}),
        ("/v1/marks", {"code": "300"}),
        ("/v1/channels/mask", {"channels": [True]}),
        ("/v1/thresholds/recalibrate", {"seconds": 0}),
        ("/v1/overlay", {}),
        ("/v1/overlay", {"name": "a", "path": "b"}),
        ("/v1/arm/", None),
        ("/v1/neutral", {"on": True, "off": False}),
    ],
)
def test_what_cannot_be_never_reaches_the_engine(tmp_path: Path, path: str, body: object) -> None:
    with engine_and_api(tmp_path) as api:
        answer = api.post(path, body)
        assert answer.status_code == (404 if path.endswith("/") else 422)
        assert [kind for kind, _ in api.rig.pipeline.taken if kind == "command"] == []


def test_a_body_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        assert (
            api.client.post("/v1/gain", content=b"{", headers={"content-type": "application/json"}).status_code == 422
        )
        assert (
            api.client.post("/v1/gain", content=b'{"gain": 1}', headers={"content-type": "text/plain"}).status_code
            == 422
        )


@pytest.mark.parametrize(
    "content",
    [
        b'{"name": "\\ud800"}',
        b'{"name": "\\u0000"}',
        b'{"name": "' + b"x" * 5000 + b'"}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b"[" * 30_000,
        b'{"name": NaN}',
        b"\xff\xfe",
        b"",
    ],
)
def test_nothing_that_is_sent_makes_it_fail(tmp_path: Path, content: bytes) -> None:
    with serving(settings(tmp_path)) as api:
        for path in ("/v1/overlay", "/v1/recording/start", "/v1/bundle/stage"):
            answer = api.client.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 404, 422)
            assert answer.headers["content-type"] == "application/problem+json"
        assert api.get("/healthz").status_code == 200


def test_recalibration_is_a_job(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        answer = api.post("/v1/thresholds/recalibrate", {"seconds": 3})
        assert answer.status_code == 202
        where = answer.headers["location"]
        api.rig.push.send(b"frame")
        job = api.until(where, lambda job: job["state"] == "done")
        assert job["result"]["calibrated_by_bin"] >= job["result"]["from_bin"] >= 1
        assert api.get("/v1/jobs").json()["jobs"][0]["id"] == job["id"]


def test_a_job_of_an_engine_that_ends_fails(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        where = api.post("/v1/thresholds/recalibrate", {"seconds": 3}).headers["location"]
        api.rig.finish()
        assert "is gone" in api.until(where, lambda job: job["state"] == "failed")["problem"]


def test_a_later_job_supersedes_one_of_its_kind(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        first = api.post("/v1/thresholds/recalibrate", {"seconds": 3}).headers["location"]
        api.post("/v1/thresholds/recalibrate", {"seconds": 4})
        assert "superseded" in api.until(first, lambda job: job["state"] == "failed")["problem"]


CANDIDATE = {"bundle_hash": "0" * 16, "path": str(reference_bundle().absolute()), "phase": "ready", "why": None}


def telling(api: Served, monkeypatch: pytest.MonkeyPatch, told: Callable[[], dict[str, Any]]) -> None:
    """Have the engine tell more than it does."""
    pipeline = api.rig.pipeline
    plain = pipeline.describe()
    monkeypatch.setattr(pipeline, "describe", lambda: plain | told())


def test_staging_goes_on_until_the_engine_tells_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_and_api(tmp_path) as api:
        told: dict[str, Any] = {"candidate": CANDIDATE | {"path": "/of/somebody/else", "bundle_hash": "1" * 16}}
        telling(api, monkeypatch, lambda: told)
        where = api.post("/v1/bundle/stage", {"name": "reference"}).headers["location"]
        time.sleep(1.0)
        assert api.get(where).json()["state"] == "running"
        told["candidate"] = CANDIDATE | {"phase": "shadow"}
        api.until(where, lambda job: job["phase"] == "shadow")
        assert api.get("/v1/state").json()["candidate"]["phase"] == "shadow"
        told["candidate"] = CANDIDATE
        assert api.until(where, lambda job: job["state"] != "running")["result"] == CANDIDATE


def test_staging_of_which_the_engine_never_tells_has_failed(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        where = api.post("/v1/bundle/stage", {"name": "reference"}).headers["location"]
        assert "no such candidate" in api.until(where, lambda job: job["state"] != "running")["problem"]


def test_a_candidate_that_is_dropped_ends_its_staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_and_api(tmp_path) as api:
        told: dict[str, Any] = {"candidate": CANDIDATE | {"phase": "shadow"}}
        telling(api, monkeypatch, lambda: told)
        where = api.post("/v1/bundle/stage", {"name": "reference"}).headers["location"]
        api.until(where, lambda job: job["phase"] == "shadow")
        told["candidate"] = None
        assert "dropped" in api.until(where, lambda job: job["state"] != "running")["problem"]


def test_only_what_is_on_offer_is_opened(tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    bundle = load_bundle(reference_bundle())
    name = next(iter(bundle.parameters))
    overlay = write_overlay(offered / "monday.overlay", bundle, {name: bundle.parameters[name]})
    (offered / "not.overlay").write_text("text")
    (tmp_path / "secret").write_text("text")
    with engine_and_api(tmp_path, api={"bundles": offered}) as api:
        listed = api.get("/v1/bundles").json()
        assert [entry["name"] for entry in listed["bundles"]] == ["reference"]
        assert listed["overlays"] == ["monday", "not"]
        assert api.post("/v1/overlay", {"name": "monday"}).status_code == 200
        expected = commands.ApplyOverlay(str(offered / "monday.overlay"), f"{overlay.hash:016x}")
        assert ("command", expected) in api.rig.pipeline.taken
        for asked in (tmp_path / "secret", offered / ".." / "secret", "/etc/passwd"):
            assert api.post("/v1/overlay", {"path": str(asked)}).status_code == 404
        assert "expected an overlay" in api.post("/v1/overlay", {"name": "not"}).json()["detail"]
        assert api.post("/v1/bundle/stage", {"path": str(tmp_path)}).status_code == 404


def test_what_makes_safe_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that hang fill all other threads, and disarming still goes through."""
    with engine_and_api(tmp_path) as api:
        release, send = threading.Event(), ControlClient.send

        def slow(client: ControlClient, request: Any) -> ControlReply:
            if request["command"] == "set_gain":
                release.wait(30)
            return send(client, request)

        monkeypatch.setattr(ControlClient, "send", slow)
        waiting = [threading.Thread(target=api.post, args=("/v1/gain", {"gain": 1.0})) for _ in range(8)]
        try:
            for thread in waiting:
                thread.start()
            time.sleep(0.2)
            assert api.post("/v1/disarm").status_code == 200
            assert not release.is_set()
            assert all(thread.is_alive() for thread in waiting)
        finally:
            release.set()
            for thread in waiting:
                thread.join()


def test_recording_needs_a_recorder(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api:
        answer = api.post("/v1/recording/start", {"name": "one"})
        assert answer.status_code == 503
        assert "nobody answers" in answer.json()["detail"]


def test_a_recording_is_begun_by_the_recorder(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    chosen.run_dir.mkdir()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    recorder = context.socket(zmq.REP)
    recorder.bind(f"ipc://{chosen.run_dir}/recorder.sock")
    asked: list[Any] = []

    def answer() -> None:
        for reply in ({"problem": None, "status": {"state": "recording"}}, {"problem": "no room", "status": None}):
            asked.append(msgspec.json.decode(recorder.recv()))
            recorder.send(msgspec.json.encode(reply))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with serving(chosen) as api:
            begun = api.post("/v1/recording/start", {"name": "one", "about": "two"})
            assert (begun.status_code, begun.json()) == (200, {"recorder": {"state": "recording"}})
            assert api.post("/v1/recording/stop").status_code == 409
    finally:
        thread.join()
        context.destroy(linger=0)
    assert asked == [{"command": "start", "name": "one", "about": "two"}, {"command": "stop"}]

"""`api` and `keys` as a person types them: a real engine decodes behind the one, files lie behind the other."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import websockets.sync.client as ws

from cortexwire.api.frames import unpack
from cortexwire.api.tokens import Tokens
from cortexwire.clients.curve import read_keys
from cortexwire.runtime.children import Child, command_line
from tests.cli.running import Command
from tests.cli.test_cli_live import engine_arguments, first_line, until


@pytest.fixture
def decoding(tmp_path: Path) -> Iterator[httpx.Client]:
    """An engine that decodes a simulated rig, and a client of its API."""
    rate = ["--set", "rate_hz=10000"]
    rig = ["simulate", "--json", "--endpoint", f"ipc://{tmp_path}/in", "--socket", "push", "--connect"]
    with ExitStack() as opened:
        engine = opened.enter_context(Child("engine", engine_arguments(tmp_path)))
        first_line(engine)
        opened.enter_context(Child("rig", [*rig, "--channels", "4", *rate]))
        api = Child("api", ["api", "--json", "--run-dir", str(tmp_path / "run"), "--bind", "127.0.0.1:0"])
        opened.enter_context(api)
        url = first_line(api)["url"]
        client = opened.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
        until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: client.get("/v1/state").json()["engine"]["state"] == "running")
        yield client


def test_a_real_engine_is_seen_and_told(decoding: httpx.Client) -> None:
    state = until(lambda: (seen := decoding.get("/v1/state").json())["counters"]["decoded_bins"] > 30 and seen)
    engine = state["engine"]
    assert engine | {"n_channels": 4, "bin_ms": 20.0, "armed": False, "neutral": False} == engine
    assert engine["bundle_name"]
    assert state["stream"]["columns"]
    assert len(decoding.get("/v1/channels").json()["electrodes"]) == 4
    assert decoding.get("/v1/config").json()["config"]["ingest"]["socket"] == "pull"
    with ws.connect(str(decoding.base_url).replace("http", "ws") + "/v1/live") as live:
        message = live.recv(timeout=60)
        assert isinstance(message, bytes)
        head, arrays = unpack(message)
        assert len(head["electrodes"]) == 4
        seen: list[int] = []
        rows = 0
        while len(seen) < 25:
            message = live.recv(timeout=60)
            assert isinstance(message, bytes)
            head, arrays = unpack(message)
            seen += arrays["bins"].tolist()
            rows += len(arrays["columns"])
            assert arrays["counts"].shape == (len(arrays["bins"]), 4)
            assert arrays["columns"].shape[1] == len(head["columns"])
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert rows
    assert decoding.post("/v1/neutral", json={"on": True}).status_code == 200
    until(lambda: decoding.get("/v1/state").json()["engine"]["neutral"])
    assert decoding.post("/v1/neutral", json={"on": False}).status_code == 200
    # Random weights know nothing of this array, so arming may want an operator's word first.
    assert decoding.post("/v1/identity/confirm").status_code in (200, 409)
    until(lambda: decoding.post("/v1/arm").status_code == 200)
    until(lambda: decoding.get("/v1/state").json()["engine"]["armed"])
    where = decoding.post("/v1/thresholds/recalibrate", json={"seconds": 0.5}).headers["location"]
    assert until(lambda: (job := decoding.get(where).json())["state"] != "running" and job)["state"] == "done"
    assert decoding.get("/v1/state").json()["counters"]["lost_packets"] == 0


def test_fifty_requests_a_second_are_answered(decoding: httpx.Client) -> None:
    paths = ("/v1/state", "/v1/channels", "/v1/latency", "/v1/outputs", "/metrics")
    statuses: list[int] = []

    def ask(path: str) -> None:
        with httpx.Client(base_url=decoding.base_url, timeout=60, trust_env=False) as client:
            for _ in range(20):
                began = time.monotonic()
                statuses.append(client.get(path).status_code)
                time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))

    asking = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert statuses == [200] * 100
    counters = decoding.get("/v1/state").json()["counters"]
    assert (counters["lost_packets"], counters["gaps"]) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_api_ends_in_good_order_with_viewers_there(tmp_path: Path, number: signal.Signals) -> None:
    command = command_line(["api", "--json", "--run-dir", str(tmp_path), "--bind", "127.0.0.1:0"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as api:
        assert api.stdout is not None
        assert api.stderr is not None
        try:
            url = json.loads(api.stdout.readline())["ready"]["url"]
            with ws.connect(url.replace("http", "ws") + "/v1/live") as live, httpx.Client(trust_env=False) as client:
                live.recv(timeout=60)
                with client.stream("GET", f"{url}/v1/events") as events:
                    next(events.iter_lines())
                    api.send_signal(number)
                    assert api.wait(30) == 0
        finally:
            api.kill()
        said = api.stderr.read().decode()
        assert "Traceback" not in said
        assert json.loads(said.splitlines()[-1])["event"] == "api stopped"


def test_an_api_beyond_loopback_without_tokens_does_not_start(command: Command) -> None:
    ran = command("api", "--bind", "0.0.0.0:0")
    assert ran.code == 2
    assert "cortexwire keys token" in ran.err


def test_tokens_are_made_listed_and_revoked(command: Command, tmp_path: Path) -> None:
    made = command("keys", "token", "operator", "--scope", "control", "--days", "30", "--folder", tmp_path)
    assert made.code == 0
    token = made.out.strip()
    grant = Tokens(tmp_path / "tokens.json").check(token)
    assert grant is not None
    assert (grant.name, grant.scope) == ("operator", "control")
    assert command("keys", "token", "operator", "--folder", tmp_path).code == 2
    listed = command("keys", "list", "--folder", tmp_path)
    assert "operator" in listed.out
    assert token.rpartition("_")[2] not in listed.out
    assert command("keys", "revoke", "operator", "--folder", tmp_path).code == 0
    assert Tokens(tmp_path / "tokens.json").check(token) is None
    assert command("keys", "revoke", "operator", "--folder", tmp_path).code == 2


def test_curve_keys_are_made_listed_and_revoked(command: Command, tmp_path: Path) -> None:
    made = json.loads(command("keys", "curve", "rig", "--folder", tmp_path, "--json").out)
    keys = read_keys(Path(made["secret"]))
    listed = command("keys", "list", "--folder", tmp_path, "--json").out
    assert json.loads(listed)["curve"] == [{"name": "rig", "public": keys.public.decode(), "secret": True}]
    assert keys.secret.decode() not in made.values()
    assert keys.secret.decode() not in listed
    assert command("keys", "curve", "rig", "--folder", tmp_path).code == 2
    assert command("keys", "revoke", "rig", "--folder", tmp_path).code == 0
    assert list(tmp_path.glob("rig*")) == []


@pytest.mark.parametrize("name", ["../rig", "", "a b", ".hidden"])
def test_a_name_that_is_a_path_is_refused(command: Command, tmp_path: Path, name: str) -> None:
    assert command("keys", "curve", name, "--folder", tmp_path).code == 2


def test_one_curve_key_without_the_other_is_refused(command: Command, tmp_path: Path) -> None:
    ran = command("subscribe", "--curve-key", tmp_path / "none", "--seconds", "0")
    assert ran.code == 2
    assert "expected both" in ran.err

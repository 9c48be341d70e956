"""Who is let in, and how much of one client is borne."""

import json
import socket
import time
from pathlib import Path

import httpx
import pytest
import websockets.sync.client as ws
from websockets.exceptions import InvalidStatus

from cortexwire.api.guard import LONGEST_BODY_BYTES
from cortexwire.api.server import ApiServer
from cortexwire.api.tokens import Tokens, list_tokens, new_token, revoke_token
from cortexwire.config import SecuritySettings
from cortexwire.errors import ConfigError, StartupError
from tests.api.serving import engine_and_api, serving, settings

ASKED = (("GET", "/v1/state"), ("GET", "/metrics"), ("POST", "/v1/arm"), ("GET", "/v1/events"))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Handed:
    """Tokens of every kind in one file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.json"
        self.control = new_token(self.file, "operator", "control", days=30)
        self.read = new_token(self.file, "screen", "read")
        self.expired = new_token(self.file, "late", "control", days=0)


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    return Handed(tmp_path)


def test_no_token_a_wrong_one_and_an_expired_one_are_refused(tmp_path: Path, handed: Handed) -> None:
    wrong = [
        {},
        bearer("nonsense"),
        bearer(handed.expired),
        bearer(handed.control[:-1]),
        bearer(handed.control.replace("cwt_", "cwx_")),
        bearer("cwt_00000000_" + handed.control[13:]),
        {"Authorization": f"Basic {handed.control}"},
    ]
    with engine_and_api(tmp_path, api={"tokens": handed.file}, headers=bearer(handed.control)) as api:
        for headers in wrong:
            with httpx.Client(base_url=api.url, headers=headers, trust_env=False) as client:
                for method, path in ASKED:
                    answer = client.request(method, path)
                    assert (answer.status_code, answer.json()["status"]) == (401, 401), (headers, path)
                    assert answer.headers["www-authenticate"].startswith("Bearer")
        assert not api.rig.pipeline.armed
        assert api.post("/v1/arm").status_code == 200
        assert api.rig.pipeline.armed


def test_a_token_to_read_changes_nothing(tmp_path: Path, handed: Handed) -> None:
    with engine_and_api(tmp_path, api={"tokens": handed.file}, headers=bearer(handed.read)) as api:
        assert api.get("/v1/state").status_code == 200
        for path in ("/v1/arm", "/v1/disarm", "/v1/recording/stop", "/v1/bundle/rollback"):
            assert api.post(path).status_code == 403
        lines = [json.loads(line) for line in (api.folder / "audit.jsonl").read_text().splitlines()]
        assert [line["status"] for line in lines] == [403] * 4
        assert handed.read.split("_", 2)[2] not in (api.folder / "audit.jsonl").read_text()


def test_the_page_and_health_need_no_token(tmp_path: Path, handed: Handed) -> None:
    with serving(settings(tmp_path, api={"tokens": handed.file})) as api:
        assert api.get("/healthz").status_code == 200
        assert api.get("/readyz").status_code == 503
        assert api.get("/v1/openapi.json").status_code == 200
        assert api.get("/").status_code in (200, 404)


def test_a_stream_takes_its_token_from_the_query(tmp_path: Path, handed: Handed) -> None:
    with serving(settings(tmp_path, api={"tokens": handed.file})) as api:
        url = api.url.replace("http", "ws") + "/v1/live"
        with pytest.raises(InvalidStatus) as refused:
            ws.connect(url)
        assert refused.value.response.status_code == 401
        with ws.connect(f"{url}?token={handed.read}") as stream:
            assert stream.recv(timeout=30)
        with api.client.stream("GET", "/v1/events", params={"token": handed.read}) as events:
            assert next(events.iter_lines()).startswith("data: ")
        assert api.get("/v1/state", params={"token": handed.read}).status_code == 401


def test_a_revoked_token_is_refused_soon(tmp_path: Path, handed: Handed) -> None:
    with serving(settings(tmp_path, api={"tokens": handed.file}), headers=bearer(handed.read)) as api:
        assert api.get("/v1/state").status_code == 200
        revoke_token(handed.file, "screen")
        give_up = time.monotonic() + 30
        while api.get("/v1/state").status_code == 200 and time.monotonic() < give_up:
            time.sleep(0.1)
        assert api.get("/v1/state").status_code == 401


def test_the_file_holds_no_token_and_is_the_owners_alone(tmp_path: Path, handed: Handed) -> None:
    assert handed.file.stat().st_mode & 0o777 == 0o600
    for token in (handed.control, handed.read):
        assert token.split("_", 2)[2] not in handed.file.read_text()
    salts = [entry.salt for entry in list_tokens(handed.file)]
    assert len(set(salts)) == len(salts)
    assert Tokens(handed.file).check(handed.control) is not None
    handed.file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Tokens(handed.file)
    handed.file.chmod(0o600)
    with pytest.raises(ConfigError, match="that no token has"):
        new_token(handed.file, "screen", "read")
    with pytest.raises(ConfigError, match="name of a token"):
        revoke_token(handed.file, "nobody")


def test_beyond_loopback_it_wants_tokens_or_the_word_that_it_shall_not(tmp_path: Path, handed: Handed) -> None:
    with pytest.raises(StartupError, match=r"needs api\.tokens"):
        ApiServer(settings(tmp_path, api={"bind": "0.0.0.0:0"}))
    with serving(settings(tmp_path, api={"bind": "0.0.0.0:0", "tokens": handed.file})) as api:
        port = api.url.rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/v1/state", trust_env=False).status_code == 401
    open_to_all = settings(tmp_path, api={"bind": "0.0.0.0:0"}, security=SecuritySettings(insecure=True))
    with serving(open_to_all) as api:
        answer = api.get("/v1/state")
        assert answer.json()["insecure"]
        assert answer.headers["x-cortexwire-insecure"] == "1"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match="cannot listen"):
            ApiServer(settings(tmp_path, api={"bind": f"127.0.0.1:{port}"}))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_bound_to_loopback_is_not_answered(tmp_path: Path, host: str) -> None:
    with serving(settings(tmp_path)) as api:
        assert api.get("/v1/state", headers={"host": host}).status_code == 421
        with pytest.raises(InvalidStatus) as refused:
            ws.connect(api.url.replace("http", "ws") + "/v1/live", additional_headers={"host": host or "x"})
        assert refused.value.response.status_code in (400, 421)


def test_other_pages_change_and_watch_nothing(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api:
        for origin in ("http://evil.example", "null", api.url.replace("127.0.0.1", "localhost")):
            answer = api.post("/v1/arm", headers={"origin": origin})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
            with pytest.raises(InvalidStatus) as refused:
                ws.connect(api.url.replace("http", "ws") + "/v1/live", additional_headers={"origin": origin})
            assert refused.value.response.status_code == 403
        assert api.post("/v1/arm", headers={"origin": api.url}).status_code == 200
        preflight = api.client.options("/v1/arm", headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in preflight.headers


def test_answers_keep_a_browser_from_doing_what_it_should_not(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api:
        for path in ("/healthz", "/v1/state", "/nowhere"):
            headers = api.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "server" not in headers


def test_a_request_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api:
        large = b" " * (LONGEST_BODY_BYTES + 1)
        kind = {"content-type": "application/json"}
        assert api.client.post("/v1/gain", content=large, headers=kind).status_code == 413
        pieces = (large[:1000] for _ in range(100))
        answer = api.client.post("/v1/gain", content=pieces, headers=kind)
        assert (answer.status_code, answer.json()["status"]) == (413, 413)
        assert api.get("/healthz").status_code == 200


def test_who_asks_too_much_waits_and_making_safe_never_does(tmp_path: Path) -> None:
    with engine_and_api(tmp_path, api={"control_rate": 0.5, "read_rate": 1000}) as api:
        statuses = [api.post("/v1/arm").status_code for _ in range(4)]
        assert statuses[:1] == [200]
        assert statuses[-1] == 429
        answer = api.post("/v1/arm")
        assert answer.headers["retry-after"]
        assert answer.json()["status"] == 429
        assert api.post("/v1/disarm").status_code == 200
        assert api.get("/v1/state").status_code == 200

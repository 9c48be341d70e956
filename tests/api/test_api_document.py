"""The OpenAPI document says what the service does: no status and no shape that it does not name, whatever is asked."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cortexwire.api.problems import KINDS, MEDIA_TYPE
from cortexwire.api.tokens import new_token
from tests.api.serving import Served, engine_and_api, serving, settings

NOT_HERE = r"/v1/recording|/v1/events"
"""Without a recorder recording is refused, and events never end."""


def explore(api: Served, *options: str) -> subprocess.CompletedProcess[str]:
    """Ask for everything that the document allows, and for some that it does not."""
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.05):
            api.rig.push.send(b"frame")

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/v1/openapi.json"),
                *("--checks", "all", "--phases", "examples,fuzzing,stateful", "--max-examples", "4"),
                *("--generation-deterministic", "--exclude-path-regex", NOT_HERE, "--no-color", *options),
            ],
            cwd=api.folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    finally:
        stop.set()
        feeding.join()


@pytest.mark.parametrize("tokens", [False, True])
def test_schemathesis_finds_nothing_that_the_document_does_not_say(tmp_path: Path, tokens: bool) -> None:
    file = tmp_path / "tokens.json"
    header = f"Authorization: Bearer {new_token(file, 'explorer', 'control')}"
    name, _, value = header.partition(": ")
    given = {"api": {"tokens": file}, "headers": {name: value}} if tokens else {}
    with engine_and_api(tmp_path, **given) as api:  # type: ignore[arg-type]
        found = explore(api, *(("-H", header) if tokens else ()))
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr
    assert "25 passed" in found.stdout or "26 passed" in found.stdout


def test_every_operation_has_its_statuses_an_example_and_a_summary(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api:
        document = api.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert response["description"] == KINDS[int(status)]
                    assert MEDIA_TYPE in response["content"]
            assert {"421", "429", "500"} <= set(operation["responses"]), path
            if method == "post":
                assert {"409", "413", "503"} <= set(operation["responses"]), path
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                assert document["components"]["schemas"][reference.rpartition("/")[2]]["examples"], path
    assert "security" not in str(document)

"""The API attacked: by schemathesis, with tokens that are not good, and over ZeroMQ without a key."""

import re
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from cortexwire.api.tokens import new_token
from cortexwire.bench.api_service import api_service, reading
from cortexwire.bench.evidence import progress
from cortexwire.bench.live import short_folder
from cortexwire.bench.loads import Load
from cortexwire.clients import CurveClient, Rig, Subscriber
from cortexwire.clients.curve import write_keys

EXAMPLES: Final = 200
CHANNELS: Final = 96
LISTEN_S: Final = 5.0
_GENEROUS: Final = ("--set", "api.read_rate=1000000", "--set", "api.control_rate=1000000")
_NO_RECORDER: Final = "/v1/recording"
"""Without a recorder, to begin a recording is answered with 503, which says so."""


def attacks(*, examples: int = EXAMPLES, channels: int = CHANNELS, listen_s: float = LISTEN_S) -> dict[str, Any]:
    """Must-show 3: nothing but what is documented, and nobody who is not known.

    Args:
        examples: Most examples for each operation.
        channels: Channels of the rig.
        listen_s: How long to listen for what must not come.

    Returns:
        `passed`, `expected`, what schemathesis found, how each token was answered, and what came in and out without
        a key.

    Raises:
        RunError: A process failed.
    """
    load = Load(channels, transport="ipc")
    explored = _explored(load, examples)
    progress(f"schemathesis: {explored['cases']} cases, {explored['failures'] or 'no failures'}")
    tokens = _tokens(load)
    progress(f"tokens: {tokens}")
    keyless = _keyless(load, listen_s)
    progress(f"without a key: {keyless}")
    passed = not explored["failures"] and explored["exit"] == 0 and tokens["wrongly_answered"] == 0
    silent = not any(keyless["strangers"].values()) and all(keyless["known"].values())
    return {
        "passed": bool(passed and silent),
        "expected": {
            "schemathesis": "no failure: no 5xx, no undocumented status",
            "tokens": "401 without a good one, 403 for a change with one to read",
            "keyless": "nothing in or out without a key, everything with one",
        },
        "schemathesis": explored,
        "tokens": tokens,
        "keyless": keyless,
    }


def _explored(load: Load, examples: int) -> dict[str, Any]:
    """Run schemathesis with a token that allows everything, against a service that decodes."""
    with short_folder() as name:
        folder = Path(name)
        token = new_token(folder / "tokens.json", "explorer", "control")
        header = {"Authorization": f"Bearer {token}"}
        guarded = ("--set", f"api.tokens={folder / 'tokens.json'}", *_GENEROUS)
        with api_service(load, folder, api=guarded, headers=header) as service:
            ran = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/v1/openapi.json"),
                    *("--checks", "all", "--max-examples", str(examples), "--continue-on-failure", "--no-color"),
                    *("--exclude-path-regex", f"{_NO_RECORDER}|/v1/events"),
                    *("-H", f"Authorization: Bearer {token}"),
                ],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            service.check()
    cases = re.search(r"([\d,]+) generated", ran.stdout)
    return {
        "exit": ran.returncode,
        "cases": int(cases.group(1).replace(",", "")) if cases else 0,
        "failures": re.findall(r"^\s+\S+ (ST\d+ .*)$", ran.stdout, re.MULTILINE),
        "said": ran.stdout[-4000:] if ran.returncode else "",
    }


def _tokens(load: Load) -> dict[str, Any]:
    """Try every operation with no token, wrong ones, an expired one, and one to read."""
    with short_folder() as name:
        folder = Path(name)
        file = folder / "tokens.json"
        good, read = new_token(file, "good", "control"), new_token(file, "read", "read")
        bad = {
            "none": "",
            "wrong": good[:-4] + "AAAA",
            "unknown": "cwt_00000000_" + good.rpartition("_")[2],
            "expired": new_token(file, "expired", "control", days=0),
        }
        api = ("--set", f"api.tokens={file}", *_GENEROUS)
        with api_service(load, folder, api=api, headers={"Authorization": f"Bearer {good}"}) as service:
            document = httpx.get(f"{service.url}/v1/openapi.json", trust_env=False).json()
            guarded = [
                (method.upper(), path.replace("{job_id}", "none"))
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
                if "security" in operation
            ]
            seen: Counter[str] = Counter()
            wrongly = 0
            with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
                for kind, token in (*bad.items(), ("read", read)):
                    headers = {"Authorization": f"Bearer {token}"} if token else {}
                    for method, path in guarded:
                        if kind == "read" and method == "GET":
                            continue
                        status = client.request(method, path, headers=headers).status_code
                        seen[f"{kind}: {status}"] += 1
                        wrongly += status != (403 if kind == "read" else 401)
    return {"operations": len(guarded), "answers": dict(seen), "wrongly_answered": wrongly}


def _keyless(load: Load, listen_s: float) -> dict[str, Any]:
    """Send to an engine and listen to it with its key, without one, and with one that it does not know."""
    with short_folder() as name:
        folder = Path(name)
        public, secret = write_keys(folder / "engine", "engine")
        _, known_key = write_keys(folder / "clients", "known")
        _, strange_key = write_keys(folder / "strangers", "stranger")
        known = CurveClient.from_files(public, known_key)
        strangers = {"without a key": None, "with an unknown key": CurveClient.from_files(public, strange_key)}
        engine = (
            *("--output", "tcp://0.0.0.0:*", "--bind", "--socket", "pull", "--ingest", f"tcp://0.0.0.0:{_port()}"),
            *("--set", f"security.curve_key={secret}", "--set", f"security.curve_clients={folder / 'clients'}"),
        )
        ingest = engine[6].replace("0.0.0.0", "127.0.0.1")
        rig = (
            *("--endpoint", ingest, "--socket", "push", "--connect"),
            *("--curve-server-key", str(public), "--curve-key", str(known_key)),
        )
        with api_service(load, folder, engine=engine, rig=rig) as service:
            output = service.engine["output"].replace("0.0.0.0", "127.0.0.1")
            heard = {who: _heard(output, curve, listen_s) for who, curve in (("known", known), *strangers.items())}
            reader = reading(service.run_dir)
            before = reader.read().counters["old_epoch"]
            taken = {who: _taken(ingest, curve, listen_s) for who, curve in strangers.items()}
            counters = reader.read().counters
            reader.close()
    return {
        "known": {"outputs heard": heard.pop("known"), "packets taken": counters["accepted"]},
        "strangers": {
            **{f"outputs heard {who}": count for who, count in heard.items()},
            **{f"packets sent {who}": count for who, count in taken.items()},
            "foreign packets at the engine": counters["old_epoch"] - before + counters["malformed_magic"],
        },
    }


def _heard(endpoint: str, curve: CurveClient | None, seconds: float) -> int:
    count, until = 0, time.monotonic() + seconds
    with Subscriber(endpoint, latest=False, curve=curve) as subscriber:
        while time.monotonic() < until:
            count += subscriber.receive(timeout_ms=100) is not None
    return count


def _taken(endpoint: str, curve: CurveClient | None, seconds: float) -> int:
    """Packets that somebody's socket could hand over."""
    count, until = 0, time.monotonic() + seconds
    with Rig(endpoint, 30_000, CHANNELS, block=False, curve=curve) as rig:
        while time.monotonic() < until:
            before = rig.dropped
            rig.send_wideband(np.zeros((30, CHANNELS), np.int16))
            count += rig.dropped == before
            time.sleep(0.01)
    return count


def _port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port

"""Clients of an API, each a process: one that asks, one of server-sent events, a viewer that is stuck, a browser.

Each is told the `url`, says when it is at work, and ends at SIGTERM with what it saw.
"""

import sys
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

from cortexwire.bench.roles import Role, run_role, say

ASKED: Final = ("/v1/state", "/v1/channels", "/v1/latency", "/v1/outputs", "/metrics")
"""What is asked for in turn."""
_ASKERS: Final = 5
_HANDSHAKE: Final = (
    "GET /v1/live?fps=60 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _ask(settings: dict[str, Any]) -> dict[str, Any]:
    """Ask `rate` times a second, whatever the answers take; gives how many there were and how long they took."""
    import httpx
    import numpy as np

    from cortexwire.runtime.engine import stop_on_signals

    took_ms: list[float] = []
    statuses: dict[int, int] = {}
    period_s = _ASKERS / settings["rate"]

    def ask(number: int) -> None:
        with httpx.Client(base_url=settings["url"], timeout=30, trust_env=False) as client:
            turn, began = number, time.monotonic() + number * period_s / _ASKERS
            while not stop.wait(max(0.0, began + (turn - number) // _ASKERS * period_s - time.monotonic())):
                asked = time.monotonic()
                status = client.get(ASKED[turn // _ASKERS % len(ASKED)]).status_code
                took_ms.append(1e3 * (time.monotonic() - asked))
                statuses[status] = statuses.get(status, 0) + 1
                turn += _ASKERS

    with stop_on_signals() as stop:
        asking = [threading.Thread(target=ask, args=(number,)) for number in range(_ASKERS)]
        began = time.monotonic()
        for thread in asking:
            thread.start()
        say({})
        for thread in asking:
            thread.join()
    p50, p99 = np.percentile(took_ms, (50, 99)).tolist()
    rate = len(took_ms) / (time.monotonic() - began)
    return {"requests": len(took_ms), "rate": rate, "statuses": statuses, "p50_ms": p50, "p99_ms": p99}


def _events(settings: dict[str, Any]) -> dict[str, Any]:
    """Read server-sent events; gives how many came."""
    import httpx

    from cortexwire.runtime.engine import stop_on_signals

    count = 0
    with stop_on_signals() as stop, httpx.stream("GET", settings["url"] + "/v1/events", timeout=30) as stream:
        say({})
        for line in stream.iter_lines():
            count += line.startswith("data: ")
            if stop.is_set():
                break
    return {"events": count}


def _stuck(settings: dict[str, Any]) -> dict[str, Any]:
    """Open the live stream and never read; again whenever it is let go. Gives how often that was."""
    import socket

    from cortexwire.runtime.engine import stop_on_signals

    where = urlsplit(settings["url"])
    assert where.hostname is not None
    let_go = 0
    with stop_on_signals() as stop:
        say({})
        while not stop.is_set():
            with socket.create_connection((where.hostname, where.port or 80)) as viewer:
                viewer.sendall(_HANDSHAKE.format(host=where.netloc).encode())
                while not stop.wait(0.5):
                    try:
                        viewer.sendall(b"\x8a\x80\0\0\0\0")  # an unasked pong, by which a closed connection shows
                    except OSError:
                        let_go += 1
                        break
    return {"let_go": let_go}


def _page(settings: dict[str, Any]) -> dict[str, Any]:
    """Have the page open in a headless Chromium; gives the frames that it drew, and its errors."""
    import shutil

    from playwright.sync_api import sync_playwright

    from cortexwire.runtime.engine import stop_on_signals

    errors: list[str] = []
    with stop_on_signals() as stop, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("pageerror", lambda error: errors.append(str(error)))
        answer = page.goto(settings["url"])
        status = 0 if answer is None else answer.status
        page.evaluate("() => { window.drawn = 0; const d = () => { drawn += 1; requestAnimationFrame(d); }; d(); }")
        say({"status": status})
        while not stop.is_set():
            page.wait_for_timeout(250)
        drawn = page.evaluate("() => drawn")
        browser.close()
    return {"status": status, "drawn": drawn, "errors": errors}


ROLES: Final[dict[str, Role]] = {"ask": _ask, "events": _events, "stuck": _stuck, "page": _page}

if __name__ == "__main__":
    sys.exit(run_role(ROLES))

"""What systemd hears of a service; over a real datagram socket."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortexwire.config import SupervisorSettings
from cortexwire.runtime.supervisor import Notifier, Part
from tests.runtime.standins import SAYS_READY, WORKS, script, served, until


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def heard(systemd: socket.socket) -> str:
    return systemd.recv(4096).decode()


def until_heard(systemd: socket.socket, wanted: str) -> str:
    text = heard(systemd)
    while wanted not in text.split("\n"):
        text = heard(systemd)
    return text


def environment(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **more}


def test_a_service_is_ready_says_how_it_stands_and_stops(systemd: socket.socket) -> None:
    parts = [Part("vital", script(WORKS), vital=True), Part("other", script(WORKS))]
    with served(parts, notifier=Notifier(environment(systemd))) as service:
        assert heard(systemd) == f"READY=1\nSTATUS=vital running; other running\nMAINPID={os.getpid()}"
        os.kill(service.said["other"]["pid"], signal.SIGKILL)
        until_heard(systemd, "STATUS=vital running; other running, started again 1 times")
        service.end()
        until_heard(systemd, "STOPPING=1")


def test_the_watchdog_is_fed_while_the_vital_part_works_and_only_then(systemd: socket.socket, tmp_path: Path) -> None:
    # It is ready the first time, and never again.
    first = tmp_path / "was here"
    once = f"""
if os.path.exists({str(first)!r}):
    time.sleep(600)
open({str(first)!r}, 'w').close()
ready(); signal.pause()
"""
    notifier = Notifier(environment(systemd, WATCHDOG_USEC="300000", WATCHDOG_PID=str(os.getpid())))
    with served([Part("vital", script(SAYS_READY + once), vital=True)], SupervisorSettings(), notifier) as service:
        until_heard(systemd, "WATCHDOG=1")
        until_heard(systemd, "WATCHDOG=1")
        os.kill(service.said["vital"]["pid"], signal.SIGKILL)
        until(lambda: service.happened("died"))
        until_heard(systemd, "STATUS=vital starting, started again 1 times")
        systemd.settimeout(1.0)
        with pytest.raises(TimeoutError):
            heard(systemd)


def test_a_watchdog_of_another_process_is_not_fed(systemd: socket.socket) -> None:
    with Notifier(environment(systemd, WATCHDOG_USEC="300000", WATCHDOG_PID="1")) as notifier:
        assert notifier.watchdog_s is None
    with Notifier(environment(systemd, WATCHDOG_USEC="300000")) as notifier:
        assert notifier.watchdog_s == 0.3


def test_no_child_speaks_for_the_service(systemd: socket.socket) -> None:
    env = environment(systemd, WATCHDOG_USEC="300000", WATCHDOG_PID="1", OTHER="stays")
    Notifier(env).close()
    assert env == {"OTHER": "stays"}


def test_an_abstract_address_and_a_systemd_that_has_gone() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0cortexwire-test-{os.getpid()}")
        listening.settimeout(30)
        notifier = Notifier({"NOTIFY_SOCKET": f"@cortexwire-test-{os.getpid()}"})
        notifier.status("well")
        assert heard(listening) == "STATUS=well"
    notifier.status("nobody hears this")
    notifier.close()
    notifier.close()

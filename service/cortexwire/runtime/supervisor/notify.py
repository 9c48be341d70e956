"""What a service tells systemd: one datagram of `KEY=VALUE` lines to the socket that `NOTIFY_SOCKET` names.

The protocol is that of `sd_notify(3)`; without the variable nothing is sent. Both variables are taken out of the
environment, so that no child speaks for the service.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, Self

_SHARE: Final = 3.0
"""How often within the watchdog's time it is fed: twice would do, if nothing were ever late."""


class Notifier:
    """The line to systemd, or to nobody.

    Args:
        env: The environment that says where to.

    Attributes:
        watchdog_s: Time within which the watchdog has to be fed; None without a watchdog for this process.
    """

    def __init__(self, env: MutableMapping[str, str] = os.environ) -> None:
        name = env.pop("NOTIFY_SOCKET", "")
        micros, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_s = int(micros) / 1e6 if micros.isdecimal() and ours and int(micros) else None
        self._socket: socket.socket | None = None
        self._status = ""
        self._fed_s: float | None = None
        if name[:1] in ("/", "@"):
            # An @ stands for the NUL with which an abstract address begins.
            self._address = "\0" + name[1:] if name[0] == "@" else name
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """The service does its work."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """Say in one line how things stand, where that has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The service begins to end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self, now_s: float) -> None:
        """Feed the watchdog if it is time."""
        if self.watchdog_s is not None and (self._fed_s is None or now_s - self._fed_s >= self.watchdog_s / _SHARE):
            self._fed_s = now_s
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # systemd may be restarting itself; the service goes on whether it is heard or not.
            with suppress(OSError):
                self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        """Hang up; safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self.close()

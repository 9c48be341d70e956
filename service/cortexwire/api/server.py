"""The server: uvicorn on sockets of our own, and who may be let in where it listens.

Nothing that a viewer has not taken waits long or grows: the kernel's buffer of each connection is small, and a
connection whose other end takes nothing is given up by the kernel.
"""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import structlog
import uvicorn

from cortexwire.api.app import create_app
from cortexwire.api.service import Service
from cortexwire.api.tokens import Tokens
from cortexwire.config import EngineConfig
from cortexwire.errors import ConfigError, StartupError

_SEND_BUFFER_BYTES: Final = 128 * 1024
_GIVE_UP_MS: Final = 15_000
_GRACE_S: Final = 2
_BACKLOG: Final = 128
_LONGEST_MESSAGE_BYTES: Final = 4096


def split_address(bind: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT.

    Raises:
        ConfigError: The port is none.
    """
    host, _, port = bind.rpartition(":")
    if not 0 <= int(port) < 65536:
        raise ConfigError(f"api.bind: expected a port below 65536, got {bind}")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ApiServer:
    """One server: binds at once, serves with `run`.

    Attributes:
        url: Where it is reached.

    Args:
        config: Its configuration.

    Raises:
        StartupError: With all that is wrong.
    """

    def __init__(self, config: EngineConfig) -> None:
        problems: list[str] = []
        host, port = split_address(config.api.bind)
        local = is_loopback(host)
        tokens: Tokens | None = None
        if config.api.tokens is not None:
            try:
                tokens = Tokens(config.api.tokens)
            except ConfigError as error:
                problems.append(str(error))
        elif not local and not config.security.insecure:
            problems.append(
                f"api.bind: {config.api.bind} is reached from other machines and needs api.tokens"
                " (cortexwire keys token NAME), or --insecure"
            )
        self.insecure = not local and tokens is None
        if not problems:
            try:
                self._socket = _listen(host, port)
            except OSError as error:
                problems.append(f"api.bind: cannot listen on {config.api.bind}: {error.strerror or error}")
        if problems:
            raise StartupError(problems)
        self._log = structlog.get_logger("cortexwire.api")
        names = frozenset(name.lower() for name in (*config.api.hosts, host)) if local or config.api.hosts else None
        service = Service(config, insecure=self.insecure)
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(service, tokens, names),
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                ws_max_size=_LONGEST_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=_GRACE_S,
                proxy_headers=False,
            )
        )
        bound = self._socket.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"

    def run(self) -> None:
        """Serve until Ctrl-C, SIGTERM or `stop`."""
        if self.insecure:
            self._log.warning(
                "INSECURE: anybody who reaches this address may change what the engine does", url=self.url
            )
        self._log.info("api ready", url=self.url)
        with _signals_end_here():
            self._server.run(sockets=[self._socket])
        self._log.info("api stopped")

    def stop(self) -> None:
        """Have `run` return; from any thread."""
        self._server.should_exit = True


@contextmanager
def _signals_end_here() -> Iterator[None]:
    """Keep what uvicorn raises again, once it is done, from ending the process in the middle of its last words."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Both are inherited by the connections.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GIVE_UP_MS)
        listening.bind(address)
        # Whoever is told that the service is ready may connect before it serves.
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening

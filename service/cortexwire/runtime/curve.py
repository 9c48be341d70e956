"""CURVE on the engine's side: its endpoints beyond loopback are encrypted, and let in only whom it knows.

The engine is the CURVE server of each connection, also of those that it makes itself. Whether it knows a client is
asked once, at the handshake, by libzmq's I/O thread of a thread of ours (ZAP, RFC 27), and never by the hot one.
"""

import threading
import time
from pathlib import Path
from typing import Final

import structlog
import zmq
from zmq.utils import z85

from cortexwire.clients.curve import PUBLIC_SUFFIX, CurveClient, CurveKeys, read_keys, read_public_key
from cortexwire.clients.sockets import is_local
from cortexwire.config import EngineConfig
from cortexwire.errors import ConfigError

_ZAP: Final = "inproc://zeromq.zap.01"
_DOMAIN: Final = b"cortexwire"
_POLL_MS: Final = 100
_LOOK_S: Final = 1.0
_CURVE_FRAMES: Final = 7
_MOST_TOLD: Final = 256


def curve_server(config: EngineConfig) -> "CurveServer | None":
    """What protects the endpoints of an engine; None where nothing has to.

    Raises:
        ConfigError: An endpoint is reached from other machines, and there are neither keys nor the word that there
            shall be none.
    """
    security = config.security
    if security.curve_key is not None:
        return CurveServer(read_keys(security.curve_key), security.curve_clients)
    endpoints = {
        "ingest.endpoint": config.ingest.endpoint,
        "output.endpoint": config.output.endpoint,
        "control": config.control or "ipc://",
    }
    beyond = [f"{name} = {endpoint}" for name, endpoint in endpoints.items() if not is_local(endpoint)]
    if beyond and not security.insecure:
        raise ConfigError(
            f"{', '.join(beyond)}: expected security.curve_key for what other machines reach (cortexwire keys curve"
            " NAME), or --insecure"
        )
    if beyond:
        structlog.get_logger("cortexwire.engine").warning(
            "INSECURE: anybody who reaches these endpoints may listen and send", endpoints=beyond
        )
    return None


class CurveServer:
    """The engine's keys and the clients that it knows.

    Args:
        keys: The engine's keys; whoever has them is a client too.
        clients: Folder with the public keys of other clients, or none.

    Raises:
        ConfigError: There is no such folder, or a file in it is no key.
    """

    def __init__(self, keys: CurveKeys, clients: Path | None) -> None:
        self._keys = keys
        self._folder = clients
        self._looked = time.monotonic()
        self._known = self._read()

    def as_client(self) -> CurveClient:
        """The engine's own user as its client."""
        return CurveClient(self._keys.public, self._keys)

    def secure(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        """Protect a socket where its endpoint needs it; before it is bound or connected."""
        if is_local(endpoint):
            return
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_PUBLICKEY, self._keys.public)
        socket.set(zmq.CURVE_SECRETKEY, self._keys.secret)
        socket.set(zmq.ZAP_DOMAIN, _DOMAIN)
        # Without it, everybody would be let in while nobody attends.
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def attend(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "Attendant":
        """Begin to answer for the sockets of a context; to be closed before it."""
        return Attendant(context, self)

    def knows(self, key: bytes) -> bool:
        """Whether a public key (Z85) is a client's; a key put into the folder is known within a second."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            try:
                self._known = self._read()
            # Whoever cannot be read is not known.
            except ConfigError as error:
                self._known = frozenset({self._keys.public})
                structlog.get_logger("cortexwire.engine").error("cannot read the clients' keys", error=str(error))
        return key in self._known

    def _read(self) -> frozenset[bytes]:
        folder = self._folder
        if folder is None:
            return frozenset({self._keys.public})
        if not folder.is_dir():
            raise ConfigError(f"security.curve_clients: expected a folder of public keys, got {folder}")
        return frozenset({self._keys.public, *map(read_public_key, folder.glob(f"*{PUBLIC_SUFFIX}"))})


class Attendant:
    """A thread that answers who may come in.

    Args:
        context: Whose sockets it answers for.
        server: Who knows.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", server: CurveServer) -> None:
        self._server = server
        self._told: set[tuple[bytes, bool]] = set()
        self._stop = threading.Event()
        self._socket = context.socket(zmq.REP)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(_ZAP)
        self._log = structlog.get_logger("cortexwire.engine")
        self._thread = threading.Thread(target=self._serve, name="cortexwire-zap", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(_POLL_MS):
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        if len(request) < _CURVE_FRAMES or request[5] != b"CURVE" or len(request[6]) != 32:
            return [b"1.0", *request[1:2], b"400", b"expected CURVE", b"", b""]
        key = z85.encode(request[6])
        known = self._server.knows(key)
        address = request[3].decode("ascii", "replace")
        # A stranger tries again ten times a second: each is told of once.
        if (key, known) not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add((key, known))
            self._log.info("client let in" if known else "client refused", address=address, key=key.decode())
        status = [b"200", b"OK"] if known else [b"400", b"unknown key"]
        return [b"1.0", request[1], *status, key if known else b"", b""]

    def close(self) -> None:
        """Answer no more."""
        self._stop.set()
        self._thread.join()
        self._socket.close()

"""Redis streams and what stands at their ends: a server of our own, the node that fills them, the one that reads out.

All are on one private Unix socket, with persistence off. Streams are trimmed to about a second of signal, the depth of
the queues of everybody else: a reader that falls further behind finds a gap.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, Final

import redis
import zmq

from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.bench.peers.subscribe import Heard
from cortexwire.config import IngestSettings
from cortexwire.errors import ConfigError
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.runtime.ingest import Ingest
from cortexwire.wire import decode_output

MAXLEN: Final = 1000
"""Entries that a stream keeps, about: a second of packets."""
_BATCH: Final = 20
"""Entries that a reader takes at once when it is behind."""
_WAIT_MS: Final = 50
_START_S: Final = 10.0

Entry = dict[bytes, bytes]


def server(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Run a Redis server on a Unix socket until SIGTERM.

    Args:
        settings: `socket`, its path; other files lie beside it.
        say: Told the server's process when it answers.

    Raises:
        ConfigError: It does not answer.
    """
    program, path = shutil.which("redis-server"), Path(settings["socket"])
    if program is None:
        raise ConfigError("expected redis-server to be installed")
    options = {"port": 0, "unixsocket": path, "save": "", "appendonly": "no", "dir": path.parent, "loglevel": "warning"}
    command = [program, *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
    with stop_on_signals() as stop, subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            client = connect(path)
            _wait_for(client, process)
            say({"pid": process.pid})
            client.close()
            stop.wait()
        finally:
            process.terminate()
    return {}


def forward(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Put every packet of a rig into the stream `samples`, with the time of its receipt."""
    client = connect(settings["socket"])
    with (
        stop_on_signals() as stop,
        zmq.Context() as context,
        closing(Ingest(IngestSettings(endpoint=settings["ingest"], bind=True), context)) as ingest,
        closing(client),
    ):
        keep_collector_out()
        say({"ingest": ingest.endpoint})
        while not stop.is_set():
            frame = ingest.receive(_WAIT_MS)
            if frame is not None:
                add(client, "samples", {b"packet": frame, b"received": time.monotonic_ns()})
    return {}


def subscribe(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Read the stream `velocity` until it ends, or SIGTERM; gives what the subscriber of ZeroMQ gives."""
    heard = Heard()
    client = connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        say({})
        for entry in entries(client, "velocity", stop):
            output = decode_output(entry[b"message"])
            heard.take(output, time.monotonic_ns())
            if heard.ended:
                break
    return heard.summary(0)


def connect(path: str | Path) -> "redis.Redis":
    """Make a client of the server behind a Unix socket; it connects when it is first used."""
    return redis.Redis(unix_socket_path=str(path))


def add(client: "redis.Redis", stream: str, entry: Mapping[bytes, bytes | int]) -> None:
    """Put an entry into a stream, and let go of what is too old."""
    client.xadd(stream, entry, maxlen=MAXLEN, approximate=True)


def entries(client: "redis.Redis", stream: str, stop: Event) -> Iterator[Entry]:
    """What comes into a stream, from its beginning on, until a stop."""
    last: Any = "0"
    while not stop.is_set():
        came: Any = client.xread({stream: last}, count=_BATCH, block=_WAIT_MS)
        for _, entries in came or ():
            for number, entry in entries:
                last = number
                yield entry


def _wait_for(client: "redis.Redis", process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise ConfigError(f"expected redis-server to answer within {_START_S:g} s, it did not")

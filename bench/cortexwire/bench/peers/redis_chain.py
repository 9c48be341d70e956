"""The same chain over Redis streams in the shape of BRAND: a process for each node, a stream between each two.

As BRAND's nodes do it, an adapter puts what the rig sends into a stream, one node filters, finds crossings and bins
them, one decodes, and each waits in `XREAD BLOCK` for what comes next. All are on one private Unix socket, with
persistence off. Streams are trimmed to about a second of signal, the depth of the queues of everybody else: a reader
that falls further behind finds a gap, which is counted.

BRAND: Ali et al. 2024, J. Neural Eng. 21, 026046; https://github.com/brandbci/brand.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, Final

import numpy as np
import redis
import zmq

from cortexwire.bench.peers.front_end import bins_of, layout_from_json, numpy_front_end, read_thresholds
from cortexwire.bench.peers.packets import Alignment, decoded_output, end_of_stream, is_end, read_signal
from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.bench.peers.torch_gru import TorchGru
from cortexwire.bench.peers.weights import gru_weights
from cortexwire.config import IngestSettings
from cortexwire.decoders import load_bundle
from cortexwire.errors import ConfigError
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.runtime.ingest import Ingest
from cortexwire.wire import Times, decode_output, encode_output

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

    Returns:
        What the server says of the memory that it took at most.

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
            client = _connect(path)
            _wait_for(client, process)
            say({"pid": process.pid})
            stop.wait()
            memory = client.info("memory")
            client.close()
        finally:
            process.terminate()
    return {"used_memory_peak_mib": round(memory["used_memory_peak"] / 2**20, 1)}


def forward(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Put every packet of a rig into the stream `samples`, with the time of its receipt."""
    client = _connect(settings["socket"])
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
                entry = {b"packet": frame, b"received": time.monotonic_ns()}
                client.xadd("samples", entry, maxlen=MAXLEN, approximate=True)
    return {}


def find_counts(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Filter the stream `samples`, find crossings, and put the counts of each bin into the stream `bins`."""
    bundle = load_bundle(settings["bundle"])
    front_end = numpy_front_end(bundle, layout_from_json(settings["layout"]), read_thresholds(settings["thresholds"]))
    alignment = Alignment(bins_of(bundle).bin_samples)
    client = _connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        keep_collector_out()
        say({})
        for entry in _entries(client, "samples", stop):
            frame = entry[b"packet"]
            signal = read_signal(frame)
            if signal is None:
                if is_end(frame):
                    client.xadd("bins", {b"end": 1})
                continue
            if not alignment.takes(signal):
                continue
            made = front_end.push(signal.samples)
            if made is not None:
                end = signal.sample_index + len(signal.samples)
                received_ns, now = int(entry[b"received"]), time.monotonic_ns()
                times = np.array((end, signal.acquired_ns, signal.sent_ns, received_ns, now), np.int64)
                content = {b"counts": made[0].tobytes(), b"times": times.tobytes()}
                client.xadd("bins", content, maxlen=MAXLEN, approximate=True)
    return alignment.counts


def decode(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Decode the stream `bins`, and put a message for each into the stream `velocity`."""
    bundle = load_bundle(settings["bundle"])
    bin_samples = bins_of(bundle).bin_samples
    decoder = TorchGru(gru_weights(bundle))
    client = _connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        keep_collector_out()
        say({})
        for entry in _entries(client, "bins", stop):
            if b"end" in entry:
                client.xadd("velocity", {b"message": end_of_stream()})
                continue
            counts = np.frombuffer(entry[b"counts"], np.int64).copy()
            end, acquired_ns, sent_ns, received_ns, binned_ns = np.frombuffer(entry[b"times"], np.int64).tolist()
            velocity = decoder.step(counts)
            now = time.monotonic_ns()
            times = Times(acquired_ns, sent_ns, received_ns, binned_ns, now, now)
            output = decoded_output(end, bin_samples, times, velocity, counts.astype(np.uint16))
            client.xadd("velocity", {b"message": encode_output(output)}, maxlen=MAXLEN, approximate=True)
    return {}


def subscribe(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Read the stream `velocity` until it ends, or SIGTERM; gives what the subscriber of ZeroMQ gives."""
    from cortexwire.bench.peers.subscribe import Heard

    heard = Heard()
    client = _connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        say({})
        for entry in _entries(client, "velocity", stop):
            output = decode_output(entry[b"message"])
            heard.take(output, time.monotonic_ns())
            if heard.ended:
                break
    return heard.summary(0)


def _entries(client: "redis.Redis", stream: str, stop: Event) -> Iterator[Entry]:
    """What comes into a stream, from its beginning on, until a stop."""
    last: Any = "0"
    while not stop.is_set():
        came: Any = client.xread({stream: last}, count=_BATCH, block=_WAIT_MS)
        for _, entries in came or ():
            for number, entry in entries:
                last = number
                yield entry


def _connect(path: str | Path) -> "redis.Redis":
    return redis.Redis(unix_socket_path=str(path))


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

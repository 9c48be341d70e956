"""Services in one process on our own transport: the same sockets as an engine's, with something else between them."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from struct import Struct
from typing import Any, Final, Protocol

import numpy as np
import zmq

from cortexwire.bench.peers.bins import bins_of
from cortexwire.bench.peers.packets import Alignment, Signal, decoded_output, end_of_stream, is_end, read_signal
from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.config import IngestSettings, OutputSocketSettings
from cortexwire.decoders import Bundle, load_bundle
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.runtime.ingest import Ingest
from cortexwire.runtime.publisher import Publisher
from cortexwire.wire import Times, encode_output
from cortexwire.wire.outputs import TIMES_AT, seal

OUTPUT_BINS: Final = 250
"""Room for outputs, as for an engine that is measured: one dropped at a queue would be missing from the latencies."""
_WAIT_MS: Final = 20
_BIN_AT: Final = 16
_BIN: Final = Struct("<Qq")
_TIMES: Final = Struct("<6q")


class Work(Protocol):
    """What a service does between its sockets."""

    def take(self, signal: Signal, received_ns: int) -> bytes | bytearray | None:
        """Take a packet; return the message of the bin that it closes, or None."""


def serve(settings: Mapping[str, Any], make: Callable[[Mapping[str, Any], Bundle], Work], say: Say) -> dict[str, Any]:
    """Receive, work and publish until SIGTERM.

    Args:
        settings: `ingest` and `output`, the endpoints, both bound; `bundle`; what the work needs besides.
        make: Makes the work, on the thread that does it.
        say: Told the endpoints when all is ready.

    Returns:
        Counts of packets that were missing, or left out to stay in step with the bins.
    """
    bundle = load_bundle(settings["bundle"])
    alignment = Alignment(bins_of(bundle).bin_samples)
    work, end = make(settings, bundle), end_of_stream()
    with (
        stop_on_signals() as stop,
        zmq.Context() as context,
        closing(Ingest(IngestSettings(endpoint=settings["ingest"], bind=True), context)) as ingest,
        closing(open_publisher(settings["output"], context)) as publisher,
    ):
        keep_collector_out()
        say({"ingest": ingest.endpoint, "output": publisher.endpoint})
        while not stop.is_set():
            frame = ingest.receive(_WAIT_MS)
            if frame is None:
                continue
            received_ns = time.monotonic_ns()
            signal = read_signal(frame)
            if signal is None:
                if is_end(frame):
                    publisher.send(end)
            elif alignment.takes(signal):
                message = work.take(signal, received_ns)
                if message is not None:
                    publisher.send(message)
    return alignment.counts


def open_publisher(endpoint: str, context: zmq.Context[zmq.Socket[bytes]]) -> Publisher:
    """Bind a publisher with as much room as an engine that is measured has."""
    return Publisher(OutputSocketSettings(endpoint=endpoint, bind=True, high_water_bins=OUTPUT_BINS), context)


class Echo:
    """Nothing but the transport: answers a closing packet with a message prepared beforehand.

    Only bin and times are written into it, and the checksum that makes it a whole message.

    Args:
        bundle: Says how long a bin is, and how many counts an output holds.
    """

    def __init__(self, _settings: Mapping[str, Any], bundle: Bundle) -> None:
        bins = bins_of(bundle)
        self._bin_samples = bins.bin_samples
        velocity, counts = np.zeros(2, np.float32), np.zeros(bins.n_channels, np.uint16)
        empty = decoded_output(bins.bin_samples, bins.bin_samples, Times(), velocity, counts)
        self._message = bytearray(encode_output(empty))

    def take(self, signal: Signal, received_ns: int) -> bytearray | None:
        """Answer a packet that closes a bin."""
        end = signal.sample_index + len(signal.samples)
        if end % self._bin_samples:
            return None
        message, now = self._message, time.monotonic_ns()
        _BIN.pack_into(message, _BIN_AT, end // self._bin_samples - 1, end)
        _TIMES.pack_into(message, TIMES_AT, signal.acquired_ns, signal.sent_ns, received_ns, now, now, now)
        seal(message)
        return message

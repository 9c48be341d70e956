"""The same chain over Redis streams in the shape of BRAND: a process for each node, a stream between each two.

As BRAND's nodes do it, an adapter puts what the rig sends into a stream, one node filters, finds crossings and bins
them, one decodes, and each waits in `XREAD BLOCK` for what comes next. A packet that was trimmed away before it was
read is counted as missing.

BRAND: Ali et al. 2024, J. Neural Eng. 21, 026046; https://github.com/brandbci/brand.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from cortexwire.bench.peers.bins import bins_of
from cortexwire.bench.peers.front_end import layout_from_json, numpy_front_end, read_thresholds
from cortexwire.bench.peers.packets import Alignment, decoded_output, end_of_stream, is_end, read_signal
from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.bench.peers.redis_streams import add, connect, entries
from cortexwire.bench.peers.weights import gru_weights
from cortexwire.decoders import load_bundle
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.wire import Times, encode_output


def find_counts(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Filter the stream `samples`, find crossings, and put the counts of each bin into the stream `bins`."""
    bundle = load_bundle(settings["bundle"])
    front_end = numpy_front_end(bundle, layout_from_json(settings["layout"]), read_thresholds(settings["thresholds"]))
    alignment = Alignment(bins_of(bundle).bin_samples)
    client = connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        keep_collector_out()
        say({})
        for entry in entries(client, "samples", stop):
            frame = entry[b"packet"]
            signal = read_signal(frame)
            if signal is None:
                if is_end(frame):
                    add(client, "bins", {b"end": 1})
                continue
            if not alignment.takes(signal):
                continue
            made = front_end.push(signal.samples)
            if made is not None:
                end = signal.sample_index + len(signal.samples)
                received_ns, now = int(entry[b"received"]), time.monotonic_ns()
                times = np.array((end, signal.acquired_ns, signal.sent_ns, received_ns, now), np.int64)
                content = {b"counts": made[0].tobytes(), b"times": times.tobytes()}
                add(client, "bins", content)
    return alignment.counts


def decode(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Decode the stream `bins`, and put a message for each into the stream `velocity`."""
    from cortexwire.bench.peers.torch_gru import TorchGru  # of all nodes, only this one needs torch

    bundle = load_bundle(settings["bundle"])
    bin_samples = bins_of(bundle).bin_samples
    decoder = TorchGru(gru_weights(bundle))
    client = connect(settings["socket"])
    with stop_on_signals() as stop, closing(client):
        keep_collector_out()
        say({})
        for entry in entries(client, "bins", stop):
            if b"end" in entry:
                add(client, "velocity", {b"message": end_of_stream()})
                continue
            counts = np.frombuffer(entry[b"counts"], np.int64).copy()
            end, acquired_ns, sent_ns, received_ns, binned_ns = np.frombuffer(entry[b"times"], np.int64).tolist()
            velocity = decoder.step(counts)
            now = time.monotonic_ns()
            times = Times(acquired_ns, sent_ns, received_ns, binned_ns, now, now)
            output = decoded_output(end, bin_samples, times, velocity, counts.astype(np.uint16))
            add(client, "velocity", {b"message": encode_output(output)})
    return {}

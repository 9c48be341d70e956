"""The chain that a careful lab would write: ZeroMQ, scipy and numpy per packet, eager torch per bin, one thread."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from cortexwire.bench.peers.bins import bins_of
from cortexwire.bench.peers.front_end import layout_from_json, numpy_front_end, read_thresholds
from cortexwire.bench.peers.packets import Signal, decoded_output
from cortexwire.bench.peers.torch_gru import TorchGru
from cortexwire.bench.peers.weights import gru_weights
from cortexwire.decoders import Bundle
from cortexwire.wire import Times, encode_output


class TorchChain:
    """From samples to velocities.

    Args:
        settings: `thresholds`, a thresholds file; `layout`, how the chain is written.
        bundle: Filter and weights.
    """

    def __init__(self, settings: Mapping[str, Any], bundle: Bundle) -> None:
        self._bins = bins_of(bundle)
        layout, thresholds = layout_from_json(settings["layout"]), read_thresholds(settings["thresholds"])
        self._front_end = numpy_front_end(bundle, layout, thresholds)
        self._decoder = TorchGru(gru_weights(bundle))
        spare = numpy_front_end(bundle, layout, thresholds)
        silence = np.zeros((self._bins.packet_samples, self._bins.n_channels), np.int16)
        for _ in range(self._bins.packets_per_bin):
            spare.push(silence)

    def take(self, signal: Signal, received_ns: int) -> bytes | None:
        """Take a packet; the message of the bin that it closes, or None."""
        made = self._front_end.push(signal.samples)
        if made is None:
            return None
        counts = made[0]
        binned_ns = time.monotonic_ns()
        velocity = self._decoder.step(counts)
        now = time.monotonic_ns()
        times = Times(signal.acquired_ns, signal.sent_ns, received_ns, binned_ns, now, now)
        end = signal.sample_index + len(signal.samples)
        return encode_output(decoded_output(end, self._bins.bin_samples, times, velocity, counts.astype(np.uint16)))

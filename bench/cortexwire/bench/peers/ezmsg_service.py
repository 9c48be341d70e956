"""An ezmsg graph with ezmsg-sigproc's own units where it has them, all in one process, as suits so short a path.

A source on our transport, `ButterworthFilter` (second-order sections), threshold crossings, `BinnedAggregate` (sums of
20 ms), and a decoder that publishes on our transport. ezmsg-sigproc has no unit for threshold crossings, so that one
is numpy of ours; it hands on the counts of each packet instead of every sample, which spares the binning unit most of
its copying.
"""

import asyncio
import socket as kernel
import time
from collections.abc import AsyncGenerator, Mapping
from threading import Event
from typing import Any, Final

import ezmsg.core as ez
import numpy as np
import zmq
import zmq.asyncio
from ezmsg.sigproc.aggregate import AggregationFunction
from ezmsg.sigproc.binned_aggregate import BinnedAggregate, BinnedAggregateSettings
from ezmsg.sigproc.butterworthfilter import ButterworthFilter, ButterworthFilterSettings
from ezmsg.util.messages.axisarray import AxisArray
from ezmsg.util.messages.util import replace

from cortexwire.bench.numpy_chain import LAYOUTS, Crossings
from cortexwire.bench.peers.bins import bins_of
from cortexwire.bench.peers.front_end import read_thresholds
from cortexwire.bench.peers.packets import Alignment, decoded_output, end_of_stream, is_end, read_signal
from cortexwire.bench.peers.process import Say, keep_collector_out
from cortexwire.bench.peers.torch_gru import TorchGru
from cortexwire.bench.peers.weights import gru_weights
from cortexwire.bench.peers.zmq_service import open_publisher
from cortexwire.decoders import Bundle, load_bundle
from cortexwire.runtime.engine import stop_on_signals
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.wire import Times, encode_output

_QUEUE: Final = 1000
"""Packets that may wait at the source: a second, as for an engine."""
_LOOK_S: Final = 0.1
_LAYOUT: Final = next(layout for layout in LAYOUTS if layout.dtype is np.float64 and layout.time_first)


class PathSettings(ez.Settings):
    """What a unit is told: an endpoint, and where the bundle and the thresholds are."""

    endpoint: str = ""
    bundle: str = ""
    thresholds: str = ""


class _Run:
    """What the units share with whoever runs them, in the one process in which they are."""

    def __init__(self, say: Say, stop: Event) -> None:
        self.say = say
        self.stop = stop
        self.ready: dict[str, Any] = {}
        self.counts: dict[str, int] = {}


_runs: list[_Run] = []


class Source(ez.Unit):
    """Receives packets and scales them to microvolts, `(n_samples, n_channels)`."""

    SETTINGS = PathSettings
    OUTPUT_SIGNAL = ez.OutputStream(AxisArray)
    OUTPUT_END = ez.OutputStream(bool)

    async def initialize(self) -> None:
        """Bind."""
        bundle = load_bundle(self.SETTINGS.bundle)
        self.bins, self.uv_per_bit = bins_of(bundle), bundle.manifest.stream.uv_per_bit
        self.alignment = Alignment(self.bins.bin_samples)
        self.context = zmq.asyncio.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.set(zmq.RCVHWM, _QUEUE)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SUBSCRIBE, b"")
        self.socket.bind(self.SETTINGS.endpoint)
        _runs[-1].ready["ingest"] = self.socket.get_string(zmq.LAST_ENDPOINT)

    @ez.publisher(OUTPUT_SIGNAL)
    @ez.publisher(OUTPUT_END)
    async def receive(self) -> AsyncGenerator[Any, None]:
        """Hand on what comes."""
        keep_collector_out()
        _runs[-1].say(_runs[-1].ready)
        while True:
            frame = await self.socket.recv()
            received_ns = time.monotonic_ns()
            signal = read_signal(frame)
            if signal is None:
                if is_end(frame):
                    yield self.OUTPUT_END, True
            elif self.alignment.takes(signal):
                end = signal.sample_index + len(signal.samples)
                at = AxisArray.TimeAxis(fs=self.bins.rate_hz, offset=signal.sample_index / self.bins.rate_hz)
                yield (
                    self.OUTPUT_SIGNAL,
                    AxisArray(
                        signal.samples * self.uv_per_bit,
                        dims=["time", "ch"],
                        axes={"time": at},
                        attrs={"closing": (end, signal.acquired_ns, signal.sent_ns, received_ns)},
                        stream_dim="time",
                    ),
                )

    @ez.task
    async def end(self) -> None:
        """End the graph when that is asked for."""
        while not _runs[-1].stop.is_set():
            await asyncio.sleep(_LOOK_S)
        raise ez.NormalTermination

    async def shutdown(self) -> None:
        """Close the socket."""
        _runs[-1].counts = self.alignment.counts
        self.socket.close()
        self.context.term()


class ThresholdCrossings(ez.Unit):
    """Counts the crossings in each message: `(1, n_channels)` for `(n_samples, n_channels)`."""

    SETTINGS = PathSettings
    INPUT_SIGNAL = ez.InputStream(AxisArray)
    OUTPUT_SIGNAL = ez.OutputStream(AxisArray)

    async def initialize(self) -> None:
        """Take the thresholds."""
        bins = bins_of(load_bundle(self.SETTINGS.bundle))
        self.packet_s = bins.packet_samples / bins.rate_hz
        self.thresholds = np.asarray(read_thresholds(self.SETTINGS.thresholds), _LAYOUT.dtype)
        self.crossings = Crossings(len(self.thresholds), bins.packet_samples)

    @ez.subscriber(INPUT_SIGNAL)
    @ez.publisher(OUTPUT_SIGNAL)
    async def on_signal(self, message: AxisArray) -> AsyncGenerator[Any, None]:
        """Count the crossings of a packet."""
        crossed, _ = self.crossings.find(message.data <= self.thresholds)
        counts = crossed.astype(np.int64)[None]
        at = AxisArray.LinearAxis(gain=self.packet_s, offset=message.axes["time"].offset, unit="s")
        yield self.OUTPUT_SIGNAL, replace(message, data=counts, axes={"time": at})


class Decoder(ez.Unit):
    """Decodes the counts of a bin in eager torch, and publishes the velocity."""

    SETTINGS = PathSettings
    INPUT_SIGNAL = ez.InputStream(AxisArray)
    INPUT_END = ez.InputStream(bool)

    async def initialize(self) -> None:
        """Bind, and make the decoder on the thread on which it steps."""
        bundle = load_bundle(self.SETTINGS.bundle)
        self.bin_samples = bins_of(bundle).bin_samples
        self.decoder = TorchGru(gru_weights(bundle))
        self.context = zmq.Context()
        self.publisher = open_publisher(self.SETTINGS.endpoint, self.context)
        _runs[-1].ready["output"] = self.publisher.endpoint

    @ez.subscriber(INPUT_SIGNAL)
    async def on_signal(self, message: AxisArray) -> None:
        """Decode the bins of a message: one."""
        end, acquired_ns, sent_ns, received_ns = message.attrs["closing"]
        counts = message.data[-1]
        binned_ns = time.monotonic_ns()
        velocity = self.decoder.step(counts)
        now = time.monotonic_ns()
        times = Times(acquired_ns, sent_ns, received_ns, binned_ns, now, now)
        output = decoded_output(end, self.bin_samples, times, velocity, counts.astype(np.uint16))
        self.publisher.send(encode_output(output))

    @ez.subscriber(INPUT_END)
    async def on_end(self, _: bool) -> None:
        """Say that the stream has ended."""
        self.publisher.send(end_of_stream())

    async def shutdown(self) -> None:
        """Close the socket."""
        self.publisher.close()
        self.context.term()


def serve(settings: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Run the graph until SIGTERM.

    Args:
        settings: `ingest` and `output`, the endpoints, both bound; `bundle`; `thresholds`.
        say: Told the endpoints when all is ready.

    Raises:
        ValueError: The bundle asks for a common reference, for which the graph has no unit.
    """
    paths = {"bundle": settings["bundle"], "thresholds": settings["thresholds"]}
    source = Source(PathSettings(endpoint=settings["ingest"], **paths))
    bundle = load_bundle(settings["bundle"])
    filtered = ButterworthFilter(_filter(bundle))
    crossings = ThresholdCrossings(PathSettings(**paths))
    bin_s = bundle.manifest.stream.bin_ms / 1000
    binned = BinnedAggregate(BinnedAggregateSettings(bin_duration=bin_s, operation=AggregationFunction.SUM))
    decoder = Decoder(PathSettings(endpoint=settings["output"], **paths))
    with stop_on_signals() as stop:
        run = _Run(say, stop)
        _runs.append(run)
        ez.run(
            SOURCE=source,
            FILTER=filtered,
            CROSSINGS=crossings,
            BINS=binned,
            DECODER=decoder,
            connections=(
                (source.OUTPUT_SIGNAL, filtered.INPUT_SIGNAL),
                (filtered.OUTPUT_SIGNAL, crossings.INPUT_SIGNAL),
                (crossings.OUTPUT_SIGNAL, binned.INPUT_SIGNAL),
                (binned.OUTPUT_SIGNAL, decoder.INPUT_SIGNAL),
                (source.OUTPUT_END, decoder.INPUT_END),
            ),
            graph_address=("127.0.0.1", _free_port()),
            auto_start=True,
            force_single_process=True,
        )
    return run.counts


def _filter(bundle: Bundle) -> ButterworthFilterSettings:
    settings = FrontEndSettings.model_validate(bundle.manifest.front_end)
    if settings.reference.mode != "none":
        raise ValueError(f"expected a bundle without a common reference, got {settings.reference.mode}")
    chosen = settings.filter
    return ButterworthFilterSettings(order=chosen.order, cuton=chosen.low_hz, cutoff=chosen.high_hz, coef_type="sos")


def _free_port() -> int:
    """A port for the graph's own server, so that no other graph on this machine is met."""
    with kernel.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

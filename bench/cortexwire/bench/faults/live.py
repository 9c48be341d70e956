"""A real engine under faults: one process, fed over PUSH/PULL, every output of every stream collected."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import zmq

from cortexwire.bench.live import Child, RunError
from cortexwire.config import EngineConfig
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, PacketEncoder, decode_output

PROBE_EPOCH: Final = 1
"""Epoch of the empty stream by which a run finds out that its subscription stands; no other stream may have it."""
_PROBES: Final = 2000
_PROBE_WAIT_MS: Final = 20
_SILENCE_MS: Final = 30_000


@dataclass
class LiveEngine:
    """An engine that runs, with the socket that feeds it and one that hears all it says.

    Attributes:
        process: Its process.
        push: Where packets go.
        outputs: Where its outputs come from.
        probes: Packets that were sent before the first stream, each of them the end of an empty one.
        ingest: Endpoint of its packets.
        endpoint: Endpoint of its outputs.
    """

    process: Child
    push: zmq.Socket[bytes]
    outputs: zmq.Socket[bytes]
    probes: int
    ingest: str
    endpoint: str

    def send(self, frames: Iterable[bytes]) -> None:
        """Send messages as fast as the engine takes them."""
        for frame in frames:
            self.push.send(frame)

    def until_end(self, epoch: int) -> Iterator[bytes]:
        """Give outputs, those of the probes left out, until the stream of an epoch has ended.

        Raises:
            RunError: The engine fell or fell silent.
        """
        while self.outputs.poll(_SILENCE_MS):
            frame = self.outputs.recv()
            output = decode_output(frame)
            if output.epoch == PROBE_EPOCH:
                continue
            yield frame
            if output.epoch == epoch and OutFlag.ENDED in output.flags:
                return
        self.process.check()
        raise RunError(f"expected the end of a stream, got {_SILENCE_MS / 1000:g} s of silence")

    def stop(self) -> dict[str, Any]:
        """Ask the engine to end, and give its summary.

        Raises:
            RunError: It had fallen, or does not end.
        """
        return self.process.stop()

    def probed(self) -> dict[str, int]:
        """What the probes added to the counters; the first stream after them is then a restart."""
        return {"accepted": self.probes, "safe_bins": self.probes, "restarts": 1}


@contextmanager
def live_engine(config: EngineConfig, rate: Rate, n_channels: int) -> Iterator[LiveEngine]:
    """Start an engine whose every output from the first stream on is heard.

    Raises:
        RunError: It does not start, or does not answer.
    """
    with Child("engine", config.model_dump(mode="json")) as process, zmq.Context() as context:
        ingest, endpoint = process.ready["ingest"], process.ready["output"]
        with context.socket(zmq.SUB) as outputs, context.socket(zmq.PUSH) as push:
            for socket in (outputs, push):
                socket.set(zmq.LINGER, 0)
            outputs.set(zmq.RCVHWM, 0)
            outputs.set(zmq.SUBSCRIBE, b"")
            outputs.connect(endpoint)
            push.connect(ingest)
            probes = _probe(push, outputs, PacketEncoder(rate, n_channels, epoch=PROBE_EPOCH))
            yield LiveEngine(process, push, outputs, probes, ingest, endpoint)


def _probe(push: zmq.Socket[bytes], outputs: zmq.Socket[bytes], encoder: PacketEncoder) -> int:
    """Send ends of an empty stream until an answer is heard; give their number."""
    for _ in range(_PROBES):
        push.send(encoder.end(0))
        if outputs.poll(_PROBE_WAIT_MS):
            return encoder.sequence
    raise RunError(f"expected an answer to one of {_PROBES} probes, none came")

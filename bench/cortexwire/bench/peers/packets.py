"""What a peer takes from our packets and puts into our outputs, so that the same rig and subscriber serve all.

A lab's own reader would check less than ours does: one struct, no checksum. Which packets a peer takes is decided by
their place in the bin, since its chain counts packets and knows no gaps: after one, packets are left out until one
continues where the chain stopped.
"""

from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.types import Velocity
from cortexwire.wire import Clock, Clocks, Kind, OutFlag, OutKind, Output, Times, encode_output

EPOCH: Final = 1
HEADER_BYTES: Final = 128
_HEAD: Final = Struct("<6xBx16xqqq4xII")
"""Kind, sample index, acquired, sent, channels, samples."""
_CLOCKS: Final = Clocks(*(Clock.MONOTONIC,) * 6)
_VALID_FOR_MS: Final = 40.0


class Signal(NamedTuple):
    """One packet of samples, int16 `(n_samples, n_channels)`, with the times that its sender put into it."""

    sample_index: int
    acquired_ns: int
    sent_ns: int
    samples: NDArray[np.int16]


def read_signal(frame: bytes) -> Signal | None:
    """Read a packet of int16 samples; None for any other kind."""
    kind, index, acquired_ns, sent_ns, n_channels, n_samples = _HEAD.unpack_from(frame)
    if kind != Kind.WIDEBAND:
        return None
    samples = np.frombuffer(frame, np.int16, -1, HEADER_BYTES).reshape(n_samples, n_channels)
    return Signal(index, acquired_ns, sent_ns, samples)


def is_end(frame: bytes) -> bool:
    """Whether a packet ends the stream."""
    return frame[6] == Kind.END


class Alignment:
    """Decides which packets a chain takes, and counts the others.

    Attributes:
        missing: Packets that never came.
        skipped: Packets left out because they did not continue the bin under way.

    Args:
        bin_samples: Samples in a bin, a multiple of those in a packet.
    """

    def __init__(self, bin_samples: int) -> None:
        self.missing = self.skipped = 0
        self._bin_samples = bin_samples
        self._next: int | None = None
        self._phase = 0

    def takes(self, signal: Signal) -> bool:
        """Whether the chain takes a packet."""
        begin, n = signal.sample_index, len(signal.samples)
        if self._next is not None:
            self.missing += max(0, begin - self._next) // n
        self._next = begin + n
        if begin % self._bin_samples != self._phase:
            self.skipped += 1
            return False
        self._phase = self._next % self._bin_samples
        return True

    @property
    def counts(self) -> dict[str, int]:
        """Both counts by name."""
        return {"missing_packets": self.missing, "skipped_packets": self.skipped}


def decoded_output(
    end_sample: int,
    bin_samples: int,
    times: Times,
    velocity: Velocity,
    counts: NDArray[Any],
) -> Output:
    """One bin's output with what ours holds: velocity float32 `(2,)` and counts `(n_channels,)`."""
    return Output(
        OutKind.DECODED,
        EPOCH,
        end_sample // bin_samples - 1,
        end_sample,
        flags=OutFlag.ARMED | OutFlag.COMMAND,
        valid_for_ms=_VALID_FOR_MS,
        times=times,
        clocks=_CLOCKS,
        tensors={"velocity": velocity, "counts": counts},
    )


def end_of_stream() -> bytes:
    """The message that says that the stream has ended."""
    return encode_output(Output(OutKind.SAFE, EPOCH, 0, 0, flags=OutFlag.ENDED))

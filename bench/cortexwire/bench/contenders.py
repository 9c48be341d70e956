"""Contenders of one comparison: each takes the same stream in its own form, in turns of equal length.

A turn of as many packets would be too short for the fastest: it would be timed while the processor's caches still
hold the work of the slower. What is timed is processor time, so that other work on the machine counts little.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from cortexwire.bench.turns import no_garbage_collection

TURN_US: Final = 50_000.0
"""How long a turn takes."""
PROBED: Final = 20
"""Packets after which it is known how many fill a turn."""

Push = Callable[[Any], object]
Made = tuple[NDArray[Any], NDArray[Any] | None]
"""Counts of a bin, and its mean squares where a contender has them."""


class AbsentError(RuntimeError):
    """What a contender needs is not installed; the message says what, and how to get it."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        make: Starts a stream; what it returns takes one packet, and returns a bin that it completes, or None.
        feed: The packets in the form that it takes, made beforehand.
        about: What else a report says of it.
    """

    make: Callable[[], Callable[[Any], Made | None]]
    feed: Sequence[Any]
    about: dict[str, str]


def take_turns(streams: Sequence[tuple[Push, Sequence[Any]]], seconds: float) -> list[list[float]]:
    """Time turns of each stream, each as long, on the packets that come next.

    Args:
        streams: What takes a packet, and the packets that it goes through again and again.
        seconds: How long they take turns in all; each has 3 turns at least.

    Returns:
        For each stream the microseconds a packet of every turn.
    """
    times: list[list[float]] = [[] for _ in streams]
    lengths = [math.ceil(TURN_US / time_packets(push, feed[:PROBED])) for push, feed in streams]
    at = [0] * len(streams)
    until = time.monotonic() + seconds
    with no_garbage_collection():
        while time.monotonic() < until or len(times[0]) < 3:
            for k, (push, feed) in enumerate(streams):
                turn = [feed[(at[k] + i) % len(feed)] for i in range(lengths[k])]
                at[k] += lengths[k]
                times[k].append(time_packets(push, turn))
    return times


def time_packets(push: Push, packets: Sequence[Any]) -> float:
    """Microseconds of processor time a packet."""
    start = time.thread_time_ns()
    for packet in packets:
        push(packet)
    return (time.thread_time_ns() - start) / len(packets) / 1000

"""Timing steps that are to be compared: in turn, hot (one after the other) and paced (one every bin).

A real service runs cold: between two bins the processor does other things, or sleeps. A step in a hot loop says what
the arithmetic costs; one that is due every 20 ms says what a service waits for. Where packets come in between, whoever
waits is woken for each of them, whether or not it has anything to do then.
"""

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Step = Callable[[], object]
Times = dict[str, list[list[float]]]
"""By name, for each turn the microseconds of each of its steps."""


class InParts(ABC):
    """A step of which some is done before its bin ends; only the call that ends it is timed.

    Attributes:
        parts: Packets of a bin.
    """

    parts: int

    @abstractmethod
    def ahead(self, part: int) -> None:
        """Do what comes with one packet of the bin, numbered from 0."""

    @abstractmethod
    def __call__(self) -> object:
        """End the bin."""


TURN_S = 0.1
"""Length of a hot turn."""
PACED_TURN = 25
"""Steps of a paced turn, besides the first one, which is not counted."""


def hot(steps: Mapping[str, Step], seconds: float) -> Times:
    """Time each step in a loop, in turns A B A B.

    Args:
        steps: What to time, by name.
        seconds: How long each has altogether.

    Returns:
        Wall time of every step.
    """
    times: Times = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(20):
            _whole(step)
    with no_garbage_collection():
        for _ in range(max(2, round(seconds / TURN_S))):
            for name, step in steps.items():
                times[name].append(_hot_turn(step))
    return times


def paced(steps: Mapping[str, Step], seconds: float, period_ms: float = 20.0, parts: int = 1) -> Times:
    """Time each step once in every period, in turns A B A B; between steps this thread sleeps.

    Args:
        steps: What to time, by name.
        seconds: How long each has altogether.
        period_ms: From the beginning of one step to that of the next.
        parts: Packets in a period, at each of which the thread is woken; those of a step in parts if there is one.

    Returns:
        Wall time of every step but the first of each turn.
    """
    times: Times = {name: [] for name in steps}
    turns = max(2, round(seconds * 1000 / period_ms / PACED_TURN))
    per_turn = max(2, round(seconds * 1000 / period_ms / turns))
    with no_garbage_collection():
        for _ in range(turns):
            for name, step in steps.items():
                times[name].append(_paced_turn(step, per_turn, period_ms, parts))
    return times


def _whole(step: Step) -> None:
    if isinstance(step, InParts):
        _ahead(step)
    step()


def _ahead(step: InParts) -> None:
    for part in range(step.parts):
        step.ahead(part)


def _hot_turn(step: Step) -> list[float]:
    times = []
    until = time.perf_counter_ns() + round(TURN_S * 1e9)
    before = time.perf_counter_ns()
    while before < until:
        if isinstance(step, InParts):
            _ahead(step)
            before = time.perf_counter_ns()
        step()
        after = time.perf_counter_ns()
        times.append((after - before) / 1e3)
        before = after
    return times


def _paced_turn(step: Step, steps: int, period_ms: float, parts: int) -> list[float]:
    times = []
    in_parts = step if isinstance(step, InParts) else None
    parts = in_parts.parts if in_parts else parts
    due = time.monotonic()
    for _ in range(steps + 1):
        for part in range(parts):
            due += period_ms / parts / 1e3
            time.sleep(max(0.0, due - time.monotonic()))
            if in_parts:
                in_parts.ahead(part)
        before = time.perf_counter_ns()
        step()
        times.append((time.perf_counter_ns() - before) / 1e3)
    return times[1:]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector out of what is timed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

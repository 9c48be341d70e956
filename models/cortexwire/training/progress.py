"""Watching a fit while it runs: whoever wants to know names a listener, and the fit need not know who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Epoch(NamedTuple):
    """One pass through the training part.

    Attributes:
        number: From 1.
        epochs: How many there will be at most.
        done: Share of the schedule that has passed, 1 at its end.
        loss: Mean squared error over the training part, in variances of the targets.
        validation_r2: Of each output.
        best: Whether this is the best mean so far.
    """

    number: int
    epochs: int
    done: float
    loss: float
    validation_r2: tuple[float, ...]
    best: bool


Listener = Callable[[Epoch], object]

_listener: ContextVar[Listener] = ContextVar("listener", default=lambda _: None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of every epoch of the fits within."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(epoch: Epoch) -> None:
    """Tell whoever listens."""
    _listener.get()(epoch)

"""The receiving end of a decoded stream, with the consumer's obligations built in.

A consumer may act only on a message flagged as the command, for at most its `valid_for_ms`; after that it
applies the neutral value by itself. And one that slept must not act on what piled up meanwhile: it looks
for the newest first.
"""

import time
from collections.abc import Callable, Iterator
from math import ceil
from typing import Final, Self

import numpy as np
import zmq

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.sockets import attach, is_local
from cortexwire.errors import PacketError
from cortexwire.types import Velocity
from cortexwire.wire import Clock, OutFlag, Output, decode_output

_MS: Final = 10**6
_LOOKS: Final = 10
"""How many bins long a subscriber looks for a newer message than an old one."""


class Subscriber:
    """Receives outputs of an engine.

    With `latest`, only the newest message is kept: for control. Without, all are queued: for logs.

    ```python
    with Subscriber("tcp://127.0.0.1:5556") as subscriber:
        while running:
            subscriber.receive(timeout_ms=5)
            move_cursor(subscriber.velocity())
    ```

    Attributes:
        last: The newest output received.
        damaged: Messages that broke the protocol.
        expired: Commands left out because they came after their validity had passed.

    Raises:
        ConfigError: The endpoint cannot be connected.
    """

    def __init__(
        self,
        endpoint: str,
        latest: bool = True,
        *,
        bin_ms: float = 20.0,
        hwm: int = 100_000,
        clock: Callable[[], int] = time.monotonic_ns,
        curve: CurveClient | None = None,
    ) -> None:
        """Connect.

        Args:
            endpoint: Where the engine publishes.
            latest: Whether to keep only the newest message.
            bin_ms: Age from which a message counts as old.
            hwm: Messages queued when all are kept.
            clock: Reads the monotonic clock in nanoseconds.
            curve: Keys, for an engine that wants them.
        """
        self.last: Output | None = None
        self.damaged = 0
        self.expired = 0
        self._latest = latest
        self._bin_ns = round(bin_ms * _MS)
        self._clock = clock
        self._local = is_local(endpoint)
        self._velocity: Velocity = _neutral()
        self._neutral_at_ns = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        if latest:
            self._socket.set(zmq.CONFLATE, 1)
        else:
            self._socket.set(zmq.RCVHWM, hwm)
        self._socket.set(zmq.SUBSCRIBE, b"")
        if curve is not None:
            curve.secure(self._socket)
        try:
            attach(self._socket, endpoint, bind=False)
        except BaseException:
            self.close()
            raise

    def receive(self, timeout_ms: float | None = None) -> Output | None:
        """Wait for the next output, or with `latest` for the newest.

        Args:
            timeout_ms: Longest wait; `None` waits for ever.

        Returns:
            The output, or `None` when none came in time. With `latest`, never a command past its validity.
        """
        until_ns = None if timeout_ms is None else self._clock() + round(timeout_ms * _MS)
        while (out := self._next(until_ns)) is not None:
            age_ns = self._age_ns(out)
            if self._latest and age_ns > self._bin_ns:
                out = self._newer_than(out)
                age_ns = self._age_ns(out)
            if self._latest and OutFlag.COMMAND in out.flags and age_ns > out.valid_for_ms * _MS:
                self.expired += 1
                continue
            self._take(out, max(0, age_ns))
            return out
        return None

    def velocity(self) -> Velocity:
        """The velocity to apply now, `(2,)`: the newest command's, or neutral once its validity has passed.

        With `latest`, what has come meanwhile is received first.
        """
        if self._latest:
            while self.receive(0) is not None:
                pass
        if not self.commanded():
            self._velocity = _neutral()
        return self._velocity

    def commanded(self) -> bool:
        """Whether the newest command received still holds."""
        return self._clock() < self._neutral_at_ns

    def __iter__(self) -> Iterator[Output]:
        """Outputs as they come, until the subscriber is closed."""
        while not self._socket.closed:
            out = self.receive()
            if out is not None:
                yield out

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._context.destroy(0)

    def _next(self, until_ns: int | None) -> Output | None:
        while True:
            left_ms = None if until_ns is None else max(0, ceil((until_ns - self._clock()) / _MS))
            if not self._socket.poll(left_ms):
                return None
            try:
                return decode_output(self._socket.recv())
            except PacketError:
                self.damaged += 1

    def _age_ns(self, out: Output) -> int:
        """Time since publication, or 0 where the clocks cannot be compared."""
        if not self._local or out.clocks.published != Clock.MONOTONIC:
            return 0
        return self._clock() - out.times.published_ns

    def _newer_than(self, out: Output) -> Output:
        """Look for a newer message than an old one: after a sleep, the newest may not have been read yet."""
        until_ns = self._clock() + _LOOKS * self._bin_ns
        while self._age_ns(out) > self._bin_ns and self._clock() < until_ns:
            newer = self._next(self._clock() + self._bin_ns)
            if newer is None:
                break
            out = newer
        return out

    def _take(self, out: Output, age_ns: int) -> None:
        self.last = out
        velocity = out.tensors.get("velocity")
        if OutFlag.COMMAND not in out.flags or velocity is None or not np.isfinite(velocity).all():
            return
        self._velocity = velocity.astype(np.float32)
        self._neutral_at_ns = self._clock() - age_ns + round(out.valid_for_ms * _MS)


def _neutral() -> Velocity:
    return np.zeros(2, np.float32)

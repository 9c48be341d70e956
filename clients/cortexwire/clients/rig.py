"""The sending end for an acquisition system: numbers samples and packets, and describes the source.

The descriptor is sent at the start, whenever it changes, and once a second of samples, so that a receiver
that comes late soon knows who the channels are.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import zmq
from numpy.typing import NDArray

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.sockets import (
    DEFAULT_HWM_MS,
    SocketKind,
    close_sender,
    hwm_packets,
    open_sender,
    wait_for_peer,
)
from cortexwire.errors import ConfigError
from cortexwire.types import Rate, Raw
from cortexwire.wire import Descriptor, Electrode, PacketEncoder, make_markers, stamp_sent

_CLOSE_S: Final = 5.0


class Rig:
    """Sends one source.

    ```python
    from cortexwire.clients import Rig

    with Rig("tcp://127.0.0.1:5555", rate_hz=30_000, n_channels=96, uv_per_bit=0.25) as rig:
        rig.wait_for_engine()
        while device.running():
            samples = device.read()          # (n_samples, 96) int16
            rig.send_wideband(samples)
            if device.trial_began():
                rig.mark(MarkerCode.TRIAL_START)
        rig.end()
    ```

    Attributes:
        sample_index: Index that the next signal packet's first sample will have.
        descriptor: What the source says of itself.
        dropped: Packets that found no room; only with `block=False`.
    """

    def __init__(
        self,
        endpoint: str,
        rate_hz: float | str,
        n_channels: int,
        *,
        electrodes: Sequence[str | Electrode] = (),
        uv_per_bit: float = 1.0,
        columns: Sequence[str] = (),
        reference: str = "",
        name: str = "rig",
        socket: SocketKind = "push",
        bind: bool = False,
        block: bool = True,
        epoch: int | None = None,
        source: int = 0,
        hwm_ms: float = DEFAULT_HWM_MS,
        payload_checksum: bool = False,
        curve: CurveClient | None = None,
    ) -> None:
        """Open the socket; nothing is sent yet.

        Args:
            endpoint: `tcp://host:port` or `ipc://path`.
            rate_hz: Sample rate, exact: as text where a float would not be.
            n_channels: Number of channels.
            electrodes: Identities in channel order; none where nobody knows them.
            uv_per_bit: Microvolts per unit of a sample.
            columns: Names of the values of `send_columns`.
            reference: What the voltages were measured against.
            name: Name of the source.
            socket: `push` waits while the engine is full; `pub` drops.
            bind: Whether to bind rather than connect.
            block: Whether a full `push` waits; if not, the packet is dropped and counted.
            epoch: Name of this start of the stream; random when `None`.
            source: Number of the source.
            hwm_ms: High-water mark in milliseconds of signal, at 1 ms packets.
            payload_checksum: Whether payloads carry a checksum.
            curve: Keys, for an engine that wants them.

        Raises:
            ConfigError: A setting is out of range, or the endpoint cannot be opened.
        """
        try:
            rate = Rate.from_hz(str(rate_hz))
        except ValueError as error:
            raise ConfigError(f"rig: {error}") from error
        self.descriptor = Descriptor(name, _electrodes(electrodes), float(uv_per_bit), reference, tuple(columns))
        self.dropped = 0
        self.sample_index = 0
        self._source = source
        self._payload_checksum = payload_checksum
        self._encoder = PacketEncoder(
            rate,
            n_channels,
            self.descriptor,
            self.descriptor.uv_per_bit,
            epoch=epoch,
            source=source,
            payload_checksum=payload_checksum,
        )
        self._described_second = -1
        self._wait = 0 if block else zmq.NOBLOCK
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            hwm = hwm_packets(hwm_ms, rate, rate.hz / 1000)
            self._socket = open_sender(self._context, socket, endpoint, bind, hwm, curve)
        except BaseException:
            self._context.destroy(0)
            raise

    @property
    def epoch(self) -> int:
        """Name of this start of the stream."""
        return self._encoder.epoch

    @property
    def sequence(self) -> int:
        """Number of the next packet."""
        return self._encoder.sequence

    def wait_for_engine(self, seconds: float = 10.0) -> bool:
        """Wait until a receiver is there; whether one came."""
        return wait_for_peer(self._socket, seconds)

    def send_wideband(self, samples: Raw, acquired_ns: int | None = None) -> None:
        """Send the next samples, `(n_samples, n_channels)`, int16 or float32.

        Args:
            samples: The samples.
            acquired_ns: When the last of them was acquired, on the monotonic clock; now by default.

        Raises:
            ConfigError: They do not fit the source.
        """
        self._describe_when_due()
        self._send(self._encoder.wideband(self.sample_index, samples, _or_now(acquired_ns)))
        self.sample_index += len(samples)

    def send_events(self, events: NDArray[np.void], n_samples: int, acquired_ns: int | None = None) -> None:
        """Send what happened in the next `n_samples` samples; also when nothing did: silence is no loss.

        Args:
            events: Rows from `cortexwire.wire.make_events(offsets, channels)`; offsets from `sample_index`.
            n_samples: Samples that this covers.
            acquired_ns: As in `send_wideband`.

        Raises:
            ConfigError: They do not fit the source.
        """
        self._describe_when_due()
        self._send(self._encoder.events(self.sample_index, n_samples, events, _or_now(acquired_ns)))
        self.sample_index += n_samples

    def send_counts(self, counts: NDArray[Any], n_samples: int, acquired_ns: int | None = None) -> None:
        """Send the counts `(n_channels,)` of a bin that covers the next `n_samples` samples.

        Raises:
            ConfigError: They do not fit the source.
        """
        self._describe_when_due()
        self._send(self._encoder.counts(self.sample_index, n_samples, counts, _or_now(acquired_ns)))
        self.sample_index += n_samples

    def send_columns(self, values: NDArray[Any], offsets: NDArray[Any] | None = None) -> None:
        """Send column rows for samples that come next: call it before sending those samples.

        Args:
            values: `(n_rows, n_columns)`, or `(n_columns,)` for the very next sample.
            offsets: Samples after `sample_index`, `(n_rows,)`; by default 0, 1, 2, ...

        Raises:
            ConfigError: They do not fit the columns of the source.
        """
        rows = np.atleast_2d(values)
        self._describe_when_due()
        at = np.arange(len(rows)) if offsets is None else offsets
        self._send(self._encoder.columns(self.sample_index, at, rows))

    def mark(self, code: int, value: float = float("nan"), offset: int = 0) -> None:
        """Mark the sample `offset` after the next one; a `wire.MarkerCode`, or your own code from 256 on."""
        self._describe_when_due()
        self._send(self._encoder.markers(self.sample_index, make_markers([offset], [code], [value])))

    def skip(self, n_samples: int) -> None:
        """Say that the next `n_samples` samples were lost in acquisition: their indices are never sent."""
        self.sample_index += n_samples

    def describe(
        self,
        *,
        electrodes: Sequence[str | Electrode] | None = None,
        uv_per_bit: float | None = None,
        reference: str | None = None,
    ) -> None:
        """Change what the source says of itself, and send it.

        Raises:
            ConfigError: It does not fit the source.
        """
        old = self.descriptor
        new = Descriptor(
            old.source,
            old.electrodes if electrodes is None else _electrodes(electrodes),
            old.uv_per_bit if uv_per_bit is None else float(uv_per_bit),
            old.reference if reference is None else reference,
            old.columns,
        )
        self._encoder = PacketEncoder(
            self._encoder.rate,
            self._encoder.n_channels,
            new,
            new.uv_per_bit,
            epoch=self._encoder.epoch,
            source=self._source,
            sequence=self._encoder.sequence,
            payload_checksum=self._payload_checksum,
        )
        self.descriptor = new
        self._described_second = -1
        self._describe_when_due()

    def end(self) -> None:
        """Say that the stream ends here."""
        self._send(self._encoder.end(self.sample_index))

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the socket after at most 5 s for the engine to take what was sent; may be called twice."""
        try:
            if not self._socket.closed:
                close_sender(self._socket, _CLOSE_S)
        finally:
            self._context.destroy(0)

    def _describe_when_due(self) -> None:
        rate = self._encoder.rate
        second = self.sample_index * rate.den // rate.num
        if second != self._described_second:
            self._described_second = second
            self._send(self._encoder.descriptor_packet(self.sample_index))

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.send(stamp_sent(frame, time.monotonic_ns()), self._wait)
        except zmq.Again:
            self.dropped += 1


def _electrodes(electrodes: Sequence[str | Electrode]) -> tuple[Electrode, ...]:
    return tuple(each if isinstance(each, Electrode) else Electrode(each) for each in electrodes)


def _or_now(acquired_ns: int | None) -> int:
    return time.monotonic_ns() if acquired_ns is None else acquired_ns

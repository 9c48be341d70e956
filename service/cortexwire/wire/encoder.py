"""The sending side of a source: numbers its packets, fills the header, and refuses what breaks the protocol.

Pure: times are arguments, and the only thing drawn is the epoch where none is given.
"""

from math import gcd, inf
from secrets import randbits
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.types import Rate, Raw
from cortexwire.wire.codes import Clock, Kind, PacketFlag
from cortexwire.wire.descriptor import Descriptor
from cortexwire.wire.header import MAX_CHANNELS, MAX_SAMPLE_INDEX
from cortexwire.wire.packets import Packet, encode_packet
from cortexwire.wire.payloads import EVENT_DTYPE, MARKER_DTYPE, Columns


class PacketEncoder:
    """Encodes the packets of one source in one epoch.

    Attributes:
        epoch: Random 64-bit name of this start of the stream.
        sequence: Number that the next packet will carry, of whatever kind.
    """

    def __init__(
        self,
        rate: Rate,
        n_channels: int,
        descriptor: Descriptor | None = None,
        uv_per_bit: float = 1.0,
        *,
        epoch: int | None = None,
        source: int = 0,
        sequence: int = 0,
        acquired_clock: Clock = Clock.MONOTONIC,
        sent_clock: Clock = Clock.MONOTONIC,
        payload_checksum: bool = False,
    ) -> None:
        """Describe the stream.

        Args:
            rate: Sample rate in lowest terms.
            n_channels: 1 to 65535.
            descriptor: Identity of the channels; `None` where the rig knows none.
            uv_per_bit: Microvolts of one unit of a sample; 1 where the stream has no voltages.
            epoch: Name of this start; drawn at random when `None`.
            source: Number of the source, 0 to 65535.
            sequence: Number of the first packet.
            acquired_clock: Clock of every `acquired_ns` that is not 0.
            sent_clock: Clock of every `sent_ns` that is not 0.
            payload_checksum: Whether payloads carry a CRC-32.

        Raises:
            ConfigError: One of these is out of range, or contradicts the descriptor.
        """
        _expect(1 <= n_channels <= MAX_CHANNELS, f"n_channels from 1 to {MAX_CHANNELS}", n_channels)
        _expect(rate.num > 0 and rate.den > 0 and gcd(*rate) == 1, "a positive rate in lowest terms", rate)
        _expect(max(rate) < 2**32, "a rate in 32 bits", rate)
        _expect(0.0 < uv_per_bit < inf, "a positive finite uv_per_bit", uv_per_bit)
        _expect(0 <= source < 2**16, "a source number from 0 to 65535", source)
        _expect(epoch is None or 0 <= epoch < 2**64, "an epoch in 64 bits", epoch)
        if descriptor is not None:
            n_named = len(descriptor.electrodes)
            _expect(n_named in (0, n_channels), f"0 or {n_channels} electrodes in the descriptor", n_named)
            same = descriptor.uv_per_bit == uv_per_bit
            _expect(same, f"the descriptor's uv_per_bit {descriptor.uv_per_bit}", uv_per_bit)
        self.rate = Rate(*rate)
        self.n_channels = n_channels
        self.descriptor = descriptor
        self.uv_per_bit = float(uv_per_bit)
        self.epoch = randbits(64) if epoch is None else epoch
        self.source = source
        self.sequence = sequence
        self._clocks = acquired_clock, sent_clock
        self._flags = int(PacketFlag.PAYLOAD_CRC) if payload_checksum else 0
        self._descriptor_hash = 0 if descriptor is None else descriptor.hash

    def wideband(self, sample_index: int, samples: Raw, acquired_ns: int = 0, sent_ns: int = 0) -> bytes:
        """Encode `(n_samples, n_channels)` int16 or float32 samples.

        Raises:
            ConfigError: Shape, type or index do not fit, or a sample is not finite.
        """
        shape = f"(n >= 1, {self.n_channels}) samples"
        fits = samples.ndim == 2 and samples.shape[1] == self.n_channels and len(samples) >= 1
        _expect(fits, shape, samples.shape)
        _expect(samples.dtype in (np.int16, np.float32), "int16 or float32 samples", samples.dtype)
        _expect(samples.dtype == np.int16 or bool(np.isfinite(samples).all()), "finite samples", "some not")
        return self._packet(Kind.WIDEBAND, sample_index, len(samples), samples, acquired_ns, sent_ns)

    def events(
        self,
        sample_index: int,
        n_samples: int,
        events: NDArray[np.void],
        acquired_ns: int = 0,
        sent_ns: int = 0,
    ) -> bytes:
        """Encode the `(n,)` `EVENT_DTYPE` rows of the `n_samples` samples from `sample_index`; may be empty.

        Raises:
            ConfigError: A row lies outside the samples or channels, or an argument does not fit.
        """
        _expect(n_samples >= 1, "n_samples of at least 1", n_samples)
        _expect(events.dtype == EVENT_DTYPE and events.ndim == 1, "(n,) rows of EVENT_DTYPE", events.dtype)
        if len(events):
            last, top = int(events["sample_offset"].max()), int(events["channel"].max())
            _expect(last < n_samples, f"sample offsets below {n_samples}", last)
            _expect(top < self.n_channels, f"channels below {self.n_channels}", top)
        return self._packet(Kind.EVENTS, sample_index, n_samples, events, acquired_ns, sent_ns)

    def counts(
        self, sample_index: int, n_samples: int, counts: NDArray[Any], acquired_ns: int = 0, sent_ns: int = 0
    ) -> bytes:
        """Encode one recorded bin: `(n_channels,)` whole counts, 0 to 65535, over `n_samples` samples.

        Raises:
            ConfigError: Shape or values do not fit.
        """
        _expect(n_samples >= 1, "n_samples of at least 1", n_samples)
        _expect(counts.shape == (self.n_channels,), f"({self.n_channels},) counts", counts.shape)
        with np.errstate(invalid="ignore"):
            row = counts.astype(np.uint16)
        _expect(bool((row == counts).all()), "whole counts from 0 to 65535", f"{counts.min()} to {counts.max()}")
        return self._packet(Kind.COUNTS, sample_index, n_samples, row, acquired_ns, sent_ns)

    def markers(self, sample_index: int, markers: NDArray[np.void], acquired_ns: int = 0, sent_ns: int = 0) -> bytes:
        """Encode `(n,)` `MARKER_DTYPE` rows; send it before the signal packet that covers its samples.

        Raises:
            ConfigError: The rows have another type, or an infinite value.
        """
        _expect(markers.dtype == MARKER_DTYPE and markers.ndim == 1, "(n,) rows of MARKER_DTYPE", markers.dtype)
        _expect(not np.isinf(markers["value"]).any(), "finite values or NaN", "an infinite one")
        return self._packet(Kind.MARKERS, sample_index, 0, markers, acquired_ns, sent_ns)

    def columns(
        self,
        sample_index: int,
        offsets: NDArray[Any],
        values: NDArray[Any],
        acquired_ns: int = 0,
        sent_ns: int = 0,
    ) -> bytes:
        """Encode rows of named floats: `(n,)` offsets from `sample_index` and `(n, n_columns)` values.

        Raises:
            ConfigError: The columns are not the descriptor's, shapes disagree, or a value is infinite.
        """
        named = 0 if self.descriptor is None else len(self.descriptor.columns)
        shape = f"({len(offsets)}, {named}) values, as the descriptor names columns"
        _expect(named >= 1 and values.shape == (len(offsets), named), shape, values.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = Columns(offsets.astype(np.uint32), values.astype(np.float32))
        _expect(bool((rows.offsets == offsets).all()), "sample offsets from 0 to 2^32 - 1", offsets)
        _expect(not np.isinf(rows.values).any(), "finite values or NaN", "an infinite one")
        return self._packet(Kind.COLUMNS, sample_index, 0, rows, acquired_ns, sent_ns, n_channels=named)

    def descriptor_packet(self, sample_index: int, acquired_ns: int = 0, sent_ns: int = 0) -> bytes:
        """Encode the descriptor: to be sent at the start, on change and once a second.

        Raises:
            ConfigError: The stream has none.
        """
        _expect(self.descriptor is not None, "a stream with a descriptor", "one without")
        return self._packet(Kind.DESCRIPTOR, sample_index, 0, self.descriptor, acquired_ns, sent_ns)

    def end(self, sample_index: int, acquired_ns: int = 0, sent_ns: int = 0) -> bytes:
        """Encode the end of the stream; `sample_index` is one past its last sample."""
        return self._packet(Kind.END, sample_index, 0, None, acquired_ns, sent_ns)

    def _packet(
        self,
        kind: Kind,
        sample_index: int,
        n_samples: int,
        data: Any,
        acquired_ns: int,
        sent_ns: int,
        n_channels: int | None = None,
    ) -> bytes:
        _expect(0 <= sample_index <= MAX_SAMPLE_INDEX, "sample_index from 0 to 2^62", sample_index)
        acquired_clock, sent_clock = self._clocks
        frame = encode_packet(
            Packet(
                kind,
                self.epoch,
                self.sequence,
                sample_index,
                n_samples,
                n_channels or self.n_channels,
                self.rate,
                self.uv_per_bit,
                self._descriptor_hash,
                self.source,
                self._flags,
                acquired_ns,
                acquired_clock if acquired_ns else Clock.NONE,
                sent_ns,
                sent_clock if sent_ns else Clock.NONE,
                data,
            )
        )
        self.sequence += 1
        return frame


def _expect(holds: bool, expected: str, came: object) -> None:
    if not holds:
        raise ConfigError(f"packet encoder: expected {expected}, got {came}")

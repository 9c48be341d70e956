"""The signal chain as one would write it with scipy and numpy: the yardstick of the fused front end.

It does the same work, vectorised throughout and without a loop over channels or samples: reference, scale, filter
(one `sosfilt` call a packet, with its state carried on), crossings with refractory time, counts and band power per
bin. It looks for no artefacts, rails or dead channels, which the fused front end does besides. Nothing in it calls
BLAS, so one thread does it all.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Mode = Literal["none", "mean", "median"]


class Layout(NamedTuple):
    """One way to write the chain.

    Attributes:
        dtype: Type in which it computes.
        time_first: Whether it keeps samples as they come, or turns them to channels first.
        median_of_raw: Whether a median is taken of the integers, or after conversion.
    """

    dtype: type[np.float32] | type[np.float64]
    time_first: bool
    median_of_raw: bool

    def __str__(self) -> str:
        """Name it in a report."""
        median = ", median of integers" if self.median_of_raw else ""
        return f"{self.dtype.__name__}, {'time' if self.time_first else 'channels'} first{median}"


LAYOUTS = tuple(
    Layout(dtype, time_first, median_of_raw)
    for dtype in (np.float32, np.float64)
    for time_first in (True, False)
    for median_of_raw in (False, True)
)


class Crossings:
    """Crossings with a refractory time, in packets no longer than it: a channel has at most one in each.

    Args:
        n_channels: Channels.
        refractory: In samples.
    """

    def __init__(self, n_channels: int, refractory: int) -> None:
        self._refractory = refractory
        self._beyond: NDArray[np.bool_] = np.zeros(n_channels, np.bool_)
        self._until: NDArray[np.int64] = np.zeros(n_channels, np.int64)

    def find(self, beyond: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Take which samples of the next packet are beyond the threshold, `(n, n_channels)`.

        Returns:
            Which channels crossed, and at which of the samples those did.
        """
        if beyond.flags.c_contiguous:
            fresh = beyond.copy()
            fresh[1:] &= ~beyond[:-1]
            fresh[0] &= ~self._beyond
            sample, channel = np.divmod(np.flatnonzero(fresh), beyond.shape[1])
        else:  # memory runs along time: step over it as a whole, then put the first samples right
            turned = np.ascontiguousarray(beyond.T)
            fresh = turned.copy()
            fresh.reshape(-1)[1:] &= ~turned.reshape(-1)[:-1]
            fresh[:, 0] = turned[:, 0] & ~self._beyond
            channel, sample = np.divmod(np.flatnonzero(fresh), len(beyond))
        self._beyond = beyond[-1].copy()
        until = self._until.copy()
        free = sample >= until[channel]
        sample, channel = sample[free][::-1], channel[free][::-1]
        until[channel] = sample + self._refractory  # of several, the first sample is written last
        crossed = until != self._until
        self._until = until - len(beyond)
        return crossed, until - self._refractory


class NumpyChain:
    """Counts and band power of a stream, in packets of at most the refractory time.

    Args:
        mode: Common reference.
        layout: How it is written.
        sos: Filter.
        uv_per_bit: Microvolts per raw unit.
        thresholds_uv: Negative thresholds, `(n_channels,)`.
        refractory: In samples.
        packets_per_bin: Packets that fill a bin.
        band_power: Whether to compute it; else it is zero.
    """

    def __init__(
        self,
        mode: Mode,
        layout: Layout,
        sos: NDArray[np.float64],
        uv_per_bit: float,
        thresholds_uv: NDArray[np.float64],
        refractory: int,
        packets_per_bin: int,
        band_power: bool = True,
    ) -> None:
        scaled = sos.copy()
        scaled[0, :3] *= uv_per_bit
        n = len(thresholds_uv)
        self._mode = mode
        self._layout = layout
        self._axis = 0 if layout.time_first else 1
        self._sos: Any = scaled.astype(layout.dtype)
        self._zi: Any = None
        self._thresholds = np.expand_dims(thresholds_uv.astype(layout.dtype), self._axis)
        self._crossings = Crossings(n, refractory)
        self._packets_per_bin = packets_per_bin
        self._band_power = band_power
        self._packets = self._samples = 0
        self._counts: NDArray[np.int64] = np.zeros(n, np.int64)
        self._power: NDArray[Any] = np.zeros(n, layout.dtype)

    def push(self, raw: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Take one packet, `(n, n_channels)`; returns counts and mean square of a bin that it completes."""
        x: Any = self._referenced(raw)
        if self._zi is None:
            zi = signal.sosfilt_zi(self._sos).astype(x.dtype)
            first = x.take(0, self._axis)
            self._zi = zi[:, :, None] * first if self._layout.time_first else zi[:, None, :] * first[:, None]
        y: Any
        y, self._zi = signal.sosfilt(self._sos, x, axis=self._axis, zi=self._zi)
        if self._band_power:
            self._power += np.einsum("tc,tc->c" if self._layout.time_first else "ct,ct->c", y, y)
        beyond = y <= self._thresholds
        self._counts += self._crossings.find(beyond if self._layout.time_first else beyond.T)[0]
        self._samples += len(raw)
        self._packets += 1
        if self._packets < self._packets_per_bin:
            return None
        made = self._counts, self._power / self._samples
        self._counts, self._power = np.zeros_like(self._counts), np.zeros_like(self._power)
        self._packets = self._samples = 0
        return made

    def _referenced(self, raw: NDArray[np.int16]) -> NDArray[Any]:
        layout = self._layout
        channels = 1 - self._axis
        x: NDArray[Any] = (raw if layout.time_first else raw.T).astype(layout.dtype, order="C")
        if self._mode == "mean":
            x -= x.mean(axis=channels, keepdims=True)
        elif self._mode == "median" and layout.median_of_raw:
            x -= np.expand_dims(np.median(raw, axis=1).astype(layout.dtype), channels)
        elif self._mode == "median":
            x -= np.median(x, axis=channels, keepdims=True)
        return x

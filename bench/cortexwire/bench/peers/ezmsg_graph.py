"""The signal chain as a graph of ezmsg-sigproc: reference, Butterworth filter, threshold, sum over bins.

Its transformers are called one after the other in this process, on messages that were made beforehand. What a running
graph does besides, passing messages between units, is left out in its favour. ezmsg-sigproc has no unit for threshold
crossings, so that step is ours, in numpy, and gives the bins bytes, the fastest type for them. Thresholds are taken
to raw units, which spares the graph a step that scales, and it computes no band power.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from ezmsg.sigproc.affinetransform import CommonRereferenceSettings, CommonRereferenceTransformer
from ezmsg.sigproc.aggregate import AggregationFunction
from ezmsg.sigproc.binned_aggregate import BinnedAggregateSettings, BinnedAggregateTransformer
from ezmsg.sigproc.butterworthfilter import ButterworthFilterSettings, ButterworthFilterTransformer
from ezmsg.util.messages.axisarray import AxisArray, replace
from numpy.typing import NDArray

from cortexwire.bench.numpy_chain import Crossings, Mode
from cortexwire.signal.settings import FilterSettings
from cortexwire.types import Rate


class EzmsgGraph:
    """Counts of a stream, in packets no longer than the refractory time.

    Args:
        mode: Common reference.
        chain: Band-pass.
        uv_per_bit: Microvolts per raw unit.
        thresholds_uv: Negative thresholds, `(n_channels,)`.
        refractory: In samples.
        bin_s: Seconds in a bin.
    """

    def __init__(
        self,
        mode: Mode,
        chain: FilterSettings,
        uv_per_bit: float,
        thresholds_uv: NDArray[np.float64],
        refractory: int,
        bin_s: float,
    ) -> None:
        band = ButterworthFilterSettings(coef_type="sos", order=chain.order, cuton=chain.low_hz, cutoff=chain.high_hz)
        bins = BinnedAggregateSettings(bin_duration=bin_s, operation=AggregationFunction.SUM)
        self._steps: list[Callable[[Any], Any]] = [
            ButterworthFilterTransformer(band),
            _Threshold(thresholds_uv / uv_per_bit, refractory),
            BinnedAggregateTransformer(bins),
        ]
        if mode != "none":
            self._steps.insert(0, CommonRereferenceTransformer(CommonRereferenceSettings(mode=mode, axis="ch")))

    def push(self, message: Any) -> tuple[NDArray[Any], None] | None:
        """Take one message; returns the counts of a bin that it completes."""
        for step in self._steps:
            message = step(message)
        return (message.data[0], None) if len(message.data) else None


def messages(packets: Sequence[NDArray[np.int16]], rate: Rate) -> list[Any]:
    """Packets as the graph takes them, each behind the one before."""
    made, at = [], 0
    for raw in packets:
        axes = {"time": AxisArray.TimeAxis(fs=rate.hz, offset=at / rate.hz)}
        made.append(AxisArray(raw, dims=["time", "ch"], axes=axes, key="rig", stream_dim="time"))
        at += len(raw)
    return made


def versions() -> str:
    """What of ezmsg is installed."""
    return ", ".join(f"{name} {version(name)}" for name in ("ezmsg", "ezmsg-sigproc"))


class _Threshold:
    """Marks crossings: uint8 `(n, n_channels)`, 1 at the sample of each."""

    def __init__(self, thresholds: NDArray[np.float64], refractory: int) -> None:
        self._thresholds = thresholds
        self._crossings = Crossings(len(thresholds), refractory)

    def __call__(self, message: Any) -> Any:
        crossed, sample = self._crossings.find(message.data <= self._thresholds)
        marks = np.zeros(message.data.shape, np.uint8)
        channel = np.flatnonzero(crossed)
        marks[sample[channel], channel] = 1
        return replace(message, data=marks)

"""Voltages of an NWB file: raw samples as they are stored, wherever one scale fits all channels."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.matrix import Array, BlockMatrix
from cortexwire.sessions.nwb.hdf import Reader, attribute, number, open_hdf, texts
from cortexwire.sessions.nwb.layout import Series
from cortexwire.sessions.nwb.scale import microvolts_of, said_scale
from cortexwire.sessions.signals import WidebandSignal

_MIDDLE: Final = 2**15
"""Zero of a converter whose samples are stored as unsigned numbers."""


class Voltage(NamedTuple):
    """A wideband signal, its scale, and what had to be done to it."""

    signal: WidebandSignal
    uv_per_bit: float
    problems: tuple[str, ...]


class _Scale(NamedTuple):
    """Volts = sample x factor + offset_v, a factor for each channel or one for all."""

    factors: NDArray[np.float64]
    uv_per_bit: float
    offset_v: float

    @property
    def uniform(self) -> bool:
        return bool((self.factors == self.factors[0]).all())


def read_voltage(path: Path, reader: Reader, series: Series) -> Voltage:
    """Make the signal of an electrical series; samples are read when asked for.

    int16 samples of one scale stay what they are, unsigned ones around the middle of their range become int16, other
    numbers float32. Where channels differ in scale, or zero is no whole number of units, samples are float32 in
    microvolts.
    """
    group = reader.file[series.path]
    data = reader.child(group, "data")
    scale = _scale(reader, group, data, series.n_columns)
    units = scale.offset_v / scale.factors[0] if scale.factors[0] else 0.0
    whole = bool(abs(units - round(units)) < 1e-6)
    if not (scale.uniform and scale.uv_per_bit > 0 and whole):
        factors, offset = (scale.factors * 1e6).astype(np.float64), scale.offset_v * 1e6

        def convert(samples: Array) -> Array:
            return (samples * factors + offset).astype(np.float32)

        why = "channels differ in scale" if not scale.uniform else "the scale is not a positive one without offset"
        return Voltage(_signal(path, series, convert), 1.0, (f"{series.name}: {why}: samples are read in microvolts",))
    if data.dtype == np.uint16 and round(units) == -_MIDDLE:
        return Voltage(_signal(path, series, _from_unsigned), scale.uv_per_bit, ())
    zero = round(units)
    if zero:

        def shift(samples: Array) -> Array:
            return (samples.astype(np.float64) + zero).astype(np.float32)

        return Voltage(_signal(path, series, shift), scale.uv_per_bit, ())
    return Voltage(_signal(path, series, _native), scale.uv_per_bit, ())


def channel_names(reader: Reader, series: Series) -> tuple[str, ...]:
    """Names that the series itself gives its channels, as some writers of NWB 1 do."""
    group = reader.file[series.path]
    names = texts(group.attrs["Channel Name"]) if "Channel Name" in group.attrs else ()
    usable = len(names) == series.n_columns and all(names) and len(set(names)) == len(names)
    return names if usable else ()


def _scale(reader: Reader, group: Any, data: Any, n_channels: int) -> _Scale:
    conversion = number(data, "conversion", 1.0)
    offset_v = float(number(data, "offset", 0.0))
    each = reader.child(group, "channel_conversion")
    factors = np.full(n_channels, float(conversion))
    if each is None:
        return _Scale(factors, said_scale(attribute(group, "comments"), microvolts_of(conversion)), offset_v)
    gains = np.asarray(each[()]).reshape(-1)
    if len(gains) != n_channels:
        return _Scale(factors, microvolts_of(conversion), offset_v)
    volts = Decimal(str(conversion)) * Decimal(str(gains[0]))
    return _Scale(factors * gains.astype(np.float64), microvolts_of(volts), offset_v)


def _signal(path: Path, series: Series, convert: Any) -> WidebandSignal:
    def read(start: int, stop: int) -> Array:
        with open_hdf(path) as file:
            data = file[series.path]["data"]
            try:
                rows = data[:, start:stop].T if series.channels_first else data[start:stop]
            except OSError as error:  # damaged, or compressed in a way that h5py lacks
                raise SessionError(f"{path}: {series.full_name}: samples [{start}, {stop}): {error}") from error
            return np.asarray(convert(rows.reshape(stop - start, -1)))

    return WidebandSignal(BlockMatrix(series.n_rows, series.n_columns, read))


def _native(samples: Array) -> Array:
    return samples.astype("<i2") if samples.dtype.kind == "i" and samples.dtype.itemsize <= 2 else samples


def _from_unsigned(samples: Array) -> Array:
    return (samples ^ np.uint16(_MIDDLE)).view("<i2")

"""Opens the signal of a recording as its part of a `session.toml` says."""

from fractions import Fraction

import numpy as np

from cortexwire.errors import SessionError
from cortexwire.sessions.description import ArraySpec, CountsSpec, EventsSpec, Number, SignalSpec, WidebandSpec
from cortexwire.sessions.grid import RowGrid, row_width, samples_of
from cortexwire.sessions.recorded import Signal
from cortexwire.sessions.session import SPIKE_DTYPE
from cortexwire.sessions.signals import CountSignal, EventSignal, PlacedCounts, WidebandSignal
from cortexwire.sessions.stores import Store
from cortexwire.sessions.wav import WavStack
from cortexwire.types import Rate


def open_stack(where: str, spec: SignalSpec, stack: WavStack) -> tuple[Rate, Signal]:
    """Open a stack of wav files.

    Raises:
        SessionError: The toml contradicts the files.
    """
    if not isinstance(spec, WidebandSpec) or spec.key is not None or spec.orientation != "time_first":
        expected = 'kind = "wideband" without key and orientation'
        raise SessionError(f"{where}: signal: expected {expected} for a folder of wav files")
    rate = Rate(stack.rate_hz)
    if spec.rate_hz is not None and _rate(where, spec.rate_hz) != rate:
        expected = f"{stack.rate_hz} as in the wav headers"
        raise SessionError(f"{where}: signal.rate_hz: expected {expected}, got {spec.rate_hz}")
    return rate, WidebandSignal(stack.matrix)


def open_signal(where: str, spec: ArraySpec, store: Store) -> tuple[Rate, Signal]:
    """Open a signal in a file of named arrays.

    Raises:
        SessionError: The file has no such arrays, or they do not fit together.
    """
    if isinstance(spec, EventsSpec):
        return _events(where, spec, store)
    if isinstance(spec, CountsSpec):
        return _counts(where, spec, store)
    if spec.key is None or spec.rate_hz is None:
        lacking = "key" if spec.key is None else "rate_hz"
        raise SessionError(f"{where}: signal: expected {lacking} for wideband in a file")
    return _rate(where, spec.rate_hz), WidebandSignal(store.matrix(spec.key, spec.orientation))


def recorded_bins(signal: Signal) -> RowGrid | None:
    """The bins that the signal was counted in, if it was."""
    counts = signal.counts if isinstance(signal, PlacedCounts) else signal
    return counts.grid if isinstance(counts, CountSignal) else None


def _rate(where: str, value: Number) -> Rate:
    try:
        return Rate.from_hz(Fraction(str(value)))
    except (ValueError, ZeroDivisionError) as error:
        raise SessionError(f"{where}: signal.rate_hz: {error}") from error


def _counts(where: str, spec: CountsSpec, store: Store) -> tuple[Rate, Signal]:
    rate = _rate(where, spec.rate_hz)
    try:
        grid = RowGrid(rate, row_width(spec.bin_ms))
    except ValueError as error:
        raise SessionError(f"{where}: signal.bin_ms: {error}") from error
    place = f"{where}: signal.key = {spec.key!r}"
    counts = CountSignal(store.matrix(spec.key, spec.orientation), grid, spec.scale, place)
    return rate, PlacedCounts(counts, spec.seed) if spec.stream == "events" else counts


def _events(where: str, spec: EventsSpec, store: Store) -> tuple[Rate, Signal]:
    rate = _rate(where, spec.rate_hz)
    times, channels = store.array(spec.times).reshape(-1), store.array(spec.channels).reshape(-1)
    units = np.zeros(len(times)) if spec.units is None else store.array(spec.units).reshape(-1)
    if not len(times) == len(channels) == len(units):
        came = f"{len(channels)} channels and {len(units)} units for {len(times)} times"
        raise SessionError(f"{where}: signal: expected as many channels and units as times, got {came}")
    spikes = np.zeros(len(times), SPIKE_DTYPE)
    samples = samples_of(times, spec.unit, rate)
    index = channels.astype(np.int64) - spec.first_channel
    n_channels = spec.n_channels or int(index.max(initial=0)) + 1
    n_samples = int(samples.max(initial=-1)) + 1
    if spec.duration_s is not None:
        n_samples = int(Fraction(str(spec.duration_s)) * rate.fraction)
    for key, numbers, below in (("times", samples, n_samples), ("channels", index, n_channels)):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < below:
            unit = "samples" if key == "times" else f"channels after first_channel {spec.first_channel}"
            came = f"{numbers.min()} to {numbers.max()}"
            raise SessionError(f"{where}: signal.{key}: expected {unit} from 0 to {below - 1}, got {came}")
    spikes["sample"], spikes["channel"], spikes["unit"] = samples, index, units
    return rate, EventSignal(spikes, n_channels, n_samples)

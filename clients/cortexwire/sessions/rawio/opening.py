"""From a lab's file to a session: which stream, which stretch of it, and what to say about the rest.

`PATH#STREAM@PART` chooses: the stream by its name or by what only its name contains, the stretch by its number from 1.
Either may be left out. Without a stream there has to be just one that holds the array's own voltages at 10 kHz or more,
or spikes; without a stretch it is the longest, and `problems` says what else there is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions.rawio.formats import Format
from cortexwire.sessions.rawio.recording import Part, RawRecording, Stream
from cortexwire.sessions.recorded import RecordedSession, Signal
from cortexwire.sessions.session import SPIKE_DTYPE
from cortexwire.sessions.signals import EventSignal, WidebandSignal
from cortexwire.wire import MAX_CHANNELS, Descriptor, Electrode


class StreamChoiceError(SessionError):
    """A recording has several streams, and none was named.

    Attributes:
        choices: Their names, in the recording's order.
    """

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


LEAST_HZ: Final = 10_000.0
"""A slower stream is field potentials or auxiliary inputs; it is read, but only when it is named."""
_LISTED: Final = 12


def open_rawio(path: Path, format: Format, chosen: str = "") -> RecordedSession:
    """Open one stream of a recording.

    Args:
        path: The file or folder.
        format: Its format.
        chosen: `STREAM`, `STREAM@PART` or `@PART`.

    Raises:
        SessionError: It is damaged, or the choice fits no stream, or more than one.
    """
    return session_of(RawRecording(path, format), chosen)


def session_of(recording: RawRecording, chosen: str = "") -> RecordedSession:
    """A session of one stream of a recording that is open, as `open_rawio`."""
    path = recording.path
    wanted, number = split_choice(chosen)
    stream = choose_stream(recording, wanted)
    part = choose_part(recording, stream, number)
    if not 1 <= len(stream.names) <= MAX_CHANNELS:
        raise SessionError(f"{path}: {stream.name}: expected 1 to {MAX_CHANNELS} channels, got {len(stream.names)}")
    notes: tuple[str, ...] = ()
    uv_per_bit = 1.0
    signal: Signal
    if stream.kind == "events":
        signal = _event_signal(recording, stream, part)
        if part.start_s:
            notes = (f"times count from {part.start_s:.3f} s of the recording's clock",)
    else:
        matrix, uv_per_bit, notes = recording.matrix(stream, part)
        signal = WidebandSignal(matrix)
    if len(stream.parts) > 1 and number is None:
        notes += (_parts_in_words(stream, part),)
    name = path.stem if path.is_file() else path.name
    electrodes = tuple(Electrode(identity, bank) for identity, bank in stream.names)
    name = f"{name}#{chosen}" if chosen else name
    try:
        descriptor = Descriptor(name, electrodes, uv_per_bit, "")
    except ConfigError as error:
        raise SessionError(f"{path}: {stream.name}: {error}") from error
    return RecordedSession(name, stream.rate, signal, descriptor, problems=(*notes, *recording.notes))


def split_choice(chosen: str) -> tuple[str, int | None]:
    """The name of a stream and the number of a stretch, out of `STREAM@PART`."""
    name, at, number = chosen.rpartition("@")
    return (name, int(number)) if at and number.isdigit() else (chosen, None)


def choose_stream(recording: RawRecording, wanted: str) -> Stream:
    """The stream that is meant.

    Raises:
        SessionError: None is, or more than one; the message lists all.
    """
    streams = recording.streams
    if wanted:
        found = [stream for stream in streams if stream.name == wanted]
        found = found or [stream for stream in streams if wanted.casefold() in stream.name.casefold()]
    else:
        fast = [stream for stream in streams if stream.neural and stream.rate.hz >= LEAST_HZ]
        found = fast or list(streams)
    if len(found) == 1:
        return found[0]
    listed = "; ".join(stream_in_words(stream) for stream in found or streams)
    what = f"a stream {wanted!r}" if wanted else "one stream of the array's voltages or spikes"
    came = f"{len(found)} that fit" if found else "none"
    message = f"{recording.path}: expected {what}, got {came}: name one as {recording.path.name}#STREAM: {listed}"
    raise StreamChoiceError(message, [stream.name for stream in found]) if found else SessionError(message)


def choose_part(recording: RawRecording, stream: Stream, number: int | None) -> Part:
    """The stretch of that number, or the longest.

    Raises:
        SessionError: There is none of that number, or none at all.
    """
    if not stream.parts:
        raise SessionError(f"{recording.path}: {stream.name}: expected samples, got none")
    if number is None:
        return max(stream.parts, key=lambda part: part.n_samples)
    if not 1 <= number <= len(stream.parts):
        raise SessionError(
            f"{recording.path}: {stream.name}: expected a stretch from 1 to {len(stream.parts)}, got {number}"
        )
    return stream.parts[number - 1]


def stream_in_words(stream: Stream) -> str:
    """Its name, and what it is, in a few words."""
    stretches = f" in {len(stream.parts)} stretches" if len(stream.parts) > 1 else ""
    unit = f" {stream.unit}" if stream.unit else ""
    length = f"{stream.seconds:.1f} s{stretches}"
    return f"{stream.name!r} ({stream.kind}, {len(stream.names)} channels{unit}, {stream.rate.hz:g} Hz, {length})"


def _parts_in_words(stream: Stream, part: Part) -> str:
    hz = stream.rate.hz
    listed = ", ".join(f"{p.start_s:.3f}-{p.start_s + p.n_samples / hz:.3f} s" for p in stream.parts[:_LISTED])
    more = f" and {len(stream.parts) - _LISTED} more" if len(stream.parts) > _LISTED else ""
    number = stream.parts.index(part) + 1
    return (
        f"{stream.name}: {len(stream.parts)} stretches with gaps between them ({listed}{more}): this is the longest, "
        f"number {number}; name another as {stream.name}@NUMBER"
    )


def _event_signal(recording: RawRecording, stream: Stream, part: Part) -> EventSignal:
    found = recording.spikes(part)
    samples = np.rint((found.times_s - part.start_s) * stream.rate.hz).astype(np.int64)
    spikes = np.zeros(len(samples), SPIKE_DTYPE)
    spikes["sample"], spikes["channel"], spikes["unit"] = samples, found.electrodes, found.units
    if len(samples) and samples.min() < 0:
        raise SessionError(
            f"{recording.path}: expected spikes from {part.start_s} s on, got one at {found.times_s.min()} s"
        )
    n_samples = max(part.n_samples, int(samples.max(initial=-1)) + 1)
    return EventSignal(spikes, len(stream.names), n_samples)
